"""Competing electronic states of a host with open-shell guests, found at a cheap level from several starts.

A metal atom on a host with near-degenerate empty orbitals (HATCN: an e'' pair and a third orbital 0.2 eV above) has
several doublets within a tenth of an eV, and which one an SCF ends in is decided by where it starts. Starts here:
PySCF's guess, densities of the fragments as neutral and with electrons of the guests on the host, and the lowest of
what these give with its unpaired electron in other orbitals, or the hole beneath it, held by maximum overlap (Gilbert,
Besley, Gill, J. Phys. Chem. A 112, 13164 (2008)) and then released; other representations of a symmetric structure
have their turn. A singlet is sought restricted and with broken symmetry. What is lowest then is tested for stability:
on a symmetric structure all starts can lead to the same saddle point.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np

from alkaflow.calculations import Fragment
from alkaflow.errors import BadInputError, CalculationError
from alkaflow.levels import KohnSham
from alkaflow.structures import FloatArray, Structure
from alkaflow.workflows import interrupt
from alkaflow.workflows.device import CPU, Cpu
from alkaflow.workflows.exchanges import Orbitals, Representation, electrons_up, holes_down, pairs_up
from alkaflow.workflows.ladder import RUNGS, converge
from alkaflow.workflows.orbital_symmetry import reflections_and_turns, representations
from alkaflow.workflows.orbital_tags import with_orbitals
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule, set_grid
from alkaflow.workflows.stability import stabilise

Report = Callable[..., None]
"""Takes stage, step and energy [Hartree], as `Progress.report` does."""

Found = dict[str, list["State"]]
"""The states that each start led to, by its label: none where its SCF did not converge."""

SAME_ENERGY = 1e-5  # Hartree
_SAME_DENSITY = 0.3  # electrons that sit elsewhere; flat minima converge to 0.1
_SAME_SPINS = 0.05  # the same, between the spins of a start
_SEARCH_RUNGS = RUNGS[:3]
_FRAGMENT_SCF = (1e-4, 1e-2, 30)  # energy change [Hartree], orbital gradient, cycles
_HELD_SCF = (1e-4, 3e-3, 25)  # the same, of occupations that are held
_FAR = 0.05  # held so far above the lowest, a state is no competitor [Hartree]
_HELD_SHIFT = 0.2  # of the empty orbitals meanwhile [Hartree]
_MIXED, _SETTLED = "mixed frontier orbitals, broken symmetry", "rotated out of the lowest"


@dataclass(frozen=True, eq=False)
class State:
    """A converged electronic state.

    Attributes
    ----------
    label
        The start that led to it; `starts` has all of them.
    energy
        [Hartree]
    s_squared
        <S2>.
    guest_charges
        Mulliken charge of each guest [e], in the order of the fragments.
    restricted
        Whether the spins share their orbitals.
    coefficients, occupations
        Occupied orbitals, shape=(n, n_occupied), or (2, n, n_occupied) with columns of zero occupation to fill up.
    """

    label: str
    energy: float
    s_squared: float
    guest_charges: tuple[float, ...]
    restricted: bool
    coefficients: FloatArray
    occupations: FloatArray
    starts: tuple[str, ...] = ()

    @property
    def density(self) -> Any:
        """Density, shape=(n, n) or (2, n, n), tagged with its orbitals as PySCF's density fitting likes it."""
        return _tagged(self.coefficients, self.occupations)


