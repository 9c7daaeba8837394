"""The most memory that a process has had which quantizes a network and writes its file.

    python -m benchmarks.peak

EfficientNet-Lite0 with 128 photographs, and a transformer of the size of BERT-base (random weights)
without data: as a module that the caller keeps, and from a file of `torch.export`. The peak is that
of the whole process, with libraries, the model and the photographs; SQNR is that of the simulation
on 128 other photographs. Each row has a process of its own, and one thread.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tersor
from benchmarks.harness import Table, alone, peak_megabytes
from tersor.core.metrics import decibels, signal_and_noise

_PHOTOGRAPHS = 128
_PICTURES, _PROGRAM = "photographs.pt", "bert.pt2"
Subject = tuple[nn.Module | str, dict[str, Any], Tensor | None]  # arguments of quantize, a test


def lite0(folder: Path) -> Subject:
    """EfficientNet-Lite0, as it is in the zoo, with photographs from a file."""
    from benchmarks.zoo import MODELS

    images = torch.load(folder / _PICTURES, mmap=True)
    chosen = images[:_PHOTOGRAPHS].clone()
    return MODELS["efficientnet_lite0"].load(), {"data": chosen}, images[_PHOTOGRAPHS:]


def save_photographs(folder: Path) -> None:
    """Prepare photographs, of which only a few are needed, before anything is measured."""
    from benchmarks.zoo import MODELS

    model = MODELS["efficientnet_lite0"]
    pixels, _ = model.pixels()
    order = torch.randperm(len(pixels), generator=torch.manual_seed(0))
    torch.save(
        model.normalize(pixels[order[: 2 * _PHOTOGRAPHS].numpy()]).clone(), folder / _PICTURES
    )


def bert(folder: Path) -> Subject:
    """A transformer of the size of BERT-base."""
    del folder
    model, example = _bert()
    return model, {"example": example}, None


def bert_file(folder: Path) -> Subject:
    """The same as a file, with its example."""
    return str(folder / _PROGRAM), {}, None


def save_program(folder: Path) -> None:
    """Write that file, before anything is measured."""
    model, example = _bert()
    model.config.return_dict = False  # a program returns nothing but tuples, lists and dictionaries
    sizes = {name: {0: torch.export.Dim("batch", min=1, max=64)} for name in example}
    program = torch.export.export(model, (), example, dynamic_shapes=sizes)
    torch.export.save(program, folder / _PROGRAM)


def _bert() -> tuple[Any, dict[str, Tensor]]:
    from transformers import BertConfig, BertModel

    words = torch.randint(0, 30_000, (2, 32), generator=torch.manual_seed(0))
    example = {"input_ids": words, "attention_mask": torch.ones_like(words)}
    return BertModel(BertConfig()).eval(), example


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "efficientnet_lite0": lite0,
    "bert_base": bert,
    "bert_base_file": bert_file,
}
#: What writes their files: in a process of its own, for one starts with the peak of its parent.
PREPARE = {"efficientnet_lite0": save_photographs, "bert_base_file": save_program}


def run(name: str, folder: Path, memory: str | None, results: Any) -> None:
    """Quantize one network and write its file, and put the figures into a queue.

    Args:
        name: One of `SUBJECTS`.
        folder: Their files.
        memory: As for `tersor.quantize`.
        results: The queue.
    """
    torch.set_num_threads(1)
    model, given, test = SUBJECTS[name](folder)
    before, start = peak_megabytes(), time.process_time()
    if "data" in given:
        given["memory"] = memory
    quantized = tersor.quantize(model, **given)
    seconds = time.process_time() - start
    quantized.export(folder / f"{name}.onnx")
    peak, found = peak_megabytes(), None
    if test is not None and isinstance(model, nn.Module):
        with torch.no_grad():
            pairs = [(model(x), quantized.network(x)) for x in test.split(8)]
        energies = (signal_and_noise(y, z) for y, z in pairs)
        found = decibels(*map(sum, zip(*energies, strict=True)))
    results.put((before, peak, seconds, found))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--memory", help="as for tersor quantize")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = Table(args, "network", "MB before", "peak MB", "quantize, CPU s", "SQNR dB")
    with tempfile.TemporaryDirectory() as folder:
        for name in PREPARE.keys() & {*args.networks}:
            process = multiprocessing.get_context("spawn").Process(
                target=PREPARE[name], args=(Path(folder),)
            )
            process.start()
            process.join()
        measure(args, table, Path(folder))


def measure(args: argparse.Namespace, table: Table, folder: Path) -> None:
    """Add the rows."""
    for name in args.networks:
        before, peak, seconds, found = alone(run, name, folder, args.memory)
        cells = (f"{before:.0f}", f"{peak:.0f}", f"{seconds:.1f}")
        shown = "–" if found is None else f"{found:.1f}"
        table.add(name, *cells, shown, figures=(before, peak, seconds, found))


if __name__ == "__main__":
    main()
