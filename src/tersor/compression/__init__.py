"""Compression of networks within a budget: factorization, channel pruning and trained gates."""
