"""Chemical reactions out of short SMILES, as atoms with their neighbours and distances."""

import re
from dataclasses import dataclass, field

import numpy as np

#: Reactants, and what becomes of them.
REACTIONS = (
    "CC(=O)O.OCC>>CC(=O)OCC.O",
    "CC(=O)Cl.NCc1ccccc1>>CC(=O)NCc1ccccc1.Cl",
    "OC(=O)C(=C)C=C.C=CC#N>>OC(=O)C1=CCCC(C1)C#N",
    "c1ccccc1C=O.CC(=O)C>>c1ccccc1C=CC(=O)C.O",
    "Brc1ccccc1.OB(O)c1ccccc1>>c1ccc(cc1)c1ccccc1.OB(O)Br",
    "CCBr.[OH-]>>CCO.[Br-]",
    "C1CCCCC1O>>C1CCCCC1=O",
    "CC=O.OCCO>>CC1OCCO1.O",
    "C=CC=C.C=CC=O>>O=CC1CCC=CC1",
    "CC(C)=O.NO>>CC(C)=NO.O",
    "CCC(=O)OC.CN>>CCC(=O)NC.CO",
    "c1ccccc1.CC(=O)Cl>>CC(=O)c1ccccc1.Cl",
    "N#Cc1ccccc1>>NCc1ccccc1",
    "O=Cc1ccccc1.O=Cc1ccccc1>>O=C(c1ccccc1)C(O)c1ccccc1",
    "CCN.CC(=O)OC(C)=O>>CCNC(C)=O.CC(=O)O",
    "CI.Oc1ccccc1>>COc1ccccc1.I",
    "C=Cc1ccccc1>>C1OC1c1ccccc1",
    "OCCc1ccccc1>>ClCCc1ccccc1",
    "CC(C)(C)OC(=O)NCC(=O)O>>NCC(=O)O",
    "Nc1ccccc1.O=C=Nc1ccccc1>>O=C(Nc1ccccc1)Nc1ccccc1",
    "CCOC(=O)CC(=O)C.CCBr>>CCOC(=O)C(CC)C(=O)C.Br",
    "Clc1ccnc2ccccc12.NCCO>>OCCNc1ccnc2ccccc12.Cl",
    "CC(=O)CC(=O)C.NN>>Cc1cc(C)[nH]n1.O",
    "O=C1CCCCC1.[H]C#C>>OC1(C#C)CCCCC1",
    "CS(=O)(=O)Cl.OCC1CC1>>CS(=O)(=O)OCC1CC1.Cl",
    "C=CCBr.O=Cc1ccccc1>>C=CCC(O)c1ccccc1.Br",
    "CC#N.O>>CC(N)=O",
    "COC(=O)c1ccccc1.O>>OC(=O)c1ccccc1.CO",
    "O=[N+]([O-])c1ccccc1>>Nc1ccccc1",
    "CCCC=O.CCCC=O>>CCCC=C(CC)C=O.O",
)
_TOKEN = re.compile(r"\[[^\]]+\]|Cl|Br|[BCNOFPSIbcnops]|[=#\-:/\\]|[()]|%\d\d|\d|\.")
_NUMBERS = {"H": 1, "B": 5, "C": 6, "N": 7, "O": 8, "F": 9, "P": 15, "S": 16, "Cl": 17, "Br": 35}
_NUMBERS |= {"I": 53}
_VALENCES = {5: (3,), 6: (4,), 7: (3, 5), 8: (2,), 15: (3, 5), 16: (2, 4, 6)}
_ORDERS = {"-": 1.0, "=": 2.0, "#": 3.0, ":": 1.5, "/": 1.0, "\\": 1.0}
_FAR = 99


@dataclass
class Molecule:
    """Atoms and bonds.

    Attributes:
        numbers: Atomic number of each atom.
        hydrogens: Hydrogens of each atom that are not atoms of their own.
        bonds: Pairs of atoms → order; 1.5 in aromatic rings.
    """

    numbers: list[int] = field(default_factory=list)
    hydrogens: list[int] = field(default_factory=list)
    bonds: dict[tuple[int, int], float] = field(default_factory=dict)

    def adjacency(self) -> np.ndarray:
        """Which atoms are bonded."""
        found = np.zeros((len(self.numbers),) * 2, bool)
        for a, b in self.bonds:
            found[a, b] = found[b, a] = True
        return found

    def distances(self) -> np.ndarray:
        """Bonds between each two atoms on the shortest way."""
        size = len(self.numbers)
        found = np.where(self.adjacency(), 1, _FAR)
        np.fill_diagonal(found, 0)
        for k in range(size):
            found = np.minimum(found, found[:, k : k + 1] + found[k : k + 1])
        return found


def read(smiles: str) -> list[Molecule]:
    """Molecules out of one side of a reaction, separated by dots."""
    return [_molecule(part) for part in smiles.split(".")]


def _molecule(smiles: str) -> Molecule:
    molecule, reader = Molecule(), _Reader()
    for token in _TOKEN.findall(smiles):
        reader.take(token, molecule)
    for atom, given in enumerate(reader.given):
        molecule.hydrogens.append(_implicit(molecule, atom, reader) if given is None else given)
    return molecule


@dataclass
class _Reader:
    """Where in a SMILES the reading is."""

    last: int | None = None
    order: float | None = None
    branches: list[int | None] = field(default_factory=list)
    rings: dict[str, tuple[int, float | None]] = field(default_factory=dict)
    given: list[int | None] = field(default_factory=list)
    aromatic: list[bool] = field(default_factory=list)

    def take(self, token: str, molecule: Molecule) -> None:
        if token in _ORDERS:
            self.order = _ORDERS[token]
        elif token == "(":  # noqa: S105
            self.branches.append(self.last)
        elif token == ")":  # noqa: S105
            self.last = self.branches.pop()
        elif token[0] in "%0123456789":
            self._ring(token, molecule)
        else:
            self._atom(token, molecule)

    def _ring(self, token: str, molecule: Molecule) -> None:
        assert self.last is not None
        if token in self.rings:
            other, order = self.rings.pop(token)
            self._bond(other, self.last, self.order or order, molecule)
        else:
            self.rings[token] = self.last, self.order
        self.order = None

    def _atom(self, token: str, molecule: Molecule) -> None:
        symbol, hydrogens = _bracket(token) if token[0] == "[" else (token, None)
        atom = len(molecule.numbers)
        molecule.numbers.append(_NUMBERS[symbol.capitalize()])
        self.given.append(hydrogens)
        self.aromatic.append(symbol.islower())
        if self.last is not None:
            self._bond(self.last, atom, self.order, molecule)
        self.last, self.order = atom, None

    def _bond(self, a: int, b: int, order: float | None, molecule: Molecule) -> None:
        aromatic = self.aromatic[a] and self.aromatic[b]
        molecule.bonds[a, b] = order or (1.5 if aromatic else 1.0)


def _bracket(token: str) -> tuple[str, int]:
    found = re.match(r"\[(Cl|Br|[A-Za-z])(?:H(\d?))?", token)
    assert found, token
    hydrogens = 0 if found[2] is None else int(found[2] or 1)
    return found[1], hydrogens


def _implicit(molecule: Molecule, atom: int, reader: _Reader) -> int:
    """Hydrogens that fill the valence."""
    orders = [order for pair, order in molecule.bonds.items() if atom in pair]
    bonds = int(sum(orders) + 0.5) if reader.aromatic[atom] else int(sum(orders))
    allowed = _VALENCES.get(molecule.numbers[atom], (1,))
    return next((valence - bonds for valence in allowed if valence >= bonds), 0)
