"""min_Z E‖y − s Z x̂‖² layer after layer: rounding with a few unlabelled samples, the fast solver.

AdaRound, arXiv 2004.10568, chooses for every weight whether it is rounded up or down, such that the
output of its layer stays as it was; x̂ comes from the layers before, already quantized, and y from
the float network. Here the same problem is solved on the Gram matrix of x̂, which needs one pass
over the data and no training (`tersor.core.quadratic`): nearest plane, coordinate descent, where
rows have few weights (depthwise layers) every choice, then scale and integers in turns, then the
bias.

Differs from the paper in: weights may move further than to the next integer; the scale is fitted
along with them; the bias takes the mean error; a layer whose output is added to a shortcut also
makes up for the shortcut's error; the following activation is not part of the loss.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch

from tersor.checked import Count, CountOrZero, Positive, PositiveOrZero, checked
from tersor.core.grid import Grid
from tersor.core.lattice import Scales, closest, descend, enumerate_choices, nearest_plane
from tersor.core.pairs import Partners
from tersor.core.quadratic import Quadratic, Weights, best_bias, best_scale, best_weights
from tersor.core.ranges import minmax, scale_zero_point
from tersor.data.gram import Moments
from tersor.data.journal import Journal
from tersor.data.observe import Batch
from tersor.graph.lanes import Pairs, adds_no_pairs, partners
from tersor.graph.network import Applied, Network, Skipped
from tersor.quant.layerwise import OnLayer, Site, round_layers
from tersor.quant.measured import measure

Allowed = tuple[Scales, Grid, Partners | None]
_FEW = 10  # weights of a row of which every choice is tried


@checked()
@dataclass(frozen=True)
class Rounding:
    """Options of the fast solver.

    Attributes:
        samples: Output positions that are sampled for the Gram matrix; more mean less noise in it.
        samples_per_weight: But for each weight of a row at least and at most so many.
        damping: Pulls towards the float weights, as shares of the mean diagonal of the Gram matrix.
            The one that suits the samples held back best is taken.
        starts: Scales to start with, as multiples of that of the range; each row takes the one
            whose nearest plane suits the samples held back best. With few bits a scale fitted to
            the weights alone is too small, and turns of scale and integers do not leave it. None
            below 1: larger integers than those of the range may overflow in pairs.
        rescale: How often the scale is fitted to the integers, and these to the scale again.
        sweeps: Most sweeps of coordinate descent.
        seed: Seed of the sampled positions.
    """

    samples: CountOrZero = 100_000
    samples_per_weight: tuple[Count, Count] = (20, 200)
    damping: tuple[PositiveOrZero, ...] = (0.01, 0.1, 1.0)
    starts: tuple[Positive, ...] = (1.0, 1.15, 1.3, 1.5)
    rescale: CountOrZero = 2
    sweeps: CountOrZero = 20
    seed: int = 0

    def positions(self, inputs: int) -> int:
        """How many output positions to sample where a row has so many weights."""
        least, most = (share * inputs for share in self.samples_per_weight)
        return min(max(self.samples, least), most)


def round_weights(
    network: Network,
    batches: list[Batch],
    options: Rounding = Rounding(),
    held_back: int = 0,
    on_layer: OnLayer | None = None,
    pair_safe: Pairs | None = None,
    journal: Journal | None = None,
) -> None:
    """Choose the integers of every quantized weight, its scale and the bias.

    Args:
        network: A network whose quantizers have their ranges; edited in place.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        options: See `Rounding`.
        held_back: How many of the batches, the last ones, only check the result: a layer where
            nearest rounding is better on them keeps it.
        on_layer: Called after each layer; see `tersor.quant.layerwise.round_layers`.
        pair_safe: Which pairs of 8-bit weights may not overflow 16 bits, as in the `Scheme`. The
            ranges must be such that nearest rounding does not; see `weight_ranges`.
        journal: See `tersor.quant.layerwise.round_layers`.

    Raises:
        InvalidInputError: There is no batch.
    """
    solver = partial(round_layer, options=options, pair_safe=pair_safe)
    round_layers(network, batches, solver, held_back, options.seed, on_layer, journal)


def round_layer(site: Site, options: Rounding, pair_safe: Pairs | None = None) -> Applied | Skipped:
    """Round one layer.

    Args:
        site: The layer.
        options: See `Rounding`.
        pair_safe: See `round_weights`.
    """
    if site.layer.is_transposed:
        return Skipped(site.layer.name, "round", "it is a transposed convolution")
    return fit(site, *measure_both(site, options), options, pair_safe)


def measure_both(site: Site, options: Rounding) -> tuple[Moments, Moments]:
    """The data of a layer: to round with, and to check the result with.

    Args:
        site: The layer.
        options: See `Rounding`.
    """
    positions = options.positions(site.weights.shape[-1])
    moments = measure(site, site.used, positions)
    return moments, measure(site, site.judges, positions) if site.held_back else moments


def fit(
    site: Site, moments: Moments, held: Moments, options: Rounding, pair_safe: Pairs | None = None
) -> Applied | Skipped:
    """Round one layer whose data are measured.

    Args:
        site: The layer.
        moments: Its data.
        held: The data that check the result.
        options: See `Rounding`.
        pair_safe: See `round_weights`.
    """
    free, check = moments.centered(), held.centered()
    allowed = _allowed(site, pair_safe)
    scale, grid, partner = allowed
    problem = _damped(site, free, check, options, allowed)
    scale = _start(problem, check, site.shares_scale, options, allowed)
    integers, scale = solve(problem, site.weights, scale, grid, site.shares_scale, options, partner)
    rounded = scale[..., None] * integers
    before, after = (float(check.error(w).sum()) for w in (site.nearest(), rounded))
    if not after <= before:
        site.shift_bias(best_bias(site.nearest(), moments.inputs, moments.outputs))
        return Skipped(site.layer.name, "round", "no other rounding is better than the nearest")
    site.store(rounded, scale)
    site.shift_bias(best_bias(rounded, moments.inputs, moments.outputs))
    numbers = {"objective before": before, "objective after": after}
    return Applied(site.layer.name, "round", "weights rounded for the least output error", numbers)


def _damped(
    site: Site, free: Quadratic, check: Quadratic, options: Rounding, allowed: Allowed
) -> Quadratic:
    """The problem with the pull whose nearest plane serves the held-back samples best."""
    scale, grid, partner = allowed

    def error(damping: float) -> float:
        integers = nearest_plane(free.damped(site.weights, damping), scale, grid, partner)
        return float(check.error(scale[..., None] * integers).sum())

    choose = len(options.damping) > 1
    damping = min(options.damping, key=error) if choose else options.damping[0]
    return free.damped(site.weights, damping)


def _start(
    problem: Quadratic, check: Quadratic, shared: bool, options: Rounding, allowed: Allowed
) -> Scales:
    """The scales to start with; wider ones are tried as long as a row gains by them."""
    scale, grid, partner = allowed
    best, least = scale, torch.full_like(scale, torch.inf)
    for factor in options.starts:
        tried = factor * scale
        integers = nearest_plane(problem, tried, grid, partner)
        error = check.error(tried[..., None] * integers)
        if shared:
            error = error.sum().expand_as(scale)
        better = error < least
        if not bool(better.any()):
            break
        best, least = tried.where(better, best), error.where(better, least)
    return best


def _allowed(site: Site, pair_safe: Pairs | None) -> Allowed:
    """The scale to start with, the integers allowed, and which of them meet.

    Of 7-bit integers any two are safe.
    """
    grid = site.quantizer.grid
    if pair_safe is None or grid.bits != 8 or adds_no_pairs(site.layer):
        return site.scale, grid, None
    partner = partners(site.layer, pair_safe)
    if partner is not None:
        return site.scale, grid, partner
    narrow, rows = replace(grid, bits=7), site.weights.flatten(0, 1)
    scale, _ = scale_zero_point(*minmax(rows, None if site.shares_scale else 0), narrow)
    return scale.expand(len(rows)).reshape(site.scale.shape), narrow, None


def solve(
    problem: Quadratic,
    weights: Weights,
    scale: Scales,
    grid: Grid,
    shared: bool,
    options: Rounding,
    partner: Partners | None = None,
) -> tuple[Weights, Scales]:
    """Integers and scales of small error.

    Args:
        problem: A regular problem.
        weights: The float weights.
        scale: Scales to start with.
        grid: The integers allowed.
        shared: Whether all outputs have one scale.
        options: See `Rounding`.
        partner: Which columns meet in a kernel that saturates; see `tersor.core.pairs`.
    """
    integers = closest(problem, weights, scale, grid, partner, options.sweeps)
    if integers.shape[-1] <= _FEW:
        wanted = best_weights(problem)
        chosen, least = enumerate_choices(problem, wanted, scale, grid, partner)
        better = least < problem.error(scale[..., None] * integers)
        integers = chosen.where(better[..., None], integers)
    for _ in range(options.rescale):
        scale = best_scale(problem, integers, scale, shared)
        integers = descend(problem, integers, scale, grid, partner, options.sweeps)
    return integers, scale
