"""`tersor inspect` and `tersor verify`: look at a model, and compare a file with its model."""

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import data_options, limit_options, options
from tersor.cli.intact import check_intact
from tersor.cli.output import one_line, show


def inspect(
    model: options.Model,
    scheme: options.SchemeName = "onnxruntime-cpu",
    example: options.Example = None,
    dequantize: options.Dequantize = False,
    dynamic: options.Dynamic = None,
    fix: options.Fix = None,
    custom_ops: options.CustomOps = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the layers of a model, what each pass can and cannot do with it, and why.

    Weight ranges and imbalance (the largest over the smallest range of an output channel) are those
    after BatchNorm is folded. `equalized` is the imbalance that is left after equalization.

    For example:

        tersor inspect model.pt2

        tersor inspect mycode:make_model --example 1,3,224,224 --json
    """
    from tersor.api.inspect import inspect as inspect_model
    from tersor.api.loading import opened
    from tersor.api.steps import STEPS
    from tersor.cli import choices
    from tersor.quant.schemes import find_scheme
    from tersor.report.progress import progress

    with one_line(debug), progress(len(STEPS) + 1) as bar:
        bar.step("load the model")
        fixed = dict(fix) if fix else None
        network, own = opened(model, dequantize=dequantize, fix=fixed, custom_ops=custom_ops)
        given = choices.example(network, example) or own
        inspection = inspect_model(
            network,
            given,
            dynamic=choices.opened(dynamic),
            scheme=find_scheme(scheme),
            on_step=bar.step,
        )
    show(inspection.as_dict() if as_json else inspection)


def verify(
    reference: Annotated[
        str, typer.Argument(metavar="FLOAT", help="The float model: .onnx, .pt2, module:function.")
    ],
    quantized: Annotated[
        Path | None,
        typer.Argument(
            metavar="QUANTIZED",
            help="The quantized .onnx. With one file only, it is checked whether it is still what "
            "Tersor wrote.",
        ),
    ] = None,
    data: data_options.VerifyData = None,
    resize: data_options.Resize = None,
    crop: data_options.Crop = None,
    mean: data_options.Mean = None,
    std: data_options.Std = None,
    tokenizer: data_options.Tokenizer = None,
    fix: options.Fix = None,
    exact: options.Exact = False,
    min_sqnr: limit_options.MinSqnr = None,
    min_agreement: limit_options.MinAgreement = None,
    max_drop: limit_options.MaxDrop = None,
    max_size: limit_options.MaxSize = None,
    max_latency: limit_options.MaxLatency = None,
    metric: limit_options.Metric = None,
    max_metric: limit_options.MaxMetric = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare a quantized ONNX file with its float model, both run in the target runtime.

    For example:

        tersor verify model.onnx model.int8.onnx --data images.npz

        tersor verify model.pt2 model.int8.onnx

        tersor verify model.onnx model.int8.onnx --exact

        tersor verify model.int8.onnx
    """
    if quantized is None:
        given = {"data": data, "resize": resize, "crop": crop, "mean": mean, "std": std}
        given |= {"tokenizer": tokenizer, "fix": fix, "min_sqnr": min_sqnr, "metric": metric}
        given |= {"min_agreement": min_agreement, "max_drop": max_drop, "max_size": max_size}
        given |= {"max_latency": max_latency, "max_metric": max_metric, "exact": exact or None}
        check_intact(reference, given, as_json, debug)
        return
    from tersor.api.verify import verify as verify_file
    from tersor.cli import choices
    from tersor.cli.limit_options import check_labels, check_limits
    from tersor.cli.proving import SAMPLES, fail, say_verdict
    from tersor.export.proof.limits import Limits
    from tersor.export.proof.verify import STEPS as VERIFY_STEPS
    from tersor.frontend.own_code import find_function
    from tersor.report.progress import progress
    from tersor.report.tables import pairs_table

    limits = Limits(min_sqnr, min_agreement, max_drop, max_size, max_latency, max_metric)
    with one_line(debug), progress(len(VERIFY_STEPS)) as bar:
        check_limits(limits, metric, verify=True, keep=False)
        (source,) = choices.sources((data,), resize, crop, mean, std, tokenizer)
        check_labels(limits, source)
        batches, labels = choices.read(source, bar)
        fixed = dict(fix) if fix else None
        checked = verify_file(
            reference,
            quantized,
            batches,
            fix=fixed,
            labels=labels,
            metric=None if metric is None else find_function(metric),
            max_metric=max_metric,
            exact=exact,
            on_step=bar.step,
        )
        failures = tuple(limits.failures(checked))
    where = f"on {data}" if data else f"on {checked.inputs}; give --data for a real test"
    if as_json:
        names = reference, str(quantized), data or SAMPLES
        show({**checked.as_dict(*names), "failures": list(failures)})
    else:
        show(pairs_table(f"Verified {where}", checked.rows()))
        say_verdict(checked, (reference, str(quantized)), data)
    fail(failures)
