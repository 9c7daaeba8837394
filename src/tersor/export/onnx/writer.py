"""The ONNX writer: a `Network` becomes a file with integer weights and QuantizeLinear nodes.

    edit the file that the network was read from, or write a new one → opset → notes → check → write

The file computes what the simulation computes; `tersor.export.proof.verify` measures it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir

from tersor.checked import checked
from tersor.data.runs.fingerprint import own_version
from tersor.data.runs.memory import trim
from tersor.errors import InvalidInputError, UnmappedError
from tersor.export.evidence.evidence import leave_expected
from tersor.export.evidence.seal import seal
from tersor.export.onnx.beside import Leave, remove_unread, write_beside
from tersor.export.onnx.checking import check, give_ranks
from tersor.export.onnx.edit.edit import edit
from tersor.export.onnx.folded_weights import fold_weights
from tersor.export.onnx.in_parts import Parts, divide
from tersor.export.onnx.in_parts import write as write_parts
from tersor.export.onnx.notes import leave_notes
from tersor.export.onnx.opset import with_opset
from tersor.export.onnx.storage import StoredWeights, Written, store_int4, stored_weights
from tersor.export.onnx.tidy import name_ends
from tersor.files import check_other, write_atomically
from tersor.frontend.onnx.tail import TAIL, join_tail, outputs_of, tail_of
from tersor.graph.network import Network
from tersor.names import Storage
from tersor.quant.scheme import Scheme

#: Protocol buffers hold less than 2 GiB; larger weights go to a file of their own.
LARGEST_FILE = 2**31 - 2**24


@dataclass(frozen=True)
class ExportResult:
    """The result of an export.

    Attributes:
        path: The file.
        bytes: Its size, including weights in a second file if there are more than 2 GiB.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        opset: Version of the ONNX operator set; None for a file that is not ONNX.
        weights: How the weights of layers are stored, the most frequent way first.
        anew: Why the file that came in was not edited, but a new one written; empty if it was
            edited, or if none came in.
    """

    path: Path
    bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int | None
    weights: tuple[StoredWeights, ...] = ()
    anew: str = ""

    @property
    def notes(self) -> list[str]:
        """What is not obvious about the file, for whoever runs it."""
        layers = sum(stored.layers for stored in self.weights if stored.is_int4)
        what = f"{layers} layer{'s have' if layers != 1 else ' has'} INT4 weights"
        found = [f"{what}: onnxruntime computes them in float on CPUs"] if layers else []
        if self.anew:
            found.append(f"the file was written anew, not edited: {self.anew}")
        return found

    def as_dict(self) -> dict[str, object]:
        """Convert to plain data, ready for JSON."""
        return {**asdict(self), "path": str(self.path), "notes": self.notes}


@checked()
def export_onnx(
    network: Network,
    path: str | Path,
    *,
    opset: int | None = None,
    scheme: Scheme | None = None,
    storage: Storage = "int8",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    expected: bool = True,
) -> ExportResult:
    """Write a network, quantized or float, as an ONNX file.

    A network that was read from an ONNX file is written into a copy of that file, which keeps its
    names, its open axes and its metadata. Weights and biases are stored as integers under their own
    names, with `_scale` (and, if not 0, `_zero_point`) beside them. Axes that were free at capture
    stay free. Weights beyond 2 GiB go to a file beside it, whose name says what it holds: the old
    pair of files stays whole until the new one is. The file is sealed, and holds what it computes
    of four inputs; see `tersor.export.evidence.evidence`.

    Args:
        network: The network; it is not changed.
        path: Path of the file. It is replaced as a whole, or not at all.
        opset: Version of the ONNX operator set. Default: that of the file that came in, or a later
            one if its integers need that; 21 for PyTorch models.
        scheme: The target, noted in the file's metadata.
        storage: How weights of up to 4 bits are stored. `"int8"` keeps them on integer kernels.
            `"int4"` halves their size (3- and 2-bit weights take 4 bits as well) if file size
            matters more: onnxruntime's CPU kernels then compute these layers in float.
        input_names: Names of the inputs, in order. Default: those of the model.
        output_names: Names of the outputs, in order.
        expected: Whether the file is sealed, and run to keep in it what it computes. One that only
            this process reads needs neither.

    Returns:
        The file that was written.

    Raises:
        InvalidInputError: There is no such storage, or the names do not fit.
        ExportError: The graph has no ONNX form, or the file cannot be written, or it is the float
            file that the network came from.
        UnsupportedError: A quantizer has no ONNX form.
    """
    path = Path(path)
    if network.origin is not None and network.origin.path:
        check_other(path, [network.origin.path])
    written = _build(network, scheme is None or scheme.integer_clip)
    if storage == "int4":
        store_int4(written.model.graph, written.grids)
    model = with_opset(written.model, opset)
    if scheme is None or scheme.cast_weights:
        fold_weights(model.graph, written.folded)
    give_ranks(model, network)
    ends = [
        _names(model.graph.inputs, input_names, "input_names"),
        _names(model.graph.outputs, output_names, "output_names"),
    ]
    tail = tail_of(model.metadata_props.items())
    if tail is not None and (input_names is not None or output_names is not None):
        raise InvalidInputError(
            "the file has outputs that are no tensors of numbers, and nodes in front of them that "
            "are carried over under their own names; leave input_names and output_names out"
        )
    name_ends(model.graph, *ends)
    leave_notes(model, network, scheme, storage)
    leave = partial(leave_expected, network=network, scheme=scheme) if expected else None
    outputs = [str(v.name) for v in model.graph.outputs] if tail is None else outputs_of(tail)
    result = ExportResult(
        path=path,
        bytes=0,
        inputs=tuple(str(value.name) for value in model.graph.inputs),
        outputs=tuple(outputs),
        opset=model.opset_imports[""],
        weights=stored_weights(model.graph, written.grids),
        anew=written.anew,
    )
    write = _writer(model, path, leave)
    del model, written  # their integers go as soon as they are in the file
    return replace(result, bytes=write())


def _build(network: Network, integer_clip: bool) -> Written:
    """Edit the file that came in, or write a new one."""
    reason = ""
    if network.origin is not None:
        try:
            return edit(network, integer_clip)
        except UnmappedError as error:
            reason = str(error)
    from tersor.export.onnx.anew import (
        write_anew,  # loads a library that an edited file does not need
    )

    found = replace(write_anew(network, integer_clip), anew=reason)
    if network.origin is not None and TAIL in network.origin.model.metadata_props:
        found.model.metadata_props[TAIL] = network.origin.model.metadata_props[TAIL]
    found.model.producer_name, found.model.producer_version = "tersor", own_version()
    return found


def _names(values: Sequence[ir.Value], given: Sequence[str] | None, option: str) -> list[str]:
    """The names that inputs or outputs get: their own, or those that are given."""
    own = [str(value.name) for value in values]
    if given is None:
        return own
    if isinstance(given, str) or len(given) != len(own) or len({*given}) < len(own):
        raise InvalidInputError(
            f"{option}={given!r}: give {len(own)} different names, in the order of {own}"
        )
    return list(given)


def _writer(model: ir.Model, path: Path, leave: Leave | None) -> Callable[[], int]:
    """What checks and writes the model, once, and returns the number of bytes."""
    weights = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value
    )
    if weights > LARGEST_FILE:
        return partial(write_beside, model, path, leave)
    for value in model.graph.initializers.values():
        if not (value.is_graph_input() or value.is_graph_output()):
            value.type = value.shape = None  # the stored values say it
    parts = divide(model)
    join_tail(parts.model)
    return partial(_write, parts, path, leave)


def _write(parts: Parts, path: Path, leave: Leave | None) -> int:
    sealed = seal(parts.model, contents=parts.contents) if leave else ""
    outline = parts.outline()

    def write(temporary: Path) -> None:
        write_parts(parts, temporary)
        check(temporary, outline)
        trim()
        if leave is not None:
            leave(temporary, sealed)

    write_atomically(path, write)
    remove_unread(path)
    return path.stat().st_size
