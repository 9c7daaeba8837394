"""Which atom becomes which in a reaction: a transformer over the atoms of both sides."""

from dataclasses import dataclass

import numpy as np

from benchmarks.real_files.entry import Entry, Score
from benchmarks.real_files.inputs.reactions import REACTIONS, Molecule, read
from benchmarks.real_files.scores import share_equal
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_MOLECULE, _REACTION, _REACTANT, _PRODUCT = range(4)
_FARTHEST, _MOST_NEIGHBOURS = 10, 14


@dataclass(frozen=True)
class Reaction:
    """A reaction as the network takes it.

    Attributes:
        atoms: (1, n): atomic numbers and tokens of whole molecules.
        neighbours: (1, n).
        distances: (1, n, n).
        roles: (1, n): reactant, product or token.
    """

    atoms: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    roles: np.ndarray


def samples(_: Wheel) -> list[Reaction]:
    """Reactions of textbooks."""
    return [_encode(*smiles.split(">>")) for smiles in REACTIONS]


def _encode(before: str, after: str) -> Reaction:
    sides = ((read(before), _REACTANT), (read(after), _PRODUCT))
    parts = [(molecule, role) for molecules, role in sides for molecule in molecules]
    size = 1 + sum(1 + len(molecule.numbers) for molecule, _ in parts)
    atoms, neighbours, roles = (np.zeros(size, np.int64) for _ in range(3))
    distances = np.zeros((size, size), np.int64)
    distances[0, 0], roles[0], at = 1, _REACTION, 1
    for molecule, role in parts:
        end = at + 1 + len(molecule.numbers)
        atoms[at:end] = [1, *(number + 2 for number in molecule.numbers)]
        neighbours[at:end] = [0, *_neighbours(molecule)]
        roles[at:end] = [_MOLECULE, *[role] * len(molecule.numbers)]
        distances[at:end, at:end] = 1
        reached = np.minimum(molecule.distances(), _FARTHEST) + 2
        distances[at + 1 : end, at + 1 : end] = reached
        at = end
    return Reaction(atoms[None], neighbours[None], distances[None], roles[None])


def _neighbours(molecule: Molecule) -> np.ndarray:
    total = molecule.adjacency().sum(0) + np.array(molecule.hydrogens)
    return np.minimum(total, _MOST_NEIGHBOURS) + 2


def use(session: Session, sample: Reaction) -> np.ndarray:
    """For each atom of the products, the atom of the reactants that it was."""
    feed = (sample.atoms, sample.neighbours, sample.distances, sample.roles)
    (attention,) = session(*feed)
    was, became = (np.flatnonzero(sample.roles[0] == role) for role in (_REACTANT, _PRODUCT))
    both = attention[np.ix_(became, was)] + attention[np.ix_(was, became)].T
    alike = sample.atoms[0][became][:, None] == sample.atoms[0][was]
    return (both * alike).argmax(1)


def truth(sample: Reaction, answer: np.ndarray) -> Score:
    """Atoms of the products that come from an atom of their element, each from its own."""
    was, became = (sample.atoms[0][sample.roles[0] == role] for role in (_REACTANT, _PRODUCT))
    right = was[answer] == became
    return float(len(set(answer[right].tolist()))), float(len(answer))


MAPPER = Entry(
    name="chython-rxnmap",
    requirement="chython-rxnmap==2.0",
    member="chython_rxnmap/rxnmap.onnx",
    samples=samples,
    calibrate=8,
    use=use,
    same=share_equal,
    metric="same mapping",
    least=0.97,
    truth=truth,
)
