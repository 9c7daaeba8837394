"""The writer of `.pt2` files: a `Network` becomes a program of PyTorch on integer weights.

    decomposed → torch.export → file → proof

`torch.compile` makes integer kernels of it, and other compilers start from it, too: ExecuTorch's
backends for the accelerators of phones read such programs.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.data.given.feeds import input_names
from tersor.data.runs.fingerprint import own_version
from tersor.errors import ExportError, TersorError, UnsupportedError
from tersor.export.onnx.signature import free_axes, output_names
from tersor.export.onnx.writer import ExportResult
from tersor.export.pytorch.decomposed import decomposed, weights
from tersor.export.pytorch.proof import prove
from tersor.export.pytorch.pt2_runtime import Notes
from tersor.export.sizes import open_axes
from tersor.files import write_atomically
from tersor.frontend.explain import first_line, quiet
from tersor.graph.network import Network
from tersor.quant.scheme import Scheme

_OURS = "tersor"  # the namespace of calls that only Tersor can run


def export_pt2(network: Network, path: str | Path, scheme: Scheme | None = None) -> ExportResult:
    """Write a network, quantized or float, as a program of PyTorch.

    Args:
        network: The network; it is not changed.
        path: Path of the file. It is replaced as a whole, or not at all.
        scheme: The target that the network was quantized for, if it was.

    Returns:
        The file that was written.

    Raises:
        UnsupportedError: A quantizer or a call has no form in PyTorch.
        ExportError: The network cannot be exported, or the file cannot be written.
    """
    path = Path(path)
    graph = decomposed(network)
    _check_calls(graph.nodes())
    try:
        content = _exported(graph)
    except TersorError:
        raise
    except Exception as error:
        raise ExportError(
            f"PyTorch cannot write {path.name!r}: {first_line(error)}; write an ONNX file instead"
        ) from error
    notes = _notes(network, graph, scheme)

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        prove(temporary, notes, network)

    write_atomically(path, write)
    return ExportResult(
        path=path,
        bytes=path.stat().st_size,
        inputs=tuple(notes.inputs),
        outputs=tuple(notes.outputs),
        opset=None,
    )


def _check_calls(nodes: Iterable[fx.Node]) -> None:
    for node in nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == _OURS:
            raise UnsupportedError(
                f"{node.name!r} runs in onnxruntime, as PyTorch has no such call; write an ONNX "
                "file instead"
            )


def _exported(graph: Network) -> bytes:
    """The program, without traces of its source.

    Its examples are copies: a view would bring all that it is a view of.
    """
    for node in graph.nodes():
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    args, kwargs = pytree.tree_map_only(Tensor, torch.clone, (graph.args, graph.kwargs))
    stream = io.BytesIO()
    with quiet(), torch.no_grad():
        program = torch.export.export(
            graph.module, args, kwargs, dynamic_shapes=free_axes(graph), strict=False
        )
        torch.export.save(program, stream)
    return stream.getvalue()


def _notes(network: Network, graph: Network, scheme: Scheme | None) -> Notes:
    given = [x for x in pytree.tree_leaves((network.args, network.kwargs)) if isinstance(x, Tensor)]
    shapes = (
        [axes.get(axis, size) for axis, size in enumerate(x.shape)]
        for x, axes in zip(given, open_axes(network), strict=True)
    )
    return Notes(
        version=own_version(),
        scheme=scheme.name if scheme else "",
        inputs=dict(zip(input_names(network), shapes, strict=True)),
        outputs=output_names(network),
        layers={str(w.target).removesuffix(".weight"): is_int for w, is_int in weights(graph)},
    )
