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
from jaxtyping import Bool, Float, Int64
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
    drawn = [_leaves(colours, height, width, generator) for _ in range(count)]
    return torch.stack([_painted(leaves, height, width) for leaves in drawn])


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


def _painted(leaves: _Leaves, height: int, width: int) -> Float[Tensor, "colours height width"]:
    """Each place has the colour of the leaf on top, of those that cover it."""
    top = torch.zeros(height * width, dtype=torch.int64)  # the lowest leaf is the background
    reach = math.sqrt(2) * leaves.axes.amax(1)
    reach[0] = 0
    near = 1
    while near < 2 * reach.max():
        chosen = ((near / 2 < reach) & (reach <= near)).nonzero()[:, 0]
        if len(chosen):
            places, numbers = _covered(leaves, chosen, min(near, max(height, width)), height, width)
            top.scatter_reduce_(0, places, numbers, "amax")
        near *= 2
    return leaves.shades[top].T.reshape(-1, height, width)


def _covered(
    leaves: _Leaves, chosen: Int64[Tensor, " some"], near: int, height: int, width: int
) -> tuple[Int64[Tensor, " places"], Int64[Tensor, " places"]]:
    """Each place that some leaves cover, all within a distance of their centres, and the leaf."""
    window = torch.arange(-near, near + 1)
    (row, column), (length, breadth) = leaves.centres[chosen].T, leaves.axes[chosen].T
    rows, columns = (centre.long()[:, None] + window for centre in (row, column))
    y, x = (rows - row[:, None])[:, :, None], (columns - column[:, None])[:, None]
    cos, sin = (f(leaves.angles[chosen])[:, None, None] for f in (torch.cos, torch.sin))
    along = (x * cos + y * sin) / length[:, None, None]
    across = (y * cos - x * sin) / breadth[:, None, None]
    is_round = leaves.is_round[chosen][:, None, None]
    distance = torch.where(
        is_round, along.square() + across.square(), along.abs().max(across.abs())
    )
    inside = distance < 1
    inside &= ((rows >= 0) & (rows < height))[:, :, None]
    inside &= ((columns >= 0) & (columns < width))[:, None]
    places = (rows * width)[:, :, None] + columns[:, None]
    return places[inside], chosen[:, None, None].expand_as(inside)[inside]
