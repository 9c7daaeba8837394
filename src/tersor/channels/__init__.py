"""Which channels of a network go together: labels, partition, rescaling, removal."""
