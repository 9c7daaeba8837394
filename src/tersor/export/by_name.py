"""Writes the format that a file's name asks for: `.onnx`, `.pte` (ExecuTorch), `.pt2` (PyTorch)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tersor.errors import InvalidInputError
from tersor.export.executorch.loaded import NAME, is_installed
from tersor.export.onnx.writer import ExportResult, export_onnx
from tersor.export.serving import PROGRAM, PT2
from tersor.graph.network import Network
from tersor.names import Storage
from tersor.quant.scheme import Scheme


def suffix_of(scheme: Scheme) -> str:
    """The ending of the files in which a scheme is proven.

    Without ExecuTorch, its programs are proven as ONNX files, unless ONNX has no op for them.

    Args:
        scheme: The target.
    """
    is_program = scheme.runtime == NAME and (is_installed() or scheme.by_row)
    return PROGRAM if is_program else ".onnx"


def export_file(
    network: Network,
    path: str | Path,
    *,
    scheme: Scheme | None = None,
    opset: int | None = None,
    storage: Storage = "int8",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    largest: Mapping[str, int] | None = None,
    expected: bool = True,
) -> ExportResult:
    """Write a network in the format that the name of the file asks for.

    Args:
        network: The network.
        path: Path of the file: `.onnx`, `.pte` for ExecuTorch, or `.pt2` for PyTorch.
        scheme: The target that the network was quantized for, if it was.
        opset: Only for `.onnx`; see `tersor.export.onnx.writer.export_onnx`.
        storage: Only for `.onnx`.
        input_names: Only for `.onnx`.
        output_names: Only for `.onnx`.
        largest: Only for `.pte`; see `tersor.export.executorch.program.export_pte`.
        expected: Only for `.onnx`: whether the file keeps what it computes, as proof.

    Raises:
        InvalidInputError: An option is not for this format, or the scheme is for another runtime.
        TersorError: As those functions.
    """
    name, suffix = Path(path).name, Path(path).suffix
    if suffix != PROGRAM and largest is not None:
        raise InvalidInputError(
            f"largest={dict(largest)} is for .pte files, whose memory is planned ahead; {name!r} "
            "keeps its axes open without it, so leave it out"
        )
    if suffix not in (PROGRAM, PT2):
        return export_onnx(
            network,
            path,
            opset=opset,
            scheme=scheme,
            storage=storage,
            input_names=input_names,
            output_names=output_names,
            expected=expected,
        )
    only_onnx = {"opset": opset, "input_names": input_names, "output_names": output_names}
    only_onnx["storage"] = None if storage == "int8" else storage
    if given := [option for option, value in only_onnx.items() if value is not None]:
        raise InvalidInputError(
            f"{given[0]}= is for .onnx files, and {name!r} is a program; leave it out"
        )
    if suffix == PT2:
        from tersor.export.pytorch.pt2_writer import export_pt2  # loads what ONNX files do not need

        return export_pt2(network, path, scheme)
    if scheme is not None and scheme.runtime != NAME:
        raise InvalidInputError(
            f"{name!r} is a program for ExecuTorch, and the model was quantized for "
            f"{scheme.name!r}; quantize it with scheme='executorch-xnnpack'"
        )
    from tersor.export.executorch.program import export_pte  # loads what ONNX files do not need

    return export_pte(network, path, largest)
