"""Dataclasses survive JSON, and what does not fit their annotations is refused."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.graph.network import Applied, Skipped
from tersor.quant.schemes import SCHEMES
from tersor.saved.typed import as_json, from_json

TEXT = st.text(max_size=5)
RECORDS = st.one_of(
    st.builds(Skipped, TEXT, TEXT, TEXT),
    st.builds(Applied, TEXT, TEXT, TEXT, st.dictionaries(TEXT, st.floats(allow_nan=False))),
)


@dataclass(frozen=True)
class Everything:
    records: tuple[Applied | Skipped, ...]
    ranges: dict[str, tuple[float, float]]
    names: frozenset[str]
    parts: dict[int, int]
    number: int | None = None


@given(
    st.builds(
        Everything,
        st.lists(RECORDS, max_size=3).map(tuple),
        st.dictionaries(TEXT, st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False))),
        st.frozensets(TEXT),
        st.dictionaries(st.integers(-9, 9), st.integers(-9, 9)),
        st.none() | st.integers(-9, 9),
    )
)
def test_a_dataclass_is_the_same_again(value):
    text = json.dumps(as_json(value), allow_nan=False)
    assert from_json(json.loads(text), Everything, "it") == value


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_is_the_same_again(name):
    scheme = SCHEMES[name]
    again = from_json(json.loads(json.dumps(as_json(scheme))), type(scheme), "scheme")
    assert again == scheme
    assert all(op in scheme.kernels for op in again.kernels)  # the ops themselves, not their names


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"names": 3}, "it.names is 3"),
        ({"parts": {"1.5": 2}}, "it.parts is '1.5'"),
        ({"ranges": {"x": [1.0]}}, r"it.ranges\['x'\] is \[1.0\]"),
        ({"records": [{"layer": "a"}]}, r"it.records\[0\]"),
        ({"number": True}, "it.number is True"),
        ({"number": 2**70}, "it.number is"),
        ({"other": 1}, "has 'other', which is unknown"),
    ],
)
def test_what_does_not_fit_is_named(change, match):
    sound = as_json(Everything((), {}, frozenset(), {}))
    with pytest.raises(ValueError, match=match):
        from_json({**sound, **change}, Everything, "it")
    with pytest.raises(ValueError, match="it has no 'names'"):
        from_json({k: v for k, v in sound.items() if k != "names"}, Everything, "it")
