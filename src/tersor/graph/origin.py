"""The ONNX file that a network was read from, so that changes can be written back to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir


@dataclass(frozen=True, eq=False)
class Origin:
    """A float file as it was read: every node has a name of its own. It is never edited.

    A call of the graph says in `meta["custom"]["onnx"]` which node of the file it belongs to. The
    last call of a node computes its output.

    Attributes:
        model: The file. Copy it with `model.clone()` before an edit.
        attributes: Name of a stored value in the file → its name in the network's `state_dict`.
    """

    model: ir.Model
    attributes: Mapping[str, str]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Origin":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"model": ir.to_proto(self.model), "attributes": dict(self.attributes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in {**state, "model": ir.from_proto(state["model"])}.items():
            object.__setattr__(self, name, value)
