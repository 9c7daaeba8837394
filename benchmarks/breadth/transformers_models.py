"""transformers: one tiny configuration of many architectures, without caches."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import transformers
from transformers.models.whisper import modeling_whisper as whisper

from benchmarks.breadth.candidate import Candidate, Inputs, tensors

_TEXT = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.1,
}
_DECODER = {**_TEXT, "num_key_value_heads": 2, "use_cache": False, "head_dim": 16}
_GPT = {"vocab_size": 100, "n_embd": 64, "n_layer": 2, "n_head": 4, "use_cache": False}
_VISION = {
    "image_size": 64,
    "patch_size": 16,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "initializer_range": 0.1,
}
_STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 128]}
_IMAGE = (3, 64, 64)

Draw = Callable[[int, torch.Generator], Inputs]


def candidates() -> dict[str, Callable[[], Candidate]]:
    """Name → builder."""
    return {name: partial(_build, name, *rest) for name, rest in _MODELS.items()}


def _build(name: str, inputs: Draw, arguments: dict[str, Any], suffix: str = "Model") -> Candidate:
    family = name.partition(" ")[0]
    config = getattr(transformers, f"{family}Config")(**arguments)
    owner = transformers if hasattr(transformers, f"{family}{suffix}") else whisper
    model = getattr(owner, f"{family}{suffix}")(config)
    return Candidate(model.eval(), inputs)


def _tokens(batch: int, generator: torch.Generator) -> Inputs:
    """16 tokens with an attention mask; the last sample is 4 tokens shorter."""
    ids = torch.randint(1, 100, (batch, 16), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, 12:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _ids(batch: int, generator: torch.Generator) -> Inputs:
    return {"input_ids": torch.randint(1, 100, (batch, 16), generator=generator)}


def _pixels(batch: int, generator: torch.Generator) -> Inputs:
    return {"pixel_values": torch.randn(batch, *_IMAGE, generator=generator)}


def _mel(batch: int, generator: torch.Generator) -> Inputs:
    return {"input_features": torch.randn(batch, 16, 100, generator=generator)}


_T5 = {"vocab_size": 100, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
_MODELS: dict[str, tuple[Any, ...]] = {
    "Bert": (_tokens, _TEXT),
    "Roberta": (_tokens, _TEXT),
    "DistilBert": (
        _tokens,
        {"vocab_size": 100, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128},
    ),
    "DebertaV2": (
        _tokens,
        {**_TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    ),
    "Deberta": (_tokens, {**_TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "Albert": (_tokens, {**_TEXT, "embedding_size": 32}),
    "Electra": (_tokens, {**_TEXT, "embedding_size": 32}),
    "MPNet": (_tokens, _TEXT),
    "ModernBert": (_tokens, {**_TEXT, "global_attn_every_n_layers": 2, "local_attention": 8}),
    "XLMRoberta": (_tokens, _TEXT),
    "Camembert": (_tokens, _TEXT),
    "Ernie": (_tokens, _TEXT),
    "SqueezeBert": (_tokens, {**_TEXT, "embedding_size": 64}),
    "MobileBert": (
        _tokens,
        {**_TEXT, "embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    ),
    "FNet": (_ids, _TEXT),
    "Llama": (_tokens, _DECODER),
    "Mistral": (_tokens, {**_DECODER, "sliding_window": 8}),
    "Qwen2": (_tokens, _DECODER),
    "Qwen3": (_tokens, _DECODER),
    "Gemma": (_tokens, _DECODER),
    "Gemma2": (_tokens, {**_DECODER, "sliding_window": 8}),
    "Phi": (_tokens, {**_DECODER, "num_key_value_heads": 4}),
    "Phi3": (_tokens, _DECODER),
    "StableLm": (_tokens, _DECODER),
    "Olmo": (_tokens, _DECODER),
    "GPTNeoX": (_tokens, {**_TEXT, "use_cache": False}),
    "GPT2": (_tokens, _GPT),
    "GPTJ": (_tokens, {**_GPT, "rotary_dim": 8}),
    "CodeGen": (_tokens, {**_GPT, "rotary_dim": 8}),
    "Bloom": (
        _tokens,
        {"vocab_size": 100, "hidden_size": 64, "n_layer": 2, "n_head": 4, "use_cache": False},
    ),
    "OPT": (
        _tokens,
        {**_TEXT, "ffn_dim": 128, "word_embed_proj_dim": 64, "use_cache": False},
    ),
    "T5": (_tokens, _T5, "EncoderModel"),
    "MT5": (_tokens, {**_T5, "feed_forward_proj": "gated-gelu"}, "EncoderModel"),
    "ViT": (_pixels, _VISION),
    "DeiT": (_pixels, _VISION),
    "Beit": (_pixels, {**_VISION, "use_relative_position_bias": True}),
    "Dinov2": (_pixels, _VISION),
    "ViTMSN": (_pixels, _VISION),
    "Yolos": (_pixels, {**_VISION, "image_size": [64, 64], "num_detection_tokens": 8}),
    "CLIPVision": (_pixels, _VISION),
    "SiglipVision": (_pixels, _VISION),
    "CLIPText": (_tokens, _TEXT, "Model"),
    "Segformer": (_pixels, {**_STAGES, "num_attention_heads": [1, 2, 4, 8]}),
    "MobileViT": (
        _pixels,
        {
            "image_size": 64,
            "hidden_sizes": [32, 48, 64],
            "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 64],
        },
    ),
    "MobileNetV1": (_pixels, {"image_size": 64, "depth_multiplier": 0.25}),
    "MobileNetV2": (_pixels, {"image_size": 64, "depth_multiplier": 0.25}),
    "ResNet": (_pixels, {"embedding_size": 16, **_STAGES}),
    "RegNet": (_pixels, {"embedding_size": 16, **_STAGES, "groups_width": 8}),
    "ConvNext": (_pixels, _STAGES),
    "ConvNextV2": (_pixels, _STAGES),
    "Swin": (
        _pixels,
        {
            "image_size": 64,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 4],
            "window_size": 4,
        },
    ),
    "Swinv2": (
        _pixels,
        {
            "image_size": 64,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 4],
            "window_size": 4,
        },
    ),
    "PoolFormer": (_pixels, _STAGES),
    "Pvt": (
        _pixels,
        {"image_size": 64, **_STAGES, "num_attention_heads": [1, 2, 4, 8]},
    ),
    "Levit": (
        _pixels,
        {"image_size": 64, "hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4]},
    ),
    "Whisper": (
        _mel,
        {
            "vocab_size": 100,
            "num_mel_bins": 16,
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "max_source_positions": 50,
        },
        "Encoder",
    ),
    "Wav2Vec2": (
        tensors((800,)),
        {
            **_TEXT,
            "conv_dim": [32, 32, 32],
            "conv_stride": [5, 2, 2],
            "conv_kernel": [10, 3, 3],
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
    ),
    "Hubert": (
        tensors((800,)),
        {
            **_TEXT,
            "conv_dim": [32, 32, 32],
            "conv_stride": [5, 2, 2],
            "conv_kernel": [10, 3, 3],
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
    ),
}
