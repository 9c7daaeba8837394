"""The parts of the breadth benchmark that need no library of models."""

import json

import pytest
import torch
from torch import nn

from benchmarks.breadth.candidate import Candidate, image_candidate, run, tensors
from benchmarks.breadth.measure import sqnr
from benchmarks.breadth.randomize import randomize
from benchmarks.breadth.results import DOUBLE, Results, agrees
from benchmarks.breadth.table import print_table


def row(name, stage="done", sqnr=50.0, sqnr_exact=50.0, **more):
    figures = {"sqnr": sqnr, "sqnr_exact": sqnr_exact, "median": sqnr, "ceiling": None}
    figures |= {"layers": 4, "integer": 3, "spread": 0.5}
    return {"library": "timm", "name": name, "stage": stage, "reason": "x|y", **figures, **more}


def test_the_smallest_images_that_run_are_taken():
    def build(size):
        return nn.Sequential(nn.Conv2d(3, 2, 65), nn.Flatten(), nn.Linear(2 * (size - 64) ** 2, 1))

    candidate = image_candidate(build)
    (x,) = candidate.inputs(2, torch.Generator())
    assert x.shape == (2, 3, 96, 96)
    assert run(candidate.model, (x,)).shape == (2, 1)


def test_an_architecture_that_never_runs_says_why():
    with pytest.raises(RuntimeError, match="channels"):
        image_candidate(lambda size: nn.Conv2d(4, size, 1))


def test_randomized_networks_have_no_constant_parameters_and_calibrated_norms():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))
    nn.init.zeros_(net[3].weight)
    nn.init.zeros_(net[1].weight)
    candidate = Candidate(net, tensors((3, 16, 16)))
    randomize(candidate, torch.Generator().manual_seed(0))
    assert all((p != p.flatten()[0]).any() for p in net.parameters())
    assert not net.training
    with torch.no_grad():
        x = net[1](net[0](torch.randn(64, 3, 16, 16)))
    gamma, beta = (p.detach().view(1, -1, 1, 1) for p in (net[1].weight, net[1].bias))
    normalized = ((x - beta) / gamma).transpose(0, 1).flatten(1)
    torch.testing.assert_close(normalized.mean(1), torch.zeros(4), atol=0.1, rtol=0)
    torch.testing.assert_close(normalized.std(1), torch.ones(4), atol=0.1, rtol=0)


def test_results_are_appended_and_the_last_line_counts(tmp_path):
    path = tmp_path / "rows.jsonl"
    results = Results(path)
    results.add(row("a", stage="export"))
    assert results.has("timm", "a", passed_only=False)
    assert not results.has("timm", "a", passed_only=True)
    results.add(row("a"))
    assert Results(path).rows == {("timm", "a"): row("a")}
    assert [json.loads(line)["stage"] for line in path.read_text().splitlines()] == [
        "export",
        "done",
    ]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((31.0, 60.0), True),
        ((20.0, 21.0), True),
        ((20.0, 22.0), False),
        ((31.0, None), True),
        ((20.0, None), False),
    ],
)
def test_agreement_is_30_db_or_what_exact_kernels_reach(figures, expected):
    assert agrees(row("a", "done", *figures)) is expected
    assert agrees(row("a", ceiling=figures[1], sqnr=figures[0]), DOUBLE) is expected
    assert not agrees(row("a", "export", *figures))
    assert not agrees(row("a", "done", *figures, spread=0.0))


def test_the_worst_output_counts_and_infinite_values_must_match():
    one, inf = torch.ones(2, 2).numpy(), torch.tensor([1.0, -torch.inf]).numpy()
    assert sqnr([one, inf], [one * 1.01, inf]) == pytest.approx(40, abs=0.01)
    with pytest.raises(ArithmeticError, match="infinite"):
        sqnr([inf], [-inf])
    with pytest.raises(ArithmeticError, match="infinite"):
        sqnr([inf], [one[0]])


def test_the_table_names_failures_and_disagreement(tmp_path, capsys):
    results = Results(tmp_path / "rows.jsonl")
    results.add(row("good"))
    results.add(row("bad", "done", 10.0, 40.0))
    results.add({"library": "timm", "name": "ugly", "stage": "export", "reason": "a|b"})
    print_table(results, summary_only=False)
    out = capsys.readouterr().out
    assert "| timm | 3 | 2 | 1 | 1 | 1 | 1 | 75.0 | 0 |" in out
    assert "| timm | ugly | export | a\\|b |" in out
    assert "| timm | bad | 5e-01 | 10.0 | 10.0 | 40.0 | – | – |" in out
    assert "| timm | good | 0.00 | yes | 50.0" in out
