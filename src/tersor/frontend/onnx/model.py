"""An ONNX file as a PyTorch module, which runs the file's nodes one after the other."""

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import traceback

from tersor.errors import InvalidInputError, InvalidModelError, TersorError, UnsupportedError
from tersor.frontend.drawn import draw
from tersor.frontend.onnx.evaluate import Value, as_tensor, evaluate
from tersor.frontend.onnx.file_contents import Contents, Input
from tersor.frontend.onnx.fixed_inputs import Fixed
from tersor.frontend.onnx.folding import fold
from tersor.frontend.onnx.index_inputs import rows_of_inputs
from tersor.frontend.onnx.linear import lift_linear
from tersor.frontend.onnx.node import Node
from tersor.frontend.onnx.read import read
from tersor.frontend.onnx.stored_tensors import stored_tensors
from tersor.frontend.onnx.written_out import read_written_out
from tersor.frontend.validate import TAKEN, fitting
from tersor.graph.network import set_tensor
from tersor.graph.origin import Origin

#: Elements of the largest random input that is generated.
LARGEST_EXAMPLE = 1 << 25


class OnnxModel(nn.Module):
    """A file's graph, with its weights as parameters under the file's own names.

    Stored values that no training changes are buffers: integers, statistics of BatchNorms, single
    numbers in arithmetic, and whatever is infinite, unless a layer multiplies with it.

    Attributes:
        inputs: The file's inputs.
        outputs: Names of the file's outputs.
        nodes: The nodes that `forward` runs, in order; constants are already folded.
        constants: Stored values that the nodes read.
        attributes: Name of a stored value in the file → its name in `state_dict`. They differ
            only where a module cannot hold the file's name.
        changes: What was done to the file before it was read, in words.
        origin: The file, for writing back what is changed; None if it was dequantized.
        path: The file's path; empty if it was not read from one.
        fixed: Inputs that the user fixed → their value.
        assumed: Name of a folded `If` whose condition depends on sizes → the name of the condition,
            and its value; see `tersor.frontend.onnx.settle`.
        evaluate: Computes one node. `tersor.frontend.onnx.batch` puts another function here.
    """

    def __init__(self, contents: Contents) -> None:
        """Fold constants and store the weights.

        Args:
            contents: The contents of the file.
        """
        super().__init__()
        self.inputs: tuple[Input, ...] = contents.inputs
        self.outputs: tuple[str, ...] = contents.outputs
        nodes, constants = fold(contents)
        nodes, written_out = read_written_out(nodes, constants, contents.outputs)
        self.nodes, constants, lifted = lift_linear(nodes, constants, contents.outputs)
        read = {name for node in self.nodes for name in node.inputs} | {*self.outputs}
        self.constants = {name: value for name, value in constants.items() if name in read}
        self.attributes: dict[str, str] = {}
        for name, is_weight in stored_tensors(self.nodes, self.constants, self.outputs).items():
            value = as_tensor(self.constants[name])
            self.attributes[name] = free_attribute(self, name)
            set_tensor(self, self.attributes[name], nn.Parameter(value) if is_weight else value)
        self.changes = contents.changes
        file = contents.model
        self.origin = None if file is None else Origin(file, self.attributes, lifted, written_out)
        self.path = ""
        self.fixed: Fixed = {}
        self.assumed: dict[str, tuple[str, bool]] = {}
        self.evaluate: Callable[..., dict[str, Value]] = evaluate

    def forward(self, *inputs: Tensor) -> Any:
        """Compute the file's outputs: a tensor if there is one, else a tuple in the file's order.

        Args:
            inputs: The file's inputs in order.
        """
        values: dict[str, Value] = dict(zip((x.name for x in self.inputs), inputs, strict=True))
        for name, attribute in self.attributes.items():
            values[name] = _get(self, attribute)
        for name, array in self.constants.items():
            values.setdefault(name, array)
        self._check_assumed(values)
        unread = _last_reads(self.nodes, self.outputs)
        for node in self.nodes:
            with traceback.annotate({"onnx": node.name}):
                found = self.evaluate(node, values, self.constants)
            self._check_assumed(found)
            values.update(found)
            for name in unread.get(id(node), ()):
                values.pop(name, None)  # its memory is free for the next one
        if missing := [name for name in self.outputs if name not in values]:
            raise InvalidModelError(f"the node that should compute output {missing[0]!r} does not")
        results = [_as_output(values[name]) for name in self.outputs]
        return results[0] if len(results) == 1 else tuple(results)

    def _check_assumed(self, values: Mapping[str, Value]) -> None:
        for name, (condition, taken) in self.assumed.items():
            value = values.get(condition)
            if isinstance(value, np.ndarray) and bool(value.item()) != taken:
                raise UnsupportedError(
                    f"ONNX node {name!r} (If) takes another branch at this size than in the "
                    "example; give an example of the size that is used"
                )

    def arrange(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Put inputs, given by position or by name, into the file's order and types.

        Args:
            args: Inputs by position. If there are no inputs at all, random ones of the file's own
                shapes are used.
            kwargs: Inputs by name.

        Raises:
            InvalidInputError: Inputs are missing, unknown, or of another shape.
        """
        names = [x.name for x in self.inputs]
        if not args and not kwargs:
            return self.example()
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if len(args) + len(kwargs) != len(names) or set(given) != set(names):
            wanted = ", ".join(f"{x.name!r} {list(x.shape)}" for x in self.inputs)
            got = [*[f"input {i}" for i in range(len(args))], *kwargs]
            raise InvalidInputError(f"the file takes {wanted}; the example gives {got}")
        return tuple(_fit(x, given[x.name]) for x in self.inputs)

    def example(self, input_range: tuple[float, float] | None = None) -> tuple[Tensor, ...]:
        """Draw random inputs of the file's own or usual shapes, with a batch of 2 if it is free.

        Args:
            input_range: Smallest and largest value; see `tersor.frontend.drawn.draw`.

        Raises:
            InvalidInputError: Axes other than the first have no size; names them.
        """
        free = [x for x in self.inputs if any(isinstance(size, str) for size in x.usual[1:])]
        if free:
            wanted = ", ".join(x.open_axes for x in free)
            raise InvalidInputError(
                f"the file leaves {wanted} open; give samples, which show the sizes (data=, on the "
                "command line --data), or an example of the inputs (in Python as tensors, on the "
                f"command line as --example {self.inputs[0].as_option}, once per input)"
            )
        for x in self.inputs:
            if prod(size or 1 for size in x.usual if isinstance(size, int)) > LARGEST_EXAMPLE:
                raise InvalidInputError(
                    f"the file says that input {x.name!r} has shape {list(x.usual)}, which is too "
                    "large for an example; give one"
                )
        generator = torch.Generator().manual_seed(0)
        return tuple(
            draw(
                [size if isinstance(size, int) else 2 for size in x.usual],
                x.dtype,
                input_range,
                generator,
                self.rows.get(x.name),
            )
            for x in self.inputs
        )

    @property
    def rows(self) -> dict[str, int]:
        """Name of an input → rows of the smallest table in which it is looked up."""
        return rows_of_inputs((x.name for x in self.inputs), self.nodes, self.constants)

    @property
    def fixed_batch(self) -> int | None:
        """The first size of the first input, or None if the file leaves it open."""
        first = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        return first if isinstance(first, int) else None


def read_model(path: str | Path, dequantize: bool = False, fix: Fixed | None = None) -> OnnxModel:
    """Read an ONNX file as a module.

    Args:
        path: The file.
        dequantize: Whether to convert a quantized file back to float.
        fix: Name of an input → its value; the file then has no such input.

    Raises:
        InvalidInputError: There is no such file, or no such input to fix.
        InvalidModelError: The file is damaged, inconsistent, or already quantized.
        UnsupportedError: Its opset cannot be read.
    """
    contents = read(path, dequantize, fix)
    try:
        model = OnnxModel(contents)
        model.path = str(Path(path).absolute())
        model.fixed = dict(fix or {})
        return model
    except TersorError as error:
        raise type(error)(f"{str(path)!r}: {error}") from error


def _last_reads(nodes: Sequence[Node], outputs: Sequence[str]) -> dict[int, list[str]]:
    """The identity of a node → the values that no later node reads, and that are no outputs."""
    last = {name: id(node) for node in nodes for name in node.inputs if name}
    found: dict[int, list[str]] = {}
    for name in last.keys() - {*outputs}:
        found.setdefault(last[name], []).append(name)
    return found


def _fit(spec: Input, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InvalidInputError(
            f"input {spec.name!r} is a {type(value).__name__}; give a torch.Tensor"
        )
    fits = value.ndim == len(spec.shape) and all(
        axis == 0 or not isinstance(want, int) or have == want
        for axis, (have, want) in enumerate(zip(value.shape, spec.shape, strict=False))
    )
    if not fits:
        raise InvalidInputError(
            f"input {spec.name!r} has shape {list(value.shape)}; the file takes {list(spec.shape)}"
        )
    if value.is_floating_point() and not spec.dtype.is_floating_point:
        raise InvalidInputError(
            f"input {spec.name!r} is {value.dtype}; the file takes {spec.dtype}, so give integers"
        )
    return value if value.dtype == spec.dtype else value.to(spec.dtype)


def free_attribute(module: nn.Module, name: str) -> str:
    """Find a name under which a module can hold a value of this name.

    Dots nest modules. Empty parts and names that a module already has get an underscore.

    Args:
        module: The module.
        name: The file's name, any text.
    """
    parts = [fitting(part) or "_" for part in re.split(r"\.", name)]
    owner: Any = module
    for position, part in enumerate(parts):
        is_last = position == len(parts) - 1
        while _is_taken(owner, part, is_last):
            part += "_"
        parts[position] = part
        owner = owner._modules.get(part) if isinstance(owner, nn.Module) else None
        owner = nn.Module() if owner is None else owner
    return ".".join(parts)


def _is_taken(owner: nn.Module, part: str, is_last: bool) -> bool:
    if owner is not None and part in TAKEN:
        return True
    return hasattr(owner, part) and (is_last or part not in owner._modules)


def _get(module: nn.Module, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(path), leaf)


def _as_output(value: Value) -> Tensor:
    return value if isinstance(value, Tensor) else as_tensor(value)
