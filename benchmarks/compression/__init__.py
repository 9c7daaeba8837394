"""Networks of fewer multiplications: factorized, pruned, or both."""
