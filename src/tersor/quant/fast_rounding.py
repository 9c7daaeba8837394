"""min_Z E‖y − s Z x̂‖², layer by layer: rounding with a few unlabelled samples, the fast solver.

AdaRound, arXiv 2004.10568, chooses for every weight whether it is rounded up or down, such that the
output of its layer changes least. x̂ comes from the previous layers, which are already quantized,
and y from the float network. Here the same problem is solved on the Gram matrix of x̂, which needs
one pass over the data and no training (`tersor.core.quadratic`). The steps are nearest plane,
coordinate descent, every choice if rows have few weights (depthwise layers), then alternately scale
and integers, and finally the bias.

Differs from the paper in: weights may move further than to the next integer. The scale is fitted
along with them, and the bias absorbs the mean error. A layer whose output is added to a shortcut
also compensates the error of the shortcut. The following activation is not part of the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from tersor.checked import Count, CountOrZero, Positive, PositiveOrZero, ProperShare, checked
from tersor.core.descent import Product, descend_from
from tersor.core.lattice import closest, enumerate_choices
from tersor.core.plane import Scales
from tersor.core.quadratic import Quadratic, Weights, best_bias, best_scale
from tersor.core.ranges import minmax, scale_zero_point
from tersor.data.given.sample_rows import sample_counts
from tersor.data.walk.gram import Moments
from tersor.data.walk.observe import Batch
from tersor.graph.lanes import Pairs, partners
from tersor.graph.network import Applied, Network, Skipped
from tersor.quant.placement.quantizer import adds_pairs
from tersor.quant.rounding.enough_samples import enough, fewest_bits, in_pieces
from tersor.quant.rounding.layer_task import LayerTask
from tersor.quant.rounding.layerwise import Setting, round_layers
from tersor.quant.rounding.trials import Allowed, Damped, best_damping, best_start

_NO_GAIN = "hardly any of its error comes from rounding its weights, so they keep the nearest"
_FINE = 8  # bits from which the error of the activations may outweigh that of the weights
_NARROW = 64  # weights of a row up to which a Gram matrix costs next to nothing
_LEAST = 1e-3  # of its error: what a sweep must take from a row, or the row is done
_FEW = 10  # weights of a row up to which every choice is tried


@checked()
@dataclass(frozen=True)
class Rounding:
    """Options of the fast solver.

    Attributes:
        samples: Output positions that are sampled for the Gram matrix; more reduce its noise.
        fine_samples: The same for weights of 8 bits or more, where rounding adds less noise than
            the activations. For these, only the middle damping and the first start are tried.
        fine_numbers: If all weights have 8 bits or more: how many numbers the widest value of the
            network may have for all samples that they are rounded with; two batches at least. More
            samples are only used for the ranges of activations.
        glance: Output positions that tell whether wide layers of 8 bits or more are worth a search:
            not if their float weights are hardly better than the nearest integers.
        samples_per_weight: Least and largest number of positions for each weight of a row.
        damping: Candidates for the pull towards the float weights, as shares of the mean diagonal
            of the Gram matrix. The one that is best on held-out samples is used.
        starts: Candidates for the initial scale, as multiples of that of the range; each row, or
            all long rows of a layer of 4 bits or more together, use the one whose nearest plane is
            best on held-out samples. With few bits, a scale fitted to the weights alone is too
            small, and alternating between scale and integers does not leave it. None may be below
            1: larger integers than those of the range may overflow in pairs.
        rescale: Number of times that the scale is fitted to the integers, and these to the scale.
        sweeps: Largest number of sweeps of coordinate descent.
        least_gain: The share of a layer's error that real numbers in place of its integers could
            take away, below which nearest rounding is kept without a search. It counts for weights
            of 8 bits or more, where most of the error may be that of the activations.
        seed: Seed of the sampled positions.
    """

    samples: CountOrZero = 100_000
    fine_samples: CountOrZero = 10_000
    fine_numbers: CountOrZero = 1 << 24
    glance: Count = 1_000
    samples_per_weight: tuple[Count, Count] = (20, 200)
    damping: tuple[PositiveOrZero, ...] = (0.01, 0.1, 1.0)
    starts: tuple[Positive, ...] = (1.0, 1.15, 1.3, 1.5)
    rescale: CountOrZero = 2
    sweeps: CountOrZero = 20
    least_gain: ProperShare = 0.02
    seed: int = 0

    def positions(self, inputs: int) -> int:
        """The number of output positions to sample for rows of so many weights."""
        least, most = (share * inputs for share in self.samples_per_weight)
        return min(max(self.samples, least), most)

    def at(self, bits: int) -> "Rounding":
        """The options for weights of so many bits: fine ones need fewer positions and trials.

        Args:
            bits: The width of the weights.
        """
        if bits < _FINE:
            return self
        middle = len(self.damping) // 2
        return replace(
            self,
            samples=min(self.samples, self.fine_samples),
            damping=self.damping[middle : middle + 1],
            starts=self.starts[:1],
        )

    def round(
        self,
        network: Network,
        batches: Sequence[Batch],
        setting: Setting = Setting(),  # noqa: B008
    ) -> None:
        """Choose the integers of every quantized weight, its scale and the bias.

        Args:
            network: As for `tersor.quant.rounding.layerwise.Solver`.
            batches: As for `tersor.quant.rounding.layerwise.Solver`.
            setting: As for `tersor.quant.rounding.layerwise.Solver`.
        """
        round_one = partial(round_layer, options=self, pair_safe=setting.pair_safe)
        if batches and fewest_bits(network) >= _FINE:
            few, held_back = enough(network, batches, setting.held_back, self.fine_numbers)
            if len(few) < len(batches):
                network.records.append(_told(few, batches))
            batches, setting = few, replace(setting, held_back=held_back)
        batches, held_back = in_pieces(network, batches, setting.held_back)
        setting = replace(setting, held_back=held_back)
        round_layers(network, batches, round_one, setting, self.seed)


def _told(used: Sequence[Batch], batches: Sequence[Batch]) -> Applied:
    few, count = (sum(sample_counts(found)) for found in (used, batches))
    what = f"{few} of {count} samples are enough to round weights of {_FINE} bits with"
    return Applied("the samples", "choose", what)


def round_layer(
    task: LayerTask, options: Rounding, pair_safe: Pairs | None = None
) -> Applied | Skipped:
    """Round one layer.

    Args:
        task: The layer.
        options: See `Rounding`.
        pair_safe: See `tersor.quant.rounding.layerwise.Setting`.
    """
    if task.layer.is_transposed:
        task.correct_mean()
        return Skipped(task.layer.name, "round", "it is a transposed convolution")
    fitting = options.at(task.quantizer.grid.bits)
    if task.quantizer.grid.bits >= _FINE and task.weights.shape[-1] > _NARROW:
        few = task.moments(slice(None), options.glance)
        free, near = few.centered(), task.nearest()
        before, least = (float(free.error(w).sum()) for w in (near, task.weights))
        if before - least < options.least_gain * before:
            return _keep_nearest(task, few, _NO_GAIN)
    return round_measured(task, *both_moments(task, fitting), fitting, pair_safe)


def both_moments(task: LayerTask, options: Rounding) -> tuple[Moments, Moments]:
    """Measure the data of a layer: the data to round with, and the data to check the result.

    Args:
        task: The layer.
        options: See `Rounding`.
    """
    positions = options.positions(task.weights.shape[-1])
    moments = task.moments(task.used, positions)
    return moments, task.moments(task.judges, positions) if task.held_back else moments


def round_measured(
    task: LayerTask,
    moments: Moments,
    held: Moments,
    options: Rounding,
    pair_safe: Pairs | None = None,
) -> Applied | Skipped:
    """Round one layer whose data have been measured.

    Args:
        task: The layer.
        moments: Its data.
        held: The held-out data, which check the result.
        options: See `Rounding`.
        pair_safe: See `tersor.quant.rounding.layerwise.Setting`.
    """
    options = options.at(task.quantizer.grid.bits)
    free = moments.centered()
    check = free if held is moments else held.centered()
    before = float(check.error(task.nearest()).sum())
    allowed = _allowed(task, pair_safe)
    damped = best_damping(free, check, task.weights, options.damping, allowed)
    if task.quantizer.grid.bits >= _FINE:
        real = (task.weights, damped.wanted)
        least = min(float(check.error(each).sum()) for each in real)
        if before - least < options.least_gain * before:
            return _keep_nearest(task, moments, _NO_GAIN)
    integers, scale = _solve(task, damped, check, allowed, options)
    rounded = scale[..., None] * integers
    after = float(check.error(rounded).sum())
    if not after <= before:
        return _keep_nearest(task, moments, "no other rounding is better than the nearest")
    task.store(rounded, scale)
    task.shift_bias(best_bias(rounded, moments.inputs, moments.outputs))
    numbers = {"objective before": before, "objective after": after}
    return Applied(task.layer.name, "round", "weights rounded for the least output error", numbers)


def _keep_nearest(task: LayerTask, moments: Moments, reason: str) -> Skipped:
    """Keep the nearest integers, and correct the bias for them."""
    task.shift_bias(best_bias(task.nearest(), moments.inputs, moments.outputs))
    return Skipped(task.layer.name, "round", reason)


def _allowed(task: LayerTask, pair_safe: Pairs | None) -> Allowed:
    """The initial scale, the allowed integers, and the columns that form pairs.

    Without known pairs, 7-bit integers are used, as any two of them are safe.
    """
    grid = task.quantizer.grid
    if pair_safe is None or not adds_pairs(task.layer, task.quantizer):
        return task.scale, grid, None
    partner = partners(task.layer, pair_safe)
    if partner is not None:
        return task.scale, grid, partner
    narrow, rows = replace(grid, bits=7), task.weights.flatten(0, 1)
    scale, _ = scale_zero_point(*minmax(rows, None if task.shares_scale else 0), narrow)
    return scale.expand(len(rows)).reshape(task.scale.shape), narrow, None


def _solve(
    task: LayerTask, damped: Damped, check: Quadratic, allowed: Allowed, options: Rounding
) -> tuple[Weights, Scales]:
    """Find integers and scales of small error."""
    _, grid, partner = allowed
    problem, shared = damped.problem, task.shares_scale
    plane, scale = best_start(damped.plane, damped.wanted, check, allowed, shared, options.starts)
    found = closest(problem, task.weights, scale, grid, partner, options.sweeps, plane, _LEAST)
    if plane.shape[-1] <= _FEW:
        chosen, least = enumerate_choices(problem, damped.wanted, scale, grid, partner)
        better = least < problem.error(scale[..., None] * found.integers)
        integers = chosen.where(better[..., None], found.integers)
        found = Product(integers, integers @ problem.gram)
    for _ in range(options.rescale):
        scale = best_scale(problem, found.integers, scale, shared, found.product)
        found = descend_from(
            found, problem, scale, grid, partner, options.sweeps, least_gain=_LEAST
        )
    return found.integers, scale
