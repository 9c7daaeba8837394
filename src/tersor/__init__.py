"""Quantization and compression of PyTorch and ONNX models, to verified ONNX files.

The public names are listed in `__init__.pyi`. Each is imported when it is first used, so that the
command line shows its help without waiting for PyTorch.
"""

import sys
from types import ModuleType

import lazy_loader

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Package(ModuleType):
    """Importing the folders `compress` and `train` leaves the functions of the same name alone."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
