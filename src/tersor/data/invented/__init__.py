"""Inputs for where the user gave none."""
