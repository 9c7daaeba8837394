"""Which atom becomes which in a reaction: a transformer over the atoms of both sides."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from benchmarks.real_files.entry import Entry
from benchmarks.real_files.inputs.reactions import REACTIONS, Molecule, read
from benchmarks.real_files.scores import share_equal
from benchmarks.real_files.session import Session
from benchmarks.real_files.wheels import Wheel

_MOLECULE, _REACTION, _REACTANT, _PRODUCT = range(4)
_FARTHEST, _MOST_NEIGHBOURS = 10, 14
_NEIGHBOURS_COUNT = 1.75  # times as much, as in the package


@dataclass(frozen=True)
class Reaction:
    """A reaction as the network takes it.

    Attributes:
        atoms: (1, n): atomic numbers and tokens of whole molecules.
        neighbours: (1, n).
        distances: (1, n, n).
        roles: (1, n): reactant, product or token.
        bonded: For the reactants and for the products, which atoms are bonded.
        alike: For each atom of the reactants, the number of the first atom that is like it.
    """

    atoms: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    roles: np.ndarray
    bonded: tuple[np.ndarray, np.ndarray]
    alike: np.ndarray


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
    bonded = (_bonded(sides[0][0]), _bonded(sides[1][0]))
    alike = _alike(atoms[roles == _REACTANT], bonded[0])
    return Reaction(atoms[None], neighbours[None], distances[None], roles[None], bonded, alike)


def _neighbours(molecule: Molecule) -> np.ndarray:
    total = molecule.adjacency().sum(0) + np.array(molecule.hydrogens)
    return np.minimum(total, _MOST_NEIGHBOURS) + 2


def _bonded(molecules: list[Molecule]) -> np.ndarray:
    return np.asarray(block_diag(*(molecule.adjacency() for molecule in molecules)), bool)


def _alike(numbers: np.ndarray, bonded: np.ndarray) -> np.ndarray:
    """The first atom that cannot be told from each atom by what is around it."""
    classes = [int(number) for number in numbers]
    for _ in classes:
        around = [tuple(sorted(classes[j] for j in np.flatnonzero(row))) for row in bonded]
        kinds = list(zip(classes, around, strict=True))
        classes = [kinds.index(kind) for kind in kinds]
    return np.array(classes)


def use(session: Session, sample: Reaction) -> np.ndarray:
    """For each atom of the products, the atom of the reactants that it was; −1 for none."""
    (attention,) = session(sample.atoms, sample.neighbours, sample.distances, sample.roles)
    was, became = (np.flatnonzero(sample.roles[0] == role) for role in (_REACTANT, _PRODUCT))
    both = attention[np.ix_(became, was)] + attention[np.ix_(was, became)].T
    same = sample.atoms[0][became][:, None] == sample.atoms[0][was]
    mapped = walk(both * same, *sample.bonded)
    return np.where(mapped < 0, -1, sample.alike[mapped])


def walk(scores: np.ndarray, reactants: np.ndarray, products: np.ndarray) -> np.ndarray:
    """From the best pair on to pairs of their neighbours, which count more; each atom once.

    Args:
        scores: (products, reactants).
        reactants: Which atoms are bonded.
        products: Which atoms are bonded.
    """
    scores, mapped = scores.copy(), np.full(len(scores), -1)
    edge = np.zeros(len(scores), bool)
    for _ in mapped:
        rows = np.flatnonzero(edge) if edge.any() else np.arange(len(scores))
        at, reactant = np.unravel_index(scores[rows].argmax(), (len(rows), scores.shape[1]))
        product = rows[at]
        if np.isclose(scores[product, reactant], 0):
            break
        mapped[product] = reactant
        scores[np.ix_(products[product], reactants[reactant])] *= _NEIGHBOURS_COUNT
        scores[product], scores[:, reactant] = 0, 0
        edge = (edge | products[product]) & (mapped < 0)
    return mapped


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
)
