"""The electrostatic potential of nuclei and electrons at any point: exact, or from a fitted density.

V(r) = sum_A Z_A / |r - R_A| - integral of rho(r') / |r - r'|, with Z_A less the electrons of core potentials; positive
where a positive charge is repelled. The exact integrals cost the square of the number of basis functions at every
point. Density fitting in the Coulomb metric (O. Vahtras, J. Almloef, M. W. Feyereisen, Chem. Phys. Lett. 213, 514
(1993)) replaces the electrons by functions on the atoms, the potential of which is known in closed form. Left
to itself the fit misses the potential outside by up to 1e-3 Hartree/e, as fitting sets are made for energies; so it is
held to the exact potential at anchors, some hundred points on the surface of the molecule and beyond.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from alkaflow.analysis.density import Density
from alkaflow.analysis.grid import OrbitalDensity
from alkaflow.analysis.isosurface import nearest_atoms, van_der_waals_radius
from alkaflow.errors import BadInputError
from alkaflow.structures import FloatArray

_EXACT_BLOCK = 104  # points at a time; libcint works on 104 of them
_FITTED_BLOCK = 2048  # points at a time; 1.6 kB each for every atom
_SCREENING = 1e-9  # of three-centre integrals times densities [Hartree]
_NODE_DISTANCE = 0.01  # of the radial tables, in the logarithm of the distance
_FARTHEST = 1000.0  # distance from a nucleus that its table covers [bohr]; farther off it is a multipole
_ANCHOR_DENSITY = 0.001  # electrons on the surface of anchors [e/bohr^3]
_ANCHOR_AREA = 1.0  # of each on a sphere of the van der Waals radius [bohr^2]
_ANCHOR_SHELLS = (
    (0.0, 1),
    (1.0, 2),
    (3.0, 4),
    (6.0, 8),
)  # distances from that surface [bohr], and every which ray goes there
_RAY_STEP = 0.5  # on which the density is sampled to find them [bohr]
_ANCHOR_WEIGHT = 1e-5  # Coulomb energy that a change of the fit may cost against squares of errors at anchors
_FITTING_RATIO = 2.0  # of the exponents of functions that are added to a fitting set
_FLAT = 1e-20  # exponent of a function that is a solid harmonic over any distance of use


@dataclass(frozen=True)
class FitError:
    """How far the fitted potential is from the exact one on ``points`` points [Hartree/e]."""

    maximum: float
    rms: float
    points: int


def exact_potential(density: Density, points_bohr: FloatArray) -> FloatArray:
    """V at each point from the integrals over all pairs of basis functions [Hartree/e].

    Parameters
    ----------
    density
        Nuclei and electrons.
    points_bohr
        Where, shape=(n, 3); at a nucleus the potential is infinite.
    """
    points = _checked_points(points_bohr)
    molecule = density.molecule
    atoms = [tuple(int(k) for k in row) for row in molecule.aoslice_by_atom() if row[1] > row[0]]
    weights = []  # of integrals (row of an atom | columns up to and with that atom), every pair once
    for _, _, first, last in atoms:
        weight = 2 * density.total[first:last, :last]
        weight[:, first:] *= 0.5
        weights.append(weight)
    values = _nuclear_potential(molecule, points)
    for begin in range(0, len(points), _EXACT_BLOCK):
        block = points[begin : begin + _EXACT_BLOCK]
        for (shell, end, _, _), weight in zip(atoms, weights, strict=True):
            integrals = molecule.intor("int1e_grids", grids=block, shls_slice=(shell, end, 0, end))
            values[begin : begin + _EXACT_BLOCK] -= np.tensordot(weight.T, integrals.T, 2)  # as they lie in memory
    return values


class FittedPotential:
    """V from the density fitted by functions on the atoms, the charge of the fit that of all electrons.

    V = sum_A Z_A / |r - R_A| - sum_P d_P (P|r) with d = J^-1 (P|rho) + c. The correction c carries the missing charge
    and otherwise minimises w c^T J c + the squared errors of V at the anchors. Around an atom the functions of one
    angular momentum share their solid harmonic S, so that V = Z / r - sum_lm S_lm(r) G_lm(r^2), and G_lm is tabulated.

    Parameters
    ----------
    density
        Nuclei and electrons.
    auxbasis
        Functions to fit with; a name that PySCF knows, or a basis by element. Flatter ones are added where the
        orbitals have such.
    anchored
        Whether to hold the fit to the exact potential at anchors.

    Attributes
    ----------
    functions, anchors
        How many there are.
    charge_error
        Electrons that the plain fit lacks.

    Raises
    ------
    BadInputError
        The set has no functions for an element.
    """

    def __init__(self, density: Density, auxbasis: Any = "def2-universal-jkfit", anchored: bool = True) -> None:
        molecule = density.molecule
        auxiliary = _auxiliary_molecule(molecule, auxbasis)
        self.density = density
        self.functions = int(auxiliary.nao_nr(cart=False))
        anchors = _anchors(density) if anchored else np.empty((0, 3))
        self.anchors = len(anchors)
        coefficients, self.charge_error = _fit(density, auxiliary, anchors)
        self._centres: FloatArray = np.asarray(auxiliary.atom_coords())
        self._tables = _RadialTables(auxiliary, coefficients)

    def __call__(self, points_bohr: FloatArray) -> FloatArray:
        """V at each of the points with shape=(n, 3) [Hartree/e]."""
        from pyscf import lib

        points = _checked_points(points_bohr)
        values = _nuclear_potential(self.density.molecule, points)

        def subtract_electrons(begin: int) -> None:
            block = slice(begin, begin + _FITTED_BLOCK)
            with lib.with_omp_threads(1):
                for atom, centre in enumerate(self._centres):
                    values[block] -= self._tables.potential(atom, points[block] - centre)

        _in_threads(subtract_electrons, range(0, len(points), _FITTED_BLOCK), lib.num_threads())
        return values

    def estimate_error(self, points_bohr: FloatArray) -> FitError:
        """Compare with the exact potential on a sample of points with shape=(n, 3), not at nuclei."""
        difference = self(points_bohr) - exact_potential(self.density, points_bohr)
        return FitError(
            maximum=float(np.abs(difference).max()), rms=float(np.sqrt(np.mean(difference**2))), points=len(difference)
        )


def _checked_points(points_bohr: FloatArray) -> FloatArray:
    points = np.ascontiguousarray(points_bohr, float)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise BadInputError(f"points have shape {points.shape}, not (n, 3) with n at least 1")
    return points


def _nuclear_potential(molecule: Any, points: FloatArray) -> FloatArray:
    """Sum of Z_A / |r - R_A|; ghost atoms have no charge."""
    values = np.zeros(len(points))
    with np.errstate(divide="ignore"):
        for charge, centre in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True):
            if charge:
                values += charge / np.linalg.norm(points - centre, axis=1)
    return values


def _in_threads(work: Callable[[int], None], items: range, threads: int) -> None:
    if threads == 1 or len(items) == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))


def _auxiliary_molecule(molecule: Any, auxbasis: Any) -> Any:
    """The atoms with the fitting functions for their basis.

    Not ghosts: outside the surface functions would help the fit to its anchors and spoil it in between.
    """
    from pyscf import gto
    from pyscf.df.addons import make_auxmol
    from pyscf.lib.exceptions import BasisNotFoundError

    if isinstance(auxbasis, str):
        missing = []
        for symbol in sorted({molecule.atom_pure_symbol(k).removeprefix("GHOST-") for k in range(molecule.natm)}):
            try:
                with warnings.catch_warnings(action="ignore", category=UserWarning):  # of another source of basis sets
                    gto.basis.load(auxbasis, symbol)
            except BasisNotFoundError:
                missing.append(symbol)
        if missing:
            raise BadInputError(
                f"the fitting set {auxbasis} has no functions for {', '.join(missing)}; give another one (auxbasis), "
                "or compute the exact potential"
            )
    sets, orbitals = make_auxmol(molecule, auxbasis)._basis, molecule._basis  # noqa: SLF001  (by label of an atom)
    real = [k for k in range(molecule.natm) if molecule.atom_charge(k)]
    labels = [molecule.atom_symbol(k) for k in real]
    return gto.M(
        atom=[(label, molecule.atom_coord(k)) for label, k in zip(labels, real, strict=True)],
        basis={label: [*sets[label], *_flatter(sets[label], orbitals.get(label, []))] for label in set(labels)},
        unit="Bohr",
        cart=molecule.cart,
        spin=None,
        verbose=0,
    )


def _flatter(fitting: list[Any], orbitals: list[Any]) -> list[Any]:
    """Shells that a fitting set lacks for the flattest products of two orbital functions of one atom."""
    smallest = {angular: min(e) for angular, e in _exponents(orbitals).items()}
    added: list[Any] = []
    for angular, exponents in _exponents(fitting).items():
        products = [
            smallest[first] + smallest[second]
            for first in smallest
            for second in smallest
            if abs(first - second) <= angular <= first + second and (first + second - angular) % 2 == 0
        ]
        lowest, wanted = min(exponents), min(products, default=np.inf)
        steps = int(np.ceil(np.log(lowest / wanted) / np.log(_FITTING_RATIO) - 0.1)) if wanted < lowest else 0
        added += [[angular, [lowest * (wanted / lowest) ** (step / steps), 1.0]] for step in range(1, steps + 1)]
    return added


def _exponents(shells: list[Any]) -> dict[int, list[float]]:
    """Exponents by angular momentum of shells as PySCF lists them."""
    found: dict[int, list[float]] = {}
    for angular, *primitives in shells:
        found.setdefault(int(angular), []).extend(float(row[0]) for row in primitives if np.ndim(row))
    return found


def _anchors(density: Density) -> FloatArray:
    """Points on the molecular surface and beyond it, evenly around every atom, shape=(n, 3) [bohr].

    On each ray from an atom the first place outwards where the density has fallen far enough.
    """
    molecule, electrons = density.molecule, OrbitalDensity(density)
    distances = _RAY_STEP * np.arange(2, 18)
    found = [np.empty((0, 3))]
    for atom, centre in enumerate(molecule.atom_coords()):
        if not molecule.atom_charge(atom):
            continue
        radius = van_der_waals_radius(molecule.atom_pure_symbol(atom))
        rays = _directions(int(4 * np.pi * radius**2 / _ANCHOR_AREA) + 1)
        points = centre + distances[:, None] * rays[:, None]
        values = electrons.values(points.reshape(-1, 3)).reshape(len(rays), -1)
        logarithms = np.log(np.maximum(values, 1e-300) / _ANCHOR_DENSITY)
        first = np.argmax(logarithms < 0, axis=1)
        there = np.flatnonzero(first > 0)
        above, below = logarithms[there, first[there] - 1], logarithms[there, first[there]]
        crossings = distances[first[there] - 1] + _RAY_STEP * above / (above - below)
        for shell, stride in _ANCHOR_SHELLS:
            places = centre + (crossings + shell)[::stride, None] * rays[there][::stride]
            found.append(places[nearest_atoms(molecule, places) == atom])
    anchors = np.vstack(found)
    return anchors[electrons.values(anchors) < 1.5 * _ANCHOR_DENSITY] if len(anchors) else anchors


def _directions(count: int) -> FloatArray:
    """Unit vectors spread evenly, along a spiral that turns by the golden angle from one to the next."""
    number = np.arange(count) + 0.5
    height, angle = 1 - 2 * number / count, np.pi * (1 + 5**0.5) * number
    width = np.sqrt(1 - height**2)
    return np.stack([width * np.cos(angle), width * np.sin(angle), height], axis=1)


def _fit(density: Density, auxiliary: Any, anchors: FloatArray) -> tuple[FloatArray, float]:
    """Coefficients of the spherical fitting functions, and the electrons that they lack without correction."""
    from pyscf import gto

    metric, projections = auxiliary.intor("int2c2e", hermi=1), _projections(density, auxiliary)
    at_anchors = np.empty((0, auxiliary.nao))
    if len(anchors):
        at_anchors = gto.intor_cross("int2c2e", _point_charges(auxiliary, anchors), auxiliary)
    if auxiliary.cart:
        to_spherical = auxiliary.cart2sph_coeff()
        metric, projections = to_spherical.T @ metric @ to_spherical, to_spherical.T @ projections
        at_anchors = at_anchors @ to_spherical
    charges = _charges(auxiliary)
    sides = np.vstack([projections, charges, at_anchors])
    plain, of_charge, *of_anchors = _solve_metric(metric, sides.T).T
    lacking = density.molecule.nelectron - float(charges @ plain)
    coefficients = plain + lacking / float(charges @ of_charge) * of_charge
    if len(anchors):
        moves = np.array(of_anchors).T  # without charge:
        moves -= np.outer(of_charge, charges @ moves / float(charges @ of_charge))
        errors = _nuclear_potential(density.molecule, anchors) - at_anchors @ coefficients
        errors -= exact_potential(density, anchors)
        softened = at_anchors @ moves + _ANCHOR_WEIGHT * np.eye(len(anchors))
        coefficients += moves @ np.linalg.solve(softened, errors)
    return coefficients, lacking


def _solve_metric(metric: FloatArray, sides: FloatArray) -> FloatArray:
    import scipy.linalg

    try:
        return np.asarray(scipy.linalg.cho_solve(scipy.linalg.cho_factor(metric), sides))
    except np.linalg.LinAlgError:  # functions on atoms at one place
        return np.asarray(scipy.linalg.lstsq(metric, sides, cond=1e-12)[0])


def _point_charges(auxiliary: Any, points: FloatArray) -> Any:
    from pyscf import gto

    charges = gto.fakemol_for_charges(points)
    charges.cart = auxiliary.cart
    return charges


def _projections(density: Density, auxiliary: Any) -> FloatArray:
    """(P|rho) of all fitting functions, integrals screened by Schwarz's inequality and the density."""
    from pyscf.scf import _vhf, jk

    molecule = density.molecule
    screen = _vhf._VHFOpt(  # noqa: SLF001  (the only way to contract three-centre integrals without storing them)
        molecule,
        "int3c2e",
        prescreen="CVHFnr3c2e_vj_pass1_prescreen",
        dmcondname="CVHFnr_dm_cond",
        direct_scf_tol=_SCREENING,
    )
    screen.init_cvhf_direct(molecule, "int2e", "CVHFnr_int2e_q_cond")
    norms = np.sqrt(np.abs(auxiliary.intor("int2c2e", hermi=1).diagonal()))
    of_shells = np.maximum.reduceat(norms, auxiliary.ao_loc[:-1])
    screen.q_cond = np.hstack((screen.q_cond.ravel(), of_shells))
    both = molecule + auxiliary
    number_one = np.array([0, 0, 1, 1, 0, 0, 0, 0], np.int32)  # for the index that a three-centre integral lacks
    both._bas = np.vstack((both._bas, number_one))  # noqa: SLF001
    orbitals, shells = molecule.nbas, molecule.nbas + auxiliary.nbas
    found = jk.get_jk(
        both,
        density.total,
        "ijkl,ji->kl",
        "int3c2e",
        aosym="s2ij",
        shls_slice=(0, orbitals, 0, orbitals, orbitals, shells, shells, shells + 1),
        vhfopt=screen,
    )
    return np.asarray(found)[:, 0]


