"""The parts of the benchmark scripts that need neither weights nor images."""

import argparse
import json
import struct

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.adaround_theory import Tail, of_draws
from benchmarks.dfq_rescaled import LARGEST, random_scale
from benchmarks.harness import Table
from benchmarks.harness.subject import spread
from benchmarks.lanes import CASES, expected, meeting
from benchmarks.without_vnni.__main__ import CPUID, TRAP, patch
from tersor.channels.partition import channels
from tersor.export.sessions.machine import saturates
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tests.nets import images, plain


def test_spread_reaches_over_all_images():
    images, labels = torch.arange(10.0), torch.arange(10)
    chosen, truth = spread(images, labels, 4)
    assert chosen.tolist() == truth.tolist() == [0, 2, 5, 7]
    assert len(spread(images, labels, None)[0]) == len(spread(images, labels, 99)[0]) == 10


def test_table_prints_markdown_and_keeps_raw_figures(tmp_path, capsys):
    path = tmp_path / "raw.json"
    table = Table(argparse.Namespace(json=path), "network", "top-1")
    table.add("a", "91.73", network="a", top1=91.7321)
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "| network | top-1 |",
        "| --- | --- |",
        "| a | 91.73 |",
    ]
    assert json.loads(path.read_text())["rows"] == [{"network": "a", "top1": 91.7321}]


def test_only_channels_between_two_layers_are_rescaled():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Conv2d(5, 4, 1), torch.nn.Sigmoid()
    )
    partition = channels(capture(net, torch.zeros(2, 3, 8, 8)))
    scale = random_scale(partition, seed=0)
    first, second = partition.producers
    assert (scale[first.classes] != 1).all()
    assert (scale[second.classes] == 1).all()
    assert (scale[partition.consumers[0].classes] == 1).all()
    assert ((scale >= 1 / LARGEST) & (scale <= LARGEST)).all()
    assert (random_scale(partition, seed=1) != scale).sum() == 5


def test_probe_agrees_with_a_convolution():
    """The probe multiplies two pairs of numbers as a matrix; here are 64 pairs in a convolution."""
    total, expected = 64 * 255 * 127, 100
    constants = {
        "one": np.float32(1),
        "step": np.float32(total / expected),
        "zero": np.uint8(0),
        "w": np.full((8, 16, 2, 2), 127, np.int8),
        "w_zero": np.int8(0),
    }
    inputs = ["x", "one", "zero", "w", "one", "w_zero", "step", "zero"]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", inputs, ["y"])],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 16, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.full((1, 16, 2, 2), 255, np.uint8)})
    assert bool((y != expected).any()) == saturates()


@pytest.mark.parametrize("offset", [0x1000, 0x40])
def test_patch_translates_addresses_to_places_in_the_file(offset):
    """A file with one loadable segment that starts at address 0x400000."""
    image = bytearray(b"\x90" * 0x1100)
    image[32:40] = struct.pack("<Q", 64)
    image[54:58] = struct.pack("<HH", 56, 1)
    image[64:112] = struct.pack("<IIQQQQQ", 1, 5, offset, 0x400000, 0x400000, 0x80, 0x80)[:48]
    place = offset + 0x70
    image[place : place + 2] = CPUID
    patched = patch(bytes(image), [0x400070])
    assert patched[place : place + 2] == TRAP
    assert patched[:place] == image[:place]
    assert patched[place + 2 :] == image[place + 2 :]


@pytest.mark.parametrize("index", range(3))
def test_the_tail_of_a_network_is_as_accurate_as_all_of_it(index):
    network = capture(plain(), images())
    found, inputs = list(layers(network)), images(300)
    layer, head = found[index], found[-1]
    with torch.no_grad():
        head.set_bias(head.bias - network(inputs).mean(0))  # so that every class is found
        labels = network(inputs).argmax(1)
        tail = Tail(network, layer, inputs, labels)
        assert tail.top1() == 100
        layer.set_grouped_weight(layer.grouped_weight().flip(0, 1, 2))
        expected = 100 * float((network(inputs).argmax(1) == labels).float().mean())
    assert tail.top1() == pytest.approx(expected)
    assert tail.top1() < 100


def test_what_is_said_of_the_draws():
    draws = [(1.0, 95.0), (2.0, 93.0), (4.0, 80.0)]
    assert of_draws(draws, nearest=92.0).startswith("best 95.00; 2 beat nearest; r = -0.9")
    assert of_draws(draws, nearest=92.0).endswith("ρ = -1.00")
    assert of_draws([*draws, (4.0, 80.0)], nearest=92.0).endswith("ρ = -1.00")


@pytest.mark.parametrize("case", CASES[::5], ids=str)
def test_no_other_weights_meet_than_those_assumed(case):
    assert meeting(case, "onnxruntime") == (expected(case) if saturates() else set())