def search_states(
    structure: Structure,
    level: KohnSham,
    fragments: Sequence[Fragment],
    max_memory_mb: int,
    report: Report | None = None,
    swaps: int = 3,
    found: Found | None = None,
    keep: Callable[[Found], None] | None = None,
    device: Cpu = CPU,
) -> list[State]:
    """Find the electronic states of a complex that different starts lead to.

    Parameters
    ----------
    structure
        The complex, with its charge and multiplicity.
    level
        A cheap level; functional as in the final one.
    fragments
        The host first, then every guest; together all atoms and the whole charge.
    max_memory_mb
        For PySCF [MB].
    report
        Told of every state.
    swaps
        How many empty orbitals the singly occupied one of the lowest state is exchanged for; of a singlet, the
        highest occupied pair. On a symmetric structure the lowest empty orbital of every other representation comes
        on top, where it is within 0.1 Hartree of the first. Where a gap of spin down is below 0.15 Hartree, electrons
        are also moved up into it from the highest orbital of each other representation, at most as many. What is more
        than 0.05 Hartree above the lowest state then is not pursued. With 0 there are no exchanges.
    found, keep
        Of a search that was cut short: what it found, whose starts are not repeated, and what is to be called with
        that after every start.
    device
        For its loops; everything is computed on the CPU.

    Returns
    -------
    list of State
        By energy; states within 1e-5 Hartree whose densities agree are one.

    Raises
    ------
    BadInputError
        The fragments are not the complex.
    CalculationError
        No start converged, or an energy is not finite.
    """
    _check(structure, fragments)
    search = _Search(structure, level, fragments, max_memory_mb, report, dict(found or {}), keep, device)
    with search.kernels():
        for label, density in search.guesses():
            search.once(label, partial(search.run, label, density))
        if not search.states:
            raise CalculationError("scf_not_converged", f"{level}: no start of {structure.formula} converged")
        if structure.multiplicity == 1:
            search.once(_MIXED, search.mix_frontier)
        search.exchange(swaps)
        search.once(_SETTLED, search.settle)
        return search.distinct()


def _check(structure: Structure, fragments: Sequence[Fragment]) -> None:
    atoms = sorted(atom for fragment in fragments for atom in fragment.atoms)
    if atoms != list(range(len(structure))):
        raise BadInputError(f"the fragments have atoms {atoms}; the complex has 0 to {len(structure) - 1}, each once")
    charge = sum(fragment.charge for fragment in fragments)
    if charge != structure.charge:
        raise BadInputError(
            f"the charges of the fragments add up to {charge}, that of the complex is {structure.charge}"
        )


class _NoStartError(Exception):
    """A fragment does not have a density to start from."""


