"""Runs `.pt2` files in PyTorch: compiled by Inductor, or call by call."""

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from tersor.data.given.feeds import Arrays
from tersor.errors import InvalidInputError, TersorError
from tersor.export.kernels import Kernel
from tersor.export.sessions.runtime import Config, Runtime
from tersor.frontend.explain import first_line, quiet, without_deprecations
from tersor.frontend.pt2 import load_program

NAME = "pytorch"
NOTES = "extra/tersor.notes"  # a member of the archive; PyTorch skips what lies there
_FLOAT = "its weights are not quantized"
_UNKNOWN = "one that Inductor does not name"
#: What Inductor counts when it takes an integer kernel: torch/_inductor/fx_passes/quantization.py
_COUNTS = [f"q{op}_{kind}_lower_count" for op in ("conv", "linear") for kind in ("unary", "binary")]


@dataclass(frozen=True)
class Notes:
    """What Tersor writes beside a program, as JSON.

    Attributes:
        version: The version of Tersor.
        scheme: Name of the target; empty for a float network.
        inputs: Name → shape, with a name for each open axis.
        outputs: Names of the outputs.
        layers: Name of each layer → whether its weights are stored as integers.
    """

    version: str
    scheme: str
    inputs: Mapping[str, list[int | str]]
    outputs: list[str]
    layers: Mapping[str, bool]

    def as_text(self) -> str:
        """The JSON."""
        return json.dumps(asdict(self))


