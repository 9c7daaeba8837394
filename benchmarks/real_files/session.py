"""A file in onnxruntime on one thread, and what it is asked."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

Feed = dict[str, np.ndarray]


class Session:
    """One ONNX file, run on one thread.

    Attributes:
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        feeds: What it was run with so far, if it keeps that.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        """Load a file.

        Args:
            path: The file.
            keep: Whether to keep what it is run with.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]
        self.feeds: list[Feed] = []
        self._keep = keep

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Run arrays, in the order of the inputs."""
        return self.run(dict(zip(self.inputs, arrays, strict=True)))

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run one feed; the outputs are in their order in the file.

        An input that the file has no more, as it was given a value, is left out.
        """
        if self._keep:
            self.feeds.append({name: array.copy() for name, array in feed.items()})
        given = {name: feed[name] for name in self.inputs}
        return [np.asarray(value) for value in self._session.run(None, given)]
