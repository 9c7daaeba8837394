"""`tersor train`: train a network with weights and activations of few bits."""

from tersor.cli import data_options, limit_options, options, training_options
from tersor.cli.output import one_line


def train(
    model: options.Model,
    output: options.Output,
    data: training_options.TrainingData,
    test: data_options.Test = None,
    scheme: options.SchemeName = "onnxruntime-cpu",
    weights: options.Weights = 4,
    bits: options.Bits = None,
    activations: options.Activations = 4,
    activation_bits: options.ActivationBits = None,
    exclude: options.Exclude = None,
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
    loss: training_options.LossName = None,
    epochs: training_options.Epochs = None,
    steps: training_options.Steps = None,
    batch: training_options.BatchSize = None,
    rate: training_options.Rate = None,
    seed: training_options.TrainingSeed = None,
    work: training_options.Checkpoints = None,
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
    """Quantize a model to few bits, train it, write the ONNX file, and verify it.

    For example:

        tersor train model.pt2 -o model.int4.onnx --data photographs.npz --epochs 3

        tersor train mycode:make_model -o model.int2.onnx --data mycode:batches --weights 2
        --activations 2 --bits stem=8 --activation-bits stem=8
        --loss torch.nn.functional:cross_entropy
    """
    from tersor.api.quantize import quantize as quantize_model
    from tersor.api.steps import STEPS_WITH_DATA
    from tersor.api.train import train as train_model
    from tersor.cli import choices, idle
    from tersor.cli.limit_options import check_labels, check_limits
    from tersor.cli.named_scheme import find_target
    from tersor.cli.proving import prove
    from tersor.cli.reports import check_report, said, save_report
    from tersor.cli.results import show_quantized
    from tersor.cli.widths import with_widths
    from tersor.data.given.sources import BATCH, GeneratedSamples
    from tersor.export.proof.limits import Limits
    from tersor.export.proof.verify import STEPS as VERIFY_STEPS
    from tersor.files import check_output
    from tersor.frontend.own_code import find_function, is_function
    from tersor.quant.levels import WithData
    from tersor.report.progress import progress
    from tersor.training.options import Training

    chosen = {"epochs": epochs, "steps": steps, "rate": rate, "seed": seed}
    count = len(STEPS_WITH_DATA) + 3 + len(VERIFY_STEPS) + (report is not None)
    limits = Limits(min_sqnr, min_agreement, max_drop, max_size, max_latency, max_metric)
    with one_line(debug), progress(count) as bar:
        check_output(output, model)
        target = find_target(scheme, False, output, activations)
        check_report(report)
        idle.check_test(test, verify, report)
        check_limits(limits, metric, verify, keep_anyway)
        own = None if metric is None else find_function(metric)
        criterion = None if loss is None else find_function(loss)
        found = Training(**choices.given(chosen), name=data if work and is_function(data) else "")
        seen, tested = choices.sources((data, test), resize, crop, mean, std, tokenizer)
        check_labels(limits, tested or seen)
        assert seen is not None
        bar.step("load the model")
        captured = choices.captured(
            model, example, seen, dequantize, fix=fix, custom_ops=custom_ops, dynamic=dynamic
        )
        seen = choices.fit(captured, seen)
        assert seen is not None
        idle.check_batch(batch, data, isinstance(seen, GeneratedSamples))
        batches = seen.epochs(batch or BATCH, criterion is not None)
        few = seen.first(found.quantizers.samples)
        quantized = quantize_model(
            captured,
            data=few,
            **with_widths(target, weights, bits, activations, activation_bits),
            exclude=exclude or (),
            options=WithData(rounding=None),
            tolerance=None,
            on_step=bar.step,
        )
        bar.step("train")
        trained = train_model(
            quantized, batches, criterion, options=found, folder=work, on_batch=bar.batch
        )
        bar.step("write the file")
        tested = choices.fit(captured, tested) or few
        inputs, labels = choices.read(tested, bar)
        proved = prove(
            lambda path: trained.export(
                path,
                opset,
                storage=storage,
                input_names=input_names,
                output_names=output_names,
                largest=dict(largest) if largest else None,
            ),
            lambda path: trained.verify(
                path,
                inputs,
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
        lost = save_report(trained, report, (model, output), tested, proved.checked, bar)
    where = choices.where(data, test)
    show_quantized(trained, proved, where, as_json, (model, test or data))
    said(report, lost, as_json)
    proved.conclude(model, test or data, as_json, lost)
