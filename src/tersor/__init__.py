"""Quantization and compression of PyTorch and ONNX models, to verified ONNX files.

The public names are listed in `__init__.pyi`. Each is imported when it is first used, so that the
command line shows its help without waiting for PyTorch.
"""

import lazy_loader

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
