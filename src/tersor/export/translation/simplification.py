"""onnxscript's optimizer, in time that does not grow with the square of the graph.

Its rule that makes one Split of two Slices looks through all nodes at every node, which takes most
of its time in large graphs. So that rule is left out: two Slices take no longer than a Split.
"""

import onnx_ir as ir
import onnxscript.optimizer
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes
from onnxscript import rewriter

_ROUNDS = 2
_SLOW = "SlicesSplit"


def simplify(model: ir.Model) -> None:
    """Compute what is constant, merge nodes, and remove what is not needed.

    Args:
        model: Changed in place; what it computes stays.
    """
    rules = [rule for rule in rewriter._DEFAULT_REWRITE_RULES if rule.name != _SLOW]
    passes.InlinePass()(model)
    for _ in range(_ROUNDS):
        onnxscript.optimizer.fold_constants(model, onnx_shape_inference=True)
        rewriter.rewrite(model, rules)
    Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    )(model)
