"""A small transformer block in which a few channels are far larger than the others."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

WIDTH, TOKENS = 16, 6


class Block(nn.Module):
    """Attention and two linear layers, each with a norm in front of it or behind it."""

    def __init__(self, norm_first: bool = True, spread: float = 60.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm_first = norm_first
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.expand, self.contract = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 5)
        with torch.no_grad():
            for norm in (self.norm1, self.norm2):
                norm.weight[3:5] *= spread
            for layer in (self.query, self.key, self.value, self.expand):
                layer.weight[:, 3:5] /= spread
            self.expand.weight[:4] *= spread / 4
            self.contract.weight[:, :4] /= spread

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) → (n, tokens, 5)."""
        if self.norm_first:
            x = x + self.attention(self.norm1(x))
            return self.head(x + self.mlp(self.norm2(x)))
        x = self.norm1(x)
        x = x + self.attention(x)
        x = self.norm2(x)
        return self.head((x + self.mlp(x)).tanh())

    def attention(self, x: Tensor) -> Tensor:
        """One head."""
        query, key, value = (layer(x)[:, None] for layer in (self.query, self.key, self.value))
        return scaled_dot_product_attention(query, key, value)[:, 0]

    def mlp(self, x: Tensor) -> Tensor:
        """Two layers around a GELU."""
        return self.contract(gelu(self.expand(x)))


def sentences(count: int = 32, seed: int = 1) -> Tensor:
    """Inputs for it."""
    return torch.randn(count, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))
