"""Conformers: embedded by RDKit with a fixed seed, relaxed by a force field, told apart, and chosen from."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures.structure import FloatArray, Structure

CHOICES = ("lowest", "flattest", "chelating")
"""How a conformer may be chosen; its number, counted from 1 for the lowest, is the fourth way."""

_SEED = 20240229
_FEWEST, _MOST = 10, 200
_BUDGET = 100_000
"""Embeddings times atoms squared, which time is proportional to; twice as much for a macrocycle."""
_TRIES = 50  # of an embedding, before random coordinates are started from
_KCAL = 4.184  # kJ
_SAME_ENERGY = 0.3  # kJ/mol
_SAME_SHAPE = 0.1  # root mean square of differences of distances [Angstrom]
_REACH = 3.0  # of a donor, from the middle of its cavity [Angstrom]; K-O of 18-crown-6 is 2.8
_WORTH = 100.0  # what a shorter distance to the donors may cost [kJ/mol/Angstrom]
_FACING = 0.2  # cosine between where a donor's lone pairs point and the middle of the cavity


@dataclass(frozen=True)
class Conformer:
    """A conformer and its force-field energy above the lowest [kJ/mol]."""

    structure: Structure
    energy: float


@dataclass(frozen=True)
class Pool:
    """All embeddings of a molecule.

    Attributes
    ----------
    molecule
        The RDKit molecule, with hydrogens.
    positions
        Positions [Angstrom], shape=(n_embeddings, n_atoms, 3).
    energies
        Force-field energies [kJ/mol], shape=(n_embeddings,).
    name
        Of the molecule.
    """

    molecule: Any
    positions: FloatArray
    energies: FloatArray
    name: str

    def structure(self, index: int) -> Structure:
        """Return an embedding, its centre at the origin."""
        from rdkit import Chem

        symbols = tuple(atom.GetSymbol() for atom in self.molecule.GetAtoms())
        positions = self.positions[index]
        return Structure(symbols, positions - positions.mean(axis=0), Chem.GetFormalCharge(self.molecule), 0, self.name)

    @cached_property
    def distinct(self) -> tuple[int, ...]:
        """One embedding of each conformer, the lowest first; mirror images and equal atoms swapped are no difference.

        A mirror image of a chiral molecule is another molecule, so no two embeddings of one are mirror images.
        """
        shapes = _shapes(self.molecule, self.positions)
        kept: list[int] = []
        for index in np.argsort(np.round(self.energies, 5), kind="stable").tolist():
            near = [k for k in kept if self.energies[index] - self.energies[k] < _SAME_ENERGY]
            if all(np.sqrt(np.mean((shapes[k] - shapes[index]) ** 2)) > _SAME_SHAPE for k in near):
                kept.append(index)
        return tuple(kept)

    @property
    def conformers(self) -> list[Conformer]:
        """The distinct conformers, the lowest first."""
        lowest = self.energies[self.distinct[0]]
        return [Conformer(self.structure(i), max(0.0, float(self.energies[i] - lowest))) for i in self.distinct]

    def choose(self, conformer: str | int = "lowest") -> Structure:
        """Return the lowest, the flattest or the chelating conformer, or the one of a number from 1.

        The chelating one brings the most donors (N, O, S with lone pairs) around one common point; of several, the one
        with them close together at little cost in energy.

        Raises
        ------
        BadInputError
            There is no conformer of that name or number, or fewer than two donors can face one point.
        """
        number = conformer_number(conformer)
        if number is not None:
            if not 1 <= number <= len(self.distinct):
                raise BadInputError(f"{self.name!r} has conformers 1 to {len(self.distinct)}, none is number {number}")
            return self.structure(self.distinct[number - 1])
        if conformer == "flattest":
            return self.structure(int(np.argmin(np.round([thickness(p) for p in self.positions], 6))))
        if conformer == "chelating":
            return self.structure(self._chelating())
        return self.structure(self.distinct[0])

    def _chelating(self) -> int:
        donors = donor_atoms(self.molecule)
        if len(donors) < 2:
            raise BadInputError(
                f"{self.name!r} has {len(donors)} donor atoms (N, O, S with lone pairs), which cannot chelate; "
                "choose the lowest conformer"
            )
        pockets = {i: pocket(self.molecule, self.positions[i], donors) for i in self.distinct}
        best = min(self.distinct, key=lambda i: (-pockets[i][0], pockets[i][1] + self.energies[i] / _WORTH))
        if pockets[best][0] < 2:
            raise BadInputError(
                f"no two donor atoms of {self.name!r} face one point in any of {len(self.distinct)} conformers; "
                "choose the lowest conformer"
            )
        return best


def conformer_number(conformer: str | int) -> int | None:
    """Return the number of a choice, None for a word; raise UnknownNameError for what is neither."""
    if isinstance(conformer, int):
        return conformer
    if conformer.isascii() and conformer.isdigit():
        return int(conformer[:9])
    if conformer not in CHOICES:
        raise UnknownNameError("conformer", conformer, CHOICES, hint="(or a number, 1 for the lowest)")
    return None


def search(molecule: Any, source: str, name: str) -> Pool:
    """Embed and relax a molecule many times; the same on every run.

    Parameters
    ----------
    molecule
        An RDKit molecule with all hydrogens.
    source, name
        What it came from, for messages; its name.

    Raises
    ------
    BadInputError
        No force field has its atom types, or no conformer can be made.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdForceFieldHelpers

    if molecule.GetNumAtoms() == 1:
        return Pool(molecule, np.zeros((1, 1, 3)), np.zeros(1), name)
    optimise: Any
    with rdBase.BlockLogs():
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
            optimise = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs
        elif rdForceFieldHelpers.UFFHasAllMoleculeParams(molecule):
            optimise = rdForceFieldHelpers.UFFOptimizeMoleculeConfs
        else:
            raise BadInputError(f"{source} has atoms that no force field knows; give the structure as an XYZ file")
        embedded = _embed(molecule)
        if not embedded:
            raise BadInputError(f"RDKit finds no conformer of {source}; give the structure as an XYZ file")
        energies = np.array([energy for _, energy in optimise(molecule, _threads(), maxIters=5000)])
    positions = np.array([molecule.GetConformer(c).GetPositions() for c in embedded])
    sound = np.isfinite(energies) & np.isfinite(positions).all(axis=(1, 2))
    if not sound.any():
        raise BadInputError(f"the force field breaks down for {source}; give the structure as an XYZ file")
    return Pool(molecule, positions[sound], energies[sound] * _KCAL, name)