def _shells(auxiliary: Any) -> list[tuple[int, int, FloatArray, FloatArray]]:
    """Atom, angular momentum, exponents and coefficients of Gaussians r^l exp(-a r^2) of every contraction."""
    from pyscf import gto

    found: list[tuple[int, int, FloatArray, FloatArray]] = []
    for shell in range(auxiliary.nbas):
        angular, exponents = int(auxiliary.bas_angular(shell)), auxiliary.bas_exp(shell)
        contractions = auxiliary.bas_ctr_coeff(shell) * gto.gto_norm(angular, exponents)[:, None]
        found.extend((int(auxiliary.bas_atom(shell)), angular, exponents, column) for column in contractions.T)
    return found


def _charges(auxiliary: Any) -> FloatArray:
    """Electrons in each spherical fitting function: the integral over s functions, none of others."""
    found: list[float] = []
    for _, angular, exponents, contraction in _shells(auxiliary):
        charge = float(contraction @ (np.pi / exponents) ** 1.5) / np.sqrt(4 * np.pi)
        found.extend([charge] if angular == 0 else [0.0] * (2 * angular + 1))
    return np.array(found)


class _RadialTables:
    """The potential of the fitted electrons of every atom, from tables of G_lm and its slope.

    Of c S_lm(r) exp(-a r^2) the potential is c (2 pi / a) S_lm(r) F_l(a r^2) with Boys' function F, because S_lm(nabla)
    turns exp(-a r^2) and F_0(a r^2), the potential of which it is, into the same multiples of S_lm exp and S_lm F_l.
    The nodes lie equally spaced in u = ln(r^2 + r_0^2) / 2; between them a cubic has values and slopes of both ends.
    """

    def __init__(self, auxiliary: Any, coefficients: FloatArray) -> None:
        self._steepest = max(float(exponents.max()) for _, _, exponents, _ in _shells(auxiliary))
        self._core = 0.1 / self._steepest
        self._first = 0.5 * np.log(self._core)
        nodes = self._first + _NODE_DISTANCE * np.arange(int((np.log(_FARTHEST) - self._first) / _NODE_DISTANCE) + 2)
        scale = np.exp(2 * nodes)
        self._squares = np.maximum(scale - self._core, 0.0)
        self._harmonics = _SolidHarmonics(max(angular for _, angular, _, _ in _shells(auxiliary)))
        highest = [-1] * auxiliary.natm
        for atom, angular, _, _ in _shells(auxiliary):
            highest[atom] = max(highest[atom], angular)
        # of every atom with shape=(n_nodes, value and slope, lm)
        self._tables = [np.zeros((len(nodes), 2, (angular + 1) ** 2)) for angular in highest]
        known: dict[tuple[int, bytes, bytes], FloatArray] = {}
        offset = 0
        for atom, angular, exponents, contraction in _shells(auxiliary):
            key = (angular, exponents.tobytes(), contraction.tobytes())
            if key not in known:
                known[key] = self._radial(angular, exponents, contraction, scale)
            of_shell = coefficients[offset : offset + 2 * angular + 1]
            self._tables[atom][:, :, angular**2 : (angular + 1) ** 2] += known[key][:, :, None] * of_shell
            offset += 2 * angular + 1

    def _radial(self, angular: int, exponents: FloatArray, contraction: FloatArray, scale: FloatArray) -> FloatArray:
        """Values of one G at the nodes and slopes in u, times their distance, shape=(n_nodes, 2)."""
        values, slopes = np.zeros_like(scale), np.zeros_like(scale)
        for exponent, coefficient in zip(exponents, contraction, strict=True):
            factor = 2 * np.pi * coefficient / exponent
            values += factor * _boys(angular, exponent * self._squares)
            slopes -= factor * exponent * _boys(angular + 1, exponent * self._squares)
        return np.stack([values, slopes * 2 * scale * _NODE_DISTANCE], axis=1)

    def potential(self, atom: int, vectors: FloatArray) -> FloatArray:
        """At points given from the atom, shape=(n, 3)."""
        table = self._tables[atom]
        if not table.size:
            return np.zeros(len(vectors))
        squares = np.einsum("nx,nx->n", vectors, vectors)
        inside = np.minimum(squares, self._squares[-2])
        place = (0.5 * np.log(inside + self._core) - self._first) / _NODE_DISTANCE
        number = np.minimum(place.astype(np.intp), len(table) - 2)
        part = (place - number)[:, None]
        harmonics = self._harmonics(vectors, table.shape[2])
        if squares.max() > self._squares[-2]:
            for angular, columns in self._harmonics.columns(table.shape[2]):
                harmonics[:, columns] *= ((inside / squares) ** (angular + 0.5))[:, None]
        rest = 1 - part
        ends = np.lib.stride_tricks.sliding_window_view(table.reshape(len(table), -1), (2, table[0].size))[:, 0]
        rows = ends[number].reshape(len(vectors), 4, -1)
        cubic = np.hstack((rest**2 * (1 + 2 * part), rest**2 * part, part**2 * (3 - 2 * part), -(part**2) * rest))
        return np.asarray(np.einsum("nk,nk->n", np.einsum("nkm,nm->nk", rows, harmonics), cubic))


