"""BERT (arXiv 1810.04805) as sentence encoder: the layout of all-MiniLM-L6-v2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention, written out, with its residual LayerNorm."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map tokens (n, t, width) under an additive mask (n, 1, 1, t) to tokens."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        mixed = (scores + mask).softmax(-1) @ value
        return self.norm(x + self.output(mixed.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Attention, then two linear layers around a GELU, each with a residual LayerNorm."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.attention = Attention(width, heads)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map tokens (n, t, width) to tokens."""
        x = self.attention(x, mask)
        return self.norm(x + self.contract(F.gelu(self.expand(x))))


class Bert(nn.Module):
    """Embeddings and blocks; the result is the normalised mean over the tokens that count."""

    def __init__(
        self,
        vocabulary: int,
        width: int,
        heads: int,
        hidden: int,
        depth: int,
        positions: int = 512,
    ):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.types = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map token numbers (n, t) and a 0-1 mask (n, t) to unit vectors (n, width)."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.words(input_ids) + self.positions(places) + self.types.weight[0]
        x = self.norm(x)
        counted = attention_mask.to(x.dtype)
        blocked = (1 - counted[:, None, None, :]) * -10000.0
        for block in self.blocks:
            x = block(x, blocked)
        counted = counted[:, :, None]
        return F.normalize((x * counted).sum(1) / counted.sum(1), dim=-1)


def from_hugging_face(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of `transformers.BertModel` under the names used here."""
    return {
        _renamed(name): tensor
        for name, tensor in weights.items()
        if "pooler" not in name and "position_ids" not in name
    }


def _renamed(name: str) -> str:
    for theirs, ours in (
        ("embeddings.word_embeddings", "words"),
        ("embeddings.position_embeddings", "positions"),
        ("embeddings.token_type_embeddings", "types"),
        ("embeddings.LayerNorm", "norm"),
        ("encoder.layer.", "blocks."),
        ("attention.self.", "attention."),
        ("attention.output.dense", "attention.output"),
        ("attention.output.LayerNorm", "attention.norm"),
        ("intermediate.dense", "expand"),
        ("output.LayerNorm", "norm"),
        ("output.dense", "contract"),
    ):
        name = name.replace(theirs, ours)
    return name
