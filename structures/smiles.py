"""Structures from SMILES, by RDKit: embedded with a fixed seed and relaxed with MMFF94 (UFF where it has no types)."""

from typing import Any

import numpy as np

from alkaflow.errors import BadInputError
from alkaflow.structures.structure import MAX_ATOMS, Structure

_SEED = 20240229
_CONFORMERS = 10


def from_smiles(smiles: str, name: str = "", flatten: bool = False) -> Structure:
    """Build a structure with all hydrogens from a SMILES string.

    Parameters
    ----------
    smiles
        One connected molecule; charges are taken from it.
    name
        For people; the SMILES without one.
    flatten
        Choose the flattest conformer instead of the lowest.

    Raises
    ------
    BadInputError
        RDKit cannot read it, it has radical electrons or several pieces, or no conformer can be made.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise BadInputError(f"{smiles!r} is not a SMILES string that RDKit can read")
    if len(Chem.GetMolFrags(molecule)) > 1:
        raise BadInputError(f"SMILES {smiles!r} has several pieces; a host is one")
    radicals = [a for a in molecule.GetAtoms() if a.GetNumRadicalElectrons()]
    if radicals:
        raise BadInputError(
            f"SMILES {smiles!r} leaves radical electrons on atom {radicals[0].GetIdx()} ({radicals[0].GetSymbol()}); "
            "add the hydrogens, or give the structure as an XYZ file with its multiplicity"
        )
    if molecule.GetNumAtoms() > MAX_ATOMS // 4:
        raise BadInputError(f"SMILES {smiles[:40]!r}... has {molecule.GetNumAtoms()} heavy atoms, which is too many")
    with rdBase.BlockLogs():
        return _embedded(Chem.AddHs(molecule), smiles, name or smiles, flatten)


def _embedded(molecule: Any, smiles: str, name: str, flatten: bool) -> Structure:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = _SEED
    conformers = list(rdDistGeom.EmbedMultipleConfs(molecule, _CONFORMERS, parameters))
    if not conformers:
        raise BadInputError(f"RDKit finds no conformer of SMILES {smiles!r}; give the structure as an XYZ file")
    optimise = (
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule)
        else rdForceFieldHelpers.UFFOptimizeMoleculeConfs
    )
    energies = [energy for _, energy in optimise(molecule, maxIters=5000)]
    positions = [molecule.GetConformer(c).GetPositions() for c in conformers]
    cost = [_thickness(p) for p in positions] if flatten else energies
    symbols = tuple(atom.GetSymbol() for atom in molecule.GetAtoms())
    best = positions[int(np.argmin(np.round(cost, 6)))]
    return Structure(symbols, best - best.mean(axis=0), Chem.GetFormalCharge(molecule), 0, name)


def _thickness(positions: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    """Root mean square distance from the best plane [Angstrom]."""
    return float(np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)[2] / len(positions) ** 0.5)
