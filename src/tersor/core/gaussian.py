"""The mean, variance and range of a scalar function of a Gaussian.

Everything is elementwise over channels: `mean`, `std` and the results share one shape. The sums
run in float64 and come back in the dtype of `mean`.
"""

from collections.abc import Callable, Sequence
from math import pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.errors import InvalidInputError

Bound = float | int | Float[Tensor, "..."]

LANDMARKS = tuple(sorted([0.0, *(sign * z for sign in (-1, 1) for z in (1, 3, 6, 12, 24, 48))]))
"""The points where activation functions bend: 0, ±1, ±3 and 6, on a scale of 1 around the origin.

Integration and search split here, finely near 0 and coarsely far away, so they stay exact for
kinks at these points, and accurate however wide the Gaussian or the interval is.
"""

_REACH = 10.0  # standard deviations; the tails beyond hold a probability of 1.5e-23
_FAR = 40.0  # standard deviations; the density beyond underflows in float64


def clipped_gaussian(
    mean: Float[Tensor, "*channels"],
    std: Float[Tensor, "*channels"],
    low: Bound = 0.0,
    high: Bound = float("inf"),
) -> tuple[Float[Tensor, "*channels"], Float[Tensor, "*channels"]]:
    r"""Mean and variance of `clip(z, low, high)` for `z ~ N(mean, std²)`.

    The moments behind the analytic bias correction of DFQ (arXiv 1906.04721, section 4.2.1 and
    appendix C), arranged so that nothing cancels in the tails. With `a, b` the bounds in standard
    deviations from the mean, `φ, Q` the normal density and upper tail, and `y` the distance of
    the clipped value from `c = clip(mean, low, high)`, in standard deviations:

        L(u) = φ(u) - u Q(u)                 = E[(t - u)₊]
        M(u) = (1 + u²) Q(u) - u φ(u)        = E[(t - u)₊²]
        H(u) = ½ - M(u) - 2 u L(u)           = E[min(t₊, u)²],     t ~ N(0, 1)

        mean     = c + std (L(|a|) - L(|b|))
        variance = std² (E[y²] - (L(|a|) - L(|b|))²)
        E[y²]    = H(|a|) + H(|b|)                            if a ≤ 0 ≤ b
                 = M(a) - M(b) - 2 (b - a) L(b)               if 0 < a, and mirrored if b < 0

    Differs from the paper in: the arrangement only; the values are the same.

    Args:
        mean: Mean of `z` per channel.
        std: Standard deviation of `z`, ≥ 0; 0 is a constant and exact.
        low: Lower bound, a number or a tensor that broadcasts; may be -inf.
        high: Upper bound, `high ≥ low`; may be inf.

    Returns:
        Mean and variance of the clipped variable.

    Raises:
        InvalidInputError: If a standard deviation is negative or NaN, or `low > high`.
    """
    _require_std("clipped_gaussian", std)
    mu, sigma = mean.double(), std.double()
    lower, upper = (_spread(bound, mu) for bound in (low, high))
    if not bool((lower <= upper).all()):
        raise InvalidInputError(f"clipped_gaussian: low={low} is above high={high}; swap them.")
    center = mu.clamp(lower, upper)
    a, b = ((end - mu).div(sigma).clamp(-_FAR, _FAR).nan_to_num(0.0) for end in (lower, upper))
    (l_a, m_a), (l_b, m_b) = _excess(a.abs()), _excess(b.abs())
    shift = l_a - l_b
    inside = 1 - m_a - 2 * a.abs() * l_a - m_b - 2 * b.abs() * l_b
    outside = (m_a - m_b).abs() - 2 * (b - a) * torch.where(a > 0, l_b, l_a)
    square = torch.where(a * b > 0, outside, inside)
    below, above = (center - lower) + sigma * shift, (upper - center) - sigma * shift
    # Among distributions on [low, high] with this mean, two-point ones have the largest variance.
    largest = (below * above).nan_to_num(nan=torch.inf, posinf=torch.inf)
    variance = (sigma**2 * (square - shift**2)).minimum(largest).clamp(min=0)
    result = (center + sigma * shift).clamp(lower, upper)
    return result.to(mean.dtype), variance.to(mean.dtype)


