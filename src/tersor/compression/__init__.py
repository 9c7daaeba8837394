"""Smaller networks: parts, trials, plans; factors, pruning, gates; budgets, also of latency."""
