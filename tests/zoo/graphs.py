"""Networks whose graph or signature is unusual: shared, tied, functional, computed, many inputs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, floats, images, tokens
from tests.zoo.chains import conv_bn, head


class SharedConv(nn.Module):
    """One convolution called twice, each time with a BatchNorm of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 8), nn.ReLU())
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.bn2 = nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.head = nn.Sequential(*head(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv(self.stem(x))))
        return self.head(self.act(self.bn2(self.conv(x))))


class SharedUnit(nn.Module):
    """A whole conv–bn–act unit called twice: the BatchNorm is shared too."""

    def __init__(self):
        super().__init__()
        self.unit = nn.Sequential(*conv_bn(4, 4), nn.ReLU())
        self.head = nn.Sequential(*head(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.unit(self.unit(x)))


class TiedEmbedding(nn.Module):
    """A language model's output layer that uses the embedding as its weight."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.hidden = nn.Linear(8, 8)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(self.embed(ids))))


class TiedLinears(nn.Module):
    """Two Linear modules with one weight, as an autoencoder's square layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        return self.out(F.relu(self.second(x)))


class Functional(nn.Module):
    """Bare parameters in functional calls, and in-place arithmetic between them."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 3, 3, 3) / 5)
        self.depthwise = nn.Parameter(torch.randn(8, 1, 3, 3) / 3)
        self.matrix = nn.Parameter(torch.randn(5, 8) / 3)
        self.offset = nn.Parameter(torch.randn(5) / 5)
        self.register_buffer("shift", torch.linspace(-0.5, 0.5, 8).view(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.kernel, padding=1)
        y.add_(self.shift)
        torch.relu_(y)
        y = F.conv2d(y, self.depthwise, stride=2, groups=8)
        y *= 0.5
        y[:, :, 0] = 0
        y = F.hardtanh_(y, -2.0, 2.0)
        return F.linear(y.mean((2, 3)), self.matrix, self.offset)


class TwoInputs(nn.Module):
    """An image and a vector, a keyword input, and a nested tuple as output."""

    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(*conv_bn(3, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.vector = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.out = nn.Linear(16, 5)

    def forward(self, image: Tensor, vector: Tensor, *, gain: Tensor) -> tuple:
        a = self.image(image).flatten(1)
        b = self.vector(vector) * gain
        return self.out(torch.cat((a, b), 1)), (a - b, a.amax(1))


class StandardizedConv(nn.Conv2d):
    """A convolution whose weight is computed from its parameter at every call."""

    def forward(self, x: Tensor) -> Tensor:
        std, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (std + 1e-5)
        return F.conv2d(x, weight / 5, self.bias, self.stride, self.padding)


def standardized() -> nn.Module:
    return nn.Sequential(
        StandardizedConv(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        StandardizedConv(8, 8, 3, stride=2),
        nn.ReLU(),
        *head(8),
    )


class Branches(nn.Module):
    """One tensor read by three consumers; add, subtract, multiply and a difference of pools."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 8), nn.ReLU())
        self.left = nn.Sequential(*conv_bn(8, 8), nn.ReLU())
        self.right = nn.Sequential(*conv_bn(8, 8, kernel=1), nn.Sigmoid())
        self.out = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.left(x) * self.right(x) - 0.5 * x
        return self.out(F.max_pool2d(y, 2).mean((2, 3)) - y.mean((2, 3)))


CASES = {
    "shared_conv": Case(SharedConv, (images(3, 8, 8),)),
    "shared_unit": Case(SharedUnit, (images(4, 8, 8),)),
    "tied_embedding": Case(TiedEmbedding, (tokens(11, 6),)),
    "tied_linears": Case(TiedLinears, (floats(6),)),
    "functional": Case(Functional, (images(3, 8, 8),)),
    "two_inputs": Case(TwoInputs, (images(3, 8, 8), floats(4)), {"gain": floats(1)}),
    "standardized": Case(standardized, (images(3, 9, 9),)),
    "branches": Case(Branches, (images(3, 8, 8),)),
}
