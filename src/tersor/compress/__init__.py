"""Compression: fewer multiplications. Every method edits a float `Network`."""
