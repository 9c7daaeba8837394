"""Arguments of calls survive JSON, whatever they are."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from tersor.errors import UnsupportedError
from tersor.saved.arguments import read_argument, write_argument

NODES = {name: fx.Graph().placeholder(name) for name in ("x", "weight")}
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from([torch.float32, torch.int8, torch.bool, torch.bfloat16]),
    st.sampled_from([torch.device("cpu"), torch.device("cuda", 1), torch.strided]),
    st.sampled_from([torch.channels_last, torch.preserve_format]),
    st.sampled_from(list(NODES.values())),
    st.builds(slice, st.none() | st.integers(-5, 5), st.none(), st.integers(1, 3)),
)
NESTED = st.recursive(
    LEAVES, lambda x: st.lists(x, max_size=3) | st.lists(x, max_size=3).map(tuple), max_leaves=12
)


@given(NESTED)
def test_arguments_are_the_same_again(argument):
    text = json.dumps(write_argument(argument), allow_nan=False)
    again = read_argument(json.loads(text), NODES)
    assert repr(again) == repr(argument)  # tells 1 from True, and a list from a tuple
    assert again == argument


@pytest.mark.parametrize("argument", [object(), 1j, torch.ones(2), {1: 2}, print])
def test_what_has_no_form_is_refused_when_it_is_saved(argument):
    with pytest.raises(UnsupportedError, match=type(argument).__name__):
        write_argument(argument)
