"""Networks without images: perceptrons, 1-d convolutions, attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import Case, floats, images


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(10, 16, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(16, 12),
        nn.BatchNorm1d(12),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.2),
        nn.Linear(12, 5),
    )


def conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 8, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Conv1d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.ConvTranspose1d(8, 6, 4, stride=2, padding=1),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(6 * 8, 5),
    )


class EncoderLayer(nn.Module):
    """A transformer's encoder layer on `nn.MultiheadAttention`, and mean pooling."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return self.out(x.mean(1))


class CausalAttention(nn.Module):
    """One projection to queries, keys and values, and the fused attention with a causal mask."""

    def __init__(self, width: int = 12, heads: int = 3):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.project(y.transpose(1, 2).reshape(n, length, width))


class ManualAttention(nn.Module):
    """Attention written out with matmul and softmax, keys taken from a second sequence."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(memory).transpose(-2, -1) / x.shape[-1] ** 0.5
        return torch.matmul(scores.softmax(-1), self.value(memory))


CASES = {
    "perceptron": Case(perceptron, (floats(10),)),
    "conv1d": Case(conv1d, (images(4, 16),)),
    "encoder_layer": Case(EncoderLayer, (floats(6, 16),)),
    "causal_attention": Case(CausalAttention, (floats(5, 12),)),
    "manual_attention": Case(ManualAttention, (floats(4, 8), floats(6, 8))),
}
