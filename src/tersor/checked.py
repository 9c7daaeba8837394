"""The public boundary: impossible arguments are refused, with a message that says what to give.

`@checked()` decorates the public functions and the classes of options. The annotation of an
argument defines the values that it takes. The number types below are narrower than `int` and
`float`.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import is_dataclass
from functools import cache, wraps
from threading import RLock
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
from beartype import BeartypeConf
from beartype.door import is_bearable
from beartype.vale import Is

from tersor.errors import InvalidInputError

Count = Annotated[int, Is[lambda x: x >= 1]]
CountOrZero = Annotated[int, Is[lambda x: x >= 0]]
Positive = Annotated[float, Is[lambda x: 0 < x < float("inf")]]
PositiveOrZero = Annotated[float, Is[lambda x: 0 <= x < float("inf")]]
Share = Annotated[float, Is[lambda x: 0 <= x <= 1]]  # may be all
ProperShare = Annotated[float, Is[lambda x: 0 <= x < 1]]  # never all
Part = Annotated[float, Is[lambda x: 0 < x < 1]]  # neither nothing nor all
HalfOrLess = Annotated[float, Is[lambda x: 0 <= x <= 0.5]]
Percent = Annotated[float, Is[lambda x: 50 < x <= 100]]

_WORDS: dict[Any, str] = {
    Count: "a whole number of at least 1",
    CountOrZero: "a whole number of at least 0",
    Positive: "a number above 0",
    PositiveOrZero: "a number of at least 0",
    Share: "a share from 0 to 1",
    ProperShare: "a share of at least 0 and below 1",
    Part: "a share between 0 and 1",
    HalfOrLess: "a number from 0 to 0.5",
    Percent: "a percentage above 50 and up to 100",
    NoneType: "None",
    Any: "anything",
    bool: "True or False",
    int: "an int",
    float: "a number",
    str: "a string",
}
_PLURALS = {
    "an int": "ints",
    "a number": "numbers",
    "a string": "names",
    _WORDS[Share]: "shares from 0 to 1",
    _WORDS[Part]: "shares between 0 and 1",
    _WORDS[Count]: "whole numbers of at least 1",
    _WORDS[Positive]: "numbers above 0",
    _WORDS[PositiveOrZero]: "numbers of at least 0",
}
_SEVERAL = (Iterable, Sequence, Mapping, tuple, list)
_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a number, too
_LONGEST = 60  # longest value that is shown, in characters

T = TypeVar("T", bound=Callable[..., Any])


class _Turn:
    """One thread at a time, with PyTorch's own settings: it keeps state that all threads share."""

    def __init__(self) -> None:
        self._lock, self._depth = RLock(), 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        torch = sys.modules.get("torch")
        if self._depth > 1 or torch is None:
            return
        self._stack.enter_context(_default_dtype(torch, torch.float32))
        self._stack.enter_context(_exact_products(torch))
        self._stack.enter_context(torch.inference_mode(False))
        self._stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type == "meta":
            self._stack.enter_context(torch.device("cpu"))

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        try:
            if self._depth == 0:
                self._stack.close()
        finally:
            self._lock.release()


_TURN = _Turn()


@contextmanager
def _default_dtype(torch: Any, dtype: Any) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _exact_products(torch: Any) -> Iterator[None]:
    """Products of matrices in float32, not in less."""
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def checked(*elsewhere: str) -> Callable[[T], T]:
    """Check the arguments of a function, or of the constructor of a class.

    Such functions run one at a time, whatever thread calls them, and under PyTorch's own settings:
    gradients on, default type float32, products in full float32.

    NumPy numbers are converted to Python numbers on the way. A missing or unknown argument raises
    Python's own error.

    Args:
        elsewhere: Names of arguments that the function checks itself, with a more precise message.
    """

    def decorate(what: T) -> T:
        if isinstance(what, type):
            cast(Any, what).__init__ = _checked(
                what.__init__, what.__name__, elsewhere, nullcontext()
            )
            return cast(T, what)
        return cast(T, _checked(what, what.__name__, elsewhere, _TURN))

    return decorate


