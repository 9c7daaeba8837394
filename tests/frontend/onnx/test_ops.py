"""Ops against the node tests of the ONNX project; `benchmarks/onnx_backend.py` runs them all."""

import re

import pytest

from benchmarks.onnx_backend import Tally, cases, claimed_op, run

SUBSET = re.compile(
    "test_(add_bcast|div_int32|pow_types_float32_int64|clip_default_int8|where_long|mod_mixed.*|"
    "gemm_(all|transpose).*|matmul_4d|einsum_batch.*|conv_with_.*|convtranspose_(pads|dil.*|3d)|"
    "maxpool_2d_(ceil|same|dil).*|averagepool_2d_(same|ceil|pads_count).*|globalmaxpool|"
    "batchnorm_epsilon|layer_normalization_2d_axis1|instancenorm_.*|group_normalization_epsilon|"
    "softmax_axis_1|logsoftmax_large_number|prelu_broadcast|gelu_tanh_1|hardsigmoid|selu|"
    "slice_(neg_steps|negative_axes|end_out_of_bounds)|split_variable.*|pad_|reflect_pad|edge_pad|"
    "reshape_(allowzero|negative_extended|zero_and).*|expand_dim_.*|tile|depthtospace.*|trilu.*|"
    "gather_(1|negative).*|gathernd_.*|scatter_elements_with_(axis|red).*|scatternd_add|top_k.*|"
    "argmax_negative_axis_keepdims_example_select_last_index|onehot_negative_indices|cumsum_2d.*|"
    "reduce_(mean_keep|max_neg|prod_do|log_sum_exp_def|sum_empty_set).*|range_.*|constantofshape.*|"
    "resize_(up|down).*_(nearest|linear|cubic)(_half_pixel)?)$"
)
CASES = [case for case in cases() if SUBSET.match(case.name) and claimed_op(case.model)]


def test_the_subset_is_not_empty():
    assert len(CASES) > 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_node(case, tmp_path):
    tally = Tally()
    run(case, tally, tmp_path / "model.onnx")
    assert not tally.failed
    assert not any("test" not in name for name in tally.refused)
