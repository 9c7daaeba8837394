"""Small results of every kind, and their files taken apart and put together again."""

import json
from functools import cache

import safetensors.torch
import torch
from torch import nn

import tersor
from tersor.frontend.onnx.model import read_model
from tersor.saved.result_file import seal
from tests.frontend.onnx.files import model, random

X = torch.randn(4, 3, 12, 12, generator=torch.manual_seed(0))


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()  # fmt: skip


@cache
def quantized():
    """Height and width are open, too."""
    open_axes = {"input": {0: "batch", 2: "height", 3: "width"}}
    return tersor.quantize(net(), X, data=X, dynamic=open_axes)


@cache
def compressed():
    return tersor.compress(net(), X, macs=0.7)


def recurrent_file():
    """An ONNX file with a layer that is carried over as it is."""
    text = """g (float[N, 5, 4] x) => (float[N, 5, 2] y) {
        c = MatMul(x, w) t = Transpose <perm = [1, 0, 2]> (c)
        r, last = LSTM <hidden_size = 6> (t, W, R, B)
        s = Constant <value_ints = [1]> () q = Squeeze(r, s)
        u = Transpose <perm = [1, 0, 2]> (q) y = MatMul(u, v) }"""
    weights = {"w": random(4, 8), "W": random(1, 24, 8, seed=1), "R": random(1, 24, 6, seed=2)}
    return model(text, **weights, B=random(1, 48, seed=3), v=random(6, 2, seed=4))


def recurrent(folder):
    """The result of a file with a carried part."""
    path = folder / "recurrent.onnx"
    path.write_bytes(recurrent_file().SerializeToString())
    x = torch.randn(8, 5, 4, generator=torch.manual_seed(0))
    return tersor.quantize(read_model(path), x, data=x), x


def parts_of(content):
    """The description and the tensors of a file."""
    tensors = safetensors.torch.load(content)
    return json.loads(tensors.pop("description").numpy().tobytes()), tensors


def put_together(described, tensors):
    """A file with a checksum that fits."""
    text = json.dumps(described).encode()
    whole = {**tensors, "description": torch.frombuffer(bytearray(text), dtype=torch.uint8)}
    return safetensors.torch.save(whole, seal(whole))
