"""`--report` of the commands, and `tersor compare`."""

import json

import pytest
from typer.testing import CliRunner

from tersor import cli
from tersor.errors import ExportError
from tersor.report import saved
from tersor.report.saved import read


def run(*args):
    result = CliRunner().invoke(cli.app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


MODEL = ("tests.nets:with_example", "-o")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def reports(folder, data):
    """Two reports of one network: with a search for bits, and trained."""
    common = (*MODEL, folder / "model.onnx", "--data", data)
    searched, trained = folder / "searched.json", folder / "trained.json"
    said = run("quantize", *common, "--average-bits", 5, "--test", data, "--report", searched)
    assert f"Wrote {searched}.\n" in said
    run("train", *common, "--steps", 4, "--report", trained, "--json")
    return searched, trained


def test_a_report_holds_what_the_command_measured(reports, data):
    searched, trained = map(read, reports)
    assert searched.title == "tests.nets:with_example → model.onnx"
    assert searched.verified.accuracy["float"] == 1.0
    assert searched.verified.samples == 70
    assert {layer.layer for layer in searched.sensitivity} == {x.name for x in searched.layers}
    assert not searched.training
    assert trained.training[-1].step == 4
    first, *between, last = (layer.bits for layer in trained.layers)
    assert (first, {*between}, last) == (8, {4}, 8)


def test_reports_are_compared(reports, folder):
    page = folder / "compare.html"
    assert "Layers that differ most" in run("compare", *reports, "-o", page)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    found = json.loads(run("compare", *reports, "--json"))
    assert [layer["name"] for layer in found["layers"]]
    assert found["first"] != found["second"]


def test_compression_has_a_report(folder, data):
    path = folder / "compressed.json"
    output = folder / "half.onnx"
    run("compress", *MODEL, output, "--macs", 0.5, "--report", path, "--no-verify")
    found = read(path)
    assert found.verified is None
    assert found.left
    assert found.after.macs <= found.before.macs / 2


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    where = tmp_path / "missing" / "report.html"
    result = CliRunner().invoke(
        cli.app, ["quantize", *MODEL, str(tmp_path / "model.onnx"), "--report", str(where)]
    )
    assert result.exit_code == 1
    assert "missing/report.html" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", [(), ("--json",)])
def test_a_report_that_cannot_be_written_does_not_hide_the_results(
    asked, folder, data, monkeypatch
):
    def full(path, content):
        raise ExportError(f"cannot write {str(path)!r}: No space left on device")

    monkeypatch.setattr(saved, "write_atomically", full)
    command = ["quantize", *MODEL, folder / "kept.onnx", "--data", data, "--report"]
    done = CliRunner().invoke(cli.app, [*map(str, (*command, folder / "full.json")), *asked])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: cannot write")
    assert len(done.stderr.splitlines()) == 1
    assert "full.json" not in done.stdout
    assert (folder / "kept.onnx").exists()
    if asked:
        assert json.loads(done.stdout)["written"]
    else:
        assert "Verdict: " in done.stdout
