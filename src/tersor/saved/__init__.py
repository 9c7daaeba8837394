"""Files of results: a network as tensors and JSON, without anything that could run."""
