"""Samples on their way through a network, node by node, within bounded memory."""
