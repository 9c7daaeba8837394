"""What a report holds: measured right, kept whole, and drawn."""

import re
import sys
from dataclasses import replace

import pytest
import torch

import tersor
from tersor.data.outputs.verdict import Verdict
from tersor.data.walk import shelf
from tersor.errors import InvalidInputError, UnsupportedError
from tersor.graph.layers import layers
from tersor.graph.nodes import operand
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.sensitivity import Sensitivity
from tersor.report import measure
from tersor.report.charts import unchecked
from tersor.report.contents import Budget
from tersor.report.drawing import draw
from tersor.report.headline import sentence, tiles
from tersor.report.page import page
from tersor.report.plots import curve, plots
from tersor.report.saved import read, save
from tersor.report.structure import cells
from tersor.training.log import Line
from tests.report.models import compressed_report, inputs, quantized, report


def sqnr(wanted, found):
    noise = (wanted - found).square().sum()
    return 10 * torch.log10(wanted.square().sum() / noise).item()


def test_the_error_at_the_last_layer_is_that_of_the_network():
    q, x = quantized(), inputs()
    last = report().layers[-1]
    assert last.name == "head"
    assert last.sqnr == pytest.approx(sqnr(q.prepared(x), q(x)), abs=0.01)


def test_a_layer_alone_is_judged_behind_its_activation():
    q, x = quantized(), inputs()
    layer, twin = next(layers(q.network)), next(layers(q.prepared))
    rounded = q.network.module.get_submodule(str(operand(layer.node).target))(x)
    weight = weight_quantizer(layer)(layer.weight)

    def run(x, weight, bias):
        return torch.relu(torch.conv2d(x, weight, bias, padding=1))

    wanted = run(x, twin.weight, twin.bias)
    found = run(rounded, weight, layer.bias)
    assert report().layers[0].own == pytest.approx(sqnr(wanted, found), abs=0.01)
    assert report().layers[0].stored == pytest.approx(sqnr(twin.weight, weight), abs=0.01)


def test_the_first_layer_has_no_error_but_its_own():
    first, second = report().layers[:2]
    assert first.sqnr == pytest.approx(first.own)
    assert second.sqnr < second.own


def test_layers_tell_what_was_done_to_them():
    layer = report().layers[1]
    assert (layer.name, layer.kind, layer.bits, layer.reads) == ("inner.0", "conv", 4, 8)
    assert {"fold", "round"} <= {note.step for note in layer.notes}
    assert layer.objective[1] < layer.objective[0]
    assert layer.weight == (8, 8, 3, 3)
    assert layer.output == (8, 16, 16)


def test_histograms_hold_everything_and_the_grid():
    for layer in report().layers:
        for found in (layer.weights, layer.inputs):
            assert sum(found.shares) == pytest.approx(1, abs=0.01)
        assert (layer.weights.low, layer.weights.high, layer.weights.levels) == (-8, 7, 16)
        assert layer.inputs.levels == 256
        edges = layer.weights.start, layer.weights.start + layer.weights.width
        assert sum(edges) / 2 == round(sum(edges) / 2)  # integers are in the middle of bins


def test_compression_is_told_layer_by_layer():
    found = compressed_report()
    assert sum(each.before.macs for each in found.left) == found.before.macs
    assert sum(each.after.macs for each in found.left) == found.after.macs
    assert found.after.macs <= found.before.macs / 2
    assert set(plots(found)) == {"left"}


def test_a_shortcut_has_a_lane_of_its_own():
    found = cells(quantized().network)
    names = [cell.name for cell in found]
    assert names == ["x", "stem", "inner.0", "inner.3", "add", "head"]
    assert found[4].ops == ("add", "relu", "mean")
    assert [link.source for link in found[4].inputs] == [1, 3]
    assert [link.bits for link in found[2].inputs] == [8]
    drawing = draw(found)
    assert drawing.lanes == (0, 0, 1, 1, 0, 0)
    assert len(drawing.strokes) == 6
    assert [stroke.bits for stroke in drawing.strokes] == [8, 8, 8, 8, 8, 8]


def test_json_is_read_as_it_was(tmp_path):
    for number, found in enumerate((report(), compressed_report())):
        assert read(save(found, tmp_path / f"{number}.json")) == found


@pytest.mark.parametrize("text", ["", "{}", '{"title": 3}', "\xff"])
def test_what_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InvalidInputError, match=r"report\.json.* is no report"):
        tersor.compare(path, path)


def test_a_missing_package_is_named_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "msgspec", None)
    steps = []
    with pytest.raises(UnsupportedError, match=r"pip install 'tersor\[report\]"):
        quantized().report(tmp_path / "report.json", on_step=steps.append)
    assert not steps


def test_plots_are_there_for_what_was_measured():
    assert set(plots(report())) == {"error", "ranges", "weights", "inputs"}
    chart = plots(report())["weights"].to_dict()
    worst = min(report().layers, key=lambda layer: layer.own)
    assert chart["params"][0]["value"] == worst.name


def test_a_page_draws_what_the_schema_of_vega_lite_allows():
    budgets = (Budget(0.9, 30.0, 0.91, None), Budget(0.5, 20.0, 0.84, 0.6))
    damage = (Sensitivity("stem", 216, {4: 1e-3, 8: 0.0}), Sensitivity("head", 32, {4: 2e-3}))
    curve = tuple(Line(step, 1.0 / step, 1e-3, 0.0, 1.0) for step in (1, 2, 3))
    found = [replace(x(), sensitivity=damage, training=curve) for x in (report, compressed_report)]
    for each in (found[0], replace(found[1], curve=budgets)):
        checked = {name: plot.to_dict() for name, plot in plots(each).items()}  # raises if not
        with unchecked():
            drawn = {name: plot.to_dict(validate=False) for name, plot in plots(each).items()}
        assert drawn == checked


