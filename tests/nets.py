"""Small models as a user of the command line names them: `tests.nets:plain`."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import tersor

SHAPE = (2, 3, 12, 12)


def plain() -> nn.Module:
    """conv → BatchNorm → ReLU6 → depthwise conv → BatchNorm → ReLU → pooling → linear."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    model.train()
    for _ in range(20):  # statistics of real activations
        model(torch.randn(16, *SHAPE[1:]))
    return model.eval()


def images(count: int = SHAPE[0], seed: int = 1) -> Tensor:
    """Inputs for these models."""
    return torch.randn(count, *SHAPE[1:], generator=torch.Generator().manual_seed(seed))


def batches() -> list[tuple[Tensor, Tensor]]:
    """Three batches with labels."""
    return [(images(16, seed), torch.arange(16) % 5) for seed in range(3)]


def stream() -> Iterator[tuple[Tensor, Tensor]]:
    """The same, one after the other."""
    yield from batches()


def with_example() -> tuple[nn.Module, Tensor]:
    """The same with its example."""
    return plain(), images(1)


def not_finite() -> tuple[nn.Module, Tensor]:
    """One weight is NaN."""
    model, example = with_example()
    model[0].weight.data[1, 2] = float("nan")
    return model, example


def infinite() -> tuple[nn.Module, Tensor]:
    """A running variance is infinite."""
    model, example = with_example()
    model[1].running_var[3] = float("inf")
    return model, example


def half() -> tuple[nn.Module, Tensor]:
    """Half precision."""
    model, example = with_example()
    return model.half(), example.half()


def wrong_example() -> tuple[nn.Module, Tensor]:
    """Four channels for a model that takes three."""
    return plain(), torch.randn(1, 4, 12, 12)


def quantized() -> tuple[nn.Module, Tensor]:
    """A model that already rounds its weights."""
    model, example = with_example()

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127))

    return Rounded(), example


def quantized_by_tersor() -> tuple[nn.Module, Tensor]:
    """A model that comes out of Tersor."""
    model, example = with_example()
    return tersor.quantize(model, example).network.module, example


def failing() -> nn.Module:
    """A function that does not get as far as a model."""
    raise RuntimeError("no weights\nin the cupboard")


def without_batchnorm() -> tuple[nn.Module, Tensor]:
    """conv → ReLU → linear."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))
    return model, images(1)


def of_any_size() -> nn.Module:
    """Two convolutions, which know nothing of their pictures."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()


def one_channel() -> tuple[nn.Module, Tensor]:
    """Every layer has one channel."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3),
        nn.BatchNorm2d(1),
        nn.ReLU(),
        nn.Conv2d(1, 1, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1, 1),
    )
    return model, torch.randn(1, 1, 12, 12)
