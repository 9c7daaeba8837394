"""Saved results: sound ones, broken ones, and what is tested."""

import random
import tempfile
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

import tersor
from benchmarks.fuzz.damage import NUMBERS, mutate_bytes, mutate_json
from benchmarks.fuzz.opaque import opaque_files
from tersor.frontend.explain import quiet
from tersor.results.kept_result import load_result
from tersor.saved.result_file import seal, to_bytes

_TEXT = "description"
_MOST = 1 << 20  # numbers that the inputs of a broken file may have to be run


@cache
def result_files() -> list[bytes]:
    """Small results: quantized, compressed, and of a file with a part that is carried over."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(2), nn.Linear(16, 8)
        model, x = nn.Sequential(*layers).eval(), torch.randn(4, 3, 6, 6)
    open_axes = {"input": {0: "batch"}}
    found = [tersor.quantize(model, data=x, weights=bits, dynamic=open_axes) for bits in (8, 4)]
    small = tersor.compress(model, x, macs=0.8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(opaque_files()[0])
        carried = tersor.quantize(path, input_range=(-1.0, 1.0))
    return [to_bytes(result._parts) for result in (*found, small, carried)]


def mutate_result(content: bytes, rng: random.Random) -> bytes:
    """Change bytes, or else JSON or tensors, with a checksum that fits."""
    if rng.random() < 0.25:
        return mutate_bytes(content, rng)
    tensors = safetensors.torch.load(content)
    text = tensors[_TEXT].numpy().tobytes()
    if rng.random() < 0.75:
        text = mutate_json(text, rng)
        tensors[_TEXT] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    else:
        name = rng.choice(sorted(tensors))
        tensors[name] = _changed(tensors[name], rng)
    return safetensors.torch.save(tensors, seal(tensors))


def _changed(value: Tensor, rng: random.Random) -> Tensor:
    """Other values, another type, or another shape."""
    kind = rng.randrange(4)
    if kind == 0 and value.dtype is torch.uint8:
        content = bytearray(mutate_bytes(value.numpy().tobytes(), rng))
        return torch.frombuffer(content or bytearray(1), dtype=torch.uint8)
    if kind == 1:
        return value.to(rng.choice((torch.int64, torch.float16, torch.bool, torch.uint8)))
    if kind == 2:
        return value.reshape(-1)[: rng.randrange(1 + value.numel())].clone()
    fill = rng.choice((float("nan"), float("inf"), *NUMBERS))
    return torch.full_like(value, fill) if value.is_floating_point() else torch.zeros_like(value)


def read_result(path: Path, captures: bool) -> None:
    """Load the result; sometimes run and export it."""
    result = load_result(path)
    if not captures:
        return
    args, kwargs = result.original.args, result.original.kwargs
    sizes = [x.numel() for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
    if sum(sizes) < _MOST:
        with quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            result.export(Path(folder) / "q.onnx")
