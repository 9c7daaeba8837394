"""The search for bits: budgets are met, nothing within them is better, and `quantize` takes it."""

import itertools
import json

import pytest
import torch
from torch import nn

import tersor
from tersor.graph.layers import layers
from tersor.quant.placement.place import weight_quantizer
from tests import nets

CHOICES = (2, 3, 4, 8)
DATA = nets.images(64)


class Unequal(nn.Module):
    """Two layers of equal size; nearly all of the output comes from the second."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.quiet, self.loud = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.quiet(x) + 30 * self.loud(x)


def widths(quantized):
    found = {layer.name: weight_quantizer(layer) for layer in layers(quantized.network)}
    return {name: q.grid.bits for name, q in found.items() if q is not None}


@pytest.fixture(scope="module")
def searched():
    return tersor.search_bits(*nets.with_example(), data=DATA, average=4.0, choices=CHOICES)


def total(measured, assignment):
    return sum(s.damage[bits] for s, bits in zip(measured, assignment, strict=True))


def size(measured, assignment):
    return sum(s.weights * bits for s, bits in zip(measured, assignment, strict=True))


@pytest.mark.parametrize("average", [2.0, 2.7, 3.0, 4.0, 5.5, 8.0])
def test_of_all_assignments_within_the_budget_none_does_less_damage(searched, average):
    measured = searched.sensitivities
    budget = average * sum(s.weights for s in measured)
    every = itertools.product(CHOICES, repeat=len(measured))
    best = min(total(measured, a) for a in every if size(measured, a) <= budget)
    found = searched.within(average=average)
    assert found.damage == pytest.approx(best)
    assert found.average <= average
    assert size(measured, [found[s.layer] for s in measured]) <= budget


def test_quantize_takes_what_was_found(searched):
    quantized = tersor.quantize(*nets.with_example(), data=DATA, weights=searched)
    assert widths(quantized) == searched
    assert json.loads(json.dumps(searched)) == searched


def test_the_layer_that_matters_more_gets_more_bits():
    x = torch.randn(64, 8)
    bits = tersor.search_bits(Unequal(), x[:1], data=x, average=3.0, choices=(2, 4))
    assert bits == {"quiet": 2, "loud": 4}


def test_a_metric_decides():
    x = torch.randn(64, 8)

    def of_the_quiet_one(outputs, reference):
        return float((outputs[0] - reference[0]).square().sum())

    class Both(Unequal):
        def forward(self, x):
            return self.quiet(x), 30 * self.loud(x)

    options = {"data": x, "average": 3.0, "choices": (2, 4)}
    bits = tersor.search_bits(Both(), x[:1], metric=of_the_quiet_one, **options)
    assert bits == {"quiet": 4, "loud": 2}


def test_budgets_in_megabytes(searched):
    found = searched.within(megabytes=searched.megabytes)
    assert found == searched.within(average=searched.average) == searched
    weights = sum(s.weights for s in searched.sensitivities)
    assert searched.megabytes == pytest.approx(weights * searched.average / 8e6)


def test_the_least_budget_is_enough(searched):
    assert set(searched.within(average=2.0).values()) == {2}


@pytest.mark.parametrize("bits", [4, 8])
def test_one_choice(bits):
    found = tersor.search_bits(*nets.with_example(), data=DATA, average=8.0, choices=[bits])
    assert set(found.values()) == {bits}
    assert found.average == bits


def test_excluded_layers_stay_out():
    found = tersor.search_bits(*nets.with_example(), data=DATA, average=8.0, exclude=["0", "8"])
    assert found == {"3": 8}
    quantized = tersor.quantize(*nets.with_example(), data=DATA, weights=found, exclude=["0", "8"])
    assert widths(quantized) == {"3": 8}


def test_a_layer_around_layers_does_not_hand_its_bits_down():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.weight = nn.Parameter(torch.randn(8, 8))
            self.inner = nn.Linear(8, 8)

        def forward(self, x):
            return nn.functional.linear(self.inner(x), self.weight)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            return self.block(x)

    x = torch.randn(64, 8)
    found = tersor.search_bits(Net(), x[:1], data=x, average=3.0, choices=(2, 4))
    assert set(found) == {"block", "block.inner"}
    assert sorted(found.values()) == [2, 4]
    assert widths(tersor.quantize(Net(), x[:1], data=x, weights=found)) == found


def test_a_layer_is_not_mistaken_for_a_node_of_its_name():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.linear = nn.Linear(8, 64), nn.Linear(64, 8)

        def forward(self, x):
            return self.linear(self.first(x).relu())

    x = torch.randn(64, 8)
    found = tersor.search_bits(Net(), x[:1], data=x, average=3.0, choices=(2, 4))
    assert sorted(found.values()) == [2, 4]
    assert widths(tersor.quantize(Net(), x[:1], data=x, weights=found)) == found


def test_the_table_has_every_layer(searched):
    lines = searched.table().splitlines()
    for layer in searched.sensitivities:
        (line,) = (line.split() for line in lines if line.split()[:1] == [layer.layer])
        assert line[1:3] == [f"{layer.weights:,}", str(searched[layer.layer])]
        assert [float(x) for x in line[3:]] == pytest.approx(list(layer.damage.values()), rel=0.1)


def test_steps_and_layers_are_told():
    steps, told = [], []
    tersor.search_bits(
        *nets.with_example(),
        data=DATA,
        average=4.0,
        on_step=steps.append,
        on_layer=lambda *args: told.append(args[:2]),
    )
    assert steps[0] == "capture the model"
    assert len(steps) == len(set(steps)) == 5
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give exactly one budget: average= in bits per weight, or megabytes="),
        ({"average": 4.0, "megabytes": 1.0}, "give exactly one budget: average="),
        ({"average": 1.9}, "average=1.9 is too small: with 2 bits everywhere.*take 8.2e-05 mega"),
        ({"megabytes": 1e-5}, "megabytes=1e-05 is too small"),
        ({"average": 4.0, "choices": ()}, "choices= is empty"),
        ({"average": 4.0, "choices": (1, 4)}, "weights=1 bits; choose a width from 2 to 16"),
        ({"average": 4.0, "scheme": "nothing"}, "scheme='nothing' is not possible"),
        ({"average": 4.0, "exclude": ["*"]}, "there is nothing to quantize"),
        ({"average": 4.0, "scheme": "onnxruntime-weights"}, "no layer has weights that"),
        ({"average": 4.0, "exclude": ["none"]}, "no layer or sub-module is called 'none'"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(tersor.TersorError, match=message):
        tersor.search_bits(*nets.with_example(), data=DATA, **options)


def test_infinite_damage_is_not_chosen():
    def infinite(outputs, reference):
        return float("inf")

    with pytest.raises(
        tersor.TersorError, match=r"the bits of '0' cannot be chosen: each of \[2, 4"
    ):
        tersor.search_bits(
            *nets.with_example(), data=DATA, average=8.0, choices=(2, 4), metric=infinite
        )
