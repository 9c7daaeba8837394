"""Factorizes layer by layer with data, each for its input in the compressed network.

    x̂   the input of a layer once everything before it is compressed
    y   its output in the float network: the wanted output

The method is the "asymmetric reconstruction" of arXiv 1505.06798, §3.3. If only a ReLU reads y, the
error after the ReLU is minimized (§3.2).

Differs from the paper in: all methods of `tersor.core.decompose` are available. The branch beside a
shortcut compensates the error of the shortcut, before any ReLU that follows the addition;
minimizing the error after this ReLU did not help.
"""

from collections.abc import Mapping, Sequence

import torch

from tersor.compression.chain import LayerSizes
from tersor.compression.chain_fit import Refit, Samples
from tersor.compression.factorize import Factorization, refusal, replace
from tersor.data.gram import Moments, moments_of, sampled
from tersor.data.observe import Batch
from tersor.data.shortcut import lacking
from tersor.data.stream import Stream
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network, OnLayer
from tersor.graph.nodes import operand
from tersor.graph.shapes import shapes

aten = torch.ops.aten


def factorize_with_data(
    network: Network,
    choices: Mapping[str, Factorization],
    batches: Sequence[Batch],
    options: Refit | None = None,
    on_layer: OnLayer | None = None,
    sizes: Mapping[str, LayerSizes] | None = None,
) -> None:
    """Factorize layers in the order of the graph, each on the outputs of the layers before it.

    Args:
        network: The float network; edited in place.
        choices: Layer name → its factorization. Other layers are not changed.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        options: How the factors are fitted to the data. Default: `Refit()`.
        on_layer: Called after each layer with its number, the total number, and its record.
        sizes: The sizes at which these layers run, if they are known.

    Raises:
        InvalidInputError: There is no batch, no layer has a given name, or ranks do not suit their
            layer.
    """
    todo = {layer.node: layer for layer in layers(network) if layer.name in choices}
    if not batches:
        raise InvalidInputError("there is no batch to fit the factors to; give at least one sample")
    if missing := choices.keys() - {layer.name for layer in todo.values()}:
        raise InvalidInputError(f"there is no layer {min(missing)!r}; see `tersor inspect`")
    if sizes is None:
        seen = shapes(network)
        sizes = {layer.name: LayerSizes.of(layer, seen) for layer in todo.values()}
    options = options or Refit()
    floating = Stream(network.copy(), batches, simulate=False)
    compressed = Stream(network, batches, simulate=False)
    twins = zip(list(floating.network.graph.nodes), list(network.graph.nodes), strict=True)
    done = 0
    for float_node, node in twins:
        floating.run(float_node)
        if node in todo:
            data = _data(todo[node], floating, compressed, options, done)
            name = todo[node].name
            record, found = replace(todo[node], choices[name], data, options, sizes[name])
            network.records.append(record)
            done += 1
            if on_layer is not None:
                on_layer(done, len(todo), record)
            _run(compressed, found)
        else:
            compressed.run(node)
    network.finish()


def _data(
    layer: Layer, floating: Stream, compressed: Stream, options: Refit, number: int
) -> Moments | Samples | None:
    """Measure the data of the layer that runs next; None if it is not factorized."""
    if refusal(layer) is not None:
        return None
    given, wanted = compressed.of(operand(layer.node)), floating.values[layer.node.name]
    lacks = lacking(layer, floating, compressed) or [0.0] * len(given)
    pairs = ((x, y + lack) for x, y, lack in zip(given, wanted, lacks, strict=True))
    count = options.positions(layer, sum(map(len, given)))
    generator = torch.Generator().manual_seed(options.seed + number)
    if not (options.relu and {user.target for user in layer.node.users} == {aten.relu.default}):
        return moments_of(layer, pairs, count, generator)
    patches, outputs = zip(*sampled(layer, pairs, count, generator), strict=True)
    return Samples(torch.cat(patches, 2)[0], torch.cat(outputs, 2)[0])


def _run(compressed: Stream, chain: list[Layer]) -> None:
    """Run the factors, and drop the values between them."""
    for layer in chain:
        compressed.run(layer.node)
    for layer in chain[:-1]:
        compressed.values.pop(layer.node.name, None)
