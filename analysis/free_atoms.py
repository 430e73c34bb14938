"""Free atoms, neutral and spherical, in the basis that they have in a molecule."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.linalg import block_diag, eigh

from alkaflow.analysis.orbital_populations import real_atoms
from alkaflow.errors import BadInputError
from alkaflow.structures import FloatArray

Radial = Callable[[FloatArray], FloatArray]
"""A density [e/bohr^3] as a function of the distance from the nucleus [bohr]."""

_RADII = np.geomspace(1e-5, 50.0, 1600)  # where it is tabulated [bohr]
_NOTHING = 1e-250  # e/bohr^3


def free_atoms(molecule: Any, functional: str) -> Mapping[str, Radial]:
    """Densities of the free atoms of a PySCF molecule, by atom label.

    Restricted Kohn-Sham with the electrons of an open shell spread evenly over it and over both spins, in the
    configuration of the ground state; with the core potential, if there is one, that the molecule has.

    Raises
    ------
    BadInputError
        A basis is too small to hold the electrons of the free atom, or its SCF does not converge.
    """
    first = {molecule.atom_symbol(k): k for k in reversed(real_atoms(molecule))}
    return {label: _radial(*_solve(molecule, k, functional)) for label, k in first.items()}


def _solve(molecule: Any, number: int, functional: str) -> tuple[Any, FloatArray]:
    """One atom alone at the origin, and its density matrix."""
    from pyscf import dft, gto

    label, symbol = molecule.atom_symbol(number), molecule.atom_pure_symbol(number)
    potential = molecule._ecp.get(label, molecule._ecp.get(symbol))  # noqa: SLF001  (no other way to the data it used)
    atom = gto.Mole().build(
        atom=[(label, (0.0, 0.0, 0.0))],
        unit="Bohr",
        basis={label: molecule._basis[label]},  # noqa: SLF001
        ecp={label: potential} if potential else {},
        spin=None,
        verbose=0,
    )
    shells = [int(atom.bas_angular(shell)) for shell in range(atom.nbas)]
    momenta = np.repeat(shells, [(2 * angular + 1) * atom.bas_nctr(shell) for shell, angular in enumerate(shells)])
    occupations = _occupations(label, symbol, molecule.atom_nelec_core(number), momenta)
    solver = dft.rks.RKS(atom, functional)
    solver.eig = lambda fock, overlap, **_: _spherical_orbitals(fock, overlap, momenta)
    solver.get_occ = lambda *_, **__: occupations
    solver.conv_tol, solver.max_cycle, solver.chkfile = 1e-9, 200, None
    solver.kernel()
    if not solver.converged:
        raise BadInputError(f"the free atom {label} does not converge; leave the scheme hirshfeld out")
    return atom, solver.make_rdm1()


def _occupations(label: str, symbol: str, core: int, momenta: NDArray[np.int64]) -> FloatArray:
    """Electrons in each spherical orbital (s, p, d ..., each from the lowest up) outside a core."""
    from pyscf.data import elements
    from pyscf.gto.ecp import core_configuration

    occupations = np.zeros(len(momenta))
    ordered = np.sort(momenta)
    configuration = elements.CONFIGURATION[elements.charge(symbol)]
    for momentum, (electrons, inside) in enumerate(zip(configuration, core_configuration(core, symbol), strict=True)):
        orbitals = 2 * momentum + 1
        full, left = divmod(electrons - 2 * orbitals * inside, 2 * orbitals)
        held = np.repeat([2.0] * full + [left / orbitals] * (left > 0), orbitals)
        there = np.flatnonzero(ordered == momentum)
        if len(held) > len(there):
            raise BadInputError(f"the basis of {label} is too small for the free atom; leave the scheme hirshfeld out")
        occupations[there[: len(held)]] = held
    return occupations


def _spherical_orbitals(
    fock: FloatArray, overlap: FloatArray, momenta: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Energies and orbitals of a Fock matrix averaged over directions: s, p, d ..., each from the lowest up."""
    energies, blocks, order = [], [], []
    for momentum in np.unique(momenta):
        functions, directions = np.flatnonzero(momenta == momentum), 2 * momentum + 1
        shape = (len(functions) // directions, directions) * 2
        of_momentum = [matrix[np.ix_(functions, functions)].reshape(shape) for matrix in (fock, overlap)]
        energy, radial = eigh(*(np.einsum("piqi->pq", matrix) / directions for matrix in of_momentum))
        energies.append(np.repeat(energy, directions))
        blocks.append(np.kron(radial, np.eye(directions)))
        order.append(functions)
    return np.concatenate(energies), block_diag(*blocks)[np.argsort(np.concatenate(order))]


def _radial(atom: Any, density: FloatArray) -> Radial:
    """The density of one atom along a ray, as a spline of its logarithm."""
    functions = atom.eval_gto("GTOval", np.outer(_RADII, [0.0, 0.0, 1.0]))
    return radial(np.einsum("gi,ij,gj->g", functions, density, functions, optimize=True), _RADII)


def radial(values: FloatArray, radii: FloatArray) -> Radial:
    """A density from its values [e/bohr^3] at ascending radii [bohr], interpolated in its logarithm; flat outside."""
    logarithm = CubicSpline(np.log(radii), np.log(np.maximum(values, _NOTHING)))

    def at(distances: FloatArray) -> FloatArray:
        density: FloatArray = np.exp(logarithm(np.log(np.clip(distances, radii[0], radii[-1]))))
        return density

    return at
