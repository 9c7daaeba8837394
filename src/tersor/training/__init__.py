"""The training loop and its parts, for quantized and for compressed networks."""
