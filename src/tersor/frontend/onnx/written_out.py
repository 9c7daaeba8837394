"""Reads a function that a file writes out as the one op that it is.

    x · (1 + erf(x / √2)) / 2                           Gelu
    x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2    Gelu, approximated
    γ · (x − E[x]) / √(Var[x] + ε) + β                  LayerNormalization

Exporters write these out where the operator set has no such op. Nodes are recognized by what they
compute, on a few numbers in float64: exporters order and group the same factors in many ways. The
file keeps its nodes, and what the op reads is what they read from outside.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.errors import TersorError
from tersor.frontend.onnx.evaluate import as_tensor, evaluate
from tersor.frontend.onnx.node import Node

Constants = Mapping[str, np.ndarray]

_MOST = 12  # nodes of one function
_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Reciprocal", "Neg"}
_BROADCAST = {"Add", "Sub", "Mul", "Div", "Pow"}
_CURVES = {"Erf", "Tanh"}
_MEANS = {"ReduceMean"}
_ENDS = {"Add", "Mul", "Div"}
_CLOSE = 1e-6  # constants are rounded to float32, or to as many digits
_POINTS = torch.linspace(-8, 8, 129, dtype=torch.float64)
_WIDEST = 1 << 16  # channels of a LayerNorm that is tried
_MOST_WORK = 1 << 29  # numbers that are tried in one file: some seconds
_CALL = 10_000  # what a node costs, however few numbers it computes
_ROWS = 4  # of the values that a LayerNorm is tried on
_RANK = 7  # of the value that a LayerNorm is tried on, so that only its last axis is the last one


@dataclass(frozen=True)
class _Group:
    """Nodes that compute one value from another and from stored ones.

    Attributes:
        nodes: The nodes, in execution order.
        root: The only other value that they read.
        constants: The stored values that they read.
        rank: The axes that the root has at least.
    """

    nodes: tuple[Node, ...]
    root: str
    constants: Constants
    rank: int

    def has(self, ops: set[str]) -> bool:
        """Whether one of the nodes is of one of these types."""
        return any(node.op in ops for node in self.nodes)

    @property
    def work(self) -> int:
        """The numbers that are computed to try it."""
        widest = max((x.size for x in self.constants.values()), default=1)
        return len(self.nodes) * (_CALL + _ROWS * widest)

    def of(self, x: Tensor) -> Tensor | None:
        """What the nodes compute from a value of the root; None if they do not take it."""
        values = {self.root: x, **self.constants}
        try:
            for node in self.nodes:
                values.update(evaluate(node, values, self.constants))
        except TersorError:
            return None
        found = values[self.nodes[-1].outputs[0]]
        return found if isinstance(found, Tensor) else None

    def as_op(self, op: str, inputs: Sequence[str], **attributes: float | int | str) -> Node:
        """One node in the place of the last one."""
        end = self.nodes[-1]
        return Node(op, end.name, (self.root, *inputs), end.outputs, attributes, end.opset)


def read_written_out(
    nodes: Sequence[Node], constants: Constants, outputs: Sequence[str]
) -> tuple[list[Node], dict[str, tuple[str, ...]]]:
    """Replace the nodes of each function that is written out by one.

    Args:
        nodes: Nodes in execution order.
        constants: Stored values.
        outputs: Names of the model's outputs.

    Returns:
        The nodes, and for each new one, which has the name of the last that it replaces, the names
        of all of these. In a file with very many candidates the first ones stay written out.
    """
    if not any(node.op in _CURVES | _MEANS for node in nodes):
        return list(nodes), {}
    around = _Around(nodes, constants, outputs)
    found: dict[str, Node] = {}
    members: dict[str, tuple[str, ...]] = {}
    gone: set[str] = set()
    work = 0
    for end in reversed(nodes):
        if end.op not in _ENDS or end.name in gone:
            continue
        for group in around.groups(end):
            if not group.has(_CURVES | _MEANS):
                continue
            work += group.work
            if work > _MOST_WORK:
                break
            op = _gelu(group) or _layer_norm(group)
            if op is not None:
                found[end.name] = op
                members[end.name] = tuple(node.name for node in group.nodes)
                gone.update(members[end.name])
                break
    kept = [node for node in nodes if node.name in found or node.name not in gone]
    return [found.get(node.name, node) for node in kept], members


class _Around:
    """Who computes and who reads each value of a file."""

    def __init__(self, nodes: Sequence[Node], constants: Constants, outputs: Sequence[str]) -> None:
        self.constants = constants
        self.places = {name: k for k, node in enumerate(nodes) for name in node.outputs}
        self.nodes = nodes
        self.readers: dict[str, set[str]] = defaultdict(set)
        for node in nodes:
            for name in node.inputs:
                self.readers[name].add(node.name)
        for name in outputs:
            self.readers[name].add("")  # which is the name of no node

    def groups(self, end: Node) -> Iterator[_Group]:
        """The groups that end in a node, the smallest first."""
        members, ends = [end], {end.name}
        waiting = self._computed(end)
        while len(members) <= _MOST:
            if len(waiting) == 1 and len(members) > 1:
                names = {name for node in members for name in node.inputs}
                stored = {name: self.constants[name] for name in names if name in self.constants}
                (root,) = waiting
                yield _Group(tuple(reversed(members)), root, stored, self._rank(root))
            last = max(waiting, key=lambda name: self.places.get(name, -1), default="")
            maker = self.nodes[self.places[last]] if last in self.places else None
            if maker is None or not self._belongs(maker, ends):
                return
            members.append(maker)
            ends.add(maker.name)
            waiting = (waiting - {last}) | self._computed(maker)

    def _computed(self, node: Node) -> set[str]:
        return {name for name in node.inputs if name and name not in self.constants}

    def _rank(self, name: str) -> int:
        """The axes of a value at least: a sum with a stored tensor has no fewer than that."""
        place = self.places.get(name)
        if place is None or self.nodes[place].op not in _BROADCAST:
            return 0
        stored = (self.constants.get(given) for given in self.nodes[place].inputs)
        return max((x.ndim for x in stored if x is not None), default=0)

    def _belongs(self, node: Node, members: set[str]) -> bool:
        """Whether a node does arithmetic, and nothing but these nodes reads its result."""
        is_known = node.op in _ARITHMETIC | _CURVES | _MEANS and len(node.outputs) == 1
        return is_known and self.readers[node.outputs[0]] <= members


def _gelu(group: _Group) -> Node | None:
    axes = max(group.rank, 1)  # more would change the shape of the result
    if not group.has(_CURVES) or any(
        x.size != 1 or x.ndim > axes for x in group.constants.values()
    ):
        return None
    points = _POINTS.reshape(*[1] * (axes - 1), -1)
    found = group.of(points)
    if found is None:
        return None
    for approximate in ("none", "tanh"):
        if _is_close(found, F.gelu(points, approximate=approximate)):
            return group.as_op("Gelu", (), approximate=approximate)
    return None


def _layer_norm(group: _Group) -> Node | None:
    stored = group.constants.values()
    if not group.has(_MEANS) or any(x.ndim > 1 or x.size > _WIDEST for x in stored):
        return None
    rows = {k: as_tensor(x).double() for k, x in group.constants.items() if _is_row(x)}
    if not 1 <= len(rows) <= 2 or len({len(row) for row in rows.values()}) > 1:
        return None
    small = {float(x.item()) for x in stored if x.size == 1 and 0 < x.item() < 1}
    x = _samples(len(next(iter(rows.values()))))
    found = group.of(x)
    for eps in small if found is not None else ():
        for weights in permutations(rows):
            given = [rows[name] for name in weights]
            if _is_close(found, F.layer_norm(x, x.shape[-1:], *given, eps=eps)):
                return group.as_op("LayerNormalization", weights, axis=-1, epsilon=eps)
    return None


def _is_row(x: np.ndarray) -> bool:
    return x.ndim == 1 and x.size > 1 and x.dtype.kind == "f"


def _samples(channels: int) -> Tensor:
    """Values of which some are so small that ε counts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS, *[1] * (_RANK - 2), channels, generator=generator, dtype=torch.float64)
    sizes = torch.tensor([1e-3, 0.1, 1.0, 10.0], dtype=torch.float64)
    return x * sizes.reshape(-1, *[1] * (_RANK - 1)) + 0.1


def _is_close(found: Tensor | None, wanted: Tensor) -> bool:
    if found is None or found.shape != wanted.shape:
        return False
    return bool(((found - wanted).abs() <= _CLOSE * (1 + wanted.abs())).all())
