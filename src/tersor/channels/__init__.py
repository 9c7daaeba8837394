"""Finds the channels of a network that go together: labels, partition, rescaling, removal."""
