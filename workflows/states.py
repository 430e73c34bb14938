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
from typing import Any

import numpy as np

from alkaflow.calculations import Fragment
from alkaflow.errors import BadInputError, CalculationError
from alkaflow.levels import KohnSham
from alkaflow.structures import FloatArray, Structure
from alkaflow.workflows import interrupt
from alkaflow.workflows.device import CPU, Cpu
from alkaflow.workflows.exchanges import Orbitals, Representation, electrons_up, holes_down, pairs_up
from alkaflow.workflows.fragment_densities import FragmentDensities, NoStartError, stoppable
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import RUNGS, converge
from alkaflow.workflows.orbital_symmetry import reflections_and_turns, representations
from alkaflow.workflows.orbital_tags import padded, tagged
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.stability import stabilise

Report = Callable[..., None]
"""Takes stage, step and energy [Hartree], as `Progress.report` does."""

Found = dict[str, list["State"]]
"""The states that each start led to, by its label: none where its SCF did not converge."""

SAME_ENERGY = 1e-5  # Hartree
_SAME_DENSITY = 0.3  # electrons that sit elsewhere; flat minima converge to 0.1
_NEARBY = (1e-3, 0.1)  # as near to a known state [Hartree, electrons], an SCF would end there
_SAME_SPINS = 0.05  # the same, between the spins of a start
_SEARCH_RUNGS = RUNGS[:3]
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
        return tagged(self.coefficients, self.occupations)


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
        for label, density in search.starts():
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


class _KnownError(Exception):
    """An SCF has come near to a state that is known."""

    def __init__(self, state: State) -> None:
        super().__init__(state.label)
        self.state = state


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
        self._root = _root(self._overlap)
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

    def starts(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Densities to start from with shape=(2, n, n), not computed yet: PySCF's, and those of fragments."""
        yield "default guess", lambda: np.array(self._unrestricted.get_init_guess())
        yield from FragmentDensities(
            self._structure, self._molecule, self._level, self._fragments, self._memory, self._device
        ).guesses()

    def run(self, label: str, guess: Callable[[], Any]) -> None:
        """Converge from a density with shape=(2, n, n); a singlet restricted, and also not where its spins differ."""
        try:
            density = guess()
        except NoStartError:  # one less
            return
        if self._restricted is None:
            self._converge(label, self._unrestricted, density)
            return
        self._converge(f"{label}, restricted", self._restricted, np.asarray(density).sum(axis=0))
        if _electrons_elsewhere(density[0], density[1], self._root) > _SAME_SPINS:
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
        held.level_shift, held.callback = _HELD_SHIFT, stoppable
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
        """Add the state that a density leads to, if it leads to one; one that is known, before it has converged."""

        def watch(state: dict[str, Any]) -> None:
            known = self._nearby(mean_field, state)
            if known is not None:
                raise _KnownError(known)

        try:
            converge(mean_field, density, watch, _SEARCH_RUNGS)
        except _KnownError as known:
            self._note(replace(known.state, label=label, starts=(label,)))
            return
        except CalculationError as error:
            if error.outcome != "scf_not_converged":
                raise
            return
        self._add(label, mean_field)

    def _nearby(self, mean_field: Any, now: dict[str, Any]) -> State | None:
        """The known state, with as many sets of orbitals, that the cycle of an SCF has come near to."""
        restricted = np.ndim(now["mo_occ"]) == 1
        near = [
            state
            for state in self.states
            if state.restricted == restricted and abs(state.energy - now["e_tot"]) < _NEARBY[0]
        ]
        if not near:
            return None
        density = np.asarray(mean_field.make_rdm1(now["mo_coeff"], now["mo_occ"]))
        spins = [density / 2] * 2 if restricted else list(density)
        return next((state for state in near if self._elsewhere(spins, _by_spin(state)) < _NEARBY[1]), None)

    def _add(self, label: str, mean_field: Any) -> None:
        self._note(self._describe(label, mean_field))

    def _note(self, state: State) -> None:
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
            density = padded([c[:, f > 0] for c, f in zip(mean_field.mo_coeff, mean_field.mo_occ, strict=True)])
            coefficients, occupations = density.mo_coeff, density.mo_occ
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
        return self._elsewhere(_by_spin(one), _by_spin(other)) < _SAME_DENSITY

    def _elsewhere(self, one: Sequence[FloatArray], other: Sequence[FloatArray]) -> float:
        """Electrons by which densities with shape=(2, n, n) differ; of a singlet, up and down may be exchanged."""
        orders = (1, -1) if self._structure.multiplicity == 1 else (1,)
        return min(
            sum(_electrons_elsewhere(a, b, self._root) for a, b in zip(one, other[::order], strict=True))
            for order in orders
        )


def _by_spin(state: State) -> list[FloatArray]:
    density = np.asarray(state.density)
    return [density / 2, density / 2] if state.restricted else list(density)


def _root(overlap: FloatArray) -> FloatArray:
    """S^1/2."""
    values, vectors = np.linalg.eigh(overlap)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def _electrons_elsewhere(one: Any, other: Any, root: FloatArray) -> float:
    """Half the sum of |eigenvalues| of S^1/2 (D - D') S^1/2: electrons by which two densities differ."""
    difference = root @ (np.asarray(one) - np.asarray(other)) @ root
    return float(abs(np.linalg.eigvalsh(difference)).sum() / 2)
