"""What `import tersor` offers."""

import ast
import inspect
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import tersor
from tersor import names
from tersor.compression.chain_fit import Refit
from tersor.compression.gate_training import Gating
from tersor.compression.reconstruct import Reconstruct
from tersor.data.images import Pixels
from tersor.passes.absorb import Absorb
from tersor.passes.equalize import Equalize
from tersor.quant import range_methods
from tersor.quant.adaround import AdaRound
from tersor.quant.block_rounding import Blocks
from tersor.quant.fast_rounding import Rounding
from tersor.quant.schemes import SCHEMES
from tersor.training.damping import Damping, Freezing

#: What stands for a model's inputs and outputs, and may be anything.
ALIASES = {"Example", "Keywords", "Data", "Outputs", "Targets"}
#: Arguments that are chosen from words, which an editor should complete.
CHOICES = {
    "scheme": names.SchemeName,
    "storage": names.Storage,
    "runtime": names.RuntimeName,
    "rule": names.BudgetRule,
    "scores": names.ScoreKind,
    "methods": names.WayName,
    "batchnorm": names.BatchNormMode,
    "distil": names.Distance,
    "precision": names.Precision,
}
OPTIONS = [
    *(Refit, Gating, Reconstruct, Pixels, Absorb, Equalize, AdaRound, Blocks, Rounding),
    *(range_methods.Percentile, range_methods.MSE, range_methods.Entropy, Damping, Freezing),
    *(tersor.DataFree, tersor.WithData, tersor.LSQ, tersor.Scheme, tersor.Training),
    tersor.Compression,
]
#: Take no arguments from users, or check nothing on purpose: a network is called as the model was.
UNCHECKED = {"__call__", "forward", "train", "doctor"}


def test_every_public_name_is_there():
    assert {"quantize", "train", "compress", "Scheme", "TersorError"} <= set(dir(tersor))
    assert all(callable(getattr(tersor, name)) for name in tersor.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        tersor.nothing  # noqa: B018


def test_no_folder_has_the_name_of_a_function():
    """Importing a folder would put it in the function's place."""
    folder = Path(tersor.__file__).parent
    inside = {path.stem for path in folder.iterdir()} - {"__init__", "py", "__pycache__"}
    assert inside.isdisjoint(tersor.__all__)


def public():
    """Name → everything of it that a user calls: functions, methods, and what makes options."""
    found = {cls.__name__: cls for cls in OPTIONS}
    for name in tersor.__all__:
        value = getattr(tersor, name)
        if inspect.isfunction(value):
            found[name] = value
        elif isinstance(value, type) and value not in OPTIONS:
            found |= methods(value)
    return found


def methods(cls):
    """Those of a class, and those it has from our own base classes."""
    ours = [base for base in cls.__mro__ if base.__module__.startswith("tersor.")]
    found = {name: value for base in reversed(ours) for name, value in vars(base).items()}
    return {
        f"{cls.__name__}.{name}": value
        for name, value in found.items()
        if inspect.isfunction(value) and (not name.startswith("_") or name == "__call__")
    }


PUBLIC = public()


def definition(what):
    """How something is written."""
    source = inspect.unwrap(what)
    found = ast.parse(Path(sys.modules[what.__module__].__file__).read_text(encoding="utf-8"))
    for part in source.__qualname__.split("."):
        found = next(node for node in found.body if getattr(node, "name", "") == part)
    return found


def annotations(what):
    """Name of an argument (or `return`) → its annotation as it is written."""
    space = definition(what)
    if isinstance(space, ast.ClassDef):
        fields = [node for node in space.body if isinstance(node, ast.AnnAssign)]
        return {field.target.id: field.annotation for field in fields}
    every = space.args.posonlyargs + space.args.args + space.args.kwonlyargs
    every += [extra for extra in (space.args.vararg, space.args.kwarg) if extra]
    found = {arg.arg: arg.annotation for arg in every if arg.annotation}
    return found | ({"return": space.returns} if space.returns else {})


def used(annotation):
    """The names in an annotation."""
    return {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("name", PUBLIC)
def test_any_is_for_inputs_and_outputs(name):
    found = {key for key, hint in annotations(PUBLIC[name]).items() if "Any" in used(hint)}
    assert not found, f"name what it is, or use one of {ALIASES}"


@pytest.mark.parametrize("name", PUBLIC)
def test_choices_are_literals(name):
    what = PUBLIC[name]
    space = vars(sys.modules[what.__module__])
    hints = get_type_hints(what, space)
    for key in hints.keys() & CHOICES.keys() - {"return"}:
        assert words(CHOICES[key]) <= words(hints[key]), key
        assert str not in leaves(hints[key]), f"{key}: an editor cannot complete a str"


def leaves(hint):
    """The types that a hint is made of."""
    parts = get_args(hint)
    return {x for part in parts for x in leaves(part)} if parts else {hint}


def words(hint):
    """The words of a choice."""
    return {x for x in leaves(hint) if isinstance(x, str)}


@pytest.mark.parametrize("name", PUBLIC)
def test_arguments_are_checked(name):
    what = PUBLIC[name]
    has_arguments = inspect.signature(what).parameters.keys() - {"self"}
    if has_arguments and name.split(".")[-1] not in UNCHECKED:
        assert "checked" in {
            name for line in definition(what).decorator_list for name in used(line)
        }


def test_options_are_the_ones_that_there_are():
    assert all(is_dataclass(cls) for cls in OPTIONS)
    assert set(get_args(names.SchemeName)) == set(names.TARGETS) == set(SCHEMES)


def test_the_aliases_are_told_in_words():
    """Each is defined once, and says beside it what it stands for."""
    root = Path(tersor.__file__).parent
    lines = [line for path in root.rglob("*.py") for line in path.read_text("utf-8").splitlines()]
    for alias in ALIASES - {"Keywords"}:
        (line,) = [line for line in lines if line.startswith(f"{alias} = Any")]
        assert "  # " in line


def test_functions_load_no_compiler():
    code = "import sys, tersor as t; t.quantize, t.verify; print('torch._dynamo' in sys.modules)"
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"
