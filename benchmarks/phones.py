"""Files for phones: int8 programs of ExecuTorch beside the ONNX files of the same networks.

Each network is quantized without data and written as a `.pte` program and as an ONNX file, and
both run in their runtimes. Agreement and SQNR are those of runtime and simulation. Times are of
one image, over those of the float file in the same runtime: medians over rounds in which both run
in turns. With `--samples N`, N images are given, and the row of the peer is XNNPACKQuantizer of
ExecuTorch, which sees the same images, as its documentation describes it.

    pip install -e ".[executorch]"
"""

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

import tersor
from benchmarks.harness import Subject, Table, arguments, progress, subjects
from tersor.core.metrics import sqnr
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.export.executorch.program import export_pte
from tersor.export.onnx.writer import export_onnx
from tersor.export.pytorch.pt2_runtime import PyTorchRuntime
from tersor.export.serving import serving
from tersor.export.sessions.latency import measure_latency
from tersor.results.quantized import Quantized

NETWORKS = ["resnet20", "resnet56", "shufflenetv2_x0_5", "efficientnet_lite0"]
PROGRAM = "executorch-xnnpack"
COLUMNS = ("network", "images", "file", "delegated", "top-1", "agreement %", "SQNR dB", "MB", "ms")


Measure = Callable[[Subject, argparse.Namespace], Iterator[dict]]


def main() -> None:
    """Print the table: one row per network and file."""
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, metavar="N", help="images given; default: none")
    print_rows(parser, measure)


def print_rows(parser: argparse.ArgumentParser, measure: Measure) -> None:
    """Read the command line, and print the rows of each network.

    Args:
        parser: Knows the arguments of the benchmark.
        measure: Yields one row per file of a network.
    """
    parser.add_argument("--rounds", type=int, default=25, metavar="N", help="default: 25")
    parser.set_defaults(models=NETWORKS, threads=1)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    table = Table(args, *COLUMNS, "× float")
    for subject in subjects(args):
        for row in measure(subject, args):
            table.add(*_cells(row), **row)


def measure(subject: Subject, args: argparse.Namespace) -> Iterator[dict]:
    """One row per file."""
    folder = subject.folder
    floats = {
        ".pte": export_pte(subject.network, folder / "float.pte").path,
        ".onnx": export_onnx(subject.network, folder / "float.onnx").path,
    }
    samples = None
    if args.samples is not None:  # the images that are given are not measured
        samples, count = subject.images[-args.samples :], len(subject.images) - args.samples
        subject = replace(subject, images=subject.images[:count], labels=subject.labels[:count])
    for path in floats.values():
        yield figures(subject, f"float {path.suffix}", path, None, path, args)
    for scheme, ending in ((PROGRAM, ".pte"), ("onnxruntime-cpu", ".onnx")):
        progress(subject.name, scheme)
        quantized = _quantized(subject, scheme, samples)
        path = quantized.export(folder / f"int8{ending}").path
        yield figures(subject, f"int8 {ending}", path, quantized, floats[ending], args)
    if samples is not None:
        progress(subject.name, "XNNPACKQuantizer")
        path = peer(subject.model.load(), samples, folder / "peer.pte")
        yield figures(subject, "XNNPACKQuantizer", path, None, floats[".pte"], args)


def _quantized(subject: Subject, scheme: str, samples: Tensor | None) -> Quantized:
    if samples is None:
        return subject.quantize(scheme)
    return tersor.quantize(subject.network, data=samples, scheme=scheme)


def peer(model: nn.Module, samples: Tensor, path: Path) -> Path:
    """Quantize with XNNPACKQuantizer and PT2E, and lower the program.

    Args:
        model: The float model.
        samples: The images that it sees, one by one.
        path: Where the program is written.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    example = (samples[:1],)
    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(model, example).module(), quantizer)
    for image in samples:
        prepared(image[None])
    program = torch.export.export(convert_pt2e(prepared), example)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)
    return path


def figures(
    subject: Subject,
    name: str,
    path: Path,
    quantized: Quantized | None,
    floating: Path,
    args: argparse.Namespace,
) -> dict:
    """Everything that is measured of one file."""
    load = serving("onnxruntime", path).load
    runtime = load(path)
    batches = subject.images.split(subject.batch_size)
    outputs = torch.cat([torch.from_numpy(next(iter(runtime(x).values()))) for x in batches])
    row = {"network": subject.name, "images": len(subject.images), "file": name}
    row |= {"top1": 100 * float((outputs.argmax(1) == subject.labels).double().mean())}
    row |= {"bytes": path.stat().st_size}
    if isinstance(runtime, ExecuTorchRuntime) and (found := runtime.kernels()):
        row["delegated"] = f"{sum(k.kernel == 'XNNPACK' for k in found)} of {len(found)}"
    if isinstance(runtime, PyTorchRuntime):
        found = runtime.kernels()
        row["delegated"] = f"{sum(k.is_integer for k in found)} of {len(found)}"
    if quantized is not None:
        with torch.inference_mode():
            simulated = torch.cat([quantized.network(x) for x in batches])
        row["agreement"] = 100 * float((simulated.argmax(1) == outputs.argmax(1)).double().mean())
        row["sqnr"] = sqnr(simulated, outputs)
    if path != floating:
        time = measure_latency(floating, path, subject.images[:1], rounds=args.rounds, load=load)
        row |= {"ms": time.ms, "ratio": time.ratio}
    return row


def _cells(row: dict) -> list[str]:
    form = {"top1": ".2f", "agreement": ".1f", "sqnr": ".1f", "ms": ".2f", "ratio": ".2f"}
    number = {key: f"{row[key]:{spec}}" if key in row else "–" for key, spec in form.items()}
    return [
        row["network"],
        str(row["images"]),
        row["file"],
        row.get("delegated", "–"),
        number["top1"],
        number["agreement"],
        number["sqnr"],
        f"{row['bytes'] / 1e6:.2f}",
        number["ms"],
        number["ratio"],
    ]


if __name__ == "__main__":
    main()
