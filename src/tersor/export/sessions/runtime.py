"""Creates onnxruntime sessions in one place, and checks batches against what a file expects."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tersor.data.given.feeds import Arrays, feed
from tersor.errors import InvalidInputError
from tersor.export.sessions.odd_values import is_compared, plain
from tersor.graph.carried_model import libraries

_NUMBERS = 1 << 20  # of the inputs that run at a time
_ERRORS_ONLY = 3
_SPINNING = "session.intra_op.allow_spinning"
#: Idle threads of one session must not spin on the cores while another one is timed.
CALM = {"session.force_spinning_stop": "1"}

Config = Mapping[str, str] | Iterable[tuple[str, str]]


class Runtime:
    """One ONNX file, loaded by onnxruntime on the CPU.

    Its idle threads sleep, unless it is loaded with the options `CALM`, as for timing.

    Attributes:
        path: The file.
        inputs: Input name → shape, with a name instead of a number for each free axis.
        outputs: Output names.
        compared: Names of the outputs that are numbers, also those of maps and sequences.
        output_shapes: Output name → shape, likewise.
        dtypes: Input name → element type.
        metadata: Notes that the writer of the file left in it.
        version: The runtime and its version.
    """

    version = f"onnxruntime {ort.__version__}"

    def __init__(
        self,
        path: str | Path,
        *,
        optimize: bool = True,
        config: Config = (),
        threads: int | None = None,
        optimized_path: Path | None = None,
    ) -> None:
        """Load a file.

        Args:
            path: The file.
            optimize: As users run the file; if False, every node is computed as it is in the file.
            config: Session options such as `{"session.x64quantprecision": "1"}`.
            threads: Number of threads within a node; onnxruntime chooses by default.
            optimized_path: Path for the graph that onnxruntime makes of the file.

        Raises:
            InvalidInputError: There is no such file, or onnxruntime cannot load it.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise InvalidInputError(f"there is no file {str(path)!r}")
        options = _options(optimize, dict(config), threads, optimized_path)
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            lines = str(error).strip().splitlines()
            raise InvalidInputError(
                f"onnxruntime cannot load {str(path)!r} with options {dict(config)}: {lines[-1]}"
            ) from error
        self.inputs = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        self.output_shapes = {v.name: tuple(v.shape) for v in self._session.get_outputs()}
        self.outputs = tuple(self.output_shapes)
        self.compared = tuple(v.name for v in self._session.get_outputs() if is_compared(v.type))
        self.dtypes = {v.name: _numpy_dtype(v.type) for v in self._session.get_inputs()}
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, batch: Any) -> Arrays:
        """Run one batch; see `feed` for its forms."""
        return self.run(self.feed(batch))

    def run(self, feed: Arrays) -> Arrays:
        """Run arrays that `feed` has checked.

        A file with a fixed batch takes a multiple of it in several runs.
        """
        parts = [self._run(part) for part in self._in_fixed_batches(feed)]
        values = parts[0]
        if len(parts) > 1:
            values = [np.concatenate(found) for found in zip(*parts, strict=True)]
        return dict(zip(self.outputs, values, strict=True))

    def _run(self, feed: Arrays) -> list[Any]:
        """Run one part of a feed; returns the outputs in order."""
        return [plain(value) for value in self._session.run(None, feed)]

    def numbers(self, feed: Arrays) -> list[np.ndarray]:
        """Run arrays, as `run` does; returns the outputs that are numbers, in order."""
        found = self.run(feed)
        return [found[name] for name in self.compared]

    def _fixed_batch(self) -> int | None:
        """The only size of a batch that the file takes, if there is one."""
        sizes = {shape[0] if shape else None for shape in self.inputs.values()}
        size = sizes.pop() if len(sizes) == 1 else None
        return size if isinstance(size, int) and size >= 1 else None

    def _in_fixed_batches(self, feed: Arrays) -> list[Arrays]:
        size = self._fixed_batch()
        counts = {len(array) if array.ndim else 0 for array in feed.values()}
        if size is None or len(counts) != 1:
            return [feed]
        count = counts.pop()
        if count <= size or count % size:
            return [feed]
        starts = range(0, count, size)
        return [{name: x[start : start + size] for name, x in feed.items()} for start in starts]

    def feed(self, batch: Any) -> Arrays:
        """Convert a batch to one array per input, checked; see the function `feed`.

        A file with a fixed batch takes a multiple of it; see `run`.
        """
        size = self._fixed_batch()
        if size is None:
            return feed(batch, self.inputs, self.dtypes)
        open_ended = {name: ("any", *shape[1:]) for name, shape in self.inputs.items()}
        found = feed(batch, open_ended, self.dtypes)
        counts = {len(array) for array in found.values()}
        if len(counts) == 1 and not counts.pop() % size:
            return found
        return feed(batch, self.inputs, self.dtypes)

    def renamed(self, feed: Arrays) -> Arrays:
        """Rename the arrays of another file to the input names of this one, in the same order.

        Raises:
            InvalidInputError: The files take different numbers of inputs.
        """
        if len(feed) != len(self.inputs):
            raise InvalidInputError(
                f"{str(self.path)!r} takes inputs {list(self.inputs)}, the other file {list(feed)}"
            )
        return dict(zip(self.inputs, feed.values(), strict=True))

    def split(self, feed: Arrays, size: int, first: int = 0) -> Iterator[Arrays]:
        """Split into at most `size` samples each, or into batches of the one size that is taken.

        Nothing is split if some inputs have a free batch axis and others have none.

        Args:
            feed: The inputs by name.
            size: The largest number of samples in a part.
            first: That of the first part, if it is another one.
        """
        if self._fixed_batch() is not None:
            yield from self._in_fixed_batches(feed)
            return
        lengths = {len(array) if array.ndim else 0 for array in feed.values()}
        fixed = any(not shape or isinstance(shape[0], int) for shape in self.inputs.values())
        if fixed or len(lengths) > 1:
            yield feed
            return
        ends = [*range(first or size, count := lengths.pop(), size), count]
        for start, end in pairwise([0, *ends] if count else []):
            yield {name: array[start:end] for name, array in feed.items()}


def at_once(feed: Arrays, most: int) -> int:
    """How many samples to run at a time so that their values take little memory.

    Args:
        feed: The inputs by name.
        most: The largest number.
    """
    numbers = sum(array.size for array in feed.values())
    counts = [len(array) for array in feed.values() if array.ndim]
    return min(most, max(1, _NUMBERS * max(counts, default=1) // max(1, numbers)))


def _options(
    optimize: bool, config: dict[str, str], threads: int | None, optimized_path: Path | None
) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads is not None:
        options.intra_op_num_threads = threads
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
    for library in libraries():
        options.register_custom_ops_library(library)
    if not CALM.items() <= config.items():
        config = {_SPINNING: "0", **config}
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    return options


def _numpy_dtype(onnx_type: str) -> np.dtype:
    """`tensor(int64)` → int64."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))
