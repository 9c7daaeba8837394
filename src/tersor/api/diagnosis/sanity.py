"""Check everything that has nothing to do with rounding: the float network, files and kernels."""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tersor.api.diagnosis.findings import Check, Finding, Fix
from tersor.data.given.feeds import network_feed
from tersor.data.outputs.outputs import floats, noise_to_signal
from tersor.data.walk.observe import Batch
from tersor.data.walk.stream import Stream
from tersor.export.by_name import suffix_of
from tersor.export.onnx.writer import export_onnx
from tersor.export.proof.tally import Comparison
from tersor.export.proof.verify import Options, verify
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.onnx.model import OnnxModel
from tersor.graph.network import Network, quiet_copy
from tersor.quant.noise.symptoms import may_saturate
from tersor.results.quantized import Quantized, runtime_of

SAME = 1e-4  # 40 dB: acceptable noise over signal between float networks that should be equal
_WORSE = 4.0  # factor on the noise of the file without integer kernels that is still acceptable
_SHOWN = 4


def not_finite(network: Network, batches: Sequence[Batch], reference: list[Any]) -> Finding | None:
    """Find where a float network begins to compute NaN or +∞, if its outputs contain any.

    Minus infinity alone is not a fault, because it is used to mask outputs.

    Args:
        network: The float network.
        batches: Inputs, as `(args, kwargs)`.
        reference: The outputs of the network for these inputs.
    """
    if not any(_is_broken(x) for outputs in reference for x in floats(outputs)):
        return None
    stream = Stream(network, batches, simulate=False)
    for node in network.graph.nodes:
        stream.run(node)
        values = stream.values.get(node.name, ())
        if any(_is_broken(x) for value in values for x in floats(value)):
            what = f"The float network itself computes NaN or infinity, first in {node.name!r}"
            return Finding(what, (f"this node is {node.target}; check its inputs",))
    return Finding("The float network itself returns NaN or infinity")


def _is_broken(x: Tensor) -> bool:
    return bool((x.isnan() | x.isposinf()).any())


def float_checks(
    model: Any, network: Network, batches: Sequence[Batch], reference: list[Any], path: Path
) -> list[Check]:
    """Compare the captured graph with the model, and the exported float file with the graph.

    Args:
        model: What was captured: a module, an ONNX file, or something that cannot be run by itself.
        network: The captured network.
        batches: Inputs, as `(args, kwargs)`.
        reference: The outputs of the captured network for these inputs.
        path: Where the float file is written.
    """
    checks = []
    if isinstance(model, str | Path):
        noise = noise_to_signal(_run(Runtime(model), network, batches), _lists(reference))
        checks.append(Check("the captured graph against the file in onnxruntime", noise, SAME))
    elif isinstance(model, nn.Module) and not isinstance(model, OnnxModel):
        with quiet_copy(), torch.no_grad():
            float_model = copy.deepcopy(model).eval()
            outputs = [float_model(*args, **kwargs) for args, kwargs in batches]
        noise = noise_to_signal(_lists(outputs), _lists(reference))
        checks.append(Check("the captured graph against the model", noise, SAME))
    runtime = Runtime(export_onnx(network, path, expected=False).path)
    noise = noise_to_signal(_run(runtime, network, batches), _lists(reference))
    checks.append(Check("its float file in onnxruntime against the captured graph", noise, SAME))
    return checks


def wrong_in_float(checks: list[Check]) -> list[Finding]:
    """Report the comparisons of the float network that failed.

    Args:
        checks: See `float_checks`.
    """
    return [
        Finding(
            f"The float network is wrong even before it is quantized: {check.name}, {check}",
            ("this is a fault of the import, not of your model; please report it",),
        )
        for check in checks
        if not check.is_fine
    ]


def _run(runtime: Runtime, network: Network, batches: Sequence[Batch]) -> list[Any]:
    outputs = []
    for batch in batches:
        feed = network_feed(network, _inputs(batch))
        found = runtime.run(runtime.renamed(feed)).values()
        outputs.append([torch.from_numpy(np.asarray(array)) for array in found])
    return outputs


def _inputs(batch: Batch) -> tuple[Tensor, ...]:
    return tuple(x for x in pytree.tree_leaves(batch) if isinstance(x, Tensor))


def _lists(outputs: Iterable[Any]) -> list[Any]:
    """Outputs as flat lists: a model and a file may return them in different structures."""
    return [floats(each) for each in outputs]


def runtime_checks(
    quantized: Quantized, batches: Sequence[Batch], limit: float, float_path: Path
) -> tuple[list[Check], list[Finding], list[str]]:
    """Compare the exported file with the simulation, without integer kernels and as users run it.

    Args:
        quantized: The result of `quantize`.
        batches: Inputs, as `(args, kwargs)`.
        limit: The largest acceptable noise over signal.
        float_path: The float file. The quantized file is written to the same folder.

    Returns:
        The two comparisons, what is wrong, and further remarks.
    """
    name = f"quantized{suffix_of(quantized.scheme)}"
    path = quantized.export(float_path.with_name(name)).path
    inputs = [_inputs(batch) for batch in batches]
    runtime, session = runtime_of(quantized.scheme)
    options = Options(latency=False, runtime=runtime, config=session)
    found = verify(float_path, quantized.network, path, inputs, options)
    exact, runtime = _noise(found.exported), _noise(found.runtime)
    checks = [Check(f"the file in {found.runtime_name} against the simulation", runtime, limit)]
    if found.exported:  # an ONNX file
        what = "the exported file without integer kernels against the simulation"
        checks.insert(0, Check(what, exact, limit))
    scheme = quantized.scheme
    adds_pairs = scheme.pair_safe is None and not scheme.session and not scheme.activation.signed
    pairs = may_saturate(quantized.network) if adds_pairs else []
    notes = [_may_saturate(pairs)] if pairs else []
    if found.in_float:
        names = _listed([f"{name} ({reason})" for name, reason in found.in_float])
        stay = "1 layer stays" if len(found.in_float) == 1 else f"{len(found.in_float)} layers stay"
        notes.append(f"{stay} in float in {found.runtime_name}: {names}.")
    return checks, wrong_in_runtime(exact, runtime, limit, pairs), notes


def wrong_in_runtime(exact: float, runtime: float, limit: float, pairs: list[str]) -> list[Finding]:
    """Interpret the two comparisons with the simulation.

    Args:
        exact: Noise over signal of the file without integer kernels.
        runtime: Noise over signal of the file as users run it.
        limit: The largest acceptable noise over signal.
        pairs: Layers whose sums of two products may saturate 16 bits.
    """
    if exact > limit:
        what = "The exported file does not compute what the simulation does"
        details = ("this is a fault of the exporter, not of your model; please report it",)
        return [Finding(what, details)]
    if runtime <= max(limit, _WORSE * exact):
        return []
    what = "The integer kernels of this machine do not compute what the file specifies"
    details = [f"sums of two products saturate 16 bits in {_listed(pairs)}"] if pairs else []
    fix = Fix('scheme="onnxruntime-cpu"', "--scheme onnxruntime-cpu")
    return [Finding(what, tuple(details), (fix,))]


def _may_saturate(names: list[str]) -> str:
    return (
        f"On x86 CPUs without VNNI, {len(names)} layers may saturate 16 bits ({_listed(names)}). "
        "The scheme onnxruntime-cpu rules this out."
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _noise(compared: dict[str, Comparison]) -> float:
    return max((10 ** (-c.sqnr / 10) for c in compared.values()), default=0.0)
