"""Shows a model that a command has quantized."""

from collections.abc import Sequence

from tersor.cli.output import say, show, show_records
from tersor.cli.proving import Proved
from tersor.report.tables import pairs_table
from tersor.results.compressed import Compressed
from tersor.results.quantized import Quantized


def show_quantized(
    quantized: Quantized,
    proved: Proved,
    where: str,
    as_json: bool,
    named: tuple[str, str | None],
    assumed: Sequence[str] = (),
    compressed: Compressed | None = None,
) -> None:
    """Show what was done to a model.

    Args:
        quantized: The model.
        proved: Its file, and how it compares with the float model if it was compared.
        where: What it was compared on, in words.
        as_json: Print JSON instead of tables.
        named: The float model, as the user named it, and the samples that were given, if any.
        assumed: What was assumed of the inputs, one sentence each.
        compressed: What was quantized, if the model was compressed first.
    """
    summary = quantized.summary()
    if as_json:
        costs = {} if compressed is None else compressed.as_dict()
        shown = {**proved.as_dict(*named), **costs, **summary.as_dict()}
        show({**shown, "assumed": list(assumed)})
        return
    show_records(quantized.records)
    show(summary)
    if compressed is not None:
        show(pairs_table("What is left", compressed.rows()))
    if proved.checked:
        show(pairs_table(f"Verified {where}", proved.checked.rows()))
    for line in (*proved.written.weights, *proved.written.notes):
        say(f"{line}.")
    say(f"{proved.said} for {quantized.scheme.name}.")
    for sentence in assumed:
        say(sentence)