def test_layers_are_the_same_where_values_have_no_room(monkeypatch):
    expected = quantized().report(None, inputs(), verify=False).layers
    monkeypatch.setattr(measure, "room_for", lambda *_: 0)
    monkeypatch.setattr(shelf, "_SMALL", 0)
    files = []
    monkeypatch.setattr(shelf.Shelf, "_in_file", counted(shelf.Shelf._in_file, files))
    assert quantized().report(None, inputs(), verify=False).layers == expected
    assert files


def counted(function, calls):
    def call(*given):
        calls.append(given)
        return function(*given)

    return call


def test_a_curve_shows_the_score_if_there_is_one():
    budgets = [Budget(0.9, 30.0, 0.91, None), Budget(0.5, 20.0, 0.84, 0.6)]
    shown = plots(replace(compressed_report(), curve=tuple(budgets)))["curve"].to_dict()
    assert shown["encoding"]["y"]["field"] == "score"
    without = [replace(budget, score=None) for budget in budgets]
    assert curve(without).to_dict()["encoding"]["y"]["field"] == "sqnr"
    assert curve(budgets[:1]) is None


def test_sensitivity_and_training_are_drawn_if_they_were_measured():
    damage = (Sensitivity("stem", 216, {4: 1e-3, 8: 0.0}), Sensitivity("head", 32, {4: 2e-3}))
    curve = tuple(Line(step, 1.0 / step, 1e-3, 0.0, 1.0) for step in (1, 2, 3))
    found = plots(replace(report(), sensitivity=damage, training=curve))
    rows = found["sensitivity"].to_dict()["data"]["values"]
    assert [row["damage"] for row in rows] == [1e-3, 2e-3]  # on a logarithmic axis
    assert [row["step"] for row in found["training"].to_dict()["data"]["values"]] == [1, 2, 3]


def test_the_page_is_complete_and_trusts_no_name():
    text = page(report())
    assert "A &lt;b&gt;residual&lt;/b&gt; network" in text
    assert "<b>residual</b>" not in text
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)
    assert not re.search(r"""<(script|link|img|iframe)[^>]+(src|href)="(?!data:)""", markup)
    assert "default-src 'none'" in markup
    assert len(text) < 6e6


def test_the_headline_is_what_the_runtime_said():
    seen = replace(
        report().verified, float_bytes=8000, bytes=2000, float_ms=6.0, ms=2.0, samples=9, top1=0.9
    )
    said = sentence(replace(report(), verified=seen))
    assert said.startswith("The file is 4× smaller and 3× as fast as the float model")
    assert "90 % of the classes" in said
    slow = replace(seen, ms=12.0, accuracy={"float": 0.9, "runtime": 0.8})
    said = sentence(replace(report(), verified=slow))
    assert "takes 2× as long" in said
    assert "finds 80 % of the labels; the float model finds 90 %" in said
    shown = {tile.name: tile for tile in tiles(replace(report(), verified=slow))}
    assert shown["Accuracy"].change == "-10.00 points"
    assert shown["Time per sample"].change == "2× as long"
    assert "not been verified" in sentence(replace(report(), verified=None))


def test_two_reports_side_by_side():
    found = tersor.compare(report(4), report(8))
    better = {change.name: change.better for change in found.numbers}
    assert better["SQNR against float"] == 2
    assert better["bits per weight"] == 1
    assert better["multiplications"] == 0
    gains = [abs(layer.gain) for layer in found.layers]
    assert gains == sorted(gains, reverse=True)
    assert all(layer.gain > 0 for layer in found.layers)
    text = str(found)
    assert "4.00" in text
    assert "8 bits, " in text
    same = tersor.compare(report(4), report(4))
    assert len(set(same.names)) == 2
    assert all(change.better == 0 for change in same.numbers)


def test_times_of_different_days_are_compared_with_float():
    """The second day's machine takes twice as long for everything; the second file is faster."""
    first, second = (
        replace(report(4), verified=replace(report(4).verified, float_ms=before, ms=after))
        for before, after in ((6.0, 3.0), (12.0, 4.0))
    )
    (found,) = [x for x in tersor.compare(first, second).numbers if x.name.startswith("time")]
    assert (found.name, found.first, found.second) == ("time against float", "0.50×", "0.33×")
    assert found.better == 2
    alike = replace(second, verified=replace(second.verified, ms=5.8))
    (found,) = [x for x in tersor.compare(first, alike).numbers if x.name.startswith("time")]
    assert found.better == 0


def test_the_verdict_is_in_the_page_and_in_the_comparison():
    judged = [
        replace(report(4), verified=replace(report(4).verified, verdict=Verdict(grade, "20 dB")))
        for grade in ("good", "bad")
    ]
    assert "Verdict: bad: 20 dB" in page(judged[1])
    found = {change.name: change for change in tersor.compare(*judged).numbers}["verdict"]
    assert (found.first, found.second, found.better) == ("good", "bad", 1)


def test_what_was_measured_on_other_samples_is_not_judged():
    other = replace(report(8), verified=replace(report(8).verified, samples=3))
    found = {change.name: change for change in tersor.compare(report(4), other).numbers}
    assert found["samples"].second == "3"
    assert found["samples"].better == found["SQNR against float"].better == 0
    assert found["bits per weight"].better == 1
