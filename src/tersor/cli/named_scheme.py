"""Finds the target that the options of a command name."""

from dataclasses import replace
from pathlib import Path

from tersor.errors import InvalidInputError
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import find_scheme

_USUAL = "onnxruntime-cpu"  # scheme
_PROGRAMS = ("executorch-xnnpack", "executorch-dynamic")  # schemes, the usual one first


def find_target(
    name: str, every_layer: bool, output: Path, activations: int | None = None
) -> Scheme:
    """Find the target, and whether layers that integers make slower are quantized, too.

    Args:
        name: Name of the scheme.
        every_layer: The option `--every-layer`.
        output: The file to write: a `.pte` is for ExecuTorch, unless another target is named.
        activations: Bits of activations, if they are given.

    Raises:
        InvalidInputError: Every layer is quantized for this target in any case, or the target or
            the width is not for such a file.
    """
    if output.suffix == ".pte":
        name = _program_scheme(name, output, activations)
    scheme = find_scheme(name)
    if every_layer and scheme.speed is None:
        raise InvalidInputError(
            f"--every-layer has no effect with {name!r}, where every layer that has an integer "
            "kernel is quantized. Leave it out"
        )
    return replace(scheme, speed=None) if every_layer else scheme


def _program_scheme(name: str, output: Path, activations: int | None) -> str:
    """The scheme for a program of ExecuTorch."""
    if name not in (_USUAL, *_PROGRAMS):
        raise InvalidInputError(
            f"--scheme {name} is not for ExecuTorch, which runs {output.name!r}; leave it out, "
            f"or call the file {output.stem}.onnx"
        )
    if activations not in (None, 8):
        raise InvalidInputError(
            f"{output.name!r} is for ExecuTorch, whose kernels compute with activations of 8 bits, "
            f"not {activations}; give --activations 8, or call the file {output.stem}.onnx"
        )
    return name if name in _PROGRAMS else _PROGRAMS[0]


def then_quantized(
    name: str, output: Path, weights: int | None, activations: int | None
) -> Scheme | None:
    """Find the target of a network that is quantized after it was compressed; None if it is not.

    Args:
        name: Name of the scheme.
        output: The file to write.
        weights: Bits of the weights, if the network is quantized.
        activations: Bits of the activations, if they are given.

    Raises:
        InvalidInputError: As `find_target`; or integers are described, but not asked for.
    """
    if weights is not None:
        return find_target(name, False, output, activations)
    idle = {"--activations": activations, "--scheme": None if name == _USUAL else name}
    for option, value in idle.items():
        if value is not None:
            raise InvalidInputError(
                f"{option} {value} has no effect without --weights, which quantizes what is left; "
                f"give --weights 8, or leave {option} out"
            )
    return None
