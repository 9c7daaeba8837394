"""Signatures that capture must take: several, keyword, nested and optional inputs; any outputs."""

from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from tersor.frontend.capture import capture
from tests.captured import assert_same_function


def x(batch=1):
    return torch.randn(batch, 4)


class Flow(nn.Module):
    """A module with one Linear, whose forward is the subclass's."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)


class Optional(Flow):
    def forward(self, a, b, c=None, scale=1.0, flag=True):
        y = self.fc(a) - b
        y = y if c is None else y * c
        return y * scale if flag else y


class Nested(Flow):
    def forward(self, d, *, pair=None, extra=None):
        y = self.fc(d["a"]) + d["b"][0] * d["b"][1]
        y = y if pair is None else y + pair[0] - pair[1]
        return {"y": y if extra is None else y * extra["z"], "more": (y + 1, [y - 1])}


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


class Named(Flow):
    def forward(self, pair):
        return Pair(self.fc(pair.first), pair.second)


class Star(Flow):
    def forward(self, a, *rest):
        return OrderedDict(z=self.fc(rest[0]) + rest[1], a=a + 1)


class Ignores(Flow):
    def forward(self, a, unused, **options):
        return self.fc(a), 3, None, a.shape[0]


CASES = {
    "positional": (Optional(), lambda n: ((x(n), x(n)), {})),
    "keywords in another order": (Optional(), lambda n: ((), {"b": x(n), "a": x(n)})),
    "both, one skipped": (Optional(), lambda n: ((x(n),), {"c": x(n), "b": x(n)})),
    "None and numbers": (Optional(), lambda n: ((x(n), x(n), None, 2.0, False), {})),
    "a number by name": (Optional(), lambda n: ((x(n), x(n)), {"scale": 3.0})),
    "without batch axis": (Optional(), lambda n: ((x(n), torch.ones(4)), {})),
    "nested": (Nested(), lambda n: (({"a": x(n), "b": (x(n), x(n))},), {})),
    "nested keywords": (
        Nested(),
        lambda n: (
            (),
            {
                "extra": {"z": x(n)},
                "d": {"b": [x(n), x(n)], "a": x(n)},
                "pair": (x(n), x(n)),
            },
        ),
    ),
    "named tuple": (Named(), lambda n: ((Pair(x(n), x(n)),), {})),
    "*args": (Star(), lambda n: ((x(n), x(n), x(n)), {})),
    "unused input, constant outputs": (Ignores(), lambda n: ((x(n), x(n)), {})),
}


@pytest.mark.parametrize(("model", "make"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("batch", [1, 3])
def test_signature(model, make, batch):
    args, kwargs = make(batch)
    network = capture(model, args, kwargs)
    for n in (1, 2, 5):
        args, kwargs = make(n)
        assert_same_function(network, model, [(args, kwargs)], tolerance=1e-5)
        want, got = (
            pytree.tree_map_only(torch.Tensor, torch.numel, function(*args, **kwargs))
            for function in (model, network)
        )
        assert type(got) is type(want)
        assert got == want


def test_inputs_that_the_model_writes_to_are_not_changed():
    class Writes(Flow):
        def forward(self, a):
            a += 1
            return self.fc(a)

    example = x(2)
    before = example.clone()
    network = capture(model := Writes(), example)
    assert torch.equal(example, before)
    assert torch.equal(network(before), model(before.clone()))
    assert torch.equal(network.args[0], example)


def test_unwraps_a_compiled_model():
    model = nn.Sequential(nn.Linear(4, 4))
    network = capture(torch.compile(model, backend="eager"), x())
    assert network.module.state_dict().keys() == model.state_dict().keys()
    assert_same_function(network, model, [((x(3),), {})], tolerance=1e-6)
