"""Rewrites that make a network smaller: fewer multiplications, not fewer bits."""
