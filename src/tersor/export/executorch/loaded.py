"""Runs `.pte` files in ExecuTorch, with the attributes of other runtimes."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.data.given.feeds import Arrays
from tersor.errors import InvalidInputError
from tersor.export.executorch.mark import check_mark
from tersor.export.kernels import Kernel
from tersor.export.sessions.runtime import Config, Runtime
from tersor.frontend.explain import first_line

NAME = "executorch"
NOTES = "tersor_notes"  # the method of a program that returns its notes
_FORWARD = "forward"
# Numbers that ExecuTorch gives to types: executorch/schema/scalar_type.fbs
_TYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 6: "float32", 11: "bool"}


def is_installed() -> bool:
    """True if ExecuTorch can be imported."""
    return find_spec("executorch") is not None


def check_installed() -> None:
    """Check that ExecuTorch can be imported.

    Raises:
        InvalidInputError: It cannot.
    """
    if not is_installed():
        raise InvalidInputError("ExecuTorch is missing: pip install 'tersor[executorch]'")


@dataclass(frozen=True)
class Notes:
    """What Tersor writes beside a program, as bytes of JSON that a method of it returns.

    Attributes:
        version: The version of Tersor.
        inputs: Name → shape, with a name for each open axis.
        outputs: Names of the outputs.
        layers: Name of each layer → why it computes in float; empty if on integers.
        outside: Names of the layers that are in no delegate of XNNPACK.
    """

    version: str
    inputs: Mapping[str, list[int | str]]
    outputs: list[str]
    layers: Mapping[str, str]
    outside: list[str]

    def as_tensor(self) -> Tensor:
        """The JSON as a tensor of bytes."""
        return torch.tensor([*json.dumps(asdict(self)).encode()], dtype=torch.uint8)

    def kernels(self) -> list[Kernel]:
        """How each layer is computed."""
        return [
            Kernel(name, "layer", "portable" if name in self.outside else "XNNPACK", reason)
            for name, reason in self.layers.items()
        ]


class ExecuTorchRuntime(Runtime):
    """One `.pte` file, loaded by ExecuTorch on the CPU, with the attributes of `Runtime`.

    Attributes:
        notes: What Tersor wrote beside the program; None if something else wrote it.
    """

    def __init__(
        self, path: str | Path, *, config: Config = (), threads: int | None = None
    ) -> None:
        """Load a file.

        Args:
            path: The file.
            config: Ignored, since these are onnxruntime's session options.
            threads: Number of threads; ExecuTorch chooses by default.

        Raises:
            InvalidInputError: ExecuTorch is not installed, or cannot load the file; or the file is
                not what Tersor wrote.
        """
        del config
        check_installed()
        self.path = Path(path)
        content = check_mark(self.path)
        self.version = f"ExecuTorch {version(NAME)}"
        self._load(content, threads)
        self.metadata = {}

    def _load(self, content: bytes, threads: int | None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing it warns that it may change
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime as ExecuTorch

        if threads is not None:
            portable_lib._unsafe_reset_threadpool(threads)
        try:
            self._program = ExecuTorch.get().load_program(content)
            self._method: Any = self._program.load_method(_FORWARD)
            self.notes = self._read_notes()
            self._describe()
        except Exception as error:
            raise InvalidInputError(
                f"ExecuTorch cannot load {str(self.path)!r}: {first_line(error)}; it may be "
                "damaged, or from another version, so write it again"
            ) from error

    def _read_notes(self) -> Notes | None:
        if NOTES not in self._program.method_names:
            return None
        method: Any = self._program.load_method(NOTES)
        stored = method.execute([])[0]
        return Notes(**json.loads(bytes(stored.to(torch.uint8).tolist())))

    def _describe(self) -> None:
        """Read names, shapes and types of inputs and outputs."""
        meta = self._method.metadata
        given = [meta.input_tensor_meta(i) for i in range(meta.num_inputs())]
        made = [meta.output_tensor_meta(i) for i in range(meta.num_outputs())]
        shapes = {f"input_{i}": list(x.sizes()) for i, x in enumerate(given)}
        names = [f"output_{i}" for i in range(len(made))]
        if self.notes is not None:
            shapes, names = dict(self.notes.inputs), self.notes.outputs
        self.inputs = {name: tuple(shape) for name, shape in shapes.items()}
        self.outputs = self.compared = tuple(names)
        self.output_shapes = dict(zip(names, (tuple(x.sizes()) for x in made), strict=True))
        types = (np.dtype(_TYPES[int(x.dtype())]) for x in given)
        self.dtypes = dict(zip(self.inputs, types, strict=True))

    @property
    def largest(self) -> dict[str, int]:
        """Name of each open axis → the largest size for which the program has memory."""
        meta = self._method.metadata
        return {
            axis: meta.input_tensor_meta(i).sizes()[place]
            for i, shape in enumerate(self.inputs.values())
            for place, axis in enumerate(shape)
            if isinstance(axis, str)
        }

    def _in_fixed_batches(self, feed: Arrays) -> list[Arrays]:
        """Parts of the one size that the program takes, or of at most its largest."""
        batch = next(iter(self.inputs.values()), (None,))[0]
        if not isinstance(batch, str):
            return super()._in_fixed_batches(feed)
        return list(self.split(feed, self.largest[batch]))

    def kernels(self) -> list[Kernel]:
        """How each layer is computed; nothing is known of a file that Tersor did not write."""
        return [] if self.notes is None else self.notes.kernels()

    def _run(self, feed: Arrays) -> list[Any]:
        values: list[Any] = [torch.from_numpy(np.ascontiguousarray(x)) for x in feed.values()]
        return [x.clone().numpy() for x in self._method.execute(values)]
