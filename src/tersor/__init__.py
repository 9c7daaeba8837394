"""Data-free int8 quantization of PyTorch models to verified ONNX files."""

__version__ = "0.1.0.dev0"
