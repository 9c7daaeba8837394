"""Small sound files to break."""

import io
from functools import cache
from typing import Any

import numpy as np
import onnx
import torch
from onnx import parser
from torch import nn
from torch.export import Dim

MODELS = (
    """<ir_version: 8, opset_import: ["": 17]>
    g (float[N, 3, 8, 8] x) => (float[N, 5] y) {
        a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)
        n = BatchNormalization (a, c, d, e, f)
        r = Relu (n)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        q = GlobalAveragePool (p)
        t = Flatten (q)
        y = Gemm <transB = 1> (t, v, z)
    }""",
    """<ir_version: 8, opset_import: ["": 13]>
    g (float[N, 6, 8] x) => (float[N, 2, 24] y) {
        m = MatMul (x, k)
        s = Shape (m)
        i = Constant <value = int64[1] {0}> ()
        h = Gather (s, i)
        l = Constant <value = int64[2] {2, 24}> ()
        o = Concat <axis = 0> (h, l)
        y0 = Reshape (m, o)
        y1 = Softmax <axis = -1> (y0)
        y = Mul (y1, y0)
    }""",
    """<ir_version: 10, opset_import: ["": 21]>
    g (float[2, 4, 6, 6] x, int64[2] j) => (float[2, 4, 12, 12] y, float[2, 4] z) {
        h, l = Split <axis = 1, num_outputs = 2> (x)
        c = Concat <axis = 1> (l, h)
        t = Transpose <perm = [0, 1, 3, 2]> (c)
        u = ConvTranspose <group = 2, strides = [2, 2], kernel_shape = [2, 2]> (t, u_w)
        y = Clip (u, lo, hi)
        e = Gather (table, j)
        ax = Constant <value = int64[2] {2, 3}> ()
        m = ReduceMean <keepdims = 0> (c, ax)
        z = Add (e, m)
    }""",
    """<ir_version: 10, opset_import: ["": 21]>
    g (float[N, 2, 6, 6] x) => (float[N, 3] y) {
        xq = QuantizeLinear (x, s, h)
        xd = DequantizeLinear (xq, s, h)
        wd = DequantizeLinear <axis = 0> (wq, ws)
        bd = DequantizeLinear <axis = 0> (bq, bs)
        c = Conv (xd, wd, bd)
        cq = QuantizeLinear (c, s, o)
        cp = Pad (cq, pads)
        cd = DequantizeLinear (cp, s, o)
        m = GlobalAveragePool (cd)
        f = Flatten (m)
        vd = DequantizeLinear <axis = 0, block_size = 2> (vq, vs)
        y = Gemm (f, vd)
    }""",
)
WEIGHTS: tuple[dict[str, Any], ...] = (
    {"w": (4, 3, 3, 3), "b": (4,), "c": (4,), "d": (4,), "e": (4,), "f": (4,)}
    | {"v": (5, 4), "z": (5,)},
    {"k": (8, 8)},
    {"u_w": (4, 2, 2, 2), "lo": (), "hi": (), "table": (3, 4)},
    {"s": (), "ws": (4,), "bs": (4,), "vs": (2, 3)}
    | {"h": np.uint8(128), "o": np.uint8(0), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    | {"wq": np.ones((4, 2, 3, 3), np.int8), "bq": np.ones(4, np.int32)}
    | {"vq": np.ones((4, 3), np.uint8)},
)


@cache
def onnx_files() -> list[bytes]:
    """Small sound ONNX files."""
    rng, found = np.random.default_rng(0), []
    for text, weights in zip(MODELS, WEIGHTS, strict=True):
        model = parser.parse_model(text)
        for name, value in weights.items():
            is_shape = isinstance(value, tuple)
            array = np.asarray(rng.random(value), np.float32) if is_shape else np.asarray(value)
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        found.append(model.SerializeToString())
    return found


@cache
def pt2_files() -> list[bytes]:
    """A small saved program."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).eval()
    free = ({0: Dim.DYNAMIC},)
    program = torch.export.export(model, (torch.randn(2, 3, 6, 6),), dynamic_shapes=free)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return [buffer.getvalue()]


@cache
def npz_files() -> list[bytes]:
    """Data for a network with two inputs, compressed and not."""
    found = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, x=np.ones((5, 3, 4), np.float32), labels=np.arange(5))
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    np.save(buffer, np.ones((5, 3), np.float32))
    return [*found, buffer.getvalue()]


@cache
def table_files() -> list[bytes]:
    """Tables of numbers, with and without names and labels."""
    rows = "1,2.5,-3e4\n4,5,6\n7,8,9\n"
    return [rows.encode(), b"a,b,label\n1,2,0\n4,5,1\n", b'"1";"2"\r\n"3";4\r\n']


@cache
def tensor_files() -> list[bytes]:
    """Tensors as `torch.save` writes them, alone, in a list and by name."""
    x, found = torch.arange(12.0).view(3, 4), []
    for content in (x, [x, torch.arange(3)], {"x": x.half(), "labels": torch.arange(3)}):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        found.append(buffer.getvalue())
    return found
