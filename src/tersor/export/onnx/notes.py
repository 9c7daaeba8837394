"""The notes that Tersor leaves in a file: its version, the target, and the widths as JSON."""

import json
from collections import Counter
from collections.abc import MutableMapping

import onnx_ir as ir

from tersor.data.runs.fingerprint import own_version
from tersor.frontend.given import tensors
from tersor.frontend.onnx.example_sizes import EXAMPLE, as_note
from tersor.graph.network import Network
from tersor.names import Storage
from tersor.quant.placement.place import quantizers
from tersor.quant.scheme import Scheme


def leave_notes(model: ir.Model, network: Network, scheme: Scheme | None, storage: Storage) -> None:
    """Note in the metadata of a file what wrote it, for which target, and with which options.

    Args:
        model: The file; its own metadata stay.
        network: The network.
        scheme: The target, if there is one.
        storage: How narrow weights are stored.
    """
    notes = model.metadata_props
    notes["tersor.version"] = own_version()
    _note_sizes(notes, model, network)
    if scheme is None:
        return
    notes["tersor.scheme"] = scheme.name
    notes["tersor.options"] = json.dumps({**_widths(network), "storage": storage})


def _note_sizes(notes: MutableMapping[str, str], model: ir.Model, network: Network) -> None:
    """Note the sizes of the example where other axes than the batch are open."""
    shapes = {str(value.name): value.shape or () for value in model.graph.inputs}
    if any(not isinstance(size, int) for shape in shapes.values() for size in list(shape)[1:]):
        given = tensors((network.args, network.kwargs))
        sizes = {name: tuple(x.shape) for name, x in zip(shapes, given, strict=False)}
        notes[EXAMPLE] = as_note(sizes)


def _widths(network: Network) -> dict[str, dict[str, int]]:
    """Bits → number of quantizers, for weights and for activations."""
    found: dict[str, Counter[str]] = {"weights": Counter(), "activations": Counter()}
    for node, module in quantizers(network):
        if module.enabled:
            kind = "weights" if node.all_input_nodes[0].op == "get_attr" else "activations"
            found[kind][str(module.grid.bits)] += 1
    return {kind: dict(counts) for kind, counts in found.items()}
