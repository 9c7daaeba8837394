"""What `--jaxtyping-packages` checks at every call, checked once.

jaxtyping binds the arguments of every call in Python, checks them, and checks them again together
with the result; also where no annotation has a shape. With small tensors that is most of the time
of a test. Here beartype checks arguments and result in one go, within the same names of sizes.
"""

from functools import update_wrapper, wraps
from inspect import isasyncgenfunction, isclass, isfunction, isgeneratorfunction
from types import FunctionType
from typing import get_args

import jaxtyping
from jaxtyping import AbstractArray, _decorator
from jaxtyping._storage import pop_shape_memo, push_shape_memo

_thorough = _decorator.jaxtyped


def check_once():
    """Let functions of the packages imported from now on be checked in one go."""
    jaxtyping.jaxtyped = _decorator.jaxtyped = _jaxtyped


def _jaxtyped(what=_decorator._sentinel, *, typechecker=None):
    yields = isgeneratorfunction(what) or isasyncgenfunction(what)
    if typechecker is None or not isfunction(what) or yields:
        return _thorough(what, typechecker=typechecker)
    hints = {
        name: _decorator._destring_annotation(hint, what.__globals__)
        for name, hint in what.__annotations__.items()
    }
    if not hints:
        return what
    checked = update_wrapper(typechecker(_annotated(what, hints)), what)
    return _sized(checked) if any(map(_has_sizes, hints.values())) else checked


def _annotated(function, hints):
    """The same function with other annotations."""
    new = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    new.__kwdefaults__, new.__annotations__ = function.__kwdefaults__, hints
    new.__module__, new.__qualname__ = function.__module__, function.__qualname__
    return new


def _has_sizes(hint):
    is_array = isclass(hint) and issubclass(hint, AbstractArray)
    return is_array or any(map(_has_sizes, get_args(hint)))


def _sized(checked):
    """A size has one value in a call."""

    @wraps(checked)
    def call(*args, **kwargs):
        push_shape_memo({})
        try:
            return checked(*args, **kwargs)
        finally:
            pop_shape_memo()

    return call
