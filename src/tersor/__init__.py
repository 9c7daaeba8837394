"""Quantization of PyTorch and ONNX models to verified ONNX files, without data or with a little."""

from tersor.checks import inspect, verify
from tersor.errors import TersorError
from tersor.graph.load import load
from tersor.mixed import Bits, search_bits
from tersor.quant.scheme import Scheme
from tersor.quantized import Quantized
from tersor.recipes import DataFree, WithData, quantize

__version__ = "0.1.0.dev0"

__all__ = [
    "Bits",
    "DataFree",
    "Quantized",
    "Scheme",
    "TersorError",
    "WithData",
    "inspect",
    "load",
    "quantize",
    "search_bits",
    "verify",
]
