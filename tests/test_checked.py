"""The check of arguments, by itself."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from tersor.checked import Count, Part, Share, checked, fits, plain
from tersor.errors import InvalidInputError

Fruit = Literal["apple", "pear"]


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (int, [0, -3], [1.5, "1", None, True]),
        (float, [1, 1.5], ["1", None, False]),
        (int | bool, [1, True], ["1"]),
        (int | None, [1, None], ["1"]),
        (Count, [1, 7], [0, -1, 1.0, True]),
        (Share, [0, 1, 0.5], [-0.1, 1.1, float("nan")]),
        (Fruit | None, ["apple", None], ["plum", 1]),
        (tuple[Part, Part], [(0.1, 0.9)], [(0.1,), (0.1, 1), [0.1, 0.2], 0.1]),
        (Sequence[Count], [[1, 2], (3,), []], [[1, 2, 3, 4, 0], 1, ["1"]]),
        (Iterable[str], [["a"], "a", iter("a")], [["a", "b", 3], 3]),
        (
            Mapping[str, int],
            [{"a": 1}, {}],
            [{"a": "1"}, {"a": True}, {1: 1}, {"a": 1, "b": 2.5}, [1]],
        ),
        (Callable[[int], int], [len], [3]),
        (Any, [3, None, object()], []),
    ],
)
def test_what_fits(hint, right, wrong):
    assert all(fits(value, hint) for value in right)
    assert not any(fits(value, hint) for value in wrong)


def test_plain_numbers():
    given = {"a": [np.int64(1), (np.float32(0.5),)], "b": "text"}
    found = plain(given)
    assert found == {"a": [1, (0.5,)], "b": "text"}
    assert type(found["a"][0]) is int
    array = np.arange(3)
    assert plain(array) is array


@checked("free")
def pick(fruit: Fruit, count: Count = 1, *, free: int = 0, later: "Basket | None" = None) -> str:
    """With an annotation that is defined further down."""
    return f"{count} {fruit} {free} {later}"


@checked()
@dataclass(frozen=True)
class Basket:
    fruits: Sequence[Fruit] = ("apple",)
    sizes: tuple[Share, ...] = ()


def test_functions_and_classes():
    assert pick("apple", np.int64(3), later=Basket()) == f"3 apple 0 {Basket()}"
    assert Basket(["pear"], (0.5, 1)).fruits == ["pear"]
    assert pick.__doc__.startswith("With")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: pick("plum"), "pick: fruit='plum' is not possible: choose from 'apple' or 'pear'"),
        (
            lambda: pick("pear", 0),
            "pick: count=0 is not possible: give a whole number of at least 1",
        ),
        (
            lambda: pick("pear", later=Basket),
            "pick: later=<class 'tests.test_checked.Basket'> is not possible: give Basket(…) or "
            "None",
        ),
        (lambda: Basket("pear"), "Basket: fruits='pear' is not possible: give a list, ['pear']"),
        (
            lambda: Basket(["plum"]),
            "Basket: fruits=['plum'] is not possible: give a list of 'apple' or 'pear'",
        ),
        (
            lambda: Basket(sizes=(0.5, 2)),
            "Basket: sizes=(0.5, 2) is not possible: give a list of shares from 0 to 1",
        ),
        (
            lambda: Basket(sizes="x" * 100),
            "Basket: sizes=<str> is not possible: give a list of shares from 0 to 1",
        ),
    ],
)
def test_refusals_in_words(ask, message):
    with pytest.raises(InvalidInputError) as error:
        ask()
    assert str(error.value) == message


def test_what_python_says_by_itself():
    with pytest.raises(
        TypeError, match=r"pick\(\) missing 1 required positional argument: 'fruit'"
    ):
        pick()
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Basket(colour="red")
