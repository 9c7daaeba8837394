"""torchvision: classification, segmentation, video, and detectors up to their post-processing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torchvision
from torch import Tensor, nn

from benchmarks.breadth.candidate import Candidate, image_candidate, tensors

models = torchvision.models

#: Larger architectures take too long; of families of few layers, these are tried.
_LARGEST, _VGG = 40e6, ("vgg11", "vgg11_bn", "vgg13", "vgg13_bn")
_LARGER = ("alexnet", *_VGG, "vit_b_32", "wide_resnet50_2")
#: Backbone and head are those of Faster R-CNN; or many more layers than others of the family; or
#: no size below 16 frames of 224².
_LEFT_OUT = (
    *("maskrcnn", "keypointrcnn", "densenet161", "densenet169", "densenet201"),
    *("efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "mvit"),
)
_QUICK = {"init_weights": False}  # a truncated normal distribution from SciPy takes minutes
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": _QUICK,
    "inception_v3": _QUICK,
}
_VIDEO = {"s3d": (3, 16, 224, 224)}
_DETECTOR = {"ssd300": (3, 300, 300)}


def candidates() -> dict[str, Callable[[], Candidate]]:
    """Name → builder, smallest first."""
    found = {}
    for build, module in _KINDS.items():
        names = models.list_models(module=module)
        found |= {name: partial(build, name) for name in names if not name.startswith(_LEFT_OUT)}
    sizes = {name: _parameters(name) for name in found}
    ordered = sorted(found, key=lambda name: sizes[name])
    return {name: found[name] for name in ordered if sizes[name] <= _LARGEST or name in _LARGER}


def _parameters(name: str) -> int:
    return min(weight.meta["num_params"] for weight in models.get_model_weights(name))


def _of(table: dict[str, Any], name: str, default: Any) -> Any:
    return next((value for prefix, value in table.items() if name.startswith(prefix)), default)


def _make(name: str, **kwargs: Any) -> nn.Module:
    arguments = _of(_ARGUMENTS, name, {})
    return models.get_model(name, weights=None, **kwargs, **arguments).eval()


def _classifier(name: str) -> Candidate:
    def build(size: int) -> nn.Module:
        kwargs = {"image_size": size} if name.startswith("vit") else {}
        return _make(name, num_classes=10, **kwargs)

    return image_candidate(build)


def _segmenter(name: str) -> Candidate:
    return Candidate(_make(name, weights_backbone=None, num_classes=5), tensors((3, 96, 96)))


def _video(name: str) -> Candidate:
    return Candidate(_make(name, num_classes=10), tensors(_of(_VIDEO, name, (3, 8, 64, 64))))


def _detector(name: str) -> Candidate:
    model = BackboneAndHead(_make(name, weights_backbone=None))
    return Candidate(model.eval(), tensors(_of(_DETECTOR, name, (3, 128, 128))))


class BackboneAndHead(nn.Module):
    """A detector without anchors, boxes and suppression, which depend on the data."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.rpn.head if hasattr(detector, "rpn") else detector.head

    def forward(self, images: Tensor) -> Any:
        """Scores and box offsets as the head returns them."""
        return self.head(list(self.backbone(images).values()))


_KINDS: dict[Callable[[str], Candidate], Any] = {
    _classifier: models,
    _segmenter: models.segmentation,
    _video: models.video,
    _detector: models.detection,
}
