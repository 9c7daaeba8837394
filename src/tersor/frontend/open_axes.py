"""Captures a model with every axis open that can be, and says why the others cannot.

An axis can be open if the model runs at another size of it, `torch.export` does not fix it, and the
graph then computes what the model computes, at other sizes, too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from tersor.errors import CaptureError, TersorError
from tersor.frontend.axes import Axes, beside, only, other_sizes
from tersor.frontend.explain import first_line
from tersor.frontend.exporting import check_same, make_network
from tersor.frontend.given import Inputs, batch_size, resized, run, sizes_of
from tersor.graph.network import Network
from tersor.graph.shapes import is_free


@dataclass
class Opened:
    """A network, and the axes that could not stay open.

    Attributes:
        network: The captured network.
        axes: The axes that are open in it.
        reasons: Name of each other axis → why it is fixed.
    """

    network: Network
    axes: Axes
    reasons: dict[str, str] = field(default_factory=dict)


def capture_open(model: nn.Module, inputs: Inputs, axes: Axes) -> Opened:
    """Capture a model with as many open axes as possible.

    Args:
        model: The model, in inference mode.
        inputs: The inputs.
        axes: The axes to open, the batch first.

    Raises:
        TersorError: The model cannot be captured even with fixed axes.
        Exception: The model does not run on the inputs.
    """
    trial = _Trial(model, inputs, axes)
    names = list(trial.sizes)
    try:
        found = trial.capture(names)
    except TersorError as error:
        found = _one_by_one(trial, names, first_line(error))
    for name in sizes_of(inputs, axes):
        if name not in names:
            found.reasons[name] = trial.only_one
    return found


def _one_by_one(trial: "_Trial", names: Sequence[str], reason: str) -> Opened:
    """Open one axis after the other, and keep those that can be captured."""
    found, kept, reasons = trial.capture([]), [], {}
    for name in names:
        reasons[name] = reason
        if len(names) > 1:
            try:
                found = trial.capture([*kept, name])
                kept.append(name)
            except TersorError as error:
                reasons[name] = first_line(error)
    fixed = {name: why for name, why in reasons.items() if name not in kept}
    found.reasons = {**fixed, **found.reasons}
    return found


class _Trial:
    """Captures a model with some of its axes open.

    Attributes:
        sizes: Name of an axis → its size in the inputs, at least 2.
        only_one: Why other axes, those with a size of 1, cannot be open.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, axes: Axes) -> None:
        self.model, self.axes, self.inputs = model, axes, inputs
        self.only_one = ""
        self._seen: dict[tuple[tuple[str, int], ...], tuple[Inputs, Any]] = {}
        sizes = sizes_of(inputs, axes)
        self.sizes = {name: max(2, size) for name, size in sizes.items()}
        wider = resized(inputs, axes, self.sizes)
        try:
            self.expected = run(model, wider)
            self.inputs = wider
        except Exception as error:  # noqa: BLE001
            self.only_one = f"the model runs with size 1 only: {first_line(error)}"
            self.sizes = {name: size for name, size in sizes.items() if size > 1}
            self.axes = only(axes, list(self.sizes))
            self.expected = run(model, inputs)

    def capture(self, names: Sequence[str]) -> Opened:
        """Capture with these axes open, but for those that turn out to be fixed."""
        stuck = self._stuck(names)
        found = self._capture(names)
        found.reasons |= {name: why for name, why in stuck.items() if name in found.reasons}
        if wrong := {x: why for x, why in stuck.items() if self._stands_alone(found, x)}:
            reasons = {**found.reasons, **wrong}
            found = self._capture([name for name in names if name not in wrong])
            found.reasons = {**found.reasons, **reasons}
        for inputs, expected in self._elsewhere(found):
            _check_elsewhere(found.network, inputs, expected)
        return found

    def _capture(self, names: Sequence[str]) -> Opened:
        axes = only(self.axes, names)
        network = make_network(self.model, self.expected, self.inputs, axes)
        found = Opened(network, axes)
        fixed = [name for name in names if not self._symbols(found, name)]
        why = "the computation holds for this size only"
        return Opened(
            network, only(axes, [x for x in names if x not in fixed]), dict.fromkeys(fixed, why)
        )

    def _symbols(self, found: Opened, name: str) -> set[str]:
        """The expressions of the axes with this name; none if one of them is fixed."""
        shapes = [shape for shape in _input_shapes(found.network) if shape is not None]
        sizes = [
            shape[axis]
            for shape, open_axes in zip(shapes, self.axes, strict=True)
            for axis, own in open_axes.items()
            if own == name
        ]
        return {str(size) for size in sizes} if all(map(is_free, sizes)) else set()

    def _stands_alone(self, found: Opened, name: str) -> bool:
        """Whether an axis is open, and the size of no other axis depends on its size."""
        own = self._symbols(found, name)
        others = {x for other in self.sizes if other != name for x in self._symbols(found, other)}
        words = {word for text in others for word in re.findall(r"\w+", text)}
        return bool(own) and all(x.isidentifier() and x not in words for x in own)

    def _stuck(self, names: Sequence[str]) -> dict[str, str]:
        """Name of each axis that cannot have another size while the others keep theirs → why."""
        try:
            if names:
                self._at(next(other_sizes(self._chosen(names))))
            return {}
        except Exception:  # noqa: BLE001
            found = {name: self._error(name, number) for number, name in enumerate(names)}
        return {name: why for name, why in found.items() if why}

    def _error(self, name: str, number: int) -> str:
        size, why = self.sizes[name], ""
        for other in (beside(size, number), 2 * size):
            try:
                self._at({name: other})
            except Exception as error:  # noqa: BLE001
                why = f"with {other} instead of {size}, {first_line(error)}"
            else:
                return ""
        return why

    def _at(self, sizes: Mapping[str, int]) -> tuple[Inputs, Any]:
        """Other inputs, and what the model returns for them; it runs once at each size."""
        key = tuple(sizes.items())
        if key not in self._seen:
            inputs = resized(self.inputs, self.axes, sizes)
            outputs = run(self.model, inputs)
            check_rows((self.expected, outputs), self.inputs, self.axes, sizes)
            self._seen[key] = inputs, outputs
        return self._seen[key]

    def _elsewhere(self, found: Opened) -> Iterator[tuple[Inputs, Any]]:
        names = [name for name in self.sizes if any(name in x.values() for x in found.axes)]
        for sizes in other_sizes(self._chosen(names)) if len(names) > 1 else ():
            try:
                yield self._at(sizes)
            except Exception:  # noqa: BLE001, S112 - the model itself takes no such sizes
                continue

    def _chosen(self, names: Sequence[str]) -> dict[str, int]:
        return {name: self.sizes[name] for name in names}


