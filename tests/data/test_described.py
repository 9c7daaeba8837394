"""What does the same is described the same, in every process, and what does not is not."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersor.data.runs.described import described

WEIGHT = 1.0
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    names: frozenset[str]
    rate: float


class Loss:
    def __init__(self, weight):
        self.weight, self.itself = weight, self

    def __call__(self, outputs, targets):
        LOG.debug("called")
        return self.weight * F.cross_entropy(outputs, targets)


def weighted(outputs, targets):
    return WEIGHT * helper(outputs, targets)


def helper(outputs, targets):
    return F.mse_loss(outputs, targets)


def inside(weight):
    def loss(outputs, targets):
        return next(weight * x for x in (outputs, targets))

    return loss


MAKERS = {
    "options": lambda x: Options(frozenset("abcdefgh"), x),
    "a class": Loss,
    "a method": lambda x: Loss(x).__call__,
    "a closure": inside,
    "a partial": lambda x: partial(helper, weight=x),
    "a module": lambda x: nn.CrossEntropyLoss(label_smoothing=x / 10),
    "weights": lambda x: nn.CrossEntropyLoss(weight=torch.full((3,), x)),
    "a tensor": lambda x: torch.tensor(x, dtype=torch.bfloat16),
    "an array": lambda x: np.array([x, None], object),
    "sets": lambda x: {frozenset({("a", x), ("b", x)}), frozenset({("c", 1)})},
    "a path": lambda x: Path(str(x)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_another_value_is_another_description(kind):
    make = MAKERS[kind]
    assert described(make(1.0)) == described(make(1.0))
    assert described(make(1.0)) != described(make(2.0))


@pytest.mark.parametrize("name", ["WEIGHT", "helper"])
def test_what_a_function_reads_of_its_module_belongs_to_it(name, monkeypatch):
    before = described(weighted)
    monkeypatch.setitem(globals(), name, inside(3.0))
    assert described(weighted) != before


def test_packages_are_told_by_names():
    assert described(F.cross_entropy) == described(F.cross_entropy)
    assert described(F.cross_entropy) != described(F.mse_loss)
    assert described(logging.getLogger("a")) != described(logging.getLogger("b"))


def test_values_that_hold_each_other_many_times():
    value = [torch.ones(1)]
    for _ in range(100):
        value = [value, value]
    assert len(described(value)) < 100


def test_another_process_describes_the_same():
    told = "[described(make(1.0)) for make in MAKERS.values()]"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", f"from tests.data.test_described import *; print({told})"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str([described(make(1.0)) for make in MAKERS.values()])
