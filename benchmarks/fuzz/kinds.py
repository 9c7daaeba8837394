"""The kinds of files, and what one input goes through."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.fuzz import runs
from benchmarks.fuzz.arithmetic import arithmetic_files, mutate_arithmetic
from benchmarks.fuzz.damage import mutate_archive, mutate_bytes
from benchmarks.fuzz.kept import mutate_result, read_result, result_files
from benchmarks.fuzz.notes import mutate_sealed, sealed_files
from benchmarks.fuzz.opaque import mutate_opaque, opaque_files, read_opaque
from benchmarks.fuzz.pictures import mutate_picture, picture_files, read_picture
from benchmarks.fuzz.sound import npz_files, onnx_files, pt2_files, table_files, tensor_files
from benchmarks.fuzz.structure import mutate_onnx
from tersor.data.given.number_tables import load_table
from tersor.data.given.numpy_files import load_inputs
from tersor.data.given.tensor_files import load_tensors
from tersor.export.proof.examined import examine
from tersor.frontend.capture import capture
from tersor.frontend.explain import quiet
from tersor.frontend.load import load
from tersor.frontend.onnx.model import OnnxModel

#: What a file outside of the folder holds.
SECRET = b"must never be read"


def read_onnx(path: Path, captures: bool) -> None:
    """Load the file, run its nodes on shapes alone, and sometimes capture it."""
    model, _ = load(path, dequantize=True)
    assert isinstance(model, OnnxModel)
    stored = [np.asarray(value).tobytes() for value in model.constants.values()]
    if any(SECRET in content for content in stored):
        raise AssertionError("it read a file outside of the folder")
    inputs = model.arrange((), {})
    if captures:
        capture(model, inputs)
        return
    with quiet(), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        model(*inputs)


def read_pt2(path: Path, captures: bool) -> None:
    """Load the program, and sometimes make a network of it."""
    program, _ = load(path)
    if captures:
        capture(program)


def read_npz(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Load the data."""
    load_inputs(path)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        suffix: Of its name.
        files: Makes sound ones.
        mutate: Breaks one.
        read: What is tested.
    """

    suffix: str
    files: Callable[[], list[bytes]]
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path, bool], None]


def read_sealed(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Compare the file with its seal and with the outputs that it expects."""
    examine(path)


def read_table(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Load the table."""
    load_table(path)


def read_tensors(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Load the tensors."""
    load_tensors(path)


def _mutate_npz(content: bytes, rng: random.Random) -> bytes:
    mutate = mutate_archive if content.startswith(b"PK") else mutate_bytes
    return mutate(content, rng)


KINDS = {
    "onnx": Kind(".onnx", onnx_files, mutate_onnx, read_onnx),
    "arithmetic": Kind(".onnx", arithmetic_files, mutate_arithmetic, read_onnx),
    "opaque": Kind(".onnx", opaque_files, mutate_opaque, read_opaque),
    "pt2": Kind(".pt2", pt2_files, mutate_archive, read_pt2),
    "tersor": Kind(".tersor", result_files, mutate_result, read_result),
    "tersor-bytes": Kind(".tersor", result_files, mutate_bytes, read_result),
    "image": Kind(".png", picture_files, mutate_picture, read_picture),
    "sealed": Kind(".onnx", sealed_files, mutate_sealed, read_sealed),
    "table": Kind(".csv", table_files, mutate_bytes, read_table),
    "tensors": Kind(".pt", tensor_files, mutate_archive, read_tensors),
    "npz": Kind(".npz", npz_files, _mutate_npz, read_npz),
    "layer": Kind(".safetensors", runs.layer_files, runs.mutate_tensors, runs.read_layer),
    "manifest": Kind(".json", runs.manifest_files, runs.mutate_report, runs.read_manifest),
    "checkpoint": Kind(
        ".safetensors", runs.checkpoint_files, runs.mutate_tensors, runs.read_checkpoint
    ),
    "report": Kind(".json", runs.report_files, runs.mutate_report, runs.read_report),
    "program": Kind(".pte", runs.program_files, mutate_bytes, runs.read_program),
}
