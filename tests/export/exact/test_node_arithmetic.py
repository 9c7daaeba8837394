"""Every known operator returns the integers of onnxruntime's own kernel, ties included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.export.proof.exact.call import Call, Unknown
from tersor.export.proof.exact.simulation import KNOWN
from tersor.export.sessions.machine import saturates
from tests.export.exact.nodes import CONTRIB, node_and_output, on_x86

pytestmark = on_x86

SATURATES = saturates()
EXAMPLES = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
#: Steps whose ratios are powers of two make every second sum a tie; others make none.
STEPS = st.sampled_from([0.25, 0.5, 1.0, 2.0]) | st.floats(0.004, 3.0)
SIGNED = st.booleans()


def numbers(seed, shape, dtype):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape, dtype)


def kind(signed):
    return np.int8 if signed else np.uint8


def step(value):
    return np.float32(value)


def steps(seed, count):
    return np.random.default_rng(seed).uniform(0.002, 0.1, count).astype(np.float32)


def same(op, arrays, domain="", dtype=None, **attributes):
    """Check that both compute the same bits."""
    arrays = [np.asarray(array) for array in arrays]
    node, wanted = node_and_output(op, arrays, domain, dtype, **attributes)
    found = KNOWN[op](Call(node, arrays, SATURATES))
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@EXAMPLES
@given(
    seed=SEEDS,
    steps_=st.tuples(STEPS, STEPS, STEPS),
    signed=SIGNED,
    shapes=st.sampled_from(
        [
            ((2, 3, 5), (2, 3, 5)),
            ((1, 4, 33), (1, 4, 33)),
            ((2, 3, 8), (8,)),
            ((2, 4, 5), (2, 4, 1)),
            ((2, 4, 1), (2, 4, 5)),
            ((3, 7), ()),
            ((), (3, 7)),
        ]
    ),
    op=st.sampled_from(["QLinearAdd", "QLinearMul"]),
)
def test_sums_and_products(seed, steps_, signed, shapes, op):
    dtype = kind(signed)
    a, b = (numbers(seed + i, shape, dtype) for i, shape in enumerate(shapes))
    zeros = numbers(seed + 2, 3, dtype)
    of_a, of_b, of_c = zip(map(step, steps_), zeros, strict=True)
    same(op, [a, *of_a, b, *of_b, *of_c], CONTRIB)


def test_sums_of_all_pairs_of_integers():
    """A few of them are so close to a tie that each rounding in between decides."""
    draw = np.random.default_rng(0)
    a, b = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for _ in range(60):
        steps_, zeros = draw.uniform(0.004, 3, 3).astype(np.float32), draw.integers(0, 256, 3)
        of_a, of_b, of_c = zip(steps_, zeros.astype(np.uint8), strict=True)
        same("QLinearAdd", [a, *of_a, b, *of_b, *of_c], CONTRIB)


@EXAMPLES
@given(
    seed=SEEDS,
    y=STEPS,
    case=st.sampled_from(
        [
            ((2, 3, 6, 5), (4, 3, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
            ((2, 4, 6, 6), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
            ((1, 4, 6, 6), (6, 2, 1, 1), {"group": 2}),
            ((1, 3, 9), (5, 3, 3), {"dilations": [2]}),
            ((1, 4, 7, 7), (8, 4, 3, 3), {"dilations": [2, 2]}),
        ]
    ),
    channels_last=st.booleans(),
    per_channel=st.booleans(),
)
def test_convolutions(seed, y, case, channels_last, per_channel):
    shape, kernel, attributes = case
    x, weight = numbers(seed, shape, np.uint8), numbers(seed + 1, kernel, np.int8)
    scales = steps(seed, kernel[0]) if per_channel else step(0.02)
    bias = np.random.default_rng(seed).integers(-5000, 5000, kernel[0], np.int32)
    zeros = numbers(seed + 2, 2, np.uint8)
    w_zero = np.zeros(np.shape(scales), np.int8)
    if channels_last and len(shape) == 4:
        x, attributes = np.moveaxis(x, 1, -1).copy(), {**attributes, "channels_last": 1}
    arrays = [x, step(0.03), zeros[0], weight, scales, w_zero, step(8 * y), zeros[1], bias]
    same("QLinearConv", arrays, CONTRIB, **attributes)


def test_sums_beyond_float32_are_exact():
    x = np.full((1, 700, 3, 3), 255, np.uint8)
    weight = numbers(1, (4, 700, 3, 3), np.int8) | np.int8(64)
    weight[0] = 127
    weight[0, :, 0] = 0  # a sum of 24 bits and more whose last bits count
    arrays = [x, step(1e-3), np.uint8(0), weight, step(1e-4), np.int8(0), step(1e-1), np.uint8(3)]
    same("QLinearConv", arrays, CONTRIB)
    same("ConvInteger", [x, weight, np.uint8(3)], dtype=np.int32)


@EXAMPLES
@given(seed=SEEDS, y=STEPS, per_channel=st.booleans(), real=st.booleans(), inner=st.integers(1, 9))
def test_gemm(seed, y, per_channel, real, inner):
    a, b = numbers(seed, (3, inner), np.uint8), numbers(seed + 1, (5, inner), np.int8)
    scales = steps(seed, 5) if per_channel else step(0.02)
    b_zero = np.zeros(np.shape(scales), np.int8)
    bias = np.random.default_rng(seed).integers(-5000, 5000, 5, np.int32)
    a_zero, y_zero = numbers(seed + 2, 2, np.uint8)
    arrays = [a, step(0.07), a_zero, b, scales, b_zero, bias]
    arrays += [] if real else [step(4 * y), y_zero]
    same("QGemm", arrays, CONTRIB, np.float32 if real else None, transB=1)


@EXAMPLES
@given(seed=SEEDS, y=STEPS, per_channel=st.booleans(), rows=st.integers(1, 3))
def test_matrix_products(seed, y, per_channel, rows):
    a, b = numbers(seed, (2, rows, 6), np.uint8), numbers(seed + 1, (6, 5), np.int8)
    a_zero, y_zero = numbers(seed + 2, 2, np.uint8)
    scales = steps(seed, 5) if per_channel else step(0.02)
    b_zero = np.zeros(np.shape(scales), np.int8)
    bias = steps(seed, 5)
    known = [a, step(0.07), a_zero, b, scales, b_zero]
    same("QLinearMatMul", [*known, step(4 * y), y_zero])
    same("MatMulInteger", [a, b, a_zero, np.int8(0)], dtype=np.int32)
    real = [a, b, step(0.07), scales, a_zero, b_zero, bias]
    same("MatMulIntegerToFloat", real, CONTRIB, np.float32)


@EXAMPLES
@given(seed=SEEDS, x=STEPS, y=STEPS, signed=SIGNED, channels_last=st.booleans())
def test_averages_over_images(seed, x, y, signed, channels_last):
    dtype = kind(signed)
    image, (x_zero, y_zero) = numbers(seed, (2, 5, 7, 6), dtype), numbers(seed + 1, 2, dtype)
    arrays = [image, step(x), x_zero, step(y), y_zero]
    same("QLinearGlobalAveragePool", arrays, CONTRIB, channels_last=int(channels_last))


@EXAMPLES
@given(
    seed=SEEDS,
    x=STEPS,
    y=STEPS,
    channels_last=st.booleans(),
    counts=st.booleans(),
    window=st.sampled_from(
        [([2, 2], [2, 2], [0] * 4), ([3, 3], [2, 1], [1] * 4), ([6, 6], [1, 1], [0] * 4)]
    ),
)
def test_averages_over_windows(seed, x, y, channels_last, counts, window):
    kernel, stride, pads = window
    image, (x_zero, y_zero) = numbers(seed, (2, 6, 6, 6), np.uint8), numbers(seed + 1, 2, np.uint8)
    same(
        "QLinearAveragePool",
        [image, step(x), x_zero, step(y), y_zero],
        CONTRIB,
        kernel_shape=kernel,
        strides=stride,
        pads=pads,
        count_include_pad=int(counts),
        channels_last=int(channels_last),
    )


@EXAMPLES
@given(seed=SEEDS, x=STEPS, y=STEPS, signed=SIGNED, slope=st.floats(0.01, 0.5))
def test_tables(seed, x, y, signed, slope):
    dtype = kind(signed)
    every = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
    x_zero, y_zero = numbers(seed, 2, dtype)
    same("QLinearSigmoid", [every, step(x), x_zero, step(y / 100), y_zero], CONTRIB)
    same("QLinearLeakyRelu", [every, step(x), x_zero, step(y), y_zero], CONTRIB, alpha=slope)


@EXAMPLES
@given(seed=SEEDS, a=STEPS, y=STEPS)
def test_concatenation(seed, a, y):
    first, second = (numbers(seed + i, (2, 3, 4), np.uint8) for i in range(2))
    a_zero, y_zero = numbers(seed + 2, 2, np.uint8)
    of_y = step(y), y_zero
    same("QLinearConcat", [*of_y, first, step(a), a_zero, second, *of_y], CONTRIB, np.uint8, axis=1)


@EXAMPLES
@given(seed=SEEDS, x=STEPS, signed=SIGNED, per_channel=st.booleans())
def test_steps_of_real_numbers(seed, x, signed, per_channel):
    dtype = kind(signed)
    scale = steps(seed, 4) if per_channel else step(x)
    zero = numbers(seed, np.shape(scale), dtype)
    halves = np.random.default_rng(seed).integers(-600, 600, (2, 4, 3)).astype(np.float32) / 2
    real = halves * (scale[:, None] if per_channel else scale)
    same("QuantizeLinear", [real, scale, zero], dtype=dtype)
    same("DequantizeLinear", [numbers(seed, (2, 4, 3), dtype), scale, zero], dtype="f4")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_left_to_the_runtime(value):
    arrays = [np.array([value], np.float32), np.asarray(step(1.0)), np.asarray(np.uint8(0))]
    node, _ = node_and_output("QuantizeLinear", arrays, dtype=np.uint8)
    with pytest.raises(Unknown):
        KNOWN["QuantizeLinear"](Call(node, arrays, SATURATES))
