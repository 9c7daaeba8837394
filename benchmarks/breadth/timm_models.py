"""timm: the smallest members of every family."""

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
from torch import nn

from benchmarks.breadth.candidate import Candidate, image_candidate

#: The smallest member of each family, smallest first, then further members.
NAMES = """
    test_vit test_vit2 test_resnet test_convnext test_convnext2 test_efficientnet
    test_efficientnet_gn test_byobnet test_nfnet test_mambaout test_coatnet test_maxvit
    test_vit_relpos dla46x_c edgenext_xx_small mobilevit_xxs mobilevitv2_050
    mobilenetv3_small_050 lcnet_035 starnet_s050 efficientvit_m0 repghostnet_050 ghostnet_050
    regnetx_002 cspnext_tiny iformer_t xcit_nano_12_p16_224 regnety_002 cs3darknet_focus_s
    efficientvit_b0 pvt_v2_b0 swiftformer_xs efficientformerv2_s0 fasternet_t0 fastvit_t8
    lcnetv2_small inception_next_atto pit_ti_224 rexnet_100 mobileone_s1 hardcorenas_a
    tiny_vit_5m_224 coat_tiny coat_lite_tiny eva02_tiny_patch14_224 repvit_m0_9 convit_tiny
    deit_tiny_patch16_224 vit_tiny_patch16_224 gmlp_ti16_224 hgnetv2_b0 shvit_s1
    vit_tiny_r_s16_p8_224 cpubone_nano efficientvim_m1 crossvit_tiny_240 levit_128s
    levit_conv_128s densenet121 halonet_h1 nf_regnet_b0 dpn48b visformer_tiny
    eca_botnext26ts_256 resnest14d csatv2 legacy_seresnet18 skresnet18 resnetv2_18
    poolformer_s12 cait_xxs24_224 gcvit_xxtiny efficientformer_l1 hrnet_w18_small
    ese_vovnet19b_dw lowformer_b0 nest_tiny tnt_s_patch16_224 convmixer_768_32
    vitamin_small_224 inception_v3 rdnet_tiny twins_svt_small twins_pcpvt_small mvitv2_tiny
    res2net50_14w_8s legacy_xception xception41 volo_d1_224 hieradet_small hiera_tiny_224
    swinv2_tiny_window8_256 swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 sequencer2d_s
    davit_tiny focalnet_tiny_srf tresnet_m selecsls42 nextvit_small inception_v4
    inception_resnet_v2 mobilenetv5_base beit_base_patch16_224 naflexvit_base_patch16_gap
    samvit_base_patch16_224 nasnetalarge pnasnet5large vgg11_bn

    test_convnext3 test_efficientnet_ln test_efficientnet_evos test_vit3 test_vit4 dla46_c
    lcnet_050 starnet_s1 efficientvit_m1 repghostnet_058 mobilevit_xs edgenext_x_small
    ghostnetv3_050 mnasnet_050 mobilenetv4_conv_small_050 mobilenetv2_050
    tf_mobilenetv3_small_minimal_100 fbnetc_100 spnasnet_100 tinynet_e tf_efficientnet_lite0
    efficientnet_b0 mixnet_s semnasnet_075 vit_tiny_patch16_dinov3_qkvb pit_ti_distilled_224
    cpubone_t0 hgnetv2_b1 deit_tiny_distilled_patch16_224 resnet10t fasternet_t1 mobileone_s0
    rexnetr_100 repvit_m1_0 efficientvit_b1 iformer_s xcit_tiny_12_p16_224 densenetblur121d
    shvit_s2 resnet14t resnet18 resnetblur18 resnetaa34d seresnet18 ecaresnet26t gernet_s
    repvgg_a0 mixer_s32_224 resmlp_12_224 tiny_vit_11m_224 convnext_atto convnextv2_atto
    mambaout_femto maxvit_pico_rw_256 resnet50_gn resnetv2_50x1_bit dm_nfnet_f0 eca_nfnet_l0
    poolformerv2_s12 convformer_s18 caformer_s18 vit_srelpos_small_patch16_224 skresnet34
    selecsls60 xception41p vit_small_patch16_224 flexivit_small gcvit_xtiny
""".split()


def candidates() -> dict[str, Callable[[], Candidate]]:
    """Name → builder, smallest first."""
    return {name: partial(_build, name) for name in NAMES}


def _build(name: str) -> Candidate:
    own_size = timm.create_model(name).default_cfg["input_size"][-1]
    return image_candidate(partial(_make, name), own_size)


def _make(name: str, size: int) -> nn.Module:
    """With position tables of this image size, if the architecture has any."""
    kwargs: dict[str, Any] = {"num_classes": 10}
    try:
        return timm.create_model(name, img_size=size, **kwargs)
    except TypeError:
        return timm.create_model(name, **kwargs)
