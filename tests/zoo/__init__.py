"""Small networks with random weights that cover what capture and every pass must handle.

A test takes them as `@pytest.mark.parametrize("case", ZOO.values(), ids=ZOO.keys())` and calls
`case.make().double()` on `case.args(torch.float64)` and `case.kwargs(torch.float64)`.
"""

from tests.zoo import blocks, chains, graphs, sequences
from tests.zoo.case import Case

ZOO: dict[str, Case] = {**chains.CASES, **blocks.CASES, **graphs.CASES, **sequences.CASES}

__all__ = ["ZOO", "Case"]
