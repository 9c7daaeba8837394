"""ONNX files with integer weights, and their check in the real runtime."""
