"""Densities of a host and its guests, each alone, put together: starts for competing electronic states.

Electrons of the guests may be on the host, and spins may be turned over. Imported only by the process that computes.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np

from alkaflow.calculations import Fragment
from alkaflow.levels import KohnSham
from alkaflow.structures import FloatArray, Structure
from alkaflow.workflows import interrupt
from alkaflow.workflows.device import Cpu
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.orbital_tags import padded, with_orbitals
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule

_SCF = (1e-4, 1e-2, 30)  # energy change [Hartree], orbital gradient, cycles


class NoStartError(Exception):
    """A fragment does not have a density to start from."""


class FragmentDensities:
    """Starts for a complex.

    Parameters
    ----------
    structure
        The complex, with its charge and multiplicity.
    molecule
        Of PySCF, the same at the level.
    level
        Of the fragments' SCFs.
    fragments
        The host first, then every guest.
    max_memory_mb
        For PySCF [MB].
    device
        For the loops of the SCFs.
    """

    def __init__(
        self,
        structure: Structure,
        molecule: Any,
        level: KohnSham,
        fragments: Sequence[Fragment],
        max_memory_mb: int,
        device: Cpu,
    ) -> None:
        self._structure, self._molecule, self._level = structure, molecule, level
        self._fragments, self._memory, self._device = fragments, max_memory_mb, device

    def guesses(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Labels, and densities with shape=(2, n, n) that are computed when called, or raise NoStartError."""
        cache: dict[Fragment, Any] = {}
        total = self._structure.multiplicity - 1
        for label, distributed in self._charge_distributions():
            parts = _with_enough_spin(distributed, total)
            for signs in _couplings([part.multiplicity - 1 for part in parts], total):
                yield _with_spins(label, parts, signs), partial(self._superpose, parts, signs, cache)

    def _charge_distributions(self) -> Iterator[tuple[str, list[Fragment]]]:
        """The fragments as they are, and with the last unpaired electron of some guests on the host."""
        if len(self._fragments) == 1:
            return
        host, guests = self._fragments[0], self._fragments[1:]
        yield "neutral fragments" if not any(f.charge for f in self._fragments) else "fragments", list(self._fragments)
        open_guests = [k for k, guest in enumerate(guests) if guest.multiplicity > 1]
        for count in range(1, len(open_guests) + 1):
            for chosen in combinations(open_guests, count):
                ions = [_charged(g, 1, g.multiplicity - 1) if k in chosen else g for k, g in enumerate(guests)]
                which = "" if len(open_guests) == 1 else f" of guest {', '.join(str(k + 1) for k in chosen)}"
                lowest = abs(host.multiplicity - 1 - count)
                for spins in range(lowest, host.multiplicity + count, 2):
                    anion = _charged(host, -count, spins + 1)
                    yield f"electron{which} on the host", [anion, *ions]

    def _superpose(self, parts: Sequence[Fragment], signs: Sequence[int], cache: dict[Fragment, Any]) -> Any:
        """Sum of the fragments' own densities, spins turned over where the sign is -1."""
        size = self._molecule.nao
        columns: tuple[list[FloatArray], list[FloatArray]] = ([], [])
        slices = self._molecule.aoslice_by_atom()
        for part, sign in zip(parts, signs, strict=True):
            if part not in cache:
                cache[part] = self._orbitals_alone(part)
            rows = np.concatenate([np.arange(*slices[atom, 2:]) for atom in part.atoms])
            for spin, orbitals in enumerate(cache[part][::sign]):
                placed = np.zeros((size, orbitals.shape[1]))
                placed[rows] = orbitals
                columns[spin].append(placed)
        return padded([np.hstack(spin) for spin in columns])

    def _orbitals_alone(self, part: Fragment) -> list[FloatArray]:
        """Occupied orbitals of a fragment alone, by spin: a start, so a few cycles of DIIS do, converged or not.

        An anion with near-degenerate orbitals may take all rungs of the ladder, longer than the search itself.
        """
        atoms = list(part.atoms)
        if self._molecule.atom_charges()[atoms].sum() == part.charge:  # a bare proton; core potentials count as cores
            slices = self._molecule.aoslice_by_atom()
            return [np.zeros((sum(slices[atom, 3] - slices[atom, 2] for atom in atoms), 0))] * 2
        alone = Structure(
            tuple(self._structure.symbols[k] for k in atoms),
            self._structure.positions[atoms],
            part.charge,
            part.multiplicity,
        )
        molecule = build_molecule(alone, self._level, self._memory)
        if max(molecule.nelec) > molecule.nao:
            raise NoStartError(f"{self._level}: {alone.formula} has more electrons than functions")
        mean_field = build_mean_field(molecule, self._level, True)
        set_grid(mean_field, self._level.grid)
        mean_field.conv_tol, mean_field.conv_tol_grad, mean_field.max_cycle = _SCF
        mean_field.callback = stoppable
        try:
            with self._device.kernels(mean_field):
                mean_field.kernel(dm0=with_orbitals(mean_field.get_init_guess()))
        except (np.linalg.LinAlgError, ValueError) as error:
            raise NoStartError(f"{self._level}: {alone.formula}: {error}") from error
        if not np.isfinite(mean_field.e_tot):
            raise NoStartError(f"{self._level}: the energy of {alone.formula} is not finite")
        return [c[:, f > 0] for c, f in zip(mean_field.mo_coeff, mean_field.mo_occ, strict=True)]


def stoppable(_: dict[str, Any]) -> None:
    """After a cycle of an SCF that `ladder` does not see."""
    interrupt.check()


def _charged(fragment: Fragment, charge: int, multiplicity: int) -> Fragment:
    """The same atoms with more charge [e] and another multiplicity."""
    return Fragment(atoms=fragment.atoms, charge=fragment.charge + charge, multiplicity=multiplicity)


def _with_enough_spin(parts: list[Fragment], total: int) -> list[Fragment]:
    """The fragments, with as many more unpaired electrons on the host as the whole needs."""
    missing = total - sum(part.multiplicity - 1 for part in parts)
    host, *guests = parts
    return [host.model_copy(update={"multiplicity": host.multiplicity + max(missing, 0)}), *guests]


def _couplings(spins: Sequence[int], total: int) -> list[tuple[int, ...]]:
    """Signs with which unpaired electrons add up to a total; a sign that changes nothing, or all of them, left out."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for signs in product((1, -1), repeat=len(spins)):
        turned = tuple(sign * spin for sign, spin in zip(signs, spins, strict=True))
        opposite = tuple(-spin for spin in turned)
        if sum(turned) == total and turned not in found and (total or opposite not in found):
            found[turned] = tuple(sign if spin else 1 for sign, spin in zip(signs, spins, strict=True))
    return list(found.values())


def _with_spins(label: str, parts: Sequence[Fragment], signs: Sequence[int]) -> str:
    spins = [sign * (part.multiplicity - 1) for part, sign in zip(parts, signs, strict=True)]
    return f"{label}, spins {' '.join(f'{spin:+d}' for spin in spins)}" if sum(map(bool, spins)) > 1 else label
