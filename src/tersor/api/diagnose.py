"""Find out step by step why a quantized network is worse than the float network.

After the samples, the order follows the white paper, arXiv 2106.08295, §6:

    do the samples fit → is the float network right → weights alone, activations alone →
    each quantizer alone → what is unusual about the worst → what would help

Three things differ from the paper. No labels are needed, because outputs are compared with those of
the float network. The exported file is run as well, because kernels can be wrong. Every remedy is
tried before it is suggested.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tersor.api.diagnosis.exam import Exam
from tersor.api.diagnosis.findings import Diagnosis
from tersor.api.diagnosis.given_samples import samples_findings
from tersor.api.diagnosis.remedies import Case
from tersor.api.diagnosis.sanity import float_checks, not_finite, runtime_checks, wrong_in_float
from tersor.api.frame import Frame, OnStep, split_bits
from tersor.api.loading import opened
from tersor.api.quantize import quantize
from tersor.api.steps import STEPS as LEVEL_STEPS
from tersor.checked import Count, Positive, checked
from tersor.data.given.feeds import Data
from tersor.data.given.samples import repeatable, samples, samples_or_random
from tersor.data.given.shown import captured_with
from tersor.data.outputs.outputs import Metric, Outputs
from tersor.data.walk.observe import Batch
from tersor.files import temporary_folder
from tersor.frontend.capture import Example, Keywords, Model
from tersor.frontend.dynamic import Dynamic
from tersor.graph.network import Network, OnLayer
from tersor.names import SchemeName
from tersor.quant.idle_options import range_matters
from tersor.quant.levels import DataFree, WithData
from tersor.quant.placement.patterns import patterns
from tersor.quant.ranges.input_range import InputRange, input_ranges
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import find_scheme
from tersor.report.progress import shows_progress
from tersor.results.quantized import Quantized

OWN_STEPS = (
    "check the float network",
    "run the exported file",
    "quantize weights alone, and activations alone",
    "quantize one edge at a time",
    "try remedies",
)
STEPS = (*LEVEL_STEPS, *OWN_STEPS)


@checked("model", "exclude", "input_range")
@shows_progress(len(STEPS))
def diagnose(
    model: Model | str | Path,
    example: Example = None,
    *,
    data: Data = None,
    test: Data = None,
    original: str | Path | None = None,
    kwargs: Keywords | None = None,
    dynamic: Dynamic | None = None,
    scheme: SchemeName | Scheme = "onnxruntime-cpu",
    weights: int | Mapping[str, int] | None = None,
    activations: int | Mapping[str, int] | None = None,
    input_range: InputRange | None = None,
    exclude: Iterable[str] = (),
    options: DataFree | WithData | None = None,
    metric: Metric | None = None,
    tolerance: Positive = 0.03,
    most: Count = 64,
    every_edge: bool = False,
    on_step: OnStep | None = None,
    on_layer: OnLayer | None = None,
) -> Diagnosis:
    """Explain what is wrong with a model once it is quantized, why, and what to do about it.

    Args:
        model: As for `quantize`. It is never changed.
        example: As for `quantize`.
        data: As for `quantize`.
        test: Unlabelled samples on which the damage is measured. Default: `data`, or else random
            inputs.
        original: The ONNX file from which the model was read. The captured graph is compared with
            it. Default: `model`, if that is the name of such a file.
        kwargs: As for `quantize`.
        dynamic: As for `quantize`.
        scheme: As for `quantize`.
        weights: Bits of the weights, as for `quantize`.
        activations: Bits of the activations, as for `quantize`.
        input_range: Lowest and highest value of the inputs, as for `quantize`.
        exclude: Layers and sub-modules that stay in floating point, as for `quantize`.
        options: Which steps to take, as for `quantize`.
        metric: Damage to the outputs of a batch, compared with those of the float model:
            `metric(outputs, reference)`. Higher is worse, and the mean over the batches counts.
            Default: noise over signal, averaged over the outputs.
        tolerance: The largest acceptable damage. A noise-to-signal ratio of 3 % equals 15 dB.
        most: Largest number of samples on which the damage is measured.
        every_edge: Whether to quantize one edge at a time even if nothing is wrong.
        on_step: Called with the name of each step before it runs.
        on_layer: Called after each layer that is rounded with data, and after each edge.

    Returns:
        The measurements, what is wrong, and what to do. Print it for a report.

    Raises:
        TersorError: The model, the data or an option cannot be used, as for `quantize`.
    """
    say = on_step or (lambda _: None)
    data, test = repeatable(data), repeatable(test)
    shown = test if data is None else data
    if isinstance(model, str | Path) and Path(model).suffix == ".onnx":
        original = original or model
    model, example = opened(model, example)
    network, _ = captured_with(model, example, kwargs, shown, dynamic)
    say(OWN_STEPS[0])
    judged = data if test is None else test
    ends = input_ranges(network.copy(), input_range) if judged is None else None
    batches = samples_or_random(network, judged, most, ends)
    reference = _outputs(network, batches)
    if wrong := not_finite(network, batches, reference):
        return Diagnosis((), findings=(wrong,))
    told = samples_findings(network, batches if judged is not None else [])
    chosen: dict[str, Any] = {"scheme": scheme, "weights": weights, "activations": activations}
    if judged is None and not range_matters(network, find_scheme(scheme)):
        input_range = None  # nothing but the random inputs lies within it
    chosen |= {"input_range": input_range, "exclude": patterns(exclude), "options": options}
    with temporary_folder() as folder:
        path = folder / "float.onnx"
        checks = float_checks(original or model, network, batches, reference, path)
        if findings := wrong_in_float(checks):
            return Diagnosis(tuple(checks), findings=(*told, *findings))
        chosen["tolerance"] = None  # what ruins the outputs is looked for, not left in float
        quantized = quantize(network, data=data, **chosen, on_step=on_step, on_layer=on_layer)
        say(OWN_STEPS[1])
        of_file, findings, notes = runtime_checks(quantized, batches, tolerance, path)
    say(OWN_STEPS[2])
    case = _case(network, quantized, data, chosen, (batches, reference, metric))
    exam = Exam(case, quantized.network, tolerance)
    if exam.is_bad or every_edge:
        say(OWN_STEPS[3])
        exam.sweep(on_layer)
    if exam.is_bad:
        say(OWN_STEPS[4])
        findings.insert(0, exam.finding())
    if test is None and data is None:
        notes.append(
            "All figures are for random inputs, which may look worse than real ones; give samples "
            "with data= or test= (--data, --test) for a real test."
        )
    found = (tuple(exam.culprits), (*told, *findings), tuple(notes))
    return Diagnosis((*checks, *of_file, *exam.checks), *found, is_noise=metric is None)


def _outputs(network: Network, batches: Sequence[Batch]) -> list[Outputs]:
    with torch.no_grad():
        return [network(*args, **kwargs) for args, kwargs in batches]


def _case(
    network: Network,
    quantized: Quantized,
    data: Data,
    chosen: Mapping[str, Any],
    judge: tuple[Sequence[Batch], list[Outputs], Metric | None],
) -> Case:
    """The same quantization as a `Case`, which can be varied part by part."""
    bits, read = (split_bits(chosen[side])[1] for side in ("weights", "activations"))
    frame = Frame(quantized.scheme, bits, read, chosen["exclude"])
    options = chosen["options"] or (DataFree() if data is None else WithData())
    seen = samples(network, data, options.samples) if isinstance(options, WithData) else None
    return Case(network, frame, options, seen, chosen["input_range"], *judge).reshape()
