"""Training of quantized networks: accuracy by bits, configuration, start and loss; and its cost."""
