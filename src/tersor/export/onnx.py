"""The ONNX writer: a `Network` becomes a file with integer weights and QuantizeLinear nodes.

    lower (quantizers → integers) → torch.export → torch.onnx → tidy → check → write

The file computes what the simulation computes; `tersor.export.verify` measures it.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnx
import onnx_ir as ir
import torch

from tersor.checked import checked
from tersor.core.grid import Grid
from tersor.data.feeds import input_names
from tersor.errors import ExportError, TersorError
from tersor.export import carried_parts
from tersor.export.lower import Lowered, lower
from tersor.export.quantize_ops import TRANSLATIONS
from tersor.export.signature import free_axes, output_names
from tersor.export.storage import StoredWeights, store_int4, stored_weights
from tersor.export.tidy import tidy
from tersor.files import write_atomically
from tersor.graph.network import Network
from tersor.names import Storage
from tersor.quant.scheme import Scheme

#: Protocol buffers hold less than 2 GiB; larger weights go to a file of their own.
LARGEST_FILE = 2**31 - 2**24


@dataclass(frozen=True)
class ExportResult:
    """The result of an export.

    Attributes:
        path: The ONNX file.
        bytes: Its size, including weights in a second file if there are more than 2 GiB.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        opset: Version of the ONNX operator set.
        weights: How the weights of layers are stored, the most frequent way first.
    """

    path: Path
    bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    weights: tuple[StoredWeights, ...] = ()

    @property
    def notes(self) -> list[str]:
        """Say what the storage of the weights means for whoever runs the file."""
        layers = sum(stored.layers for stored in self.weights if stored.is_int4)
        what = f"{layers} layer{'s have' if layers != 1 else ' has'} INT4 weights"
        return [f"{what}: onnxruntime computes them in float on CPUs"] if layers else []

    def as_dict(self) -> dict[str, object]:
        """Convert to plain data, ready for JSON."""
        return {**asdict(self), "path": str(self.path), "notes": self.notes}


@checked()
def export_onnx(
    network: Network,
    path: str | Path,
    *,
    opset: int = 21,
    scheme: Scheme | None = None,
    storage: Storage = "int8",
) -> ExportResult:
    """Write a network, quantized or float, as an ONNX file.

    Weights and biases are stored as integers under the user's own names, with `_scale` (and, if
    not 0, `_zero_point`) beside them. Axes that were free at capture stay free. Weights beyond
    2 GiB go to `<name>.data` beside the file.

    Args:
        network: The network; it is not changed.
        path: Path of the file. It is replaced as a whole, or not at all.
        opset: Version of the ONNX operator set, at least 21.
        scheme: The target, noted in the file's metadata.
        storage: How weights of up to 4 bits are stored. `"int8"` keeps them on integer kernels.
            `"int4"` halves their size (3- and 2-bit weights take 4 bits as well) if file size
            matters more: onnxruntime's CPU kernels then compute these layers in float.

    Returns:
        The file that was written.

    Raises:
        InvalidInputError: There is no such storage.
        ExportError: The graph has no ONNX form, or the file cannot be written.
        UnsupportedError: A quantizer has no ONNX form.
    """
    path = Path(path)
    model, grids = _build(network, opset, scheme, storage)
    size = _write(model, path)
    return ExportResult(
        path=path,
        bytes=size,
        inputs=tuple(str(value.name) for value in model.graph.inputs),
        outputs=tuple(str(value.name) for value in model.graph.outputs),
        opset=opset,
        weights=stored_weights(model.graph, grids),
    )


def _build(
    network: Network, opset: int, scheme: Scheme | None, storage: Storage
) -> tuple[ir.Model, dict[str, Grid]]:
    """Build the model, and the grids of the integers that it stores."""
    if opset < 21:
        raise ExportError(f"opset={opset}: 16-bit and 4-bit integers need opset 21 or later")
    names = input_names(network), output_names(network)
    lowered = lower(network, scheme is None or scheme.integer_clip)
    model = _translate(lowered, opset)
    tidy(model, *names)
    if storage == "int4":
        store_int4(model.graph, lowered.grids)
    model.producer_name, model.producer_version = "tersor", _version()
    if scheme is not None:
        model.metadata_props["tersor.scheme"] = scheme.name
    return model, lowered.grids


def _version() -> str:
    try:
        return version("tersor")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"


def _translate(lowered: Lowered, opset: int) -> ir.Model:
    """Run PyTorch's own exporter, without its messages."""
    network = lowered.network
    network.module.eval()
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(
                network.module, network.args, network.kwargs, dynamic_shapes=free_axes(network)
            )
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                custom_translation_table=TRANSLATIONS | carried_parts.TRANSLATIONS,
            )
    except TersorError:
        raise
    except Exception as error:
        reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"the network has no ONNX form: {reason[0]}") from error
    assert onnx_program is not None
    return onnx_program.model


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide notices about optional packages and torch's own deprecations."""
    logger = logging.getLogger("torch.onnx._internal.exporter")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _write(model: ir.Model, path: Path) -> int:
    """Check and write the model, and return the number of bytes."""
    weights = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value
    )
    if weights > LARGEST_FILE:
        return _write_beside(model, path)
    proto = ir.to_proto(model)
    _check(proto)
    content = proto.SerializeToString()
    write_atomically(path, content)
    return len(content)


def _write_beside(model: ir.Model, path: Path) -> int:
    data = path.with_name(f"{path.name}.data")

    def write(temporary: Path) -> None:
        ir.save(model, temporary, external_data=data.name)
        _check(temporary)

    write_atomically(path, write)
    return path.stat().st_size + data.stat().st_size


def _check(model: onnx.ModelProto | Path) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported model is not valid ONNX: {error}") from error
