"""Passes that leave the function of the network unchanged."""
