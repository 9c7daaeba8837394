"""A network from a wheel that is opened without its dependencies; what these define is made up.

Its Python code is run, unlike that of other wheels here.
"""

import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock, patch

import torch
from torch import nn

from benchmarks.real_files.wheels import Wheel

ULTRALYTICS = "ultralytics==8.4.190"
_OTHERS = ("cv2", "matplotlib", "PIL", "polars", "psutil", "requests", "torchvision")


class _MadeUp(ModuleType):
    """A module that has everything one asks for, and none of it does anything."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        del path, target
        is_one = fullname.partition(".")[0] in self.names
        return ModuleSpec(fullname, self, is_package=True) if is_one else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _MadeUp(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def yolov8n(cache: Path | None = None) -> nn.Module:
    """The YOLOv8n of Ultralytics with random weights; see `yolov8`."""
    return yolov8("n", cache)


def yolov8(size: str, cache: Path | None = None) -> nn.Module:
    """A YOLOv8 of Ultralytics with random weights, as the package makes it.

    Args:
        size: Its size, such as `"s"`.
        cache: The folder of wheels; see `benchmarks.real_files`.

    Raises:
        NotFetchedError: The wheel is not to be had.
    """
    folder = Wheel(ULTRALYTICS, cache).unpack()
    missing = [name for name in _OTHERS if find_spec(name) is None]
    sys.path.append(str(folder))
    with _made_up(missing):
        from ultralytics.nn.tasks import DetectionModel  # type: ignore[import-not-found]

        torch.manual_seed(0)
        return DetectionModel(f"yolov8{size}.yaml", verbose=False).eval()


@contextmanager
def _made_up(names: Sequence[str]) -> Iterator[None]:
    """Let packages be imported that are missing; afterwards others find them missing again."""
    known, finder = importlib.metadata.version, _Finder(names)
    sys.meta_path.append(finder)
    try:
        with patch("importlib.metadata.version", lambda n: "99.0" if n in names else known(n)):
            yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if type(module) is _MadeUp]:
            del sys.modules[name]
