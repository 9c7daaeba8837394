"""Free sizes in a file: expressions of symbols as text, and what each symbol may be.

Capture leaves in `meta["val"]` of each node how large its value is, with a symbol for each free
axis. Texts of a file are not evaluated: only calls of known functions on numbers and symbols are
built anew.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy import functions
from torch.utils._sympy.numbers import int_oo

from tersor.frontend.pt2_program import SIZE_FUNCTIONS, check_expression, check_symbol
from tersor.saved.arguments import dtype_name, find_device, find_dtype

_SYMBOL = re.compile(r"Symbol\('(\w+)'[^)]*\)")  # with what is known of it
_SIZES = (torch.SymInt, torch.SymFloat, torch.SymBool)
_KINDS: dict[type, str] = dict(zip(_SIZES, ("size", "number", "truth"), strict=True))
_MOST_UNKNOWN = 10_000  # symbols of sizes that depend on values
_CLASSES = {n: getattr(functions, n, None) or getattr(sympy, n, None) for n in SIZE_FUNCTIONS}


@dataclass(frozen=True)
class SavedSymbol:
    """A symbol.

    Attributes:
        hint: Its size in the example; None if it depends on values.
        lower: Smallest size; None if there is none.
        upper: Largest size; None if there is none.
        positive: What sympy knows of its sign.
    """

    hint: int | None = None
    lower: int | None = None
    upper: int | None = None
    positive: bool | None = None


class SymbolWriter:
    """Writes values without their numbers, and collects the symbols in them.

    Attributes:
        symbols: The symbols so far, by name.
    """

    def __init__(self) -> None:
        self.symbols: dict[str, SavedSymbol] = {}

    def value(self, value: Any) -> Any:
        """Convert `meta["val"]` to JSON.

        Args:
            value: A tensor of any kind, a size, a number, or a list or tuple of them.
        """
        if isinstance(value, Tensor):
            return {
                "dtype": dtype_name(value.dtype),
                "shape": [self._size(size) for size in value.shape],
                "stride": [self._size(size) for size in value.stride()],
                "device": str(value.device),
            }
        if isinstance(value, list | tuple):
            return {
                "items": [self.value(part) for part in value],
                "tuple": isinstance(value, tuple),
            }
        if isinstance(value, _SIZES):
            return {_KINDS[type(value)]: self._text(value)}
        return value if isinstance(value, bool | int | float) else None

    def _size(self, size: int | torch.SymInt) -> int | str:
        if not isinstance(size, torch.SymInt):
            return size
        number = size.node.maybe_as_int()
        return self._text(size) if number is None else number

    def _text(self, size: Any) -> str:
        expression, env = size.node.expr, size.node.shape_env
        for symbol in expression.free_symbols:
            if symbol.name not in self.symbols:
                self.symbols[symbol.name] = _known(symbol, env)
        return _SYMBOL.sub(r"Symbol('\1')", sympy.srepr(expression))


def _known(symbol: sympy.Symbol, env: ShapeEnv) -> SavedSymbol:
    ends, hint = env.var_to_range[symbol], env.backed_var_to_val.get(symbol)
    return SavedSymbol(
        None if hint is None else int(hint),
        int(ends.lower) if ends.lower.is_Integer else None,
        int(ends.upper) if ends.upper.is_Integer else None,
        symbol.is_positive,
    )


class SymbolReader:
    """Builds values anew, in a mode of their own.

    Attributes:
        mode: The mode.
    """

    def __init__(self, symbols: Mapping[str, SavedSymbol]) -> None:
        """Make the symbols.

        Args:
            symbols: By name.

        Raises:
            ValueError: A name is not one that PyTorch gives.
        """
        self._env = ShapeEnv()
        self.mode = FakeTensorMode(shape_env=self._env, allow_non_fake_inputs=True)
        self._symbols: dict[str, sympy.Symbol] = {}
        self._tensors: dict[str, Tensor] = {}  # making one takes a millisecond
        self._hints: dict[sympy.Symbol, sympy.Integer] = {}
        self._unknowns: dict[str, tuple[list[sympy.Symbol], Callable[[], Any]]] = {
            "u": ([], self._env.create_unbacked_symint),
            "zuf": ([], self._env.create_unbacked_symfloat),
        }
        for name, known in symbols.items():
            hint = known.hint
            symbol = self._unknown(name) if hint is None else self._make(name, known, hint)
            self._bound(symbol, known)
            self._symbols[name] = symbol

    def _make(self, name: str, known: SavedSymbol, hint: int) -> sympy.Symbol:
        check_symbol(name)
        symbol = sympy.Symbol(name, integer=True, **({"positive": True} if known.positive else {}))
        self._env.add_backed_var_to_val(symbol, hint)
        self._hints[symbol] = sympy.Integer(hint)
        return symbol

    def _bound(self, symbol: sympy.Symbol, known: SavedSymbol) -> None:
        if known.lower is not None or known.upper is not None:
            ends: Any = (
                -int_oo if known.lower is None else known.lower,
                int_oo if known.upper is None else known.upper,
            )
            self._env.constrain_symbol_range(symbol, *ends)

    def _unknown(self, name: str) -> sympy.Symbol:
        """A symbol of a size or number that depends on values; PyTorch numbers them: `u0`, `u1`."""
        known = self._unknowns.get(name.rstrip("0123456789"))
        number = name.lstrip("zuf")
        if known is None or not (number.isdecimal() and int(number[:9]) < _MOST_UNKNOWN):
            raise ValueError(f"a size is called {name[:40]!r}")
        made, make = known
        while len(made) <= int(number):
            made.append(make().node.expr)
        return made[int(number)]

    def value(self, content: Any) -> Any:
        """Convert JSON back to a value without numbers.

        Args:
            content: What `SymbolWriter.value` returned.

        Raises:
            ValueError: It is something else.
        """
        if not isinstance(content, dict):
            return content if isinstance(content, bool | int | float) else None
        if content.keys() == {"dtype", "shape", "stride", "device"}:
            text = json.dumps(content)
            if text not in self._tensors:
                self._tensors[text] = self._tensor(content)
            return self._tensors[text]
        if content.keys() == {"items", "tuple"}:
            found = [self.value(part) for part in content["items"]]
            return tuple(found) if content["tuple"] else found
        ((kind, text),) = content.items()
        return self._number(kind, self._expression(text))

    def _tensor(self, content: dict[str, Any]) -> Tensor:
        shape, stride = ([self._size(x) for x in content[k]] for k in ("shape", "stride"))
        dtype, device = find_dtype(content["dtype"]), find_device(content["device"])
        with self.mode:
            return torch.empty_strided(shape, stride, dtype=dtype, device=device)

    def _size(self, content: object) -> int | torch.SymInt:
        if isinstance(content, str):
            return self._number("size", self._expression(content))
        if type(content) is not int or not 0 <= content < 1 << 62:
            raise ValueError(f"a size is {repr(content)[:40]}")
        return content

    def _number(self, kind: str, expression: Any) -> Any:
        if kind == "truth":
            return self._env.create_symboolnode(expression)
        is_known = expression.free_symbols <= self._hints.keys()
        hint = expression.xreplace(self._hints) if is_known else None
        if kind == "size":
            return self._env.create_symintnode(expression, hint=None if hint is None else int(hint))
        if kind == "number":
            number = None if hint is None else float(hint)
            return self._env.create_symfloatnode(expression, hint=number)
        raise ValueError(f"a value is a {kind[:40]!r}")

    def _expression(self, text: object) -> Any:
        if not isinstance(text, str):
            raise ValueError(f"a size is {repr(text)[:40]}")
        check_expression(text)
        return self._built(ast.parse(text, mode="eval").body)

    def _built(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return sympy.sympify(node.value)
        if isinstance(node, ast.UnaryOp):
            return -self._built(node.operand)
        if isinstance(node, ast.Name):
            return sympy.true if node.id == "true" else sympy.false
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        if node.func.id == "Symbol":
            return self._symbols[ast.literal_eval(node.args[0])]
        if node.func.id == "Float":
            return sympy.Float(ast.literal_eval(node.args[0]))
        make: Any = _CLASSES[node.func.id]
        if node.func.id in ("Integer", "Rational"):
            return make(*[ast.literal_eval(part) for part in node.args])
        return make(*map(self._built, node.args))
