"""Random pictures of things in front of each other, as in photographs: with edges and plain faces.

    p(r) ∝ r⁻³,  r₀ ≤ r ≤ r₁:  the radius of a leaf; each one hides what lies under it

Lee, Mumford and Huang, "Occlusion models for natural images: a statistical study of a
scale-invariant dead leaves model", International Journal of Computer Vision 41 (2001). Networks
learn from such pictures what they learn from photographs: Baradad et al., arXiv 2106.05963, §3.

Differs from the paper in: the number of leaves is fixed, so that some of a plain background stays;
leaves are ellipses and rectangles; and the colours of a leaf share most of their brightness.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_LEAVES = 150
_SMALLEST, _LARGEST = 0.02, 0.5  # radii, as shares of the longer side
_STRETCH = 0.4  # deviation of the logarithm of how much longer than wide a leaf is
_OWN_COLOUR = 0.35  # of each colour, beside the brightness that all share


def dead_leaves(
    count: int, colours: int, height: int, width: int, generator: torch.Generator
) -> Float[Tensor, "count colours height width"]:
    """Draw pictures with colours of mean 0 and deviation at most 1.

    Args:
        count: Number of pictures.
        colours: 1 for grey, 3 for red, green and blue.
        height: Their height.
        width: Their width.
        generator: Draws the numbers.
    """
    drawn = [_picture(colours, height, width, generator) for _ in range(count)]
    return torch.stack(drawn)


@dataclass(frozen=True)
class _Leaves:
    """Leaves, the lowest first.

    Attributes:
        centres: Rows and columns.
        axes: Half lengths along and across.
        angles: Of the first axis.
        is_round: Whether each is an ellipse, not a rectangle.
        shades: Their colours.
    """

    centres: Float[Tensor, "leaves 2"]
    axes: Float[Tensor, "leaves 2"]
    angles: Float[Tensor, " leaves"]
    is_round: Bool[Tensor, " leaves"]
    shades: Float[Tensor, "leaves colours"]


def _leaves(colours: int, height: int, width: int, generator: torch.Generator) -> _Leaves:
    def uniform(*shape: int) -> Tensor:
        return torch.rand(_LEAVES, *shape, generator=generator)

    small, large = (share * max(height, width) for share in (_SMALLEST, _LARGEST))
    small += 1  # pixel
    radius = (small**-2 - uniform() * (small**-2 - large**-2)).rsqrt()  # the inverse of ∫ p
    stretch = (_STRETCH * torch.randn(_LEAVES, generator=generator)).exp()
    shades = uniform(1).lerp(uniform(colours), _OWN_COLOUR)
    return _Leaves(
        uniform(2) * torch.tensor([height, width]),
        torch.stack((radius * stretch, radius / stretch), 1),
        math.pi * uniform(),
        uniform() < 0.5,
        (shades - 0.5) * math.sqrt(12),  # a uniform number has a deviation of 1 / √12
    )


def _picture(colours: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    leaves = _leaves(colours, height, width, generator)
    picture = leaves.shades[0][:, None, None].repeat(1, height, width)
    for leaf in range(1, _LEAVES):
        row, column = leaves.centres[leaf].tolist()
        reach = math.sqrt(2) * float(leaves.axes[leaf].max())
        rows, columns = _near(row, reach, height), _near(column, reach, width)
        y = torch.arange(rows.start, rows.stop)[:, None] - row
        x = torch.arange(columns.start, columns.stop) - column
        is_hidden = _is_inside(leaves, leaf, y, x)
        part = picture[:, rows, columns]
        part.copy_(torch.where(is_hidden, leaves.shades[leaf][:, None, None], part))
    return picture


def _near(centre: float, reach: float, size: int) -> slice:
    """The rows or columns that a leaf may cover."""
    return slice(max(math.floor(centre - reach), 0), min(math.ceil(centre + reach), size))


def _is_inside(
    leaves: _Leaves, leaf: int, y: Float[Tensor, "rows 1"], x: Float[Tensor, " columns"]
) -> Bool[Tensor, "rows columns"]:
    """Whether each place, seen from the centre of a leaf, is inside it."""
    angle, (length, breadth) = leaves.angles[leaf], leaves.axes[leaf]
    along = (x * angle.cos() + y * angle.sin()) / length
    across = (y * angle.cos() - x * angle.sin()) / breadth
    if leaves.is_round[leaf]:
        return along.square() + across.square() < 1
    return (along.abs() < 1) & (across.abs() < 1)
