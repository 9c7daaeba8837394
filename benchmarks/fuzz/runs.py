"""What runs keep: layers, checkpoints, manifests and reports, and programs for ExecuTorch."""

import json
import random
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tersor
from benchmarks.fuzz.damage import mutate_bytes, mutate_json
from tersor.data.runs.journal import Journal
from tersor.export.proof.examined import examine
from tersor.graph.network import Applied
from tersor.report.differences import compare
from tersor.report.page import page
from tersor.report.saved import read
from tersor.training.checkpoint import NAME, Checkpoint

_RUN = {"network": "n", "options": "o"}
_LAYER, _MANIFEST = "layer", "manifest.json"


@cache
def layer_files() -> list[bytes]:
    """A finished layer."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(folder, _RUN)
        journal.write(_LAYER, {"weight": torch.arange(12.0).view(3, 4)}, Applied("a", "b", "c"))
        return [(Path(folder) / f"{_LAYER}.safetensors").read_bytes()]


def read_layer(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Go on with the run of the layer."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(folder, _RUN)
        (Path(folder) / f"{_LAYER}.safetensors").write_bytes(path.read_bytes())
        journal.read(_LAYER)


@cache
def manifest_files() -> list[bytes]:
    """What the folder of a run says."""
    with tempfile.TemporaryDirectory() as folder:
        Journal(folder, _RUN)
        return [(Path(folder) / _MANIFEST).read_bytes()]


def read_manifest(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Open the folder of the run."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _MANIFEST).write_bytes(path.read_bytes())
        Journal(folder, _RUN)


@cache
def checkpoint_files() -> list[bytes]:
    """A checkpoint of a training."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoint.open(folder, _RUN)
        kept.write(3, {"weight": torch.arange(12.0).view(3, 4), "step": torch.tensor(3)})
        return [kept.path.read_bytes()]


def read_checkpoint(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Go on from the checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoint.open(folder, _RUN)
        (Path(folder) / NAME).write_bytes(path.read_bytes())
        kept.read()


@cache
def _result(scheme: str | None = None) -> tersor.Quantized:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
        options: dict[str, Any] = {} if scheme is None else {"scheme": scheme}
        x = torch.randn(4, 3, 6, 6)
        return tersor.quantize(nn.Sequential(*layers).eval(), data=x, tolerance=None, **options)


@cache
def report_files() -> list[bytes]:
    """A report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        _result().report(path)
        return [path.read_bytes()]


def read_report(path: Path, captures: bool) -> None:
    """Compare the report with a sound one; sometimes make a page of it."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.json"
        sound.write_bytes(report_files()[0])
        found = compare(sound, path)
        str(found)
        if captures:
            page(read(path))
            found.save(Path(folder) / "both.html")


@cache
def program_files() -> list[bytes]:
    """A program for ExecuTorch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pte"
        _result("executorch-xnnpack").export(path)
        return [path.read_bytes()]


def read_program(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Compare the program with its digest, and run it if that fits."""
    examine(path)


def mutate_report(content: bytes, rng: random.Random) -> bytes:
    """Other values in a few places, or other bytes in a quarter of all cases."""
    return (mutate_bytes if rng.random() < 0.25 else mutate_json)(content, rng)


def mutate_tensors(content: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file, the JSON in its notes, or bytes."""
    kind = rng.random()
    if kind < 0.3:
        return mutate_bytes(content, rng)
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    if kind < 0.7:
        notes = header["__metadata__"]
        key = rng.choice(sorted(notes))
        notes[key] = mutate_json(notes[key].encode(), rng).decode()
        text = json.dumps(header).encode()
    else:
        text = mutate_json(json.dumps(header).encode(), rng)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]
