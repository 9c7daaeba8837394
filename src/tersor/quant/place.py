"""Where quantizers go: one walk against the data flow says which values must be integers.

A value needs a quantizer if an integer kernel reads it, or if one writes it. A kernel that ends in
a ReLU writes the value after the ReLU. Ops that only move values pass the need on to their
input, and share its quantizer. Everything else stays in floating point.
"""

from collections.abc import Iterable
from fnmatch import fnmatch

import torch
from torch import fx

from tersor.errors import UnsupportedError
from tersor.graph.layers import Layer, argument, is_layer, layers, set_argument
from tersor.graph.network import Network, Skipped, free_name, source
from tersor.quant.quantizer import BiasQuantize, FakeQuantize
from tersor.quant.scheme import Scheme

aten = torch.ops.aten


def place(network: Network, scheme: Scheme, exclude: Iterable[str] = ()) -> None:
    """Insert a switched-off quantizer on every edge that the target computes in integers.

    Args:
        network: Edited in place.
        scheme: The target runtime.
        exclude: Patterns (`*` and `?`) of layer names that stay in floating point.

    Raises:
        UnsupportedError: The network has no layer that could be quantized.
    """
    _Placer(network, scheme, tuple(exclude)).run()


def quantizers(network: Network) -> list[tuple[fx.Node, FakeQuantize]]:
    """Every node that quantizes an activation or a weight, with its module."""
    found = []
    for node in network.nodes():
        if node.op == "call_module":
            module = network.module.get_submodule(str(node.target))
            if isinstance(module, FakeQuantize):
                found.append((node, module))
    return found


