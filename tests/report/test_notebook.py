"""What a notebook shows, and what a result says of itself in one line."""

import pytest
import torch

import tersor
from tersor.export.proof.html import table
from tests import nets
from tests.report.models import inputs, quantized, report


@pytest.fixture(scope="module")
def verification(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.onnx"
    quantized().export(path)
    return quantized().verify(path, inputs(), latency=False)


def test_results_are_one_line_without_tensors():
    text = repr(quantized())
    assert text == f"Quantized(onnxruntime-cpu, {quantized().network!r})"
    assert "Network(4 layers, 888 weights, " in text
    assert "\n" not in text
    assert repr(report()) == "Report('A <b>residual</b> network in 4 bits', 4 layers)"


def test_notebooks_show_tables(verification):
    shown = [
        (quantized(), ("MACs", "rounded for the least output")),
        (quantized().summary(), ("What was done",)),
    ]
    for result, words in shown:
        for word in words:
            assert word in result._repr_html_()
    assert "<th>integer kernels</th><td>4 of 4 layers</td>" in verification._repr_html_()
    assert "16 samples in onnxruntime" in repr(verification)


def test_names_cannot_become_markup():
    assert (
        table([("<i>", "a&b")])
        == "<table><tbody><tr><th>&lt;i&gt;</th><td>a&amp;b</td></tr></tbody></table>"
    )


def test_a_compressed_network_tells_what_is_left():
    images = nets.images(8)
    found = tersor.compress(nets.plain(), images[:2], macs=0.5)
    assert repr(found).startswith("Compressed(")
    assert "% of the MACs, Network(3 layers" in repr(found)
    assert "<th>MACs</th>" in found._repr_html_()
    assert torch.equal(found(images), found.network(images))
