"""A simulation of a file that does the arithmetic of onnxruntime's own kernels, bit for bit."""