def _checked(
    function: Callable[..., Any],
    name: str,
    elsewhere: Sequence[str],
    turn: AbstractContextManager[object],
) -> Callable[..., Any]:
    signature, unseen = inspect.signature(function), {"return", *elsewhere}

    @cache
    def hints() -> dict[str, Any]:
        """Resolve the annotations at the first call, when the whole module has been defined."""
        space = vars(sys.modules[function.__module__])
        found = get_type_hints(function, space, include_extras=True)
        return {key: hint for key, hint in found.items() if hint is not Any and key not in unseen}

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # raises Python's own error
        for key in [key for key in given.arguments if key in hints()]:
            value = given.arguments[key] = plain(given.arguments[key])
            if not fits(value, hints()[key]):
                raise InvalidInputError(_refusal(f"{name}: {key}", value, hints()[key]))
        with turn:
            return function(*given.args, **given.kwargs)

    return call


def plain(value: Any) -> Any:
    """Convert NumPy numbers to Python numbers, also inside a list, a tuple or a dictionary.

    Args:
        value: The value that the user gave.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def fits(value: Any, hint: Any) -> bool:
    """Check whether a value fits an annotation, including all items of a collection.

    Args:
        value: The value.
        hint: The annotation.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if isinstance(value, type) and is_dataclass(value):  # such as MSE instead of MSE()
        return hint in (Any, object)
    if isinstance(value, bool) and _is_number(hint):
        return False
    if not is_bearable(value, hint, conf=_CONF):
        return False
    if isinstance(value, dict) and origin is Mapping:
        return all(
            fits(x, part) for pair in value.items() for x, part in zip(pair, parts, strict=True)
        )
    if isinstance(value, list | tuple) and origin in _SEVERAL and origin is not Mapping:
        is_fixed = origin is tuple and parts[-1] is not Ellipsis
        each = parts if is_fixed else parts[:1] * len(value)
        return all(map(fits, value, each))
    return True


def _is_number(hint: Any) -> bool:
    """Whether an annotation stands for numbers; True and False are none."""
    return (get_args(hint)[0] if get_origin(hint) is Annotated else hint) in (int, float)


def _refusal(what: str, value: Any, hint: Any) -> str:
    shown = " ".join(repr(value).split())
    if len(shown) > _LONGEST:
        shown = f"<{type(value).__name__}>"
    advice = f"give a list, [{shown}]" if fits([value], hint) else _advice(hint)
    return f"{what}={shown} is not possible: {advice}"


def _advice(hint: Any) -> str:
    """Say what to give instead."""
    parts = _alternatives(hint)
    is_choice = len(parts) > 1 and all(part is None or isinstance(part, str) for part in parts)
    return f"{'choose from' if is_choice else 'give'} {_one_of(parts)}"


def _alternatives(hint: Any) -> list[Any]:
    """The members of a union or of a Literal, with None last."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        found = [x for part in get_args(hint) for x in _alternatives(part)]
        return sorted(found, key=lambda part: part is None)
    if origin is Literal:
        return list(get_args(hint))
    return [None if hint is NoneType else hint]


def _one_of(parts: list[Any]) -> str:
    *first, last = map(_words, parts)
    return f"{', '.join(first)} or {last}" if first else last


def _words(hint: Any) -> str:
    """Describe one alternative in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is None or isinstance(hint, str | int):
        return repr(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is Mapping:
        return f"a mapping of {_plural(parts[0])} to {_plural(parts[1])}"
    if origin is tuple and parts[-1] is not Ellipsis:
        return f"({', '.join(map(_words, parts))})"
    if origin in _SEVERAL:
        return f"a list of {_plural(parts[0])}"
    if origin is Callable or not isinstance(hint, type):
        return "a function"
    return f"{hint.__name__}(…)" if is_dataclass(hint) else _article(hint.__name__)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _plural(hint: Any) -> str:
    words = _one_of(_alternatives(hint))
    return _PLURALS.get(words, words)
