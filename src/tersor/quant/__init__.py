"""Passes that change the function within the bits: placement, ranges, rounding, correction."""
