"""onnxscript's optimizer, in time that does not grow with the square of the graph.

Its rule that makes one Split of two Slices looks through all nodes at every node, which takes most
of its time in large graphs. So that rule is left out: two Slices take no longer than a Split. The
others prepare a match for every node, whatever its op is; here they are only asked where it fits.
"""

from functools import cache
from typing import Any

import onnx_ir as ir
import onnxscript.optimizer
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes
from onnxscript import rewriter
from onnxscript.rewriter.pattern import RewriteRule

_ROUNDS = 2
_SLOW = "SlicesSplit"


def simplify(model: ir.Model) -> None:
    """Compute what is constant, merge nodes, and remove what is not needed.

    Args:
        model: Changed in place; what it computes stays.
    """
    rules: list[Any] = [
        _AtItsOp(rule) for rule in rewriter._DEFAULT_REWRITE_RULES if rule.name != _SLOW
    ]
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


class _AtItsOp:
    """A rule that looks at the op of a node before anything else; in all else it is that rule."""

    def __init__(self, rule: RewriteRule) -> None:
        self._rule = rule
        self._fits = cache(rule._target_pattern.output_nodes[0].op.matches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)

    def try_rewrite(self, model: ir.Model, graph: Any, node: ir.Node, **options: Any) -> Any:
        """What the rule makes of a node; None where it does not match."""
        if not self._fits(node.op_type):
            return None
        return self._rule.try_rewrite(model, graph, node, **options)
