"""min Σ_l c[l, k_l]  such that  Σ_l s[l, k_l] ≤ B: the multiple-choice knapsack, solved exactly.

Layer by layer, all partial choices are kept that could still be part of the best one: those for
which no other is both smaller and cheaper, and whose bound

    c + λ (s − B) + Σ_{later l} min_k (c[l, k] + λ s[l, k])

does not exceed the cost of a known choice. λ is that of the tightest bound (the Lagrangian dual),
so that few choices are left however many layers there are.

An integer-programming solver would do as well, except for its tolerances: costs span many orders of
magnitude.
"""

from bisect import bisect_left

import numpy as np
from jaxtyping import Float, Int

from tersor.errors import InvalidInputError

Costs = Float[np.ndarray, "layers choices"]
Sizes = Int[np.ndarray, "layers choices"]
Choice = Int[np.ndarray, " layers"]

_SLACK = 1e-9  # for the rounding of sums


def knapsack(costs: Costs, sizes: Sizes, budget: int) -> Choice:
    """Choose for each layer such that the total cost is smallest within the budget.

    Args:
        costs: The cost of each choice; choices of infinite cost are never made.
        sizes: The size of each choice.
        budget: Largest total size.

    Returns:
        The index of each layer's choice; among equally cheap ones, the smallest in size.

    Raises:
        InvalidInputError: No choice is small enough, or a cost is NaN.
    """
    if np.isnan(costs).any():
        raise InvalidInputError(f"costs of layer {np.isnan(costs).any(1).argmax()} are NaN")
    possible = np.isfinite(costs)
    if not possible.any(1).all():
        raise InvalidInputError(f"every choice of layer {possible.any(1).argmin()} costs infinity")
    smallest = np.where(possible, sizes, sizes.max()).min(1).sum()
    if smallest > budget:
        raise InvalidInputError(
            f"a budget of {budget:,} is too small: the smallest possible size is {smallest:,}"
        )
    price, known = _price(costs, sizes, budget)
    if price == 0:
        return known
    return _search(costs, sizes, budget, price, _total(costs, known))


def _total(values: Costs | Sizes, choice: Choice) -> float:
    return float(values[np.arange(len(choice)), choice].sum())


def _price(costs: Costs, sizes: Sizes, budget: int) -> tuple[float, Choice]:
    """Find λ, the price of size at which the budget suffices, and the choices just above it."""
    free = _at_price(costs, sizes, 0.0)
    if _total(sizes, free) <= budget:
        return 0.0, free
    turns = _turns(costs, sizes)
    above = np.append((turns[:-1] + turns[1:]) / 2, 2 * turns[-1])

    def suffices(price: float) -> bool:
        return _total(sizes, _at_price(costs, sizes, price)) <= budget

    first = bisect_left(above, True, hi=len(above) - 1, key=suffices)
    return float(turns[first]), _at_price(costs, sizes, float(above[first]))


def _turns(costs: Costs, sizes: Sizes) -> Float[np.ndarray, " turns"]:
    """Compute every price at which two choices of a layer are equally cheap, in order."""
    saved = sizes[:, :, None] - sizes[:, None, :]
    lost = np.where(np.isfinite(costs), costs, np.nan)
    prices = (lost[:, None, :] - lost[:, :, None])[saved > 0] / saved[saved > 0]
    return np.unique(prices[prices > 0])


def _at_price(costs: Costs, sizes: Sizes, price: float) -> Choice:
    """Find the cheapest choices if size has a price; among equally cheap ones, the smallest."""
    total = costs + price * sizes
    cheapest = total == total.min(1, keepdims=True)
    return np.where(cheapest, sizes, np.iinfo(sizes.dtype).max).argmin(1)


def _search(costs: Costs, sizes: Sizes, budget: int, price: float, known: float) -> Choice:
    """Search all choices that may be better than the best known one."""
    bounds = (costs + price * sizes).min(1)
    later = bounds.sum() - bounds.cumsum()
    slack = _SLACK * (abs(known) + price * budget)
    size, cost = np.zeros(1, sizes.dtype), np.zeros(1)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for of_layer, size_of_layer, rest in zip(costs, sizes, later, strict=True):
        cost = (cost[:, None] + of_layer).ravel()
        size = (size[:, None] + size_of_layer).ravel()
        kept = np.flatnonzero(cost + price * (size - budget) + rest <= known + slack)
        kept = kept[np.lexsort((cost[kept], size[kept]))]
        cheapest = np.minimum.accumulate(cost[kept])
        kept = kept[np.append(True, cheapest[1:] < cheapest[:-1])]
        cost, size = cost[kept], size[kept]
        steps.append(np.divmod(kept, len(of_layer)))
    best = int(np.where(size <= budget, cost, np.inf).argmin())
    choice = np.zeros(len(costs), dtype=np.int64)
    for layer in reversed(range(len(costs))):
        before, chosen = steps[layer]
        choice[layer], best = chosen[best], before[best]
    return choice
