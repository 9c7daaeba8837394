"""Writes PyTorch's plain recurrent layers as ONNX `RNN`: one node for each layer of a stack.

    h(t) = f(W x(t) + b + R h(t−1) + c),   f = tanh or ReLU

PyTorch's exporter has no translation of them, and writes every step of the example's length out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnxscript
import torch

_onnx: Any = onnxscript.opset21


def _to_onnx(activation: str) -> Callable[..., tuple[Any, Any]]:
    """The translation for one activation; its arguments are those of `aten.rnn_tanh.input`."""

    def translate(
        x: Any,
        states: Any,
        stored: Sequence[Any],
        has_biases: bool,
        layers: int,
        _dropout: float,
        _training: bool,
        is_bidirectional: bool,
        has_batch_first: bool,
    ) -> tuple[Any, Any]:
        directions, parts = 1 + is_bidirectional, 4 if has_biases else 2
        settings = {
            "activations": [activation] * directions,
            "direction": "bidirectional" if is_bidirectional else "forward",
            "hidden_size": int(stored[1].shape[-1]),
        }
        x = _onnx.Transpose(x, perm=[1, 0, 2]) if has_batch_first else x
        last = []
        for layer in range(layers):
            first = layer * directions
            own = [stored[(first + k) * parts : (first + k + 1) * parts] for k in range(directions)]
            start = _onnx.Slice(states, _whole(first), _whole(first + directions), _whole(0))
            found, state = _onnx.RNN(x, *_stacked(own, has_biases), None, start, **settings)
            moved = _onnx.Transpose(found, perm=[0, 2, 1, 3])  # directions behind the batch
            x = _onnx.Reshape(moved, _whole(0, 0, -1))
            last.append(state)
        x = _onnx.Transpose(x, perm=[1, 0, 2]) if has_batch_first else x
        return x, last[0] if layers == 1 else _onnx.Concat(*last, axis=0)

    return translate


def _stacked(own: Sequence[Sequence[Any]], has_biases: bool) -> list[Any]:
    """W, R and both biases of the directions of a layer, on an axis of their own."""
    kinds = [[part[k] for part in own] for k in range(2)]
    if has_biases:
        kinds.append([_onnx.Concat(part[2], part[3], axis=0) for part in own])
    wider = [[_onnx.Unsqueeze(value, _whole(0)) for value in kind] for kind in kinds]
    found = [kind[0] if len(kind) == 1 else _onnx.Concat(*kind, axis=0) for kind in wider]
    return found if has_biases else [*found, None]


def _whole(*numbers: int) -> Any:
    return _onnx.Constant(value_ints=list(numbers))


TRANSLATIONS: dict[Any, Any] = {
    torch.ops.aten.rnn_tanh.input: _to_onnx("Tanh"),
    torch.ops.aten.rnn_relu.input: _to_onnx("Relu"),
}
