"""A test network with its inputs, and how its random weights are drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

Draw = Callable[[torch.Generator, int], Tensor]


def floats(*shape: int) -> Draw:
    """Standard normal inputs (n, *shape)."""
    return lambda generator, batch: torch.randn(batch, *shape, generator=generator)


def images(*shape: int) -> Draw:
    """Normal inputs (n, *shape) whose pixels correlate: each channel has a mean of its own."""

    def draw(generator: torch.Generator, batch: int) -> Tensor:
        mean = torch.randn(batch, shape[0], *(1 for _ in shape[1:]), generator=generator)
        return (mean + torch.randn(batch, *shape, generator=generator)) / 2**0.5

    return draw


def tokens(vocabulary: int, *shape: int) -> Draw:
    """Integer inputs (n, *shape) below `vocabulary`."""
    return lambda generator, batch: torch.randint(vocabulary, (batch, *shape), generator=generator)


@dataclass(frozen=True)
class Case:
    """A network of the test zoo.

    Attributes:
        build: makes the module with PyTorch's default weights.
        inputs: one draw for each positional input.
        keywords: one draw for each keyword input.
    """

    build: Callable[[], nn.Module]
    inputs: tuple[Draw, ...]
    keywords: dict[str, Draw] = field(default_factory=dict)

    def make(self) -> nn.Module:
        """A new network in eval mode and float32: the same weights at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.build()
        _randomize(model, torch.Generator().manual_seed(1))
        self._calibrate(model)
        return model.eval()

    def args(self, dtype=torch.float32, batch: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
        """Positional inputs. `dtype` is that of the floating ones."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(_cast(draw(generator, batch), dtype) for draw in self.inputs)

    def kwargs(self, dtype=torch.float32, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
        """Keyword inputs. `dtype` is that of the floating ones."""
        generator = torch.Generator().manual_seed(seed + 1)
        return {key: _cast(draw(generator, batch), dtype) for key, draw in self.keywords.items()}

    def _calibrate(self, model: nn.Module) -> None:
        """Set the running statistics to those of a batch, so that signals keep their size."""
        norms = [module for module in model.eval().modules() if isinstance(module, BATCH_NORMS)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
            norm.momentum = None
        with torch.no_grad():
            model(*self.args(batch=16, seed=2), **self.kwargs(batch=16, seed=2))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _randomize(model: nn.Module, generator: torch.Generator) -> None:
    """Shift and scale each BatchNorm that has its default weights, every fourth gamma negative."""
    for module in model.modules():
        if isinstance(module, BATCH_NORMS) and module.affine and bool((module.weight == 1).all()):
            gamma = 0.4 + 1.2 * torch.rand(module.num_features, generator=generator)
            gamma[3::4] *= -1
            module.weight.data.copy_(gamma)
            module.bias.data.normal_(0, 0.5, generator=generator)
