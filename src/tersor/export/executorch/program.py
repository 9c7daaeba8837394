"""The ExecuTorch writer: a `Network` becomes a `.pte` file whose layers run in XNNPACK.

    decomposed → fit → torch.export → lower to XNNPACK → notes → write

What XNNPACK does not take stays outside its delegates. A layer among that computes in float, with
float weights, since ExecuTorch has no kernel that reads integer weights by channel.
ExecuTorch is optional (`pip install 'tersor[executorch]'`) and imported when it is first used.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from tersor.data.runs.fingerprint import own_version
from tersor.errors import ExportError, TersorError
from tersor.export.executorch.behind import leave_behind
from tersor.export.executorch.forms import fit
from tersor.export.executorch.loaded import NOTES, Notes, check_installed
from tersor.export.onnx.signature import output_names
from tersor.export.onnx.writer import ExportResult
from tersor.export.pytorch.decomposed import DEQUANTIZE_CHANNELS, decomposed, weights
from tersor.export.sizes import Sizes, sized
from tersor.files import write_atomically
from tersor.frontend.explain import first_line, quiet, without_deprecations
from tersor.graph.network import Network

if TYPE_CHECKING:
    from executorch.exir import EdgeProgramManager


def export_pte(
    network: Network, path: str | Path, largest: Mapping[str, int] | None = None
) -> ExportResult:
    """Write a network, quantized for `executorch-xnnpack` or float, as a file for ExecuTorch.

    Args:
        network: The network; it is not changed.
        path: Path of the file. It is replaced as a whole, or not at all.
        largest: Name of an open axis → its largest size in the file, as `{"batch": 8}`. Other open
            axes have the size of the example, and the batch is 1.

    Returns:
        The file that was written.

    Raises:
        InvalidInputError: ExecuTorch is missing, or there is no such axis.
        UnsupportedError: A quantizer has no form in XNNPACK.
        ExportError: The network cannot be lowered, or the file cannot be written.
    """
    check_installed()
    path, sizes = Path(path), sized(network, largest or {})
    try:
        program = _lowered(network, sizes)
        content, notes = _with_notes(network, sizes, program)
    except TersorError:
        raise
    except Exception as error:
        raise ExportError(
            f"ExecuTorch cannot write {path.name!r}: {first_line(error)}; leave the layers that "
            "it names out with exclude=, or write an ONNX file"
        ) from error

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        leave_behind(temporary, network)

    write_atomically(path, write)
    return ExportResult(
        path=path,
        bytes=path.stat().st_size,
        inputs=tuple(sizes.shapes),
        outputs=tuple(notes.outputs),
        opset=None,
    )


@dataclass
class _Program:
    """A program whose layers run in XNNPACK.

    Attributes:
        edge: The lowered program.
        outside: Name of the weight of a layer that is in no delegate → why.
        integer: Name of the weight of each layer → whether it is stored as integers.
    """

    edge: "EdgeProgramManager"
    outside: dict[str, str]
    integer: dict[str, bool]


def _lowered(network: Network, sizes: Sizes) -> _Program:
    graph = decomposed(network, (torch.int8,))
    integer = {str(node.target): is_integer for node, is_integer in weights(graph)}
    fit(graph)
    program = _delegated(graph, sizes, integer)
    if floats := [name for name in program.outside if integer[name]]:
        _store_floats(graph, floats)
        program = _delegated(graph, sizes, {**integer, **dict.fromkeys(floats, False)})
    return program


def _store_floats(network: Network, names: Collection[str]) -> None:
    """Store the weights of layers as the floats that they stand for."""
    for node in network.nodes():
        stored: Any = node.args[0] if node.target is DEQUANTIZE_CHANNELS else None
        if stored is not None and str(stored.target) in names:
            args = fx.map_arg(node.args, network.tensor)
            value = DEQUANTIZE_CHANNELS(*args).detach()
            name = f"{stored.target}_value"
            node.replace_all_uses_with(network.add_tensor(name, value, before=node))
    network.finish()


def _delegated(network: Network, sizes: Sizes, integer: dict[str, bool]) -> _Program:
    """Lower a network, and find the layers that are in no delegate."""
    with quiet(), without_deprecations():  # importing it logs which GPU libraries are missing
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    args, kwargs = sizes.inputs
    dynamic: Any = sizes.dynamic() if sizes.largest else None
    with quiet():
        exported = torch.export.export(network.module, args, kwargs, dynamic_shapes=dynamic)
    with without_deprecations(), _refusals() as refusals:
        edge = to_edge_transform_and_lower(
            exported,
            partitioner=[XnnpackPartitioner()],
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
    signature = edge.exported_program().graph_signature
    left = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    outside = {
        name: refusals.get(placeholder, "XNNPACK has no kernel for it")
        for placeholder, name in left.items()
        if name in integer
    }
    return _Program(edge, outside, integer)


@contextmanager
def _refusals() -> Iterator[dict[str, str]]:
    """Collect why XNNPACK refuses layers: name of the input that is the weight → the reason."""
    found: dict[str, str] = {}

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            node, reason = getattr(record.msg, "node", None), getattr(record.msg, "reason", "")
            if isinstance(node, fx.Node) and len(node.all_input_nodes) > 1:
                weight = node.all_input_nodes[1]
                while weight.all_input_nodes:
                    weight = weight.all_input_nodes[0]
                found[weight.name] = f"XNNPACK: {reason}"

    logger = logging.getLogger("executorch.backends.xnnpack.partition.config")
    handler, level, propagates = Collect(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def _with_notes(network: Network, sizes: Sizes, program: _Program) -> tuple[bytes, Notes]:
    """The content of the file: the program, and a method that returns the notes on it."""
    from executorch.exir import EdgeProgramManager

    notes = Notes(
        version=own_version(),
        inputs=sizes.shapes,
        outputs=output_names(network),
        layers={
            name.removesuffix(".weight"): program.outside.get(
                name, "" if is_integer else "its weights are not quantized"
            )
            for name, is_integer in program.integer.items()
        },
        outside=[name.removesuffix(".weight") for name in program.outside],
    )
    edge = EdgeProgramManager(
        {"forward": program.edge.exported_program()}, {NOTES: notes.as_tensor()}
    )
    with without_deprecations():
        return bytes(edge.to_executorch().buffer), notes
