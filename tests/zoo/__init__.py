"""Small networks with random weights that cover what capture and every pass must handle.

from tests.zoo import ZOO

@pytest.mark.parametrize("case", ZOO.values(), ids=ZOO.keys())
def test_pass_keeps_the_function(case):
    model, args, kwargs = case.make().double(), case.args(float64), case.kwargs(float64)
"""

from tests.zoo import blocks, chains, graphs, sequences
from tests.zoo.case import Case

ZOO: dict[str, Case] = {**chains.CASES, **blocks.CASES, **graphs.CASES, **sequences.CASES}

__all__ = ["ZOO", "Case"]
