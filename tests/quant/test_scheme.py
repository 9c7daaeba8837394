"""Schemes by name, and with other widths."""

import pytest

from tersor.errors import InvalidInputError
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_CPU, SCHEMES, find_scheme


def test_schemes_are_found_by_their_name():
    assert all(find_scheme(name) is scheme for name, scheme in SCHEMES.items())
    assert find_scheme(DFQ_PAPER) is DFQ_PAPER
    with pytest.raises(InvalidInputError, match=r"'tpu'.*onnxruntime-cpu"):
        find_scheme("tpu")


def test_other_widths():
    narrow = ONNXRUNTIME_CPU.with_bits(weights=4, activations=None)
    assert narrow.weight.bits == 4
    assert narrow.weight.symmetric
    assert narrow.activation == ONNXRUNTIME_CPU.activation
    assert ONNXRUNTIME_CPU.with_bits(None, None) == ONNXRUNTIME_CPU
    assert ONNXRUNTIME_CPU.with_bits(None, 16).activation.bits == 16


@pytest.mark.parametrize("bits", [-8, 1, 17, 33])
def test_widths_from_2_to_16(bits):
    with pytest.raises(InvalidInputError, match=f"weights={bits} bits.*2 to 16"):
        ONNXRUNTIME_CPU.with_bits(bits, None)
    with pytest.raises(InvalidInputError, match=f"activations={bits} bits.*2 to 16"):
        ONNXRUNTIME_CPU.with_bits(None, bits)


def test_only_8_bit_weights_need_safe_pairs():
    assert ONNXRUNTIME_CPU.pair_safe
    assert ONNXRUNTIME_CPU.with_bits(8, 8).pair_safe
    assert not ONNXRUNTIME_CPU.with_bits(4, None).pair_safe
