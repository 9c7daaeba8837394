"""Weights rounded with samples: one walk over the layers, which every solver uses."""
