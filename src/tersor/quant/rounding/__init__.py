"""Weights rounded with samples: one walk over the layers, and its solvers."""
