"""`tersor quantize`: a smaller file without data, or with a few unlabelled samples."""

from tersor.cli import data_options, limit_options, options
from tersor.cli.output import one_line


def quantize(
    model: options.Model,
    output: options.Output,
    scheme: options.SchemeName = "onnxruntime-cpu",
    weights: options.Weights = None,
    bits: options.Bits = None,
    average_bits: options.AverageBits = None,
    activations: options.Activations = None,
    activation_bits: options.ActivationBits = None,
    input_range: options.InputRange = None,
    guess: options.Guess = False,
    exclude: options.Exclude = None,
    every_layer: options.EveryLayer = False,
    example: options.Example = None,
    dequantize: options.Dequantize = False,
    dynamic: options.Dynamic = None,
    fix: options.Fix = None,
    custom_ops: options.CustomOps = None,
    storage: options.StorageName = "int8",
    opset: options.Opset = None,
    input_names: options.InputNames = None,
    output_names: options.OutputNames = None,
    largest: options.Largest = None,
    data: data_options.Data = None,
    test: data_options.Test = None,
    tolerance: data_options.Tolerance = None,
    rounding: data_options.SolverName = None,
    iterations: data_options.Iterations = None,
    ranges: data_options.Ranges = None,
    samples: data_options.Samples = None,
    held_back: data_options.HeldBack = None,
    no_smooth: data_options.NoSmooth = None,
    seed: data_options.Seed = None,
    work: data_options.Work = None,
    memory: data_options.Memory = None,
    resize: data_options.Resize = None,
    crop: data_options.Crop = None,
    mean: data_options.Mean = None,
    std: data_options.Std = None,
    tokenizer: data_options.Tokenizer = None,
    report: options.ReportPath = None,
    verify: options.Verify = True,
    min_sqnr: limit_options.MinSqnr = None,
    min_agreement: limit_options.MinAgreement = None,
    max_drop: limit_options.MaxDrop = None,
    max_size: limit_options.MaxSize = None,
    max_latency: limit_options.MaxLatency = None,
    metric: limit_options.Metric = None,
    max_metric: limit_options.MaxMetric = None,
    keep_anyway: limit_options.KeepAnyway = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Quantize a model with or without data, write the ONNX file, and verify it.

    For example:

        tersor quantize model.onnx -o model.int8.onnx --input-range imagenet

        tersor quantize mycode:make_model -o model.int8.onnx --example 1,3,224,224 --input-range 0 1

        tersor quantize model.pt2 -o model.int4.onnx --weights 4 --data photographs/ --resize 256
        --crop 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
    """
    from tersor.api.quantize import quantize as quantize_model
    from tersor.api.search_bits import STEPS as SEARCH_STEPS
    from tersor.api.search_bits import search_bits
    from tersor.api.steps import STEPS, STEPS_WITH_DATA, TOLERATE
    from tersor.cli import assumed_ranges, choices, idle
    from tersor.cli.limit_options import check_labels, check_limits
    from tersor.cli.named_scheme import find_target
    from tersor.cli.proving import Proved, prove
    from tersor.cli.reports import check_report, said, save_report
    from tersor.cli.results import show_quantized
    from tersor.cli.slower import at_float_speed, in_float
    from tersor.cli.widths import check_average, with_widths
    from tersor.export.proof.limits import Limits
    from tersor.export.proof.verify import STEPS as VERIFY_STEPS
    from tersor.files import check_output
    from tersor.frontend.own_code import find_function
    from tersor.quant.scheme import Scheme
    from tersor.report.progress import progress
    from tersor.results.quantized import Quantized

    asked = {"rounding": rounding, "iterations": iterations, "ranges": ranges, "samples": samples}
    asked |= {"held_back": held_back, "seed": seed, "work": work, "average_bits": average_bits}
    asked |= {"tolerance": tolerance, "memory": memory, "no_smooth": no_smooth}
    steps = STEPS_WITH_DATA if data else STEPS
    steps += SEARCH_STEPS if average_bits else ()
    steps += (TOLERATE,) if data and tolerance != "off" else ()
    count = len(steps) + 2 + len(VERIFY_STEPS) + (report is not None)
    limits = Limits(min_sqnr, min_agreement, max_drop, max_size, max_latency, max_metric)
    with one_line(debug), progress(count) as bar:
        check_output(output, model)
        check_report(report)
        idle.check_test(test, verify, report)
        check_limits(limits, metric, verify, keep_anyway)
        own = None if metric is None else find_function(metric)
        target = find_target(scheme, every_layer, output, activations)
        check_average(average_bits, weights)
        asked_bits = with_widths(target, weights, bits, activations, activation_bits)
        wanted = asked_bits.pop("scheme")
        level = choices.with_data(data is not None, input_range is not None, asked)
        seen, tested = choices.sources((data, test), resize, crop, mean, std, tokenizer)
        check_labels(limits, tested or seen)
        seen = seen.first(level.samples) if seen and level else None
        bar.step("load the model")
        captured = choices.captured(
            model, example, seen, dequantize, input_range, fix, custom_ops, dynamic
        )
        assumed_ranges.check_guess(captured, target, data, input_range, guess)
        seen = choices.fit(captured, seen)
        tested = choices.fit(captured, tested) or seen
        sensitivity = ()
        if average_bits is not None:
            found = search_bits(
                captured,
                data=seen,
                average=average_bits,
                scheme=target,
                exclude=exclude or (),
                options=level,
                memory=memory,
                on_step=bar.step,
                on_layer=bar.layer,
            )
            sensitivity = found.sensitivities
            asked_bits["weights"] = found | dict(bits) if bits else found

        def made(scheme: Scheme, earlier: Quantized | None = None) -> tuple[Quantized, Proved]:
            is_first = earlier is None
            told = (input_range, level) if is_first else (None, in_float(level))
            quantized = quantize_model(
                captured,
                data=seen,
                scheme=wanted if is_first else scheme,
                **asked_bits,
                input_range=told[0],
                exclude=exclude or (),
                options=told[1],
                tolerance={None: "auto", "off": None}.get(tolerance, tolerance),
                folder=work if is_first else None,
                memory=memory,
                on_step=bar.step,
                on_layer=bar.layer,
            )
            if earlier is not None:
                quantized.assumed = earlier.assumed  # about inputs to verify on
            bar.step("write the file")
            batches, labels = choices.read(tested, bar)
            return quantized, prove(
                lambda path: quantized.export(
                    path,
                    opset,
                    storage=storage,
                    input_names=input_names,
                    output_names=output_names,
                    largest=dict(largest) if largest else None,
                ),
                lambda path: quantized.verify(
                    path,
                    batches,
                    labels=labels,
                    metric=own,
                    max_metric=max_metric,
                    on_step=bar.step,
                ),
                output,
                limits,
                verify=verify,
                keep_anyway=keep_anyway,
            )

        asked |= {"bits": bits, "weights": weights, "activations": activations}
        asked |= {"activation_bits": activation_bits, "storage": storage}
        quantized, proved = at_float_speed(made(target), tested, made, asked)
        lost = save_report(
            quantized, report, (model, output), tested, proved.checked, bar, sensitivity=sensitivity
        )
    where = choices.where(data, test, "plausible inputs")
    assumed = assumed_ranges.untold(quantized, input_range)
    show_quantized(quantized, proved, where, as_json, (model, test or data), assumed)
    said(report, lost, as_json)
    proved.conclude(model, test or data, as_json, lost)
