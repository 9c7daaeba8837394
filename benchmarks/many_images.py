"""The most memory that a process has had which quantizes a YOLOv8s with a thousand large pictures.

    python -m benchmarks.many_images

The network is that of Ultralytics with random weights, whose BatchNorms have seen four of the
pictures. These are parts of photographs, in a folder of JPEG files, in an .npy file, or made one
batch after the other. Inputs are their bytes as floats. The file is verified on the first pictures.
Each row has a process of its own, and one thread.
"""

import argparse
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tersor
from benchmarks.borrowed import yolov8
from benchmarks.harness import Table, alone, peak_megabytes
from tersor.data.given.sources import find_source
from tersor.data.pictures.photographs import photographs

_BATCH = 8


def pictures(count: int, size: int) -> Iterator[Tensor]:
    """Parts of photographs, in batches: pixels in 0…1."""
    for start in range(0, count, _BATCH):
        found = photographs(min(_BATCH, count - start), 3, size, size, seed=start)
        if found is None:
            raise SystemExit("scikit-image and Pillow are needed: pip install scikit-image pillow")
        yield found


def save(kind: str, count: int, size: int, place: Path) -> None:
    """Write pictures, before anything is measured."""
    if kind == "npy":
        shape = (count, 3, size, size)
        file = np.lib.format.open_memmap(place / "pictures.npy", "w+", np.float32, shape)
        for start, x in enumerate(pictures(count, size)):
            file[start * _BATCH : start * _BATCH + len(x)] = x.numpy()
    if kind == "folder":
        from PIL import Image

        for start, x in enumerate(pictures(count, size)):
            for number, image in enumerate((x * 255).byte().permute(0, 2, 3, 1).numpy()):
                Image.fromarray(image).save(place / f"{start * _BATCH + number:05}.jpg")


def detector(size: int) -> nn.Module:
    """The network."""
    model = yolov8("s")
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
    with torch.no_grad():
        model(next(pictures(4, size)))
    return model.eval()


def run(
    kind: str,
    count: int,
    size: int,
    tested: int,
    place: Path,
    options: dict[str, Any],
    results: Any,
) -> None:
    """Quantize the network, write its file and verify it, and put the figures into a queue."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model = detector(size)
    data = {
        "folder": lambda: find_source(str(place)),
        "npy": lambda: find_source(str(place / "pictures.npy")),
        "generator": lambda: pictures(count, size),
    }[kind]()
    figures = [peak_megabytes()]

    def step(job: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = job()
        figures.extend((peak_megabytes(), time.process_time() - start))
        return found

    quantized = step(lambda: tersor.quantize(model, data=data, **options))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        step(lambda: quantized.export(path))
        if tested:
            few = list(pictures(tested, size))
            found = step(lambda: quantized.verify(path, few, latency=False))
            print(found.verdict)
    results.put(figures)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1000])
    parser.add_argument("--size", type=int, default=640)
    kinds = ("folder", "npy", "generator")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=["folder"])
    parser.add_argument("--verify", type=int, default=16, help="pictures to verify with")
    parser.add_argument("--weights", type=int, help="as for tersor quantize")
    parser.add_argument("--memory", help="as for tersor quantize")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    options = {"weights": args.weights, "memory": args.memory}
    parts = [x for name in ("quantize", "export", "verify") for x in (name, "CPU s")]
    table = Table(args, "pictures", "images", "inputs, MB", "MB before", *parts)
    for kind in args.kinds:
        for count in args.images:
            with tempfile.TemporaryDirectory() as folder:
                # Not here: a process starts with the peak of the one that started it.
                process = multiprocessing.get_context("spawn").Process(
                    target=save, args=(kind, count, args.size, Path(folder))
                )
                process.start()
                process.join()
                given = kind, count, args.size, args.verify, Path(folder), options
                found = alone(run, *given)
            inputs = count * 3 * args.size**2 * 4 / 1e6
            table.add(
                kind, str(count), f"{inputs:.0f}", *(f"{x:.0f}" for x in found), figures=found
            )


if __name__ == "__main__":
    main()
