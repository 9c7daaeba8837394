"""Training of quantized networks: the loop and its parts."""
