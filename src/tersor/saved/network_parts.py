"""A network in a file: its graph, its module, and what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tersor.graph.network import Applied, Gaussian, Network, Skipped
from tersor.graph.origin import Origin
from tersor.saved.graph_json import SavedGraph, read_graph, write_graph
from tersor.saved.module_tensors import SavedModule, read_module, write_module
from tersor.saved.nesting import read_example, write_example
from tersor.saved.tensor_pool import Pool, Store, Stored


@dataclass(frozen=True)
class SavedNetwork:
    """A network; for what is not described here, see `tersor.graph.network.Network`.

    Attributes:
        module: Tensors and quantizers.
        graph: The graph.
        example: The example inputs, as `(args, kwargs)`.
        statistics: Node name → mean and standard deviation.
        records: See `Network`.
        input_names: See `Network`.
        output_names: See `Network`.
        axes: See `Network`.
        from_file: Whether it came from the ONNX file that is stored beside it.
    """

    module: SavedModule
    graph: SavedGraph
    example: Any
    statistics: Mapping[str, tuple[Stored, Stored]]
    records: tuple[Applied | Skipped, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    axes: tuple[Mapping[int, str], ...]
    from_file: bool


def write_network(network: Network, store: Store, owner: str) -> SavedNetwork:
    """Describe a network, and store its tensors.

    Args:
        network: The network.
        store: Where its tensors go.
        owner: What it is called there.

    Raises:
        UnsupportedError: Something in it has no form in a file.
    """
    return SavedNetwork(
        module=write_module(network.module, store, owner),
        graph=write_graph(network.graph),
        example=write_example((network.args, network.kwargs), store, f"{owner}/example"),
        statistics={
            name: (
                store.add(f"{owner}/mean of {name}", known.mean),
                store.add(f"{owner}/deviation of {name}", known.std),
            )
            for name, known in network.statistics.items()
        },
        records=tuple(network.records),
        input_names=tuple(network.input_names),
        output_names=tuple(network.output_names),
        axes=tuple(network.axes),
        from_file=network.origin is not None,
    )


def read_network(saved: SavedNetwork, pool: Pool, origin: Origin | None) -> Network:
    """Build a network.

    Args:
        saved: What `write_network` returned.
        pool: The tensors.
        origin: The file that is stored beside it.

    Raises:
        ValueError: It is inconsistent.
        UnsupportedError: It calls what no file may call.
    """
    module = read_module(saved.module, pool)
    places = (*saved.module.quantizers, *saved.module.biases, *saved.module.rows)
    quantizers = {name for item in places for name in item.names}
    tensors = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    tensors |= {name for name, _ in module.named_buffers(remove_duplicate=False)}
    module.graph = read_graph(saved.graph, tensors, quantizers)
    args, kwargs = read_example(saved.example, pool)
    if saved.from_file and origin is None:
        raise ValueError("the ONNX file that the network came from is missing")
    return Network(
        module,
        tuple(args),
        dict(kwargs),
        {
            name: Gaussian(pool.take(mean), pool.take(deviation))
            for name, (mean, deviation) in saved.statistics.items()
        },
        list(saved.records),
        saved.input_names,
        saved.output_names,
        origin if saved.from_file else None,
        saved.axes,
    )
