"""Ops against the node tests of the ONNX project; `benchmarks/onnx_backend.py` runs them all."""

from functools import cache

import pytest

from benchmarks.onnx_backend import Tally, cases, claimed_op, run

# Module of the ONNX project → names of its tests, which are made when the first of them runs.
SUBSET = {
    "add": "add_bcast",
    "argmax": "argmax_negative_axis_keepdims_example_select_last_index",
    "averagepool": (
        "averagepool_2d_same_upper averagepool_2d_same_lower "
        "averagepool_2d_pads_count_include_pad averagepool_2d_ceil "
        "averagepool_2d_ceil_last_window_starts_on_pad"
    ),
    "batch_normalization": "batchnorm_epsilon",
    "constantofshape": (
        "constantofshape_float_ones constantofshape_int_zeros constantofshape_int_shape_zero"
    ),
    "conv": (
        "conv_with_strides_padding conv_with_strides_no_padding "
        "conv_with_strides_and_asymmetric_padding conv_with_autopad_same"
    ),
    "convtranspose": "convtranspose_3d convtranspose_pads convtranspose_dilations",
    "cumsum": "cumsum_2d_axis_0 cumsum_2d_axis_1 cumsum_2d_negative_axis cumsum_2d_int32",
    "depthtospace": "depthtospace_example depthtospace_crd_mode_example",
    "einsum": "einsum_batch_diagonal einsum_batch_matmul einsum_batch_matmul_bfloat16",
    "expand": "expand_dim_changed expand_dim_unchanged",
    "gather": "gather_1 gather_negative_indices",
    "gathernd": "gathernd_example_int32 gathernd_example_float32 gathernd_example_int32_batch_dim1",
    "gelu": "gelu_tanh_1",
    "gemm": "gemm_transposeA gemm_transposeB gemm_all_attributes",
    "globalmaxpool": "globalmaxpool",
    "groupnormalization": "group_normalization_epsilon",
    "hardsigmoid": "hardsigmoid",
    "instance_normalization": "instancenorm_example instancenorm_epsilon",
    "layernormalization": "layer_normalization_2d_axis1",
    "logsoftmax": "logsoftmax_large_number",
    "matmul": "matmul_4d",
    "maxpool": (
        "maxpool_2d_same_upper maxpool_2d_same_lower maxpool_2d_ceil "
        "maxpool_2d_ceil_output_size_reduce_by_one maxpool_2d_dilations"
    ),
    "mod": (
        "mod_mixed_sign_float64 mod_mixed_sign_float32 mod_mixed_sign_float16 "
        "mod_mixed_sign_int64 mod_mixed_sign_int32 mod_mixed_sign_int16 mod_mixed_sign_int8"
    ),
    "onehot": "onehot_negative_indices",
    "pad": "edge_pad reflect_pad",
    "pow": "pow_types_float32_int64",
    "prelu": "prelu_broadcast",
    "rangeop": (
        "range_float_type_positive_delta range_float16_type_positive_delta "
        "range_bfloat16_type_positive_delta range_int32_type_negative_delta"
    ),
    "reduce_log_sum_exp": (
        "reduce_log_sum_exp_default_axes_keepdims_example "
        "reduce_log_sum_exp_default_axes_keepdims_random"
    ),
    "reducemax": (
        "reduce_max_negative_axes_keepdims_example reduce_max_negative_axes_keepdims_random"
    ),
    "reducemean": "reduce_mean_keepdims_example reduce_mean_keepdims_random",
    "reduceprod": "reduce_prod_do_not_keepdims_example reduce_prod_do_not_keepdims_random",
    "reducesum": "reduce_sum_empty_set reduce_sum_empty_set_non_reduced_axis_zero",
    "reshape": (
        "reshape_negative_extended_dims reshape_zero_and_negative_dim reshape_allowzero_reordered"
    ),
    "resize": (
        "resize_upsample_scales_nearest resize_downsample_scales_nearest "
        "resize_upsample_sizes_nearest resize_downsample_sizes_nearest "
        "resize_upsample_scales_linear resize_downsample_scales_linear "
        "resize_upsample_scales_cubic resize_downsample_scales_cubic resize_upsample_sizes_cubic "
        "resize_downsample_sizes_cubic"
    ),
    "scatterelements": (
        "scatter_elements_with_axis scatter_elements_with_reduction_mul "
        "scatter_elements_with_reduction_max scatter_elements_with_reduction_min"
    ),
    "scatternd": "scatternd_add",
    "selu": "selu",
    "slice": "slice_end_out_of_bounds slice_neg_steps slice_negative_axes",
    "softmax": "softmax_axis_1",
    "split": (
        "split_variable_parts_1d_opset13 split_variable_parts_2d_opset13 "
        "split_variable_parts_default_axis_opset13 split_variable_parts_1d_opset18 "
        "split_variable_parts_2d_opset18 split_variable_parts_default_axis_opset18"
    ),
    "tile": "tile",
    "topk": (
        "top_k top_k_uint64 top_k_same_values top_k_same_values_largest top_k_same_values_2d "
        "top_k_smallest top_k_negative_axis"
    ),
}
NAMES = [(module, f"test_{name}") for module, names in SUBSET.items() for name in names.split()]


@cache
def cases_of(module):
    return {case.name: case for case in cases(module)}


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[name for _, name in NAMES])
def test_node(module, name, tmp_path):
    case, tally = cases_of(module)[name], Tally()
    assert claimed_op(case.model)
    run(case, tally, tmp_path / "model.onnx")
    assert not tally.failed
    assert not any("test" not in name for name in tally.refused)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_aligned_corners_are_those_of_onnxruntime(mode, tmp_path):
    """The node test keeps the scale where onnxruntime rounds the size: its last corner is cut."""
    name = f"test_resize_downsample_scales_{mode}_align_corners"
    tally = Tally()
    run(cases_of("resize")[name], tally, tmp_path / "model.onnx")
    assert not tally.failed
    assert [*tally.disputed] == [name]
