"""Chooses how far each part of a network is compressed, such that all fit into a budget.

    equal loss      max a  such that  Σ_u s_u(c_u) ≤ B,  c_u the smallest c with Ω_u(c) ≤ a
    least loss      min Σ_u Ω_u(c_u)  such that  Σ_u s_u(c_u) ≤ B

Ω_u(c) is the damage to the outputs if part u alone is compressed to c, and s_u(c) is the cost of
the part at c. The first rule is that of arXiv 1912.09802 (one level of accuracy for all parts). The
second is a multiple-choice knapsack problem, solved exactly (`tersor.core.knapsack`).

Differs from the paper in: damage replaces accuracy, so that no labels are needed, and more is
worse. A part never gets a candidate that costs more than another one and damages no less.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tersor.core.knapsack import knapsack
from tersor.errors import InvalidInputError
from tersor.names import BudgetRule


class TooSmallError(InvalidInputError):
    """A budget is too small.

    Attributes:
        least: The smallest cost that was reached, in the unit of the budget.
    """

    def __init__(self, budget: int, least: int) -> None:
        """Compose the message.

        Args:
            budget: The budget.
            least: The smallest cost that was reached.
        """
        super().__init__(
            f"a budget of {budget:,} is too small: the smallest value reached is {least:,}. "
            "Give a larger one, or allow more methods"
        )
        self.least = least


@dataclass(frozen=True)
class Candidate:
    """One way to compress a part.

    Attributes:
        what: How to compress it, as a value that only the code that applies it interprets. None
            leaves the part as it is.
        cost: Cost of the part in this way: MACs, parameters, bytes, or nanoseconds.
        damage: Damage to the outputs of the network.
    """

    what: object
    cost: int
    damage: float


@dataclass(frozen=True)
class Curve:
    """Damage against cost of one part.

    Attributes:
        part: Its name.
        candidates: At least one, in any order.
    """

    part: str
    candidates: tuple[Candidate, ...]

    def front(self) -> "Curve":
        """Keep the candidates that no other beats in cost and damage, the most expensive first."""
        kept: list[Candidate] = []
        for candidate in sorted(self.candidates, key=lambda c: (c.cost, c.damage)):
            if not kept or candidate.damage < kept[-1].damage:
                kept.append(candidate)
        return Curve(self.part, tuple(reversed(kept)))


def choose(
    curves: Sequence[Curve], budget: int, rule: BudgetRule = "least loss"
) -> dict[str, Candidate]:
    """Choose a candidate for each part.

    Args:
        curves: One for each part.
        budget: Largest sum of the costs.
        rule: One of the two rules above.

    Raises:
        TooSmallError: No choice fits into the budget.
        InvalidInputError: A damage is NaN.
    """
    _check(curves, budget)
    fronts = [curve.front() for curve in curves]
    picked = _equal_loss(fronts, budget) if rule == "equal loss" else _least_loss(fronts, budget)
    return {curve.part: candidate for curve, candidate in zip(fronts, picked, strict=True)}


def _check(curves: Sequence[Curve], budget: int) -> None:
    for curve in curves:
        for candidate in curve.candidates:
            if np.isnan(candidate.damage):
                raise InvalidInputError(
                    f"the damage of {candidate.what} to {curve.part!r} is NaN; check whether the "
                    "data or the results of the metric contain NaN"
                )
    least = sum(min(c.cost for c in curve.candidates) for curve in curves)
    if least > budget:
        raise TooSmallError(budget, least)


def _equal_loss(fronts: Sequence[Curve], budget: int) -> list[Candidate]:
    """Find the lowest level of damage that meets the budget, and spend the rest of the budget."""
    levels = sorted({c.damage for curve in fronts for c in curve.candidates})
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if _cost(_at_level(fronts, levels[middle])) <= budget:
            high = middle
        else:
            low = middle + 1
    return _spend(fronts, _at_level(fronts, levels[low]), budget)


def _at_level(fronts: Sequence[Curve], level: float) -> list[Candidate]:
    """The cheapest candidate of each part up to a level of damage, or the mildest if none is."""
    return [
        next((c for c in reversed(curve.candidates) if c.damage <= level), curve.candidates[0])
        for curve in fronts
    ]


def _spend(fronts: Sequence[Curve], picked: list[Candidate], budget: int) -> list[Candidate]:
    """Choose milder candidates while the budget allows it, the most damaged part first."""
    for index in sorted(range(len(picked)), key=lambda i: -picked[i].damage):
        spare = budget - _cost(picked) + picked[index].cost
        picked[index] = next(c for c in fronts[index].candidates if c.cost <= spare)
    return picked


def _least_loss(fronts: Sequence[Curve], budget: int) -> list[Candidate]:
    width = max(len(curve.candidates) for curve in fronts)
    damages = np.full((len(fronts), width), np.inf)
    costs = np.zeros((len(fronts), width), dtype=np.int64)
    for row, curve in enumerate(fronts):
        damages[row, : len(curve.candidates)] = [c.damage for c in curve.candidates]
        costs[row, : len(curve.candidates)] = [c.cost for c in curve.candidates]
    chosen = knapsack(damages, costs, budget)
    return [curve.candidates[k] for curve, k in zip(fronts, chosen, strict=True)]


def _cost(picked: Sequence[Candidate]) -> int:
    return sum(candidate.cost for candidate in picked)
