"""Which range each quantizer has: from weights, from samples, or from what users say."""
