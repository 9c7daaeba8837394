"""Checks the program inside a `.pt2` file: PyTorch must not run any of its text as code.

PyTorch evaluates the sizes of tensors as Python expressions, writes names into Python source that
it then runs, imports the modules that a container names, and calls operators by name. Each of
these texts has a rule here; a text without a rule must be a plain name.
"""

import ast
import json
import re
from collections.abc import Callable
from typing import Any

from tersor.errors import UnsupportedError

_NAME = re.compile(r"[\w.+-]*")
_PATH = re.compile(r"[^\"'\\\x00-\x1f\x7f-\x9f\u2028\u2029]*")  # stands between quotes in source
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|torchvision)\.\w+\.\w+"
    r"|torch\.ops\.quantized_decomposed\.(de)?quantize_per_(tensor|channel|token)\.default"
    r"|torch\.ops\.quantized_decomposed\.choose_qparams_per_token_asymmetric\.default"
    r"|torch\.ops\.higher_order\.(wrap_with_\w+|cond|while_loop|scan|map_impl)"
    r"|(_operator|math)\.\w+|torch\.sym_\w+|torch\._sym_\w+"
)
_TOUCHES_FILES = re.compile(r"torch\.ops\.aten\.from_file\b.*")
_SYMBOL = re.compile(r"[A-Za-z_]+\d{0,6}")
#: What sizes are computed with: sympy's own functions, and those that PyTorch adds.
SIZE_FUNCTIONS = {
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod"),
    *("Equality", "Unequality", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not"),
    *("LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan", "floor", "ceiling"),
    *("FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv", "ModularIndexing"),
    *("PythonMod", "PowByNatural", "Where", "Identity", "ToFloat", "RoundToInt"),
    *("TruncToInt", "TruncToFloat", "FloorToInt", "CeilToInt"),
}
_NUMBER = re.compile(r"[+-]?\d{0,40}\.?\d{0,40}(e[+-]?\d{1,3})?|[+-]?inf|nan")
_LONGEST_EXPRESSION = 2000
_HUGE = re.compile(r"[\d.][eE][+-]?[\d_]{4,}")  # sympy would compute all its digits
_MOST_BITS = 1000  # of a number in an expression
_LARGEST_POWER = 8
_NODES, _INPUTS = 10_000, 1000  # as of ONNX files
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def checked_program(program: dict[str, Any]) -> dict[str, Any]:
    """Check a serialized program, and return it if every text in it is harmless.

    Args:
        program: The content of `models/model.json`.

    Returns:
        The same program without traces of the source code, other notes, and guards.

    Raises:
        UnsupportedError: Names the text, and why it is not loaded; or there are too many nodes.
    """
    _check_counts(program["graph_module"])
    program["guards_code"] = []
    program["graph_module"]["metadata"] = {}
    for symbol in program["range_constraints"]:
        check_symbol(symbol)
    checked_names(program)
    return program


def _check_counts(module: dict[str, Any]) -> None:
    """Refuse too many nodes and inputs, before time is spent on each."""
    nodes, waiting = 0, [module["graph"]]
    while waiting:
        graph = waiting.pop()
        nodes += len(graph["nodes"])
        for node in graph["nodes"] if nodes <= _NODES else ():
            found = (given["arg"].get("as_graph") for given in node["inputs"])
            waiting += [inner["graph"] for inner in found if inner]
    inputs = sum("user_input" in spec for spec in module["signature"]["input_specs"])
    for what, number, most in (("nodes", nodes, _NODES), ("inputs", inputs, _INPUTS)):
        if number > most:
            raise UnsupportedError(
                f"has {number:,} {what}, and at most {most:,} are read; divide it into several"
            )


def checked_names(content: Any) -> None:
    """Refuse texts that PyTorch could run, wherever they appear.

    Raises:
        UnsupportedError: Names the text.
    """
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("target"), str):  # a node
                value["metadata"] = {}
            for inner in value:
                _check(_PATH if key in _PATHS or key == "config" else _NAME, inner)
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]
        elif isinstance(value, str):
            _CHECKS.get(key, _check_name)(value)


def _check(pattern: re.Pattern[str], text: str) -> None:
    if not pattern.fullmatch(text):
        raise UnsupportedError(f"holds the name {text[:80]!r}, which could run as code")


