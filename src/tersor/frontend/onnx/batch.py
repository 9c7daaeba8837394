"""Makes the fixed batch of a file dynamic if that is exact.

Exporters write the batch of the example into the shapes that `Reshape` takes. The file is run once
as it is, and the sizes before and after every `Reshape` are noted. At another batch, the size that
differs from the noted one carries the batch. The corresponding size after the `Reshape`, which is
the one with as many elements before it, is scaled alike. The result is verified: the outputs for
two samples at once must be those of each sample alone.
"""

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.errors import TersorError
from tersor.frontend.onnx.evaluate import Value, evaluate
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.onnx.node import Node
from tersor.frontend.run_budget import counted


@dataclass(frozen=True)
class Reshape:
    """The shapes before and after a `Reshape`, at the file's own batch, and what the file asks for.

    Attributes:
        before: The shape of its input.
        after: The shape of its output.
        asked: The shape in the file, where -1 stands for what is left and 0 for the same size.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    asked: tuple[int, ...] = ()

    def at(self, shape: tuple[Any, ...]) -> list[Any] | None:
        """The new shape for an input of another batch; None if it cannot be determined."""
        changed = [
            axis
            for axis, (have, was) in enumerate(zip(shape, self.before, strict=True))
            if isinstance(have, torch.SymInt) or have != was
        ]
        if not changed:
            return list(self.after)
        axis = changed[0]
        lead = prod(self.before[:axis])
        places = [j for j in range(len(self.after)) if prod(self.after[:j]) == lead]
        if not places or self.before[axis] == 0:
            return None
        place = places[0]
        wanted = self._at_other_sizes(shape, place) if len(changed) > 1 else list(self.after)
        if wanted is not None:
            wanted[place] = self.after[place] * (shape[axis] // self.before[axis])
        return wanted

    def _at_other_sizes(self, shape: tuple[Any, ...], place: int) -> list[Any] | None:
        """As the file asks, if it asks for a size of its own at the place of the batch."""
        if len(self.asked) != len(self.after) or self.asked[place] != self.after[place]:
            return None
        return [shape[j] if size == 0 else size for j, size in enumerate(self.asked)]


def free_batch(model: OnnxModel, inputs: tuple[Tensor, ...]) -> bool:
    """Let a model take any batch, if it then computes the same for every sample.

    Args:
        model: The model of a file with a fixed batch; changed only if this works.
        inputs: Inputs of the file's own batch.

    Returns:
        Whether it worked.
    """
    flipped = tuple(map(_flipped, inputs))
    with torch.no_grad(), counted():
        notes: dict[str, Reshape] = {}
        model.evaluate = partial(_note, notes)
        alone = [_leaves(model(*inputs)), _leaves(model(*flipped))]
        model.evaluate = partial(_at_any_batch, notes)
        try:
            together = _leaves(
                model(*(torch.cat(pair) for pair in zip(inputs, flipped, strict=True)))
            )
        except TersorError:
            together = []
    if _is_same(together, [torch.cat(pair) for pair in zip(*alone, strict=True)]):
        return True
    model.evaluate = evaluate
    return False


def _flipped(x: Tensor) -> Tensor:
    """Reverse the last axis, of integers without a sign, too, for which `flip` is not written."""
    places = torch.arange(x.shape[-1] - 1, -1, -1, device=x.device) if x.ndim > 1 else None
    return x if places is None else x.index_select(-1, places)


def _leaves(outputs: Any) -> list[Tensor]:
    found = outputs if isinstance(outputs, tuple) else (outputs,)
    return [y if y.ndim else y.reshape(1) for y in found]


def _is_same(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return len(found) == len(wanted) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)
        for a, b in zip(found, wanted, strict=True)
    )


def _note(notes: dict[str, Reshape], node: Node, values: Any, constants: Any) -> dict[str, Value]:
    found = evaluate(node, values, constants)
    x, y = values[node.inputs[0]] if node.inputs else None, found.get(node.outputs[0])
    if node.op == "Reshape" and isinstance(x, Tensor) and isinstance(y, Tensor):
        asked = values[node.inputs[1]]
        known = isinstance(asked, np.ndarray) and asked.dtype != object
        shape = tuple(asked.tolist()) if known and not node.get("allowzero", 0) else ()
        notes[node.outputs[0]] = Reshape(tuple(x.shape), tuple(y.shape), shape)
    return found


def _at_any_batch(
    notes: dict[str, Reshape], node: Node, values: Any, constants: Any
) -> dict[str, Value]:
    note = notes.get(node.outputs[0])
    x = values[node.inputs[0]] if node.inputs and node.inputs[0] else None
    wanted = note.at(x.shape) if note is not None and isinstance(x, Tensor) else None
    if wanted is None:
        return evaluate(node, values, constants)
    assert isinstance(x, Tensor)
    return {node.outputs[0]: x.reshape(wanted)}
