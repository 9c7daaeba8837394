"""The arithmetic of onnxruntime's integer kernels (MLAS, on x86), operation by operation."""