def pushforward(
    fn: Callable[[Tensor], Tensor],
    mean: Float[Tensor, "*channels"],
    std: Float[Tensor, "*channels"],
    order: int = 16,
    kinks: Sequence[Bound] = (),
) -> tuple[Float[Tensor, "*channels"], Float[Tensor, "*channels"]]:
    """Mean and variance of `fn(z)` for `z ~ N(mean, std²)`, by Gauss–Legendre quadrature.

    `mean ± 10 std` is split into panels of two standard deviations, and again at `LANDMARKS` and
    `kinks`; each panel gets `order` nodes. For smooth functions, and for functions whose
    kinks are all split points, little more than the rounding of float64 is lost.

    Args:
        fn: Elementwise function. It is given float64 of shape `[nodes, *channels]`, so parameters
            of shape `[*channels]` broadcast.
        mean: Mean of `z` per channel.
        std: Standard deviation of `z`, ≥ 0; 0 is a constant and exact.
        order: Nodes per panel.
        kinks: Further points where `fn` bends or jumps: numbers, or tensors per channel.

    Returns:
        Mean and variance of `fn(z)`.

    Raises:
        InvalidInputError: If a standard deviation is negative or NaN.
    """
    _require_std("pushforward", std)
    mu, sigma = mean.double(), std.double()
    marks = torch.stack([_spread(mark, mu) for mark in (*LANDMARKS, *kinks)])
    marks = ((marks - mu) / sigma).clamp(-_REACH, _REACH).nan_to_num(0.0)
    panels = torch.linspace(-_REACH, _REACH, int(_REACH) + 1).to(mu)
    edges = torch.cat((_column(panels, mu).expand(-1, *mu.shape), marks)).sort(dim=0).values
    nodes, weights = _gauss_legendre(order, mu)
    start, width = edges[:-1, None], edges.diff(dim=0)[:, None]
    t = (start + width * _column(nodes, mu)).flatten(0, 1)
    p = (width * _column(weights, mu)).flatten(0, 1) * torch.exp(-(t**2) / 2)
    p = p / p.sum(dim=0)
    y = fn(mu + sigma * t)
    average = (p * y).sum(dim=0)
    variance = (p * (y - average) ** 2).sum(dim=0)
    average = torch.where(sigma > 0, average, fn(mu[None])[0])
    variance = torch.where(sigma > 0, variance, 0.0)
    return average.to(mean.dtype), variance.to(mean.dtype)


def interval(
    fn: Callable[[Tensor], Tensor],
    low: Float[Tensor, "*channels"],
    high: Float[Tensor, "*channels"],
    samples: int = 64,
    kinks: Sequence[Bound] = (),
) -> tuple[Float[Tensor, "*channels"], Float[Tensor, "*channels"]]:
    """The smallest and largest value of `fn` on `[low, high]`, by sampling and zooming in.

    The samples are evenly spaced, with both ends, `LANDMARKS` and `kinks` among them; three
    further rounds sample between the neighbours of the best one. This finds an extremum between
    samples, like the minimum of SiLU at -1.28, but not an oscillation finer than the samples.

    Args:
        fn: Elementwise function, called as in `pushforward`.
        low: Lower ends, finite.
        high: Upper ends, finite, `high ≥ low`.
        samples: Evenly spaced samples per round.
        kinks: Further points to sample: numbers, or tensors per channel.

    Returns:
        Minimum and maximum per channel.

    Raises:
        InvalidInputError: If an end is not finite or `low > high`.
    """
    lower, upper = low.double(), high.double()
    if not bool((lower.isfinite() & upper.isfinite() & (lower <= upper)).all()):
        raise InvalidInputError(f"interval: [{low}, {high}] is not a finite interval.")
    marks = torch.stack([_spread(mark, lower) for mark in (*LANDMARKS, *kinks)])
    marks = marks.clamp(lower, upper)
    smallest = _minimum(fn, lower, upper, marks, samples)
    largest = -_minimum(lambda z: -fn(z), lower, upper, marks, samples)
    return smallest.to(low.dtype), largest.to(low.dtype)


def _minimum(
    fn: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, marks: Tensor, samples: int
) -> Tensor:
    """The minimum of `fn` on `[low, high]`: sample, then zoom in around the best sample."""
    fractions = torch.linspace(0, 1, samples).to(low)
    for _ in range(4):
        even = low + (high - low) * _column(fractions, low)
        z = torch.cat((even, high[None], marks)).sort(dim=0).values
        best = fn(z).argmin(dim=0, keepdim=True)
        low = z.gather(0, (best - 1).clamp(min=0))[0]
        high = z.gather(0, (best + 1).clamp(max=len(z) - 1))[0]
        marks = z.gather(0, best)
    return fn(marks)[0]


def _excess(u: Tensor) -> tuple[Tensor, Tensor]:
    """`E[(t - u)₊]` and `E[(t - u)₊²]` of a standard normal `t`, for `u ≥ 0`."""
    density = torch.exp(-(u**2) / 2)
    tail = torch.special.erfcx(u / sqrt(2)) / 2
    peak = 1 / sqrt(2 * pi)
    return density * (peak - u * tail), density * ((1 + u**2) * tail - u * peak)


def _gauss_legendre(order: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1]: the eigenvectors of the Jacobi matrix (Golub, Welsch 1969)."""
    i = torch.arange(1, order).to(like)
    off_diagonal = torch.diag(i / torch.sqrt(4 * i**2 - 1), 1)
    nodes, vectors = torch.linalg.eigh(off_diagonal + off_diagonal.T)
    return (nodes + 1) / 2, vectors[0] ** 2


def _spread(bound: Bound, like: Tensor) -> Tensor:
    """`bound` in the shape, dtype and device of `like`."""
    return torch.as_tensor(bound, dtype=like.dtype, device=like.device).expand(like.shape)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """Shape 1-d `values` to broadcast as a new first axis of `like`."""
    return values.view(-1, *[1] * like.ndim)


def _require_std(name: str, std: Tensor) -> None:
    """Refuse standard deviations that are negative or NaN."""
    if not bool((std >= 0).all()):
        raise InvalidInputError(
            f"{name}: std={std.tolist()} holds a negative or NaN value; pass absolute values "
            "(a BatchNorm weight may be negative)."
        )
