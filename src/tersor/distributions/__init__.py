"""Distributions of the values of a network, inferred without data: rules per op, propagation."""
