"""Names of values in exported files."""

import re
from collections import Counter

from torch import fx

from tersor.graph.layers import layers
from tersor.graph.network import Network, free_name, set_tensor

#: Names that `torch.onnx.export` gives to its own values.
_GENERATED = re.compile(r"val_\d+")


def output_names(network: Network) -> dict[fx.Node, str]:
    """Name outputs of layers: `conv1.output`, and `conv1.output_2` if a weight is used again."""
    names: dict[fx.Node, str] = {}
    calls: Counter[str] = Counter()
    for layer in layers(network):
        # A layer whose weight is not the `weight` of a module gets the name of the weight.
        dotted = str(layer.weight_node.target) == f"{layer.name}.weight"
        name = f"{layer.name}.output" if dotted else f"{layer.name}_output"
        calls[name] += 1
        names[layer.node] = name if calls[name] == 1 else f"{name}_{calls[name]}"
    return names


def free_generated_names(network: Network) -> None:
    """Rename nodes and tensors whose names `torch.onnx.export` uses for its own values.

    A network that was read from one of its files has such names.

    Args:
        network: Edited in place.
    """
    renamed: dict[str, str] = {}
    for node in network.nodes():
        if _GENERATED.fullmatch(node.name):
            node._rename(f"{node.name}_")
        target = str(node.target)
        if node.op == "get_attr" and _GENERATED.fullmatch(target):
            if target not in renamed:
                renamed[target] = free_name(network.module, f"{target}_")
                set_tensor(network.module, renamed[target], network.tensor(node))
            node.target = renamed[target]
