"""‖∂y/∂x · Δx‖² / ‖y‖²: the noise that each quantizer alone adds to each part of the outputs.

    E_r[(∂(r · y)/∂x · Δx)²] = ‖∂y/∂x · Δx‖²        r = ±1 at random, independent

Δx is what the quantizer changes: Q(x) − x. One backward pass for a random r gives an estimate for
every quantizer at once (Hutchinson's estimator), so the network need not run once for each of them,
as in `tersor.quant.noise.alone`. Noise of many sources adds up, so the sum over quantizers says how
much is left when some of them are gone.

A part of a network that onnxruntime computes has no derivative: there each quantizer is tried
alone, and the outputs count as one part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.checked import Count, checked
from tersor.data.given.pieces import joined
from tersor.data.given.sample_rows import sample_counts
from tersor.data.outputs.output_parts import Part, find_parts
from tersor.data.outputs.outputs import floats
from tersor.data.walk.observe import Batch, in_order, samples_of
from tersor.graph.carried import carried_nodes
from tersor.graph.layers import Layer
from tersor.graph.network import Network, get_tensor
from tersor.graph.nodes import source
from tersor.quant.noise.alone import QuantizerUse, quantizer_uses, sweep
from tersor.quant.placement.noisy_calls import Noise
from tersor.quant.placement.quantizer import FakeQuantize

_SWEPT = 2  # batches on which each quantizer is tried alone
_TINY = 1e-30
_FEWEST = 4  # batches on which a part is looked at, if there are as many samples


@checked()
@dataclass(frozen=True)
class Projections:
    """Options of the estimator.

    Attributes:
        least: Least number of random projections over all samples and parts, so each part has a
            share of them.
        batches: Largest number of batches.
        seed: Seed of the random signs.
    """

    least: Count = 16
    batches: Count = 8
    seed: int = 0


def float_parts(reference: Any, names: Sequence[str] = ()) -> list[tuple[int, Part]]:
    """The parts of the outputs in floating point, each with its number among those outputs.

    Args:
        reference: What the float network returns for a batch.
        names: Names of all outputs, in order, if they have any.
    """
    tensors = [x for x in pytree.tree_leaves(reference) if isinstance(x, Tensor)]
    given = [*names, *[""] * len(tensors)]
    found = enumerate(pair for pair in zip(given, tensors, strict=False) if _is_float(pair[1]))
    return [(number, part) for number, (name, x) in found for part in find_parts(name, x)]


def _is_float(value: Tensor) -> bool:
    return value.is_floating_point()


def noise_shares(
    network: Network,
    floating: Network,
    batches: Sequence[Batch],
    parts: Sequence[tuple[int, Part]],
    looked: Sequence[tuple[int, Part]] | None = None,
    options: Projections = Projections(),
) -> Noise:
    """Estimate the noise of every quantizer that is on.

    Args:
        network: The quantized network.
        floating: The same network before its weights were rounded.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        parts: The parts, as `float_parts` gives them.
        looked: Those whose noise is wanted; that of the others is given as 0. Default: all.
        options: See `Projections`.
    """
    uses = quantizer_uses(network)
    batches = batches[: options.batches]
    samples = sum(sample_counts(batches))
    batches = joined(network, batches, most=-(-samples // _FEWEST))
    if any(True for _ in carried_nodes(network)):
        alone = sweep(network, batches[:_SWEPT], uses)
        found = [torch.full((len(parts),), x) for x in alone]
    else:
        looked = parts if looked is None else looked
        shares = _projected(_Probes(network, floating), uses, batches, looked, options)
        found = list(torch.zeros(len(uses), len(parts)))
        columns = [parts.index(part) for part in looked]
        for share, values in zip(shares, found, strict=True):
            values[columns] = share
    values = {u.value.name: x for u, x in zip(uses, found, strict=True) if u.side == "activations"}
    weights = {
        reader.node.name: x
        for use, x in zip(uses, found, strict=True)
        if use.side == "weights"
        for reader in use.readers[:1]
    }
    return Noise(values, weights)


def _projected(
    probes: "_Probes",
    uses: list[QuantizerUse],
    batches: Sequence[Batch],
    parts: Sequence[tuple[int, Part]],
    options: Projections,
) -> list[Float[Tensor, " parts"]]:
    position = {use.quantizer: number for number, use in enumerate(uses)}
    generator = torch.Generator().manual_seed(options.seed)
    turns = max(1, min(len(parts), len(batches) // _FEWEST))  # parts take turns
    samples = sum(sample_counts(batches))
    count = max(1, -(-options.least * turns // (len(parts) * samples)))
    every = 2 if len(batches) >= _FEWEST * turns else 1  # of so many batches, one is for weights
    found = torch.zeros(len(uses), len(parts), dtype=torch.float64)
    sizes = torch.zeros(len(parts), dtype=torch.float64)
    for place, batch in enumerate(batches):
        outputs = floats(probes.outputs(batch))
        for column, (number, part) in enumerate(parts):
            if (place + column) % turns:
                continue
            values = part.of(outputs[number])
            sizes[column] += values.detach().double().square().sum()
            for turn in range(count if values.requires_grad else 0):
                sign = torch.randint(0, 2, values.shape, generator=generator) * 2 - 1
                scalar = (sign.to(values) * values).sum()
                weights = not turn and place // turns % every == 0
                for quantizer, square, is_weight in probes.squares(scalar, weights):
                    share = every if is_weight else 1 / count
                    found[position[quantizer], column] += share * square
    return list((found / sizes.clamp(min=_TINY)).float().unbind(0))


@dataclass(frozen=True)
class _Probe:
    """A value that is rounded, and what rounding changes."""

    quantizer: FakeQuantize
    is_weight: bool
    value: Tensor
    change: Tensor


class _Probes(fx.Interpreter):
    """Runs a network in floating point, and keeps what each quantizer would change."""

    def __init__(self, network: Network, floating: Network) -> None:
        super().__init__(network.module)
        self._network, self._floating = network, floating
        self._probes: list[_Probe] = []
        self._samples = 1

    def outputs(self, batch: Batch) -> Any:
        """What the network returns for a batch."""
        self._probes.clear()
        self._samples = samples_of(batch)
        with torch.enable_grad():
            leaves = in_order(self._network, *batch)
            return self.run(*leaves, enable_io_processing=False)

    def squares(self, scalar: Tensor, weights: bool) -> Iterator[tuple[FakeQuantize, float, bool]]:
        """The square of how far every quantizer moves a function of the outputs, in first order.

        All that an activation of a sample loses moves the function together; each number of a
        weight is rounded independently of the others. Signs of samples are independent, so their
        squares add up.

        Args:
            scalar: The function.
            weights: Whether those of weights are wanted as well.

        Yields:
            The quantizer, the square, and whether it rounds a weight.
        """
        probes = [probe for probe in self._probes if weights or not probe.is_weight]
        values = [probe.value for probe in probes]
        if not values:
            return
        slopes = torch.autograd.grad(scalar, values, retain_graph=True, allow_unused=True)
        moved = dict[FakeQuantize, Tensor]()
        for probe, slope in zip(probes, slopes, strict=True):
            if slope is None:
                continue
            if probe.is_weight:
                yield probe.quantizer, float((slope * probe.change).square().sum()), True
                continue
            by_sample = self._by_sample(slope, probe.change)
            moved[probe.quantizer] = moved.get(probe.quantizer, 0.0) + by_sample
        for quantizer, by_sample in moved.items():
            yield quantizer, float(by_sample.square().sum()), False

    def _by_sample(self, slope: Tensor, change: Tensor) -> Float[Tensor, " samples"]:
        """How far a change moves the function, for each sample if values are divided by samples."""
        moved = slope.new_zeros(self._samples)
        if slope.ndim and len(slope) == self._samples:
            rows = slope.reshape(self._samples, 1, -1), change.reshape(self._samples, -1, 1)
            return torch.bmm(*rows).reshape(-1)
        moved[0] = (slope * change).sum()
        return moved

    def run_node(self, n: fx.Node) -> Any:
        if n.op != "call_module":
            return super().run_node(n)
        value = self.fetch_args_kwargs_from_env(n)[0][0]
        quantizer = self._network.module.get_submodule(str(n.target))
        if not isinstance(quantizer, FakeQuantize) or not quantizer.enabled or _again(n):
            return value
        with torch.no_grad():
            change = quantizer(value).sub_(self._float(n, value))
        value = value if value.requires_grad else value.detach().requires_grad_()
        seen = value.view_as(value)
        self._probes.append(_Probe(quantizer, source(n).op == "get_attr", seen, change))
        return seen

    def _float(self, node: fx.Node, value: Tensor) -> Tensor:
        stored = source(node)
        if stored.op != "get_attr":
            return value
        return get_tensor(self._floating.module, str(stored.target)).detach()


def _again(node: fx.Node) -> bool:
    """Whether a value was on the grid of the same quantizer before it was moved."""
    before = node.args[0]
    while isinstance(before, fx.Node) and before.args:
        if before.op == "call_module" and before.target == node.target:
            return True
        before = before.args[0]
        if isinstance(before, list | tuple):
            return False
    return False


def weight_readers(network: Network) -> dict[str, Layer]:
    """Name of a layer's call → the layer, for each that the target computes in integers."""
    found: dict[str, Layer] = {}
    for use in quantizer_uses(network):
        if use.side == "weights" and not use.quantizer.stored_only:
            found |= {reader.node.name: reader for reader in use.readers}
    return found
