"""Weights of few bits, rounded with a few unlabelled samples."""
