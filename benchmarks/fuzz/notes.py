"""Files with a seal and with the outputs that they expect: sound ones, and broken ones."""

import json
import random
import tempfile
from functools import cache
from pathlib import Path

import onnx
import torch
from torch import nn

import tersor
from benchmarks.fuzz.damage import NAMES, mutate_bytes, mutate_json
from benchmarks.fuzz.structure import mutate_onnx
from tersor.export.evidence.expected_outputs import as_text
from tersor.export.evidence.seal import seal


@cache
def sealed_files() -> list[bytes]:
    """A small file as it is exported."""
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()
        q = tersor.quantize(model, data=torch.randn(4, 3, 6, 6), tolerance=None)
        return [q.export(Path(folder) / "q.onnx").path.read_bytes()]


def mutate_sealed(content: bytes, rng: random.Random) -> bytes:
    """Other texts in its notes, in half of the cases with digests that fit; or another file."""
    kind = rng.random()
    if kind < 0.3:
        return mutate_onnx(content, rng)
    model = onnx.load_from_string(content)
    own = seal(model) if rng.random() < 0.5 else "0" * 16
    before = onnx.load_from_string(content).metadata_props
    kept = {note.key: note.value for note in before}
    del model.metadata_props[:]
    victim = rng.choice(sorted(kept))
    for key, value in kept.items():
        if rng.random() < 0.9:
            text = _changed(value, own, rng) if key == victim else value
            model.metadata_props.add(key=key, value=text)
    return model.SerializeToString()


def _changed(text: str, own: str, rng: random.Random) -> str:
    _, _, found = text.partition(" ")
    if found.startswith("{") and rng.random() < 0.8:
        try:
            return as_text(json.loads(mutate_json(found.encode(), rng)), own)
        except (ValueError, TypeError):
            return text
    if rng.random() < 0.3:
        return rng.choice(NAMES)
    return mutate_bytes(text.encode(), rng).decode(errors="replace")
