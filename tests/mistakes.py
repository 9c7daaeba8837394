"""What people get wrong in Python, and what they should read then.

`python -m tests.mistakes` makes every mistake, and prints a JSON object of what was said.
"""

import json
import sys
from typing import Any

import torch
from torch import nn

import tersor


def net() -> nn.Module:
    """Two layers, `0` and `3`."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


def quantize(model: Any = None, example: Any = None, **options: Any) -> Any:
    """`tersor.quantize` of the small network."""
    x = torch.zeros(1, 3, 8, 8) if example is None else example
    return tersor.quantize(net() if model is None else model, x, **options)


def compress(**options: Any) -> Any:
    """`tersor.compress` of the small network, by half if nothing else is said."""
    return tersor.compress(net(), torch.zeros(1, 3, 8, 8), **({"macs": 0.5} | options))


X = torch.rand(8, 3, 8, 8, generator=torch.manual_seed(0))
RANGE = {"input_range": (0.0, 1.0)}

# What is done, and a regular expression that what is said fits.
MISTAKES: dict[str, tuple[Any, str]] = {
    "a list of images": (lambda: quantize(data=list(X.numpy())), r"batch comes first: x\[None\]"),
    "channels last": (lambda: quantize(data=X.permute(0, 2, 3, 1)), r"permute\(0, 3, 1, 2\)"),
    "pixels": (lambda: quantize(data=(255 * X).byte()), "is uint8; .* float32: .* preprocessed"),
    "a path for data": (lambda: quantize(data="x.npy"), "inputs are str; give a tensor"),
    "a data set": (
        lambda: quantize(data=torch.utils.data.TensorDataset(X)),
        "inputs are TensorDataset; .* such as a DataLoader",
    ),
    "no batch in the example": (lambda: quantize(example=X[0]), "the batch first"),
    "bits as text": (
        lambda: quantize(weights="4"),
        "weights='4' is not possible: give an int, a mapping of names to ints or None",
    ),
    "half bits": (
        lambda: quantize(activations=7.5),
        r"activations=7\.5 is not possible: give an int",
    ),
    "epochs as text": (
        lambda: tersor.Training(epochs="3"),
        "epochs='3' is not possible: give a whole number",
    ),
    "bits of a layer as text": (
        lambda: quantize(weights={"0": "8"}),
        "weights={'0': '8'} is not possible: .* names to ints",
    ),
    "bits of no layer": (lambda: quantize(weights={"head": 8}), "weights: no layer .* 'head'"),
    "a module to exclude": (lambda: quantize(exclude=[nn.ReLU()]), "exclude: ReLU is no name"),
    "a number to exclude": (lambda: quantize(exclude=0), "exclude: int is no name"),
    "keywords in a list": (
        lambda: quantize(kwargs=[X]),
        r"quantize: kwargs=<list> is not possible: give a mapping of names to anything or None",
    ),
    "no such layer": (lambda: quantize(exclude="head"), "exclude: no layer .* 'head'; there are 0"),
    "one number as range": (lambda: quantize(input_range=1.0), r"1\.0 is no range for input"),
    "options as a dict": (
        lambda: quantize(options={"samples": 8}),
        r"options={'samples': 8} is not possible: give DataFree.*WithData",
    ),
    "what load returns": (
        lambda: quantize((net(), X)),
        "the model is a tuple; pass its first item",
    ),
    "quantized twice": (lambda: quantize(quantize(**RANGE)), "the float model if it was quantized"),
    "compressed": (lambda: quantize(compress(macs=1)), "leave out example= and kwargs="),
    "per cent": (lambda: compress(macs=50), "macs=50 is above 1, .* such as macs=0.5"),
    "a budget as text": (
        lambda: compress(macs="50%"),
        "macs='50%' is not possible; give a budget above 0",
    ),
    "no process": (lambda: compress(jobs=0), "jobs=0; give the number of processes"),
    "one method": (
        lambda: tersor.Compression(methods="prune"),
        r"methods='prune' is not possible: give a list, \['prune'\]",
    ),
    "one share": (
        lambda: tersor.pareto(net(), X[:1], macs=0.5),
        r"macs=0\.5 is not possible: give a list, \[0\.5\]",
    ),
    "a model to train": (lambda: tersor.train(net(), [X]), "a Sequential cannot be trained here"),
    "a report as PDF": (
        lambda: quantize(**RANGE).report("report.pdf"),
        r"cannot be 'report\.pdf'; give a name that ends with \.html",
    ),
    "networks to compare": (
        lambda: tersor.compare(quantize(**RANGE), quantize(**RANGE)),
        r"a Quantized is no report; give `q\.report",
    ),
}


def main() -> None:
    """Make them all."""
    said = {}
    for name, (mistake, _) in MISTAKES.items():
        try:
            said[name] = f"nothing is wrong: {mistake()}"
        except tersor.TersorError as error:
            said[name] = str(error)
        except Exception as error:  # noqa: BLE001 - what nobody should see
            said[name] = repr(error)
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
