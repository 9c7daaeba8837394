"""Trains the two networks briefly, and keeps their weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.harness.table import progress
from benchmarks.late_norms.pictures import Pictures, compose
from benchmarks.zoo.data import cifar10_train

_KEPT = Path.home() / ".cache" / "tersor" / "late_norms"
_PICTURES, _BATCH, _RATE = 4000, 32, 4e-3

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def trained(
    name: str, model: nn.Module, targets: Callable[[Pictures], Tensor], loss: Loss, epochs: int
) -> nn.Module:
    """The network with its weights, which are trained once.

    Args:
        name: Name of the file with the weights.
        model: The network.
        targets: What it is to learn of pictures.
        loss: Compares its outputs for inputs with targets.
        epochs: Passes over the pictures.
    """
    path = _KEPT / f"{name}-{epochs}.safetensors"
    if not path.exists():
        pictures = compose(*cifar10_train(), _PICTURES, seed=0)
        _train(name, model, pictures.pixels, targets(pictures), loss, epochs)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path)
    model.load_state_dict(load_file(path))
    return model.eval()


def _train(
    name: str, model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, epochs: int
) -> None:
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    steps = epochs * (len(inputs) // _BATCH)
    schedule = OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(inputs)).split(_BATCH)[: len(inputs) // _BATCH]:
            x, y = inputs[chosen], targets[chosen]
            optimizer.zero_grad(set_to_none=True)
            value = loss(model, x, y)
            value.backward()
            optimizer.step()
            schedule.step()
            total += float(value.detach())
        progress(name, f"epoch {epoch + 1} of {epochs}, loss {total / (len(inputs) // _BATCH):.3f}")


def pixel_loss(model: nn.Module, inputs: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of the classes of all pixels."""
    return F.cross_entropy(model(inputs), classes)


def cells(pictures: Pictures, stride: int = 8) -> Tensor:
    """Targets of a detector: (n, 6, h, w), whether there is a centre, its box, its class."""
    n, size = len(pictures.boxes), pictures.pixels.shape[-1]
    found = np.zeros((n, 6, size // stride, size // stride), np.float32)
    for number, boxes in enumerate(pictures.boxes):
        for left, top, right, bottom, label in boxes:
            x, y = (left + right) / 2 / stride, (top + bottom) / 2 / stride
            column, row = int(x), int(y)
            found[number, :, row, column] = (
                1,
                x - column,
                y - row,
                (right - left) / size,
                (bottom - top) / size,
                label,
            )
    return torch.from_numpy(found)


def box_loss(model: nn.Module, inputs: Tensor, wanted: Tensor) -> Tensor:
    """Objectness everywhere; boxes and classes where a centre is."""
    found = model(inputs)
    is_centre = wanted[:, 0] > 0
    objectness = F.binary_cross_entropy(found[:, 0], wanted[:, 0], reduction="none")
    objectness = objectness[is_centre].mean() + 2 * objectness[~is_centre].mean()
    at = found.permute(0, 2, 3, 1)[is_centre]
    target = wanted.permute(0, 2, 3, 1)[is_centre]
    place = F.l1_loss(at[:, 1:3].tanh(), target[:, 1:3])
    extent = F.l1_loss(at[:, 3:5].sigmoid(), target[:, 3:5])
    classes = F.nll_loss(at[:, 5:].clamp(min=1e-6).log(), target[:, 5].long())
    return objectness + 5 * place + 10 * extent + classes
