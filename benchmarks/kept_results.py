"""Save, load, pickle and copy results: outputs to the bit, exported files to the byte.

    python -m benchmarks.kept_results

Every pretrained network: 8 bits without data, 4 bits with 64 images, and compressed to 80 % of the
multiplications. Outputs are compared on 64 images.
"""

import copy
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import tersor
from benchmarks.zoo import MODELS
from benchmarks.zoo.silunet import weights_path
from tersor.results.kept_result import load_result

Result = tersor.Quantized | tersor.Compressed
_IMAGES = 64


def results(name: str) -> Iterator[tuple[str, Result, Tensor]]:
    """The results of a network with their names, and images."""
    model = MODELS[name].load()
    images = MODELS[name].data()[0][:_IMAGES]
    ends = MODELS[name].input_range
    yield "8 bits", tersor.quantize(model, images[:2], input_range=ends), images
    yield "4 bits", tersor.quantize(model, data=images, weights=4), images
    yield "compressed", tersor.compress(model, images[:2], macs=0.8), images


def differences(result: Result, again: Result, images: Tensor, folder: Path) -> list[str]:
    """What is not the same."""
    with torch.no_grad():
        pairs = [(result(images), again(images))]
        pairs += [(result.original(images), again.original(images))]
    found = [] if all(torch.equal(a, b) for a, b in pairs) else ["outputs"]
    files = [r.export(folder / f"{n}.onnx").path for n, r in enumerate((result, again))]
    same = files[0].read_bytes() == files[1].read_bytes()
    return (
        found
        + ([] if same else ["file"])
        + ([] if again.records == result.records else ["records"])
    )


def main() -> None:
    """Print the table."""
    print("| network | result | load | pickle | deepcopy | MB | save, s | load, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    wrong = False
    for name, model in MODELS.items():
        if model.own and not weights_path().is_file():
            continue
        for kind, result, images in results(name):
            with tempfile.TemporaryDirectory() as text:
                folder = Path(text)
                start = time.perf_counter()
                path = result.save(folder / "q.tersor")
                saved = time.perf_counter()
                loaded = load_result(path)
                times = saved - start, time.perf_counter() - saved
                pickled = pickle.loads(pickle.dumps(result))  # noqa: S301
                others = loaded, pickled, copy.deepcopy(result)
                found = [differences(result, other, images, folder) for other in others]
                size = path.stat().st_size / 1e6
            wrong |= any(found)
            words = " | ".join(", ".join(x) or "the same" for x in found)
            print(f"| {name} | {kind} | {words} | {size:.1f} | {times[0]:.2f} | {times[1]:.2f} |")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
