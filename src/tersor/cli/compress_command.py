"""`tersor compress`: fewer multiplications, within a budget."""

from tersor.cli import data_options, limit_options, options, training_options
from tersor.cli.output import one_line, say, show, show_records


def compress(
    model: options.Model,
    output: options.Output,
    macs: options.Macs = None,
    parameters: options.Parameters = None,
    megabytes: options.Megabytes = None,
    latency: options.LatencyShare = None,
    data: data_options.Data = None,
    test: data_options.Test = None,
    method: options.Methods = None,
    rule: options.Rule = "least loss",
    weights: options.Weights = None,
    activations: options.Activations = None,
    scheme: options.SchemeName = "onnxruntime-cpu",
    exclude: options.Exclude = None,
    example: options.Example = None,
    dynamic: options.Dynamic = None,
    fix: options.Fix = None,
    custom_ops: options.CustomOps = None,
    opset: options.Opset = None,
    input_names: options.InputNames = None,
    output_names: options.OutputNames = None,
    largest: options.Largest = None,
    samples: data_options.Samples = None,
    jobs: options.Jobs = 1,
    work: options.Tried = None,
    memory: data_options.Memory = None,
    train: training_options.TrainOn = None,
    loss: training_options.LossName = None,
    epochs: training_options.Epochs = None,
    steps: training_options.Steps = None,
    batch: training_options.BatchSize = None,
    rate: training_options.Rate = None,
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
    """Make a model smaller and faster, write the ONNX file, and verify it.

    It stays in floating point unless `--weights` gives bits: then it is quantized, too, with the
    same samples, and the table tells what each of the two steps costs. A few unlabelled samples
    improve it greatly.

    For example:

        tersor compress model.onnx -o model.half.onnx --macs 0.5 --data inputs.npy

        tersor compress model.pt2 -o model.fast.onnx --latency 0.7 --data photographs/ --crop 224

        tersor compress model.pt2 -o model.half.onnx --macs 0.5 --data few.npy --train all.npz

        tersor compress model.onnx -o model.half.int8.onnx --macs 0.5 --weights 8 --data inputs.npy
    """
    from tersor.api.compress import STEPS
    from tersor.api.compress import compress as compress_model
    from tersor.api.quantize import quantize
    from tersor.api.steps import STEPS as QUANTIZE_STEPS
    from tersor.cli import choices, idle
    from tersor.cli.limit_options import check_labels, check_limits
    from tersor.cli.named_scheme import then_quantized
    from tersor.cli.proving import prove
    from tersor.cli.reports import check_report, said, save_report
    from tersor.cli.results import show_quantized
    from tersor.compression.options import Compression
    from tersor.data.given.sources import BATCH, GeneratedSamples
    from tersor.export.proof.limits import Limits
    from tersor.export.proof.verify import STEPS as VERIFY_STEPS
    from tersor.files import check_output
    from tersor.frontend.own_code import find_function
    from tersor.report.progress import progress
    from tersor.report.tables import pairs_table
    from tersor.results.compressed import Compressed
    from tersor.results.quantized import Quantized
    from tersor.training.options import Training

    chosen = {"methods": tuple(method) if method else None, "samples": samples}
    trained = {"epochs": epochs, "steps": steps, "rate": rate}
    asked = {"loss": loss, "batch": batch, **trained}
    count = len(STEPS) + 2 + len(VERIFY_STEPS) + (report is not None)
    count += len(QUANTIZE_STEPS) if weights else 0
    limits = Limits(min_sqnr, min_agreement, max_drop, max_size, max_latency, max_metric)
    with one_line(debug), progress(count) as bar:
        check_output(output, model)
        target = then_quantized(scheme, output, weights, activations)
        check_report(report)
        idle.check_test(test, verify, report)
        check_limits(limits, metric, verify, keep_anyway)
        own = None if metric is None else find_function(metric)
        idle.check_samples(samples, data or train)
        idle.check_training(train is not None, asked)
        chosen, trained = choices.given(chosen), choices.given(trained)
        criterion = None if loss is None else find_function(loss)
        sources = choices.sources((data, test, train), resize, crop, mean, std, tokenizer)
        check_labels(limits, sources[1] or sources[0])
        bar.step("load the model")
        captured = choices.captured(
            model,
            example,
            sources[0] or sources[2],
            fix=fix,
            custom_ops=custom_ops,
            dynamic=dynamic,
        )
        seen, tested, learned = (choices.fit(captured, source) for source in sources)
        idle.check_batch(batch, train, isinstance(learned, GeneratedSamples))
        compressed = compress_model(
            captured,
            macs=macs,
            parameters=parameters,
            megabytes=megabytes,
            latency=latency,
            data=seen,
            exclude=exclude or (),
            train=learned.epochs(batch or BATCH, criterion is not None) if learned else None,
            loss=criterion,
            training=Training(**trained) if train else None,
            options=Compression(rule=rule, **chosen),
            jobs=jobs,
            folder=work,
            memory=memory,
            on_step=bar.step,
            on_part=bar.layer,
            on_batch=bar.batch,
        )
        result: Compressed | Quantized = compressed
        if target is not None:
            result = quantize(
                compressed,
                data=seen,
                scheme=target,
                weights=weights,
                activations=activations,
                on_step=bar.step,
                on_layer=bar.layer,
            )
        bar.step("write the file")
        tested = tested or seen
        inputs, labels = choices.read(tested, bar)
        proved = prove(
            lambda path: result.export(
                path,
                opset,
                input_names=input_names,
                output_names=output_names,
                largest=dict(largest) if largest else None,
            ),
            lambda path: result.verify(
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
        lost = save_report(result, report, (model, output), tested, proved.checked, bar)
    named = model, test or data
    if isinstance(result, Quantized):
        where = choices.where(data, test)
        show_quantized(result, proved, where, as_json, named, compressed=compressed)
    elif as_json:
        show({**proved.as_dict(*named), **compressed.as_dict()})
    else:
        show_records(compressed.records)
        show(compressed.summary())
        show(pairs_table("What is left", compressed.rows()))
        if proved.checked:
            title = f"Verified {choices.where(data, test)}"
            show(pairs_table(title, proved.checked.rows()))
        say(f"{proved.said}.")
    said(report, lost, as_json)
    proved.conclude(model, test or data, as_json, lost)