class _SolidHarmonics:
    """r^l times the real spherical harmonics, in PySCF's order and normalisation."""

    def __init__(self, highest: int) -> None:
        from pyscf import gto

        self._highest = highest
        shells = [[angular, [_FLAT, 1.0]] for angular in range(highest + 1)]
        self._flat = gto.M(atom=[("ghost-He", (0.0, 0.0, 0.0))], basis={"ghost-He": shells}, unit="Bohr", verbose=0)
        norms = [gto.gto_norm(angular, _FLAT) for angular in range(highest + 1) for _ in range(2 * angular + 1)]
        self._norms = np.array(norms)

    def __call__(self, vectors: FloatArray, count: int) -> FloatArray:
        """The first ``count`` at each vector [bohr], shape=(n, count)."""
        return np.asarray(self._flat.eval_gto("GTOval_sph", vectors)[:, :count] / self._norms[:count])

    def columns(self, count: int) -> list[tuple[int, slice]]:
        """Angular momenta and their columns among the first ``count``."""
        return [(k, slice(k * k, (k + 1) ** 2)) for k in range(self._highest + 1) if k * k < count]


def _boys(order: int, argument: FloatArray) -> FloatArray:
    """F_n(x) = integral of t^(2n) exp(-x t^2) over t from 0 to 1."""
    from scipy.special import gamma, gammainc

    power = order + 0.5
    at_least = np.maximum(argument, 1e-12)
    return np.asarray(gammainc(power, at_least) * gamma(power) / (2 * at_least**power))
