"""Edit the file that came in: START READING HERE. `edit` reads like a table of contents.

The graph of a network says what changed: quantizers stand on edges, weights have other numbers,
folded nodes are gone. Everything else of the file stays: its nodes, its names, its open axes, its
notes. So no exporter is needed, and what has no ATen form need not be written anew.
"""

from tersor.errors import UnmappedError
from tersor.export.onnx.edit.correspondence import correspond
from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.edit.ends import end
from tersor.export.onnx.edit.finish import finish
from tersor.export.onnx.edit.values import Values
from tersor.export.onnx.edit.wiring import wire
from tersor.export.onnx.storage import Written
from tersor.graph.network import Network


def edit(network: Network, integer_clip: bool = True) -> Written:
    """Write a network into a copy of the file that it was read from.

    Args:
        network: The network; it is not changed.
        integer_clip: See `tersor.quant.scheme.Scheme`.

    Raises:
        UnmappedError: Something in the network has no place in the file.
    """
    if network.origin is None or not network.origin.records:
        raise UnmappedError("the network was not read from a file")
    draft = Draft(network, network.origin, network.origin.model.clone(), integer_clip)
    correspond(draft)
    values = Values(draft)
    wire(draft, values)
    end(draft, values)
    finish(draft)
    grids = {str(value.name): grid for value, grid in draft.grids.items()}
    return Written(draft.model, grids, {str(value.name) for value in draft.folded})
