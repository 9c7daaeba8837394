"""Writes a network as an ONNX file with PyTorch's translations, without a file that came in.

lower (quantizers → integers) → translate → tidy
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
import torch

from tersor.data.given.feeds import input_names
from tersor.errors import ExportError, TersorError
from tersor.export.onnx import carried_parts, plain_recurrent
from tersor.export.onnx.lower import lower
from tersor.export.onnx.quantize_ops import TRANSLATIONS
from tersor.export.onnx.signature import free_axes, name_output_axes, output_names
from tersor.export.onnx.storage import Written
from tersor.export.onnx.tidy import tidy
from tersor.graph.network import Network

#: The opset that is written; others are converted from it.
OPSET = 21
#: Ops that PyTorch's exporter does not know, or not as one node → their translations.
CUSTOM = TRANSLATIONS | carried_parts.TRANSLATIONS | plain_recurrent.TRANSLATIONS


def write_anew(network: Network, integer_clip: bool = True) -> Written:
    """Write a network as a new file.

    Args:
        network: The network; it is not changed.
        integer_clip: See `tersor.quant.scheme.Scheme`.

    Raises:
        ExportError: The graph has no ONNX form.
        UnsupportedError: A quantizer has no ONNX form.
    """
    names = input_names(network), output_names(network)
    lowered = lower(network, integer_clip)
    model = _translate(lowered.network)
    tidy(model, *names, network.axes)
    name_output_axes(model, network)
    return Written(model, lowered.grids, lowered.folded)


def _translate(network: Network) -> ir.Model:
    """Translate call by call, or else with the whole of PyTorch's exporter, which says why not."""
    network.module.eval()
    try:
        from tersor.export.onnx.translation.translate import translate  # may be missing in PyTorch

        with torch.no_grad(), _quiet():
            return translate(network, OPSET, CUSTOM)
    except Exception:  # noqa: BLE001
        return _exported(network)


def _exported(network: Network) -> ir.Model:
    """Run PyTorch's own exporter, without its messages."""
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(
                network.module, network.args, network.kwargs, dynamic_shapes=free_axes(network)
            )
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                custom_translation_table=CUSTOM,
            )
    except TersorError:
        raise
    except Exception as error:
        reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"the network has no ONNX form: {reason[0]}") from error
    assert onnx_program is not None
    return onnx_program.model


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide notices about optional packages, what cannot be folded, and torch's own deprecations."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx._internal.exporter", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