def _check_name(text: str) -> None:
    _check(_NAME, text)


def _check_path(text: str) -> None:
    _check(_PATH, text)


def check_symbol(text: str) -> None:
    """Check the name of a free size.

    Args:
        text: The name.

    Raises:
        UnsupportedError: It is not one that PyTorch gives.
    """
    if not _SYMBOL.fullmatch(text):
        raise UnsupportedError(f"names a size {text[:80]!r}; sizes are named s0, s1, ...")


def _check_target(text: str) -> None:
    if not _TARGET.fullmatch(text) or _TOUCHES_FILES.fullmatch(text):
        raise UnsupportedError(
            f"calls {text[:80]!r}, which is not one of PyTorch's own operators on tensors"
        )


def _check_containers(text: str) -> None:
    """Check how inputs or outputs are nested: only containers without code of their own."""
    _, outermost = json.loads(text)
    waiting = [outermost]
    while waiting:
        spec = waiting.pop()
        if spec["type"] not in _CONTAINERS or "__enum__" in str(spec["context"]):
            raise UnsupportedError(
                f"takes or returns a {str(spec['type'])[:80]!r}; only tuples, lists and "
                "dictionaries are loaded"
            )
        waiting += spec["children_spec"]


def _check_inputs(text: str) -> None:
    """Check how inputs are nested, and that the names of keyword inputs are plain names."""
    _check_containers(text)
    _, outermost = json.loads(text)
    for spec in outermost["children_spec"][1:]:
        for keyword in json.loads(spec["context"] or "null") or ():
            _check(_NAME, str(keyword))


def check_expression(text: str) -> None:
    """Check a size as sympy writes it: `Mul(Integer(2), Symbol('s0', positive=True))`.

    Args:
        text: The size.

    Raises:
        UnsupportedError: It could run as code, or take forever to compute.
    """
    is_short = len(text) < _LONGEST_EXPRESSION and not _HUGE.search(text)
    tree = ast.parse(text, mode="eval") if is_short else None
    if tree is None or not _is_size(tree.body):
        raise UnsupportedError(f"computes a size as {text[:80]!r}, which could run as code")


def _is_size(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float, bool)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _is_size(node.operand)
    if isinstance(node, ast.Name):
        return node.id in ("true", "false")
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    name = node.func.id
    if name in ("Symbol", "Float"):
        return _is_leaf(node)
    if "Pow" in name and not _is_small_power(node):
        return False
    return name in SIZE_FUNCTIONS and not node.keywords and all(map(_is_size, node.args))


def _is_leaf(call: ast.Call) -> bool:
    """Whether a call is a leaf: `Symbol('s0', integer=True)`, `Float('0.5', precision=53)`."""
    assert isinstance(call.func, ast.Name)
    form = _SYMBOL if call.func.id == "Symbol" else _NUMBER
    values = [value.value for value in call.args if isinstance(value, ast.Constant)]
    options = [option.value for option in call.keywords]
    return (
        len(values) == len(call.args) == 1
        and form.fullmatch(str(values[0])) is not None
        and all(isinstance(x, ast.Constant) and _is_small(x.value) for x in options)
    )


def _is_small(option: Any) -> bool:
    """Whether an option is a word such as True, or a number of bits."""
    return isinstance(option, bool) or (isinstance(option, int) and 0 < option <= _MOST_BITS)


def _is_small_power(call: ast.Call) -> bool:
    """Whether a power is that of something unknown, by a small number, and not of a power."""
    exponent = [node.value for node in ast.walk(call.args[-1]) if isinstance(node, ast.Constant)]
    names = [node.id for node in ast.walk(call) if isinstance(node, ast.Name)]
    powers = sum("Pow" in name for name in names)
    small = all(isinstance(n, int) and n <= _LARGEST_POWER for n in exponent)
    return powers == 1 and "Symbol" in names and small


_PATHS = {"parameter_name", "buffer_name", "tensor_constant_name", "fqn"}
_CHECKS: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(_PATHS, _check_path),
    **dict.fromkeys(("as_string", "as_strings"), lambda _: None),
    **dict.fromkeys(("target", "as_operator"), _check_target),
    "expr_str": check_expression,
    "in_spec": _check_inputs,
    "out_spec": _check_containers,
}
