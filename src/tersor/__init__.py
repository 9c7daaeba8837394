"""Quantization and compression of PyTorch and ONNX models, to verified ONNX files."""

from tersor.checks import inspect, verify
from tersor.compressed import Compressed
from tersor.compression import compress
from tersor.diagnosis.flow import diagnose
from tersor.errors import TersorError
from tersor.export.machine import doctor
from tersor.graph.load import load
from tersor.levels import Compression, DataFree, WithData
from tersor.mixed import Bits, search_bits
from tersor.pareto import Pareto, pareto
from tersor.quant.lsq import LSQ
from tersor.quant.scheme import Scheme
from tersor.quantized import Quantized
from tersor.recipes import quantize
from tersor.report.contents import Report
from tersor.report.differences import compare
from tersor.train.options import Training
from tersor.training import Trainable, train, trainable

__version__ = "0.1.0.dev0"

__all__ = [
    "LSQ",
    "Bits",
    "Compressed",
    "Compression",
    "DataFree",
    "Pareto",
    "Quantized",
    "Report",
    "Scheme",
    "TersorError",
    "Trainable",
    "Training",
    "WithData",
    "compare",
    "compress",
    "diagnose",
    "doctor",
    "inspect",
    "load",
    "pareto",
    "quantize",
    "search_bits",
    "train",
    "trainable",
    "verify",
]