class _Placer:
    def __init__(self, network: Network, scheme: Scheme, exclude: tuple[str, ...]) -> None:
        self.network = network
        self.scheme = scheme
        self.layers = {
            layer.node: layer for layer in layers(network) if self._is_wanted(layer, exclude)
        }
        self.needed: set[fx.Node] = set()
        self.names: dict[fx.Node, str] = {}  # value → its quantizer's module name

    def run(self) -> None:
        if not self.layers:
            raise UnsupportedError(
                "there is nothing to quantize: the model has no convolution or linear layer that "
                "is not excluded"
            )
        nodes = [node for node in self.network.nodes() if _is_float_tensor(node)]
        for node in reversed(nodes):
            if self._is_needed(node):
                self.needed.add(node)
        for node in nodes:
            if node in self.needed and not self._is_transparent(node) and not _holds_many(node):
                self._quantize_value(node)
        for layer in self.layers.values():
            self._quantize_parameters(layer)
        self.network.finish()

    def _is_wanted(self, layer: Layer, exclude: tuple[str, ...]) -> bool:
        if any(fnmatch(layer.name, pattern) for pattern in exclude):
            reason = "excluded by the user"
        elif layer.weight_node.op != "get_attr":
            reason = "its weight is computed from the input"
        else:
            return True
        self.network.records.append(Skipped(layer.name, "place", reason))
        return False

    def _is_needed(self, node: fx.Node) -> bool:
        """Does an integer kernel read or write this value?"""
        return any(self._reads_integers(user, node) for user in node.users) or (
            self._is_written_by_layer(node)
        )

    def _reads_integers(self, user: fx.Node, value: fx.Node) -> bool:
        if user in self.layers:
            return source(user.args[0]) is value  # type: ignore[arg-type]
        if user.target in (aten.matmul.default, aten.bmm.default):
            return True
        if user.target in self.scheme.integer_ops:
            return user in self.needed and _is_tensor_op(user)
        passes = user.target in self.scheme.pass_through or user.target in self.scheme.fused
        return user in self.needed and (passes or self._is_transparent(user))

    def _is_written_by_layer(self, node: fx.Node) -> bool:
        """A layer's own output, or the ReLU that its kernel ends in."""
        producer = self._fused_producer(node) or node
        if producer not in self.layers or self._fused_reader(node) is not None:
            return False
        only_output = all(user.op == "output" for user in node.users)
        return not (only_output and producer is node and self.layers[node].is_linear)

    def _fused_producer(self, node: fx.Node) -> fx.Node | None:
        """The op whose kernel computes this activation on its way out."""
        if node.target not in self.scheme.fused or not _clips_at_zero(node):
            return None
        producer = node.args[0]
        assert isinstance(producer, fx.Node)
        joins = producer.target in (aten.add.Tensor, aten.mul.Tensor) and _is_tensor_op(producer)
        alone = len(producer.users) == 1
        return producer if alone and (joins or producer in self.layers) else None

    def _fused_reader(self, node: fx.Node) -> fx.Node | None:
        """The activation that this op's kernel ends in."""
        user = next(iter(node.users), None)
        return user if user is not None and self._fused_producer(user) is node else None

    def _is_transparent(self, node: fx.Node) -> bool:
        """Leaves values on the grid and vanishes in the target: dropout, padding, a fused op."""
        if node.target is aten.dropout.default:
            return True
        if node.target in (aten.pad.default, aten.constant_pad_nd.default):
            readers = list(node.users)
            return len(readers) == 1 and readers[0] in self.layers and not argument(node, "value")
        return self._fused_reader(node) is not None

    def _quantize_value(self, node: fx.Node) -> None:
        """Insert a quantizer behind a value; one that is only moved shares its source's."""
        name = self.names.get(self._origin(node))
        if name is None:
            name = self._add(node.name, FakeQuantize(self.scheme.activation))
        self.names[node] = name
        with self.network.graph.inserting_after(node):
            quantizer = self.network.graph.call_module(name, (node,))
        quantizer.meta = dict(node.meta)
        node.replace_all_uses_with(quantizer, delete_user_cb=lambda user: user is not quantizer)

    def _origin(self, node: fx.Node) -> fx.Node:
        """The value that a pass-through or transparent node takes its numbers from."""
        while node.target in self.scheme.pass_through or self._is_transparent(node):
            if self._fused_reader(node) is not None:
                break
            node = source(node.args[0])  # type: ignore[arg-type]
        return node

    def _quantize_parameters(self, layer: Layer) -> None:
        stored = layer.weight_node
        if stored not in self.names:
            per_channel = self.scheme.per_channel and not (layer.is_transposed and layer.groups > 1)
            axis = layer.out_axis if per_channel else None
            self.names[stored] = self._add(
                str(stored.target), FakeQuantize(self.scheme.weight, axis)
            )
            with self.network.graph.inserting_after(stored):
                quantizer = self.network.graph.call_module(self.names[stored], (stored,))
            quantizer.meta = dict(stored.meta)
            readers = [user for user in stored.users if user in self.layers]
            for reader in readers:
                set_argument(reader, "weight", quantizer)
        self._quantize_bias(layer)

    def _quantize_bias(self, layer: Layer) -> None:
        """Put the bias on the grid of the accumulator; a layer without one gets zeros."""
        origin = self._origin(layer.input)
        if origin not in self.names:
            return
        if layer.bias is None:
            channels = layer.weight.shape[0] if not layer.is_transposed else (
                layer.weight.shape[1] * layer.groups
            )
            layer.set_bias(layer.weight.new_zeros(channels))
        graph, node = self.network.graph, layer.node
        with graph.inserting_before(node):
            scales = [
                graph.get_attr(f"{self.names[key]}.scale") for key in (origin, layer.weight_node)
            ]
            name = self._add(f"{layer.name}.bias", BiasQuantize())
            bias = graph.call_module(name, (layer.bias_node, *scales))
        set_argument(node, "bias", bias)

    def _add(self, name: str, module: torch.nn.Module) -> str:
        target = free_name(self.network.module, f"quantizers.{name.replace('.', '_')}")
        self.network.module.add_submodule(target, module)
        return target


def _is_float_tensor(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    computed = node.op in ("placeholder", "call_function")
    return computed and isinstance(value, torch.Tensor) and value.is_floating_point()


def _holds_many(node: fx.Node) -> bool:
    """A chunk or split: its parts are quantized one by one, where they are taken out."""
    return isinstance(node.meta.get("val"), list | tuple)


def _is_tensor_op(node: fx.Node) -> bool:
    """True unless an addition or product has a plain number, or a weight, as one side."""
    if node.target not in (aten.add.Tensor, aten.mul.Tensor):
        return True
    return all(isinstance(a, fx.Node) and source(a).op != "get_attr" for a in node.args[:2])


def _clips_at_zero(node: fx.Node) -> bool:
    if node.target is aten.hardtanh.default:
        return argument(node, "min_val") == 0
    if node.target is aten.clamp.default:
        return argument(node, "min") == 0
    return True
