"""A size that is open while a file is recorded: PyTorch's `SymInt` around two numbers and a node.

PyTorch's own symbols are expressions of sympy, and most of the time of a capture is theirs. Here a
size is known at two sizes of the inputs, and computed by a call of the graph. A comparison must
come out alike at both, and a size that is needed as a number cannot be open.
"""

from collections.abc import Callable
from typing import Any

from torch import fx
from torch.fx.experimental.sym_node import METHOD_TO_OPERATOR

from tersor.errors import CaptureError

#: Adds a call: the function, its arguments, and its value in the example.
Make = Callable[[Callable[..., Any], list[Any], Any], fx.Node]


class OpenSize:
    """What PyTorch calls a symbolic node; its classes for sizes call these methods.

    Attributes:
        values: Its value at each of the two sizes of the inputs.
    """

    constant = None

    def __init__(self, values: tuple[Any, Any], make: Make, call: tuple[Any, ...] = ()) -> None:
        """Note the values.

        Args:
            values: A number for each of the two sizes, both of the same type.
            make: Adds a call to the graph.
            call: What computes it: a function and its arguments. Default: it is a number.
        """
        self.values = values
        self._make, self._call = make, call
        self._node: fx.Node | None = None

    @property
    def node(self) -> Any:
        """The node that computes it, which is made when it is first needed; or the number."""
        if self._call and self._node is None:
            function, *args = self._call
            self._node = self._make(function, args, self.values[0])
        return self._node if self._call else self.values[0]

    def __getattr__(self, name: str) -> Callable[..., "OpenSize"]:
        """An operation, such as `add` or `int_floordiv`; those of truths end with `_`."""
        operator = METHOD_TO_OPERATOR.get(name.removesuffix("_"))
        if operator is None:
            raise AttributeError(name)
        return lambda *others: self._computed(operator, (self, *others))

    def _computed(self, operator: Callable[..., Any], args: tuple["OpenSize", ...]) -> "OpenSize":
        first, second = (operator(*(x.values[k] for x in args)) for k in (0, 1))
        if type(first) is not type(second):
            raise CaptureError(f"a size is {first} or {second}, depending on the sizes of inputs")
        found = OpenSize((first, second), self._make, (operator, *(x.node for x in args)))
        _ = found.node  # now: it belongs to the file's node that is being computed
        return found

    def _decided(self, *_: object) -> bool:
        first, second = map(bool, self.values)
        if first != second:
            raise CaptureError("the computation depends on the sizes of the inputs")
        return first

    guard_bool = bool_ = guard_size_oblivious = guard_or_false = guard_or_true = _decided
    expect_true = expect_size = statically_known_true = _decided

    def int_(self, *_: object) -> int:
        """Refuse to be a number: it would be that of the example."""
        raise CaptureError("the computation holds for this size only")

    guard_int = guard_float = int_

    @property
    def hint(self) -> Any:
        """The value in the example."""
        return self.values[0]

    def has_hint(self) -> bool:
        """Whether the value in the example is known."""
        return True

    def is_int(self) -> bool:
        """Whether it is a whole number."""
        return type(self.values[0]) is int

    def is_float(self) -> bool:
        """Whether it is any number."""
        return type(self.values[0]) is float

    def is_bool(self) -> bool:
        """Whether it is a truth."""
        return type(self.values[0]) is bool

    def is_symbolic(self) -> bool:
        """It is; a number of its own is none of PyTorch's."""
        return True

    def is_constant(self) -> bool:
        """It is not."""
        return False

    is_nested_int = is_constant

    def maybe_as_int(self) -> None:
        """Its only value; it has none."""

    nested_int = constant_int = constant_bool = maybe_as_int

    def _wrap(self, number: Any) -> "OpenSize":
        return OpenSize((number, number), self._make)

    wrap_int = wrap_float = wrap_bool = _wrap

    def _graph_repr(self) -> str:
        """As text: equal texts are equal sizes."""
        return str(self.values)
