"""Records become a table that a person can read."""

from io import StringIO

from rich.console import Console

from tersor.graph.network import Applied, Skipped
from tersor.report.summary import Refusal, summarize
from tersor.report.tables import layers_table, plain

FOLDED = [Applied(f"conv{i}", "fold", f"bn{i} folded into it") for i in range(5)]
UNKNOWN = "the mean of its input {} is unknown without data"


def test_counts_per_step_in_order():
    summary = summarize([*FOLDED, Skipped("bn9", "fold", "why"), Applied("a", "equalize", "done")])
    assert [(s.name, s.done, s.refused) for s in summary.steps] == [
        ("fold", 5, 1),
        ("equalize", 1, 0),
    ]


def test_sentences_that_differ_in_names_become_one():
    assert summarize(FOLDED).steps[0].what == "5 × … folded into it"
    records = [Skipped(f"l{i}", "bias", UNKNOWN.format(f"pad_{i}")) for i in range(3)]
    expected = Refusal("bias", UNKNOWN.format("…"), ("l0", "l1", "l2"))
    assert summarize(records).refusals == (expected,)


def test_lists_of_names_become_one_ellipsis():
    records = [Applied("a", "fold", f"from g{i}, v{i} now") for i in range(2)]
    assert summarize(records).steps[0].what == "2 × from … now"


def test_a_sentence_that_stands_alone_keeps_its_names():
    (refusal,) = summarize([Skipped("a", "bias", UNKNOWN.format("pad_1"))]).refusals
    assert refusal.reason == UNKNOWN.format("pad_1")


def test_other_words_keep_sentences_apart():
    records = [Skipped("a", "s", "it is an input"), Skipped("b", "s", "it is an output")]
    assert [r.layers for r in summarize(records).refusals] == [("a",), ("b",)]
    records = [Skipped("a", "s", "same"), Skipped("b", "t", "same")]
    assert [r.step for r in summarize(records).refusals] == ["s", "t"]


def test_the_most_frequent_comes_first_and_the_rest_is_cut():
    what = [*"a" * 2, *"b" * 3, "c", "d"]
    (step,) = summarize(Applied("x", "s", sentence) for sentence in what).steps
    assert step.what == "3 × b\n2 × a\nc\n…"


def test_text_names_the_first_layers_and_counts_the_others():
    text = str(summarize([Skipped(f"l{i}", "absorb", "because") for i in range(6)]))
    assert "because" in text
    assert "l0, l1, l2, l3 and 2 more" in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_markup_in_names_is_text():
    """`[bold]` is markup to rich; a layer may be called like that."""
    assert "[bold]x" in str(summarize([Skipped("[bold]x", "fold", "[red]why")]))


def test_no_records():
    summary = summarize([])
    assert summary.as_dict() == {"steps": (), "refusals": ()}
    assert "could not" not in plain(summary)


def test_what_is_left_of_the_error_is_a_median_over_layers():
    errors = [(4.0, 1.0), (10.0, 1.0), (2.0, 1.0), (0.0, 0.0)]
    done = [
        Applied(f"l{i}", "round", "rounded", {"objective before": a, "objective after": b})
        for i, (a, b) in enumerate(errors)
    ]
    refused = Skipped("last", "round", "no other rounding is better")
    (step,) = summarize([*done, refused]).steps
    assert step.what == "4 × rounded\nerror left, median: 25%"


def test_names_of_layers_stay_whole_where_there_is_little_room():
    """They are what `exclude` takes."""
    name = "features.12.block.project.conv"
    row = (name, "depthwise", "1024×1×3×3", "1024×14×14", "590 k", "2.35 k", "-1.6…1.5", "1", "1")
    console = Console(file=StringIO(), width=80)
    with console.capture() as printed:
        console.print(layers_table([row]))
    assert name in printed.get()
