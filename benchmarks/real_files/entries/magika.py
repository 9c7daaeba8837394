"""What kind of file is it? Embedded bytes, dense layers and a convolution."""

import json
from dataclasses import dataclass

import numpy as np

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.inputs.contents import contents
from benchmarks.real_files.scores import equal
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_FOLDER = "magika/models/standard_v3_3"


@dataclass(frozen=True)
class Sample:
    """A file.

    Attributes:
        content: Its first and last bytes, as numbers.
        kind: What it is.
        kinds: Name of each class.
    """

    content: np.ndarray
    kind: str
    kinds: tuple[str, ...]


def samples(wheel: Wheel) -> list[Sample]:
    """Files of 20 kinds."""
    config = json.loads(wheel.text(f"{_FOLDER}/config.min.json"))
    kinds = tuple(config["target_labels_space"])
    return [Sample(_prepare(data, config), kind, kinds) for kind, data in contents(160)]


def _prepare(data: bytes, config: dict[str, int]) -> np.ndarray:
    """The first and the last bytes, less white space at the ends, padded with a token."""
    first = data[: config["block_size"]].lstrip()[: config["beg_size"]]
    last = data[-config["block_size"] :].rstrip()[-config["end_size"] :]
    found = np.full((1, config["beg_size"] + config["end_size"]), config["padding_token"], np.int32)
    found[0, : len(first)] = list(first)
    found[0, found.shape[1] - len(last) :] = list(last)
    return found


def use(session: Session, sample: Sample) -> str:
    """The kind of the file."""
    (output,) = session(sample.content)
    return sample.kinds[int(output[0].argmax())]


def truth(sample: Sample, answer: str) -> Score:
    """Whether the kind was found."""
    return equal(sample.kind, answer)


CLASSIFIER = Entry(
    name="magika v3.3",
    requirement="magika==1.0.3",
    member=f"{_FOLDER}/model.onnx",
    samples=samples,
    calibrate=60,
    use=use,
    same=equal,
    metric="same class",
    least=0.97,
    truth=truth,
)
