"""Small changes to the source of a module: one operator, number, condition or call at a time."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_FUNCTIONS = {"min": "max", "amin": "amax", "floor": "ceil", "any": "all", "argmin": "argmax"}
_FUNCTIONS |= {other: name for name, other in _FUNCTIONS.items()}
_DROPPED = {"abs", "clamp", "clamp_min", "clamp_max", "sqrt", "square", "round", "flip", "relu"}

# What a message says, and what only names types or modules, is left as it is.
_LEFT = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)
_LEFT_FIELDS = {"annotation", "returns", "decorator_list", "ctx"}


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        line: Line of the source.
        before: The source of what is changed.
        after: The source of what it becomes.
        tree: The changed module.
    """

    line: int
    before: str
    after: str
    tree: ast.Module


def changes(source: str) -> list[tuple[int, int]]:
    """All changes to a source: number of the node and of its variant; `change` makes one.

    Args:
        source: The source of a module.
    """
    places = enumerate(_places(ast.parse(source)))
    return [
        (number, index)
        for number, (_, _, _, node) in places
        for index in range(len(variants(node)))
    ]


def change(source: str, number: int, index: int) -> Change:
    """Make a change to a source.

    Args:
        source: The source of a module.
        number: Number of the node.
        index: Which of its variants.
    """
    tree = ast.parse(source)
    owner, name, position, node = list(_places(tree))[number]
    before = ast.unparse(node)
    new = ast.copy_location(variants(node)[index], node)
    if position is None:
        setattr(owner, name, new)
    else:
        getattr(owner, name)[position] = new
    return Change(
        getattr(node, "lineno", 0), before, ast.unparse(new), ast.fix_missing_locations(tree)
    )


def _places(owner: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node that may be changed, with where it hangs: owner, field and position."""
    for name, value in ast.iter_fields(owner):
        if name in _LEFT_FIELDS:
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for position, child in children:
            if isinstance(child, ast.AST) and not isinstance(child, _LEFT):
                yield owner, name, position, child
                yield from _places(child)


@singledispatch
def variants(_: ast.AST) -> list[ast.AST]:
    """What a node of the syntax tree may become."""
    return []


@variants.register
def _(node: ast.BinOp) -> list[ast.AST]:
    other = _ARITHMETIC.get(type(node.op))
    is_type = isinstance(node.op, ast.BitOr) and ast.unparse(node.left)[0].isupper()
    return [] if other is None or is_type else [_with(node, op=other())]


@variants.register
def _(node: ast.Compare) -> list[ast.AST]:
    others = _COMPARISONS[type(node.ops[0])]
    return [_with(node, ops=[other(), *node.ops[1:]]) for other in others]


@variants.register
def _(node: ast.BoolOp) -> list[ast.AST]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return [_with(node, op=other), *node.values]


@variants.register
def _(node: ast.UnaryOp) -> list[ast.AST]:
    return [node.operand]


@variants.register
def _(node: ast.Constant) -> list[ast.AST]:
    if isinstance(node.value, bool):
        return [ast.Constant(not node.value)]
    if isinstance(node.value, int | float):
        return [ast.Constant(node.value + 1)]
    return []


@variants.register
def _(node: ast.If | ast.While | ast.IfExp) -> list[ast.AST]:
    return [_with(node, test=ast.UnaryOp(ast.Not(), node.test))]


@variants.register
def _(node: ast.comprehension) -> list[ast.AST]:
    return [_with(node, ifs=[])] if node.ifs else []


@variants.register
def _(node: ast.Expr) -> list[ast.AST]:
    return [ast.Pass()] if isinstance(node.value, ast.Call) else []


@variants.register
def _(_: ast.AugAssign) -> list[ast.AST]:
    return [ast.Pass()]


@variants.register
def _(node: ast.Assign) -> list[ast.AST]:
    kept = isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    return [ast.Pass()] if kept else []


@variants.register
def _(_: ast.Continue) -> list[ast.AST]:
    return [ast.Break()]


@variants.register
def _(_: ast.Break) -> list[ast.AST]:
    return [ast.Continue()]


@variants.register
def _(node: ast.Call) -> list[ast.AST]:
    """Two arguments swapped, a keyword left out, the opposite function, or none."""
    found: list[ast.AST] = []
    if len(node.args) > 1 and not any(isinstance(arg, ast.Starred) for arg in node.args[:2]):
        found.append(_with(node, args=[node.args[1], node.args[0], *node.args[2:]]))
    for position, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            rest = node.keywords[:position] + node.keywords[position + 1 :]
            found.append(_with(node, keywords=rest))
    match node.func:
        case ast.Name(id=name) if name in _FUNCTIONS:
            found.append(_with(node, func=ast.Name(_FUNCTIONS[name], ast.Load())))
        case ast.Attribute(attr=name) if name in _FUNCTIONS:
            found.append(_with(node, func=_with(node.func, attr=_FUNCTIONS[name])))
        case ast.Attribute(attr=name, value=value) if name in _DROPPED:
            found += node.args[:1] if ast.unparse(value) == "torch" else [value]
    return found


def _with(node: Any, **fields: object) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new