def _embed(molecule: Any) -> list[int]:
    from rdkit.Chem import rdDistGeom

    parameters: Any = rdDistGeom.ETKDGv3()  # with the torsion preferences of macrocycles
    parameters.randomSeed = _SEED
    parameters.maxIterations = _TRIES
    parameters.numThreads = _threads()
    number = embedding_count(molecule)
    embedded = list(rdDistGeom.EmbedMultipleConfs(molecule, number, parameters))
    if not embedded:
        parameters.useRandomCoords = True
        embedded = list(rdDistGeom.EmbedMultipleConfs(molecule, number, parameters))
    return embedded


def _threads() -> int:
    """A few threads; every embedding has a seed of its own, so that their number changes nothing."""
    return min(4, len(os.sched_getaffinity(0)))


def embedding_count(molecule: Any) -> int:
    """How many embeddings sample a molecule: by its rotors and flexible rings, bounded by its size."""
    from rdkit import Chem

    rotor = Chem.MolFromSmarts("[!$([D1]);!$(*#*);!$([CX4;H3])]-&!@[!$([D1]);!$(*#*);!$([CX4;H3])]")
    freedom = len(molecule.GetSubstructMatches(rotor))
    macrocycle = False
    for ring in molecule.GetRingInfo().BondRings():
        stiff = sum(molecule.GetBondWithIdx(b).GetIsConjugated() for b in ring)
        if len(ring) >= 5 and stiff < len(ring) - 3:
            freedom += 1 if len(ring) <= 6 else 2
            macrocycle |= len(ring) >= 9
    wanted = _FEWEST if freedom < 2 else min(_MOST, _FEWEST * 3**freedom)
    budget = _BUDGET * (2 if macrocycle else 1)
    return max(_FEWEST, min(_MOST if macrocycle else wanted, int(budget // molecule.GetNumAtoms() ** 2)))


def _shapes(molecule: Any, positions: FloatArray) -> FloatArray:
    """Sorted distances of every pair of kinds of atom, shape=(n_embeddings, n_pairs).

    Equal for mirror images, and whichever of two equal atoms is called the first.
    """
    from rdkit import Chem

    kinds = np.array(list(Chem.CanonicalRankAtoms(molecule, breakTies=False)))
    first, second = np.triu_indices(len(kinds), 1)
    low, high = np.minimum(kinds[first], kinds[second]), np.maximum(kinds[first], kinds[second])
    if not len(first):
        return np.zeros((len(positions), 1))
    distances = np.linalg.norm(positions[:, first] - positions[:, second], axis=2)
    return np.array([row[np.lexsort((row, high, low))] for row in distances])


def thickness(positions: FloatArray) -> float:
    """Root mean square distance from the best plane [Angstrom]; positions of shape=(n_atoms, 3)."""
    if len(positions) < 3:
        return 0.0
    return float(np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)[2] / len(positions) ** 0.5)


def donor_atoms(molecule: Any) -> list[int]:
    """Atoms N, O and S of an RDKit molecule with a lone pair that is not part of a pi system."""
    return [atom.GetIdx() for atom in molecule.GetAtoms() if _is_donor(atom)]


def _is_donor(atom: Any) -> bool:
    if atom.GetFormalCharge() > 0 or atom.GetSymbol() not in {"N", "O", "S"}:
        return False
    if atom.GetSymbol() == "N":
        return bool(atom.GetTotalDegree() < (3 if _conjugated(atom) else 4))
    return bool(atom.GetTotalDegree() <= 2 and not atom.GetIsAromatic())


def _conjugated(atom: Any) -> bool:
    return any(bond.GetIsConjugated() for bond in atom.GetBonds())


def pocket(molecule: Any, positions: FloatArray, donors: Sequence[int]) -> tuple[int, float]:
    """Find the point that the most donors face, none of the atoms in the way.

    Parameters
    ----------
    molecule
        An RDKit molecule with hydrogens.
    positions
        Positions [Angstrom], shape=(n_atoms, 3).
    donors
        Donor atoms.

    Returns
    -------
    number, distance
        Of donors within reach; their mean distance from the point [Angstrom].
    """
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    clear = np.where(numbers == 1, 1.9, 2.3)
    clear[list(donors)] = 1.8
    at = positions[list(donors)]
    shells = np.concatenate([radius * _sphere(150) for radius in (2.0, 2.4, 2.8)])
    points = np.concatenate([(at[:, None] + shells).reshape(-1, 3), at.mean(axis=0)[None]])
    points = points[(np.linalg.norm(points[:, None] - positions, axis=2) >= clear).all(axis=1)]
    if not len(points):
        return 0, np.inf
    away = points[:, None] - at
    distances = np.linalg.norm(away, axis=2)
    outward = np.array([_outward(molecule, positions, donor) for donor in donors])
    serving = (distances <= _REACH) & ((away * outward).sum(axis=2) >= _FACING * distances)
    number = serving.sum(axis=1)
    mean = np.where(serving, distances, 0).sum(axis=1) / np.maximum(number, 1)
    most = int(number.max())
    return most, float(mean[number == most].min()) if most else np.inf


def _outward(molecule: Any, positions: FloatArray, donor: int) -> FloatArray:
    """Unit vector from the neighbours of a donor through it: the middle of its lone pairs."""
    bonded = [atom.GetIdx() for atom in molecule.GetAtomWithIdx(donor).GetNeighbors()]
    bonds: FloatArray = positions[donor] - positions[bonded]
    vector: FloatArray = (bonds / np.linalg.norm(bonds, axis=1)[:, None]).sum(axis=0)
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-3 else np.zeros(3)


def _sphere(number: int) -> NDArray[np.float64]:
    """Points spread evenly over the unit sphere, shape=(number, 3)."""
    k = np.arange(number) + 0.5
    z, turn = 1 - 2 * k / number, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z**2)
    return np.column_stack([radius * np.cos(turn), radius * np.sin(turn), z])