def has_compiler() -> bool:
    """True if there is a C++ compiler, without which Inductor compiles nothing."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        return bool(get_cpp_compiler())
    except Exception:  # noqa: BLE001
        return False


class PyTorchRuntime(Runtime):
    """One `.pt2` file, with the attributes of `Runtime`.

    Attributes:
        notes: What Tersor wrote beside the program; None if something else wrote it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        optimize: bool = True,
        config: Config = (),
        threads: int | None = None,
    ) -> None:
        """Load a file.

        Args:
            path: The file.
            optimize: Let Inductor compile it at its first run, if there is a C++ compiler and
                Inductor can. If False, every call is computed as it is in the file.
            config: Ignored, since these are onnxruntime's session options.
            threads: Number of threads; PyTorch chooses by default.

        Raises:
            InvalidInputError: The file cannot be loaded.
        """
        del config
        self.path = Path(path)
        if not self.path.is_file():
            raise InvalidInputError(f"there is no file {str(path)!r}")
        try:
            self._program = load_program(self.path, is_quantized=True)
            self.notes = read_notes(self.path)
            self._describe(self._program)
        except TersorError as error:
            raise InvalidInputError(str(error)) from error
        except Exception as error:
            raise InvalidInputError(
                f"{str(path)!r} does not fit what is noted in it ({first_line(error)}); write it "
                "again"
            ) from error
        self._threads = threads
        self._compile_if(optimize and has_compiler(), "without a C++ compiler")
        self.metadata = {"tersor.scheme": self.notes.scheme} if self.notes else {}
        self._module = self._program.module()
        self._calls: dict[tuple[torch.Size, ...], Any] = {}  # compiled, by the sizes of inputs
        self._integer = 0  # integer kernels that Inductor uses

    def _compile_if(self, possible: bool, why: str) -> None:
        """Let Inductor compile the program, or say why every layer computes in float."""
        self._optimize, how = possible, "Inductor" if possible else "call by call"
        self.version = f"PyTorch {torch.__version__}, {how}"
        self._in_float = "" if possible else f"{why}, PyTorch computes in float"

    def _describe(self, program: ExportedProgram) -> None:
        """Read names, shapes and types of inputs and outputs."""
        given, made = (
            [
                node.meta["val"]
                for node in program.graph.nodes
                if node.name in names and isinstance(node.meta.get("val"), Tensor)
            ]
            for names in (program.graph_signature.user_inputs, program.graph_signature.user_outputs)
        )
        names = [f"output_{i}" for i in range(len(made))]
        shapes = {f"input_{i}": [*map(_size, x.shape)] for i, x in enumerate(given)}
        if self.notes is not None:
            shapes, names = dict(self.notes.inputs), list(self.notes.outputs)
        self.inputs = {name: tuple(shape) for name, shape in shapes.items()}
        self.outputs = self.compared = tuple(names)
        self.output_shapes = dict(
            zip(names, (tuple(map(_size, x.shape)) for x in made), strict=False)
        )
        types = (torch.empty(0, dtype=x.dtype).numpy().dtype for x in given)
        self.dtypes = dict(zip(self.inputs, types, strict=True))

    def _in_fixed_batches(self, feed: Arrays) -> list[Arrays]:
        """One sample at a time if the batch is open: Inductor compiles for one size."""
        batch = next(iter(self.inputs.values()), (None,))[0]
        if isinstance(batch, str) and self._optimize:
            return list(self.split(feed, 1))
        return super()._in_fixed_batches(feed)

    def _run(self, feed: Arrays) -> list[Any]:
        values = [torch.from_numpy(np.ascontiguousarray(x)) for x in feed.values()]
        spec = self._program.call_spec.in_spec
        assert spec is not None
        args, kwargs = pytree.tree_unflatten(values, spec)
        call = self._compiled(tuple(x.shape for x in values), args, kwargs)
        with torch.no_grad(), _threads(self._threads):
            results = call(*args, **kwargs)
        leaves = pytree.tree_leaves(results)
        return [x.numpy() for x in leaves if isinstance(x, Tensor)]

    def _compiled(self, sizes: tuple[torch.Size, ...], args: Any, kwargs: Any) -> Any:
        """The module, compiled for these sizes; the integer kernels are counted meanwhile."""
        if not self._optimize:
            return self._module
        if sizes not in self._calls:
            try:
                self._calls[sizes], self._integer = _compile(self._module, args, kwargs)
            except Exception as error:  # noqa: BLE001  (of Inductor, or of one of its kernels)
                inner = getattr(error, "inner_exception", error)
                why = f"since Inductor cannot compile the program ({first_line(inner)})"
                self._compile_if(False, why)
                return self._module
        return self._calls[sizes]

    def kernels(self) -> list[Kernel]:
        """How each layer is computed; nothing is known of a file that Tersor did not write."""
        if self.notes is None:
            return []
        if self._optimize and not self._calls:
            self._run(self._example())
        found = self.notes.layers
        stored = [name for name, is_integer in found.items() if is_integer]
        floats = [Kernel(name, "layer", NAME, _FLOAT) for name in found if name not in stored]
        if not self._optimize:
            return [*floats, *(Kernel(name, "layer", NAME, self._in_float) for name in stored)]
        missing = len(stored) - min(len(stored), self._integer)
        if missing:
            why = "Inductor has no integer kernel for it"
            floats += [Kernel(_UNKNOWN, "layer", "Inductor", why)] * missing
            stored = stored[missing:]
        return [*(Kernel(name, "layer", "Inductor, int8", "") for name in stored), *floats]

    def _example(self) -> Arrays:
        args, kwargs = self._program.example_inputs or ((), {})
        values = [x.numpy() for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        feed = dict(zip(self.inputs, values, strict=True))
        return self._in_fixed_batches(feed)[0]


def _compile(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, int]:
    """A module that Inductor has compiled for these sizes, and its number of integer kernels."""
    with without_deprecations(), torch.no_grad(), _frozen(), quiet():
        from torch._dynamo.utils import counters

        before = Counter(counters["inductor"])
        call = torch.compile(module, dynamic=False)
        call(*args, **kwargs)
    return call, sum(counters["inductor"][name] - before[name] for name in _COUNTS)


def read_notes(path: Path) -> Notes | None:
    """Read what Tersor wrote beside a program; None if something else wrote it.

    Args:
        path: The `.pt2` file.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.partition("/")[2] == NOTES]
        return Notes(**json.loads(archive.read(names[0]))) if names else None


def _size(size: int | torch.SymInt) -> int | str:
    return size if isinstance(size, int) else str(size)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _frozen() -> Iterator[None]:
    """Weights are constants: Inductor has integer kernels for nothing else."""
    import torch._inductor.config as inductor

    with inductor.patch(freezing=True):
        yield
