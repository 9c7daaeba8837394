"""Data-free int8 quantization of PyTorch models to verified ONNX files."""

from tersor.errors import TersorError
from tersor.graph.load import load
from tersor.quant.scheme import Scheme
from tersor.recipes import DataFree, Quantized, inspect, quantize, verify

__version__ = "0.1.0.dev0"

__all__ = [
    "DataFree",
    "Quantized",
    "Scheme",
    "TersorError",
    "inspect",
    "load",
    "quantize",
    "verify",
]
