"""Whether the processor multiplies 8-bit integers several times as fast as floats."""

from functools import cache

import torch

_FAST = ("avx512_vnni", "avx_vnni", "amx_int8")


@cache
def are_fast() -> bool:
    """Whether PyTorch has kernels for that here, whose sums are exact."""
    known = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(known.get(name) for name in _FAST)
