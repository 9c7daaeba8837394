import hypothesis.extra.numpy as hnp
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tersor.core.affine import dequantize, fake_quantize, quantize
from tersor.core.grid import Grid
from tersor.errors import InvalidInputError

GRIDS = [Grid(bits, signed) for bits in (2, 4, 8, 16) for signed in (False, True)]
ONNX_TYPES = {
    Grid(8): TensorProto.UINT8,
    Grid(8, signed=True): TensorProto.INT8,
    Grid(16): TensorProto.UINT16,
    Grid(16, signed=True): TensorProto.INT16,
}


def examples(grid, scale, zero_point, count=4000, seed=0):
    """Values in and out of range, among them every kind of tie."""
    random = torch.Generator().manual_seed(seed)
    reach = min(grid.steps, 1000)
    steps = torch.randint(-reach, reach + 1, (count,), generator=random).float()
    noise = torch.randn(count, generator=random) * grid.steps * scale
    return torch.cat((steps * scale, (steps + 0.5) * scale, noise, torch.tensor([0.0, -0.0])))


def runtime_qdq(x, scale, zero_point, kind, axis):
    """QuantizeLinear and DequantizeLinear in onnxruntime."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, scale.shape),
        helper.make_tensor_value_info("z", kind, scale.shape),
    ]
    outputs = [
        helper.make_tensor_value_info("q", kind, x.shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis),
    ]
    graph = helper.make_graph(nodes, "qdq", inputs, outputs)
    opset = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    integers = helper.tensor_dtype_to_np_dtype(kind)
    feed = {"x": x.numpy(), "s": scale.numpy(), "z": zero_point.numpy().astype(integers)}
    q, y = session.run(None, feed)
    return torch.from_numpy(q.astype(np.float32)), torch.from_numpy(y)


@pytest.mark.parametrize("grid", ONNX_TYPES, ids=str)
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1.0, 0.00731])
def test_per_tensor_is_onnx_bit_for_bit(grid, scale):
    x = examples(grid, scale, 3)
    scale, zero_point = torch.tensor(scale), torch.tensor(3)
    q, y = runtime_qdq(x, scale, zero_point, ONNX_TYPES[grid], axis=0)
    mine = quantize(x, scale, zero_point, grid)
    assert torch.equal(mine, q)
    assert torch.equal(dequantize(mine, scale, zero_point), y)


@pytest.mark.parametrize("grid", ONNX_TYPES, ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_per_channel_is_onnx_bit_for_bit(grid, axis):
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1)) * grid.steps / 20
    channels = x.shape[axis]
    scale = torch.linspace(0.1, 0.7, channels)
    zero_point = torch.arange(channels) * 5
    q, y = runtime_qdq(x, scale, zero_point, ONNX_TYPES[grid], axis)
    mine = quantize(x, scale, zero_point, grid, axis)
    assert torch.equal(mine, q)
    assert torch.equal(fake_quantize(x, scale, zero_point, grid, axis), y)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_power_of_two_scales_equal_torch_even_at_ties(grid):
    x = examples(grid, 0.125, 1)
    scale, zero_point = torch.tensor(0.125), torch.tensor(1, dtype=torch.int32)
    theirs = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, grid.qmin, grid.qmax)
    assert torch.equal(fake_quantize(x, scale, zero_point, grid), theirs)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_scale_equals_torch_away_from_ties(axis):
    # torch multiplies by the inverse of the scale, so it may differ where x / scale is at a tie.
    grid = Grid(8, signed=True)
    x = torch.randn(6, 7, 8, generator=torch.Generator().manual_seed(2)) * 20
    channels = x.shape[axis]
    scale = torch.linspace(0.05, 0.35, channels)
    zero_point = torch.arange(channels, dtype=torch.int32) - 3
    theirs = torch.fake_quantize_per_channel_affine(x, scale, zero_point, axis, -128, 127)
    ratio = (x.movedim(axis, -1) / scale).movedim(-1, axis)
    clear = ((ratio - ratio.floor()) - 0.5).abs() > 1e-4
    assert clear.float().mean() > 0.99
    assert torch.equal(fake_quantize(x, scale, zero_point, grid, axis)[clear], theirs[clear])


scales = st.floats(2.0**-20, 2.0**20, width=32)
values = hnp.arrays(
    np.float32, st.integers(1, 30), elements=st.floats(-(2.0**24), 2.0**24, width=32)
)


@st.composite
def problems(draw):
    grid = draw(st.sampled_from(GRIDS))
    zero_point = draw(st.integers(grid.qmin, grid.qmax))
    return (
        torch.from_numpy(draw(values)),
        torch.tensor(draw(scales)),
        torch.tensor(zero_point),
        grid,
    )


@given(problems())
def test_rounding_twice_changes_nothing(problem):
    x, scale, zero_point, grid = problem
    once = fake_quantize(x, scale, zero_point, grid)
    assert torch.equal(fake_quantize(once, scale, zero_point, grid), once)


@given(problems())
def test_error_is_at_most_half_a_step_inside_the_range(problem):
    x, scale, zero_point, grid = problem
    low, high = (
        dequantize(torch.tensor(float(q)), scale, zero_point) for q in (grid.qmin, grid.qmax)
    )
    x = x.clamp(low, high)
    error = (fake_quantize(x, scale, zero_point, grid) - x).double().abs()
    rounding = 2.0**-22 * x.double().abs()  # float32 itself
    assert bool((error <= scale.double() / 2 + rounding).all())


@given(problems())
def test_order_is_kept(problem):
    x, scale, zero_point, grid = problem
    y = fake_quantize(x.sort().values, scale, zero_point, grid)
    assert bool((y.diff() >= 0).all())


@given(problems())
def test_zero_stays_zero_and_integers_stay_inside(problem):
    x, scale, zero_point, grid = problem
    assert fake_quantize(torch.zeros(1), scale, zero_point, grid).item() == 0
    q = quantize(x, scale, zero_point, grid)
    assert torch.equal(q, q.round())
    assert grid.qmin <= q.min()
    assert q.max() <= grid.qmax


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_32_bits_never_leave_int32(dtype):
    grid = Grid(32, signed=True, symmetric=True)
    x = torch.tensor([torch.inf, 3e38, 2.0**31, -(2.0**31), -3e38, -torch.inf], dtype=dtype)
    one, zero = torch.tensor(1.0, dtype=dtype), torch.tensor(0)
    q = quantize(x, one, zero, grid)
    assert torch.equal(q.to(torch.int32).to(dtype), q)
    top = 2**31 - 128 if dtype == torch.float32 else 2**31 - 1
    assert q.tolist() == [top] * 3 + [-(2**31)] * 3


def test_32_bits_keep_the_precision_of_float32():
    x = torch.randn(2000, generator=torch.Generator().manual_seed(3))
    scale = torch.tensor(2.0**-29)  # inside ±4, finer than float32 for most values
    error = fake_quantize(x, scale, torch.tensor(0), Grid(32, True, True)) - x
    assert bool((error.abs() <= torch.maximum(scale / 2, x.abs() * 2.0**-23)).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_of_the_values_wins(dtype):
    x = torch.tensor([-1.0, 0.5, 2.0], dtype=dtype)
    scale, zero_point = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64), torch.tensor(1)
    y = fake_quantize(x, scale, zero_point, Grid(4), axis=0)
    assert y.dtype == dtype
    assert y.tolist() == [-0.5, 0.5, 2.0]


@pytest.mark.parametrize("axis", [None, 0, 2, -3])
def test_a_scale_that_does_not_fit_the_axis_is_refused(axis):
    x, scale = torch.zeros(1, 3), torch.ones(3)
    with pytest.raises(InvalidInputError, match=f"3 channels does not fit axis {axis}"):
        quantize(x, scale, torch.tensor(0), Grid(), axis)
