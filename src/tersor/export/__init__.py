"""Writes ONNX files with integer weights, and verifies them in the real runtime."""
