"""timm: the smallest member of every family, and further ones."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
from torch import nn

from benchmarks.breadth.candidate import Candidate, image_candidate

#: The smallest member of each family, smallest first; further small members; the large families.
NAMES = Path(__file__).with_suffix(".txt").read_text().split()

_FOUR, _PER_STAGE = {"depth": 4}, (1, 1, 1, 1)
#: Architectures of many equal blocks, with fewer of them: tracing takes its time for each.
_SHORTER: dict[str, dict[str, Any]] = {
    "eva02_tiny_patch14_224": _FOUR,
    "convit_tiny": _FOUR,
    "deit_tiny_patch16_224": _FOUR,
    "vit_tiny_patch16_224": _FOUR,
    "vit_tiny_r_s16_p8_224": _FOUR,
    "cait_xxs24_224": _FOUR,
    "tnt_s_patch16_224": _FOUR,
    "vitamin_small_224": _FOUR,
    "beit_base_patch16_224": _FOUR,
    "naflexvit_base_patch16_gap": _FOUR,
    "samvit_base_patch16_224": _FOUR,
    "qwen3_vit_88m": _FOUR,
    "gemma4_vit_167m": _FOUR,
    "deepseek_vit_412m": _FOUR,
    "tiny_vit_5m_224": {"depths": _PER_STAGE},
    "nf_regnet_b0": {"depths": _PER_STAGE},
    "efficientformer_l1": {"depths": _PER_STAGE},
    "twins_svt_small": {"depths": _PER_STAGE},
    "twins_pcpvt_small": {"depths": _PER_STAGE},
    "davit_tiny": {"depths": _PER_STAGE},
    "sequencer2d_s": {"layers": _PER_STAGE},
    "res2net50_14w_8s": {"layers": _PER_STAGE},
    "tresnet_m": {"layers": _PER_STAGE},
    "swin_tiny_patch4_window7_224": {"depths": (2, 2, 1, 1)},
    "swinv2_tiny_window8_256": {"depths": (2, 2, 1, 1)},
    "swinv2_cr_tiny_224": {"depths": (2, 2, 1, 1)},
    "csatv2": {"depths": (2, 2, 2, 2)},
    "densenet121": {"block_config": (2, 2, 2, 2)},
}


def candidates() -> dict[str, Callable[[], Candidate]]:
    """Name → builder, smallest first."""
    return {name: partial(_build, name) for name in NAMES}


def _build(name: str) -> Candidate:
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    own_size = config.input_size[-1]
    return image_candidate(partial(_make, name), own_size)


def _make(name: str, size: int) -> nn.Module:
    """With position tables of this image size, if the architecture has any."""
    kwargs: dict[str, Any] = {"num_classes": 10, **_SHORTER.get(name, {})}
    try:
        return timm.create_model(name, img_size=size, **kwargs)
    except TypeError:
        return timm.create_model(name, **kwargs)