class _Search:
    """One molecule with its integrals, and what was found so far."""

    def __init__(
        self,
        structure: Structure,
        level: KohnSham,
        fragments: Sequence[Fragment],
        max_memory_mb: int,
        report: Report | None,
        found: Found,
        keep: Callable[[Found], None] | None,
        device: Cpu,
    ) -> None:
        self._found, self._keep, self._device = found, keep, device
        self._structure, self._level, self._fragments = structure, level, fragments
        self._memory, self._report = max_memory_mb, report
        self._molecule = build_molecule(structure, level, max_memory_mb)
        self._unrestricted = self._new(unrestricted=True)
        self._restricted = self._new(unrestricted=False) if structure.multiplicity == 1 else None
        self._overlap = self._molecule.intor_symmetric("int1e_ovlp")
        self.states: list[State] = []

    def _new(self, unrestricted: bool) -> Any:
        mean_field = build_mean_field(self._molecule, self._level, unrestricted)
        set_grid(mean_field, self._level.grid)
        if not unrestricted:  # one grid and one set of fitted integrals serve both
            mean_field.grids = self._unrestricted.grids
            if self._level.fitting:
                mean_field.with_df = self._unrestricted.with_df
        return mean_field

    @contextmanager
    def kernels(self) -> Iterator[None]:
        """One quadrature for all starts, as one grid: what it keeps of the functions serves them all."""
        with self._device.kernels(self._unrestricted):
            if self._restricted is not None:
                self._restricted._numint = self._unrestricted._numint  # noqa: SLF001  (where PySCF keeps it)
            yield

    def once(self, label: str, start: Callable[[], None]) -> None:
        """Add the states that a start leads to, or has led to before the search was cut short."""
        if label in self._found:
            self.states += self._found[label]
            return
        before = len(self.states)
        start()
        self._found[label] = self.states[before:]
        if self._keep is not None:
            self._keep(self._found)
        interrupt.check()

    def guesses(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Densities to start from with shape=(2, n, n), not computed yet: PySCF's, and those of fragments."""
        yield "default guess", lambda: np.array(self._unrestricted.get_init_guess())
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
        return _padded([np.hstack(spin) for spin in columns])

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
            raise _NoStartError(f"{self._level}: {alone.formula} has more electrons than functions")
        mean_field = build_mean_field(molecule, self._level, True)
        set_grid(mean_field, self._level.grid)
        mean_field.conv_tol, mean_field.conv_tol_grad, mean_field.max_cycle = _FRAGMENT_SCF
        mean_field.callback = _stoppable
        try:
            with self._device.kernels(mean_field):
                mean_field.kernel(dm0=with_orbitals(mean_field.get_init_guess()))
        except (np.linalg.LinAlgError, ValueError) as error:
            raise _NoStartError(f"{self._level}: {alone.formula}: {error}") from error
        if not np.isfinite(mean_field.e_tot):
            raise _NoStartError(f"{self._level}: the energy of {alone.formula} is not finite")
        return [c[:, f > 0] for c, f in zip(mean_field.mo_coeff, mean_field.mo_occ, strict=True)]

    def run(self, label: str, guess: Callable[[], Any]) -> None:
        """Converge from a density with shape=(2, n, n); a singlet restricted, and also not where its spins differ."""
        try:
            density = guess()
        except _NoStartError:  # one less
            return
        if self._restricted is None:
            self._converge(label, self._unrestricted, density)
            return
        self._converge(f"{label}, restricted", self._restricted, np.asarray(density).sum(axis=0))
        if _electrons_elsewhere(density[0], density[1], self._overlap) > _SAME_SPINS:
            self._converge(f"{label}, broken symmetry", self._unrestricted, density)

    def mix_frontier(self) -> None:
        """Break the symmetry of the lowest singlet: (HOMO + LUMO) / sqrt 2 for one spin, HOMO - LUMO for the other."""
        orbitals = self._all_orbitals(self._lowest())
        mixed = orbitals.coefficients.copy()
        for spin, sign in ((0, 1.0), (1, -1.0)):
            filled, empty = orbitals.filled(spin), orbitals.empty(spin)
            if not len(filled) or not len(empty):
                return
            homo, lumo = mixed[spin][:, filled[-1]], mixed[spin][:, empty[0]]
            mixed[spin][:, filled[-1]] = (homo + sign * lumo) / np.sqrt(2)
        density = self._unrestricted.make_rdm1(mixed, orbitals.occupations)
        self._converge(_MIXED, self._unrestricted, density)

    def exchange(self, count: int) -> None:
        """Converge from the lowest state with an electron in another orbital, held there by overlap and then let go."""
        if not count:
            return
        orbitals = self._all_orbitals(self._lowest())
        operations = reflections_and_turns(self._structure)

        def kinds(spin: int, columns: Sequence[int]) -> list[Representation]:
            chosen = orbitals.coefficients[spin][:, columns]
            return representations(chosen, self._molecule, self._unrestricted.grids, operations)

        if self._restricted is not None:
            moves = pairs_up(orbitals, kinds, count)
        else:
            unpaired = orbitals.unpaired(self._structure.multiplicity - 1, self._overlap)
            moves = electrons_up(orbitals, unpaired, kinds, count) + holes_down(orbitals, kinds, count)
        for name, occupations in moves:
            self.once(name, partial(self._hold, name, orbitals.coefficients, occupations))

    def _hold(self, name: str, coefficients: FloatArray, occupations: FloatArray) -> None:
        """Let orbitals adapt to occupations, held by maximum overlap for a few cycles, then converge without that."""
        from pyscf.scf import addons

        held = addons.mom_occ(self._unrestricted.copy(), coefficients, occupations)
        held.conv_tol, held.conv_tol_grad, held.max_cycle = _HELD_SCF
        held.level_shift, held.callback = _HELD_SHIFT, _stoppable
        try:
            held.kernel(held.make_rdm1(coefficients, occupations))
        except (np.linalg.LinAlgError, ValueError):  # one start less
            return
        if np.isfinite(held.e_tot) and held.e_tot < self._lowest().energy + _FAR:
            self._converge(name, self._unrestricted, held.make_rdm1())

    def settle(self) -> None:
        """Leave the lowest state where it is unstable."""
        lowest = self._lowest()
        mean_field = self._restricted if lowest.restricted else self._unrestricted
        again = partial(converge, rungs=_SEARCH_RUNGS)
        try:
            again(mean_field, lowest.density)
        except CalculationError as error:
            if error.outcome != "scf_not_converged":
                raise
            return
        mean_field, found = stabilise(mean_field, again, break_symmetry=True)
        if found.lowering > SAME_ENERGY:
            self._add(_SETTLED, mean_field)

    def _lowest(self) -> State:
        return min(self.states, key=lambda state: state.energy)

    def _all_orbitals(self, state: State) -> Orbitals:
        """All orbitals of a state, as unrestricted ones."""
        density = state.density if not state.restricted else np.array([state.density / 2] * 2)
        mean_field = self._unrestricted
        energies, coefficients = mean_field.eig(mean_field.get_fock(dm=density), self._overlap)
        return Orbitals(
            np.asarray(energies), np.asarray(coefficients), np.asarray(mean_field.get_occ(energies, coefficients))
        )

    def _converge(self, label: str, mean_field: Any, density: Any) -> None:
        """Add the state that a density leads to, if it leads to one."""
        try:
            converge(mean_field, density, rungs=_SEARCH_RUNGS)
        except CalculationError as error:
            if error.outcome != "scf_not_converged":
                raise
            return
        self._add(label, mean_field)

    def _add(self, label: str, mean_field: Any) -> None:
        state = self._describe(label, mean_field)
        self.states.append(state)
        if self._report is not None:
            self._report("electronic state", len(self.states), state.energy)

    def _describe(self, label: str, mean_field: Any) -> State:
        restricted = np.ndim(mean_field.mo_occ) == 1
        charges = mean_field.mulliken_pop(dm=mean_field.make_rdm1(), s=self._overlap, verbose=0)[1]
        if restricted:
            filled = mean_field.mo_occ > 0
            coefficients, occupations = mean_field.mo_coeff[:, filled], mean_field.mo_occ[filled]
        else:
            tagged = _padded([c[:, f > 0] for c, f in zip(mean_field.mo_coeff, mean_field.mo_occ, strict=True)])
            coefficients, occupations = tagged.mo_coeff, tagged.mo_occ
        return State(
            label=label,
            energy=float(mean_field.e_tot),
            s_squared=0.0 if restricted else float(mean_field.spin_square()[0]),
            guest_charges=tuple(float(sum(charges[k] for k in guest.atoms)) for guest in self._fragments[1:]),
            restricted=restricted,
            coefficients=coefficients,
            occupations=occupations,
            starts=(label,),
        )

    def distinct(self) -> list[State]:
        """States by energy, each once; a restricted one stays so where unrestricted starts fell back to it."""
        kept: list[State] = []
        for state in sorted(self.states, key=lambda s: s.energy):
            for k, other in enumerate(kept):
                if state.energy - other.energy < SAME_ENERGY and self._same_density(state, other):
                    first, second = (state, other) if state.restricted and not other.restricted else (other, state)
                    kept[k] = replace(first, starts=first.starts + second.starts)
                    break
            else:
                kept.append(state)
        return kept

    def _same_density(self, one: State, other: State) -> bool:
        """Whether two densities agree; of a singlet, also where up and down are exchanged."""
        first, second = _by_spin(one), _by_spin(other)
        orders = (1, -1) if self._structure.multiplicity == 1 else (1,)
        return any(
            sum(_electrons_elsewhere(a, b, self._overlap) for a, b in zip(first, second[::order], strict=True))
            < _SAME_DENSITY
            for order in orders
        )


def _stoppable(_: dict[str, Any]) -> None:
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


def _padded(orbitals: Sequence[FloatArray]) -> Any:
    """Density of occupied orbitals by spin, tagged with them; the shorter list is filled up with empty columns."""
    width = max(c.shape[1] for c in orbitals)
    occupations = np.array([np.arange(width) < c.shape[1] for c in orbitals], dtype=float)
    return _tagged(np.array([np.pad(c, ((0, 0), (0, width - c.shape[1]))) for c in orbitals]), occupations)


def _tagged(coefficients: FloatArray, occupations: FloatArray) -> Any:
    """Density C f C^T, tagged with C and f."""
    from pyscf import lib

    density = (coefficients * occupations[..., None, :]) @ np.swapaxes(coefficients, -1, -2)
    return lib.tag_array(density, mo_coeff=coefficients, mo_occ=occupations)


def _by_spin(state: State) -> list[FloatArray]:
    density = np.asarray(state.density)
    return [density / 2, density / 2] if state.restricted else list(density)


def _electrons_elsewhere(one: Any, other: Any, overlap: FloatArray) -> float:
    """Half the sum of |eigenvalues| of S^1/2 (D - D') S^1/2: electrons by which two densities differ."""
    values, vectors = np.linalg.eigh(overlap)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    difference = root @ (np.asarray(one) - np.asarray(other)) @ root
    return float(abs(np.linalg.eigvalsh(difference)).sum() / 2)
