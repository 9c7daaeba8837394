"""The errors Tersor raises on purpose.

Every message names the layer or argument, the offending value, and what to do next.
"""


class TersorError(Exception):
    """Base of every error that Tersor raises on purpose."""


class CaptureError(TersorError):
    """The model could not be turned into a graph."""


class InvalidModelError(TersorError):
    """The model itself cannot be used, for instance because of NaN, or it is already quantized."""


class InvalidInputError(TersorError):
    """Another argument than the model cannot be used: example inputs, data, options, paths."""


class UnsupportedError(TersorError):
    """The request is valid, but Tersor or the target runtime cannot do it."""


class ExportError(TersorError):
    """The ONNX file could not be built or written."""


class OutOfMemoryError(TersorError):
    """An allocation failed: there is not enough memory for what was asked."""


class UnmappedError(ExportError):
    """A change has no place in the file that came in; a new file is written instead."""


class TersorWarning(UserWarning):
    """Base of every warning that Tersor gives: the work goes on, and its result is doubtful."""


class SamplesWarning(TersorWarning):
    """The samples are not like those that the network was trained on."""


class RangeWarning(TersorWarning):
    """The range of an input is a guess."""


class CheckpointWarning(TersorWarning):
    """The last checkpoint is damaged, and the one before it is used."""
