"""The ONNX file that a network was read from, so that changes can be written back to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import onnx_ir as ir


@dataclass(frozen=True)
class Lifted:
    """A product with a stored matrix, `MatMul` and `Add` or `Gemm`, that became a linear layer.

    Attributes:
        weight: Name of the matrix in the file.
        own: Whether the network has the matrix under this name; else nothing has.
        transposed: Whether the file has it as `[in, out]`.
        bias: Name of the bias in the file; empty if there is none.
        add: Name of the node that adds it; empty if the product does.
        plain: Whether the numbers of matrix and bias are those of the file: no alpha, no beta.
    """

    weight: str
    own: bool
    transposed: bool
    bias: str = ""
    add: str = ""
    plain: bool = True


@dataclass(frozen=True)
class Record:
    """The calls of one node, as they were when the file was read; see `tersor.graph.footprint`.

    Attributes:
        ops: The ops with their settings.
        reads: What they read from outside.
        parts: Item of a result with several → number of the call that picks it.
        count: Number of calls.
    """

    ops: str
    reads: tuple[str, ...]
    parts: Mapping[int, int]
    count: int


@dataclass(frozen=True, eq=False)
class Origin:
    """A float file as it was read: every node has a name of its own. It is never edited.

    A call of the graph says in `meta["custom"]["onnx"]` which node of the file it belongs to. The
    last call of a node computes its output.

    Attributes:
        model: The file. Copy it with `model.clone()` before an edit.
        attributes: Name of a stored value in the file → its name in the network's `state_dict`.
        lifted: Name of a node → what became of it, if it is a linear layer of the network.
        written_out: Name of a node → the nodes that compute one function together, of which it is
            the last, if they are one call of the network.
        records: Name of a node → its calls.
        outputs: What the outputs of the network were.
        checksums: Name in the `state_dict` → checksum of a value that the file does not store as
            it is: its nodes compute it from stored values.
        path: The file's path, which is not to be overwritten; empty if there is none.
    """

    model: ir.Model
    attributes: Mapping[str, str]
    lifted: Mapping[str, Lifted] = field(default_factory=dict)
    written_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    records: Mapping[str, Record] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    checksums: Mapping[str, int] = field(default_factory=dict)
    path: str = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Origin":
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**state, "model": ir.to_proto(self.model), "attributes": dict(self.attributes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in {**state, "model": ir.from_proto(state["model"])}.items():
            object.__setattr__(self, name, value)