def check_rows(
    outputs: tuple[Any, Any], inputs: Inputs, axes: Axes, sizes: Mapping[str, int]
) -> None:
    """Check that outputs have a row per sample, where they have that on the example.

    Args:
        outputs: What the model returns for the inputs, and for other sizes of them.
        inputs: The inputs.
        axes: Their open axes.
        sizes: Name of an axis → the other size; further axes keep theirs.

    Raises:
        CaptureError: They have not.
    """
    count, batch = batch_size(inputs), axes[0].get(0, "")
    own = sizes_of(inputs, axes)
    if any(size == count for name, size in own.items() if name != batch):
        return
    pairs = zip(_tensors(outputs[0]), _tensors(outputs[1]), strict=True)
    samples = sizes.get(batch, count)
    rows = [_rows(x, y, count, samples) for x, y in pairs if x.ndim and y.ndim]
    if wrong := [size for size in rows if size not in (None, samples)]:
        raise CaptureError(f"an output has {wrong[0]} rows for a batch of {samples}")


def _rows(expected: Tensor, found: Tensor, count: int, samples: int) -> int | None:
    """The size of the first axis if it is that of the batch; the state of an LSTM has it later."""
    if expected.shape[0] != count:
        return None
    sizes = list(zip(expected.shape, found.shape, strict=True))[1:]
    moved = samples != count and found.shape[0] == count and (count, samples) in sizes
    return None if moved else found.shape[0]


def _check_elsewhere(network: Network, inputs: Inputs, expected: Any) -> None:
    try:
        check_same(network, expected, inputs)
    except Exception as error:
        raise CaptureError(
            f"the captured graph does not compute other sizes: {first_line(error)}"
        ) from error


def _tensors(outputs: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]


def _input_shapes(network: Network) -> list[Any]:
    nodes: list[fx.Node] = network.graph.find_nodes(op="placeholder")
    return [getattr(node.meta.get("val"), "shape", None) for node in nodes]
