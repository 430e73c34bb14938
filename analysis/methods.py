"""A methods paragraph from levels, protocol and provenance of records, with the literature that it needs.

Everything in it comes from the records; what they do not say is not there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alkaflow.analysis.citations import CITATIONS, SCHEME_CITATIONS
from alkaflow.calculations import CalculationInput
from alkaflow.elements import atomic_number
from alkaflow.levels import Grid, KohnSham, Level, Xtb
from alkaflow.plans import Leg, Plan
from alkaflow.records import Record

_FUNCTIONALS: dict[str, tuple[str, tuple[str, ...]]] = {
    "b3lyp": (
        "B3LYP (with VWN-RPA local correlation, the definition of Gaussian)",
        ("becke1993", "lyp", "vwn", "stephens1994"),
    ),
    "blyp": ("BLYP", ("becke1988", "lyp")),
    "bp86": ("BP86", ("becke1988", "perdew1986")),
    "pbe": ("PBE", ("pbe",)),
    "pbe0": ("PBE0", ("pbe0",)),
    "tpss": ("TPSS", ("tpss",)),
    "tpssh": ("TPSSh", ("tpssh",)),
}
_DISPERSIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "d3bj": ("the two-body D3 dispersion correction with Becke-Johnson damping", ("d3", "bj")),
    "d3bjatm": (
        "the D3 dispersion correction with Becke-Johnson damping and three-body (Axilrod-Teller-Muto) terms",
        ("d3", "bj"),
    ),
    "d4": ("the D4 dispersion correction", ("d4",)),
}
_XTB_OPTIMISERS = {
    None: ("the L-BFGS optimiser of ASE", "ase"),
    "bfgs": ("the BFGS optimiser of ASE", "ase"),
    "geometric": ("geomeTRIC in internal coordinates", "geometric"),
}
_SECOND_ROW = 11  # Na, where Pople's sets have other authors


@dataclass(frozen=True)
class Sentence:
    """A sentence, and the keys of what it cites."""

    text: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Methods:
    """Sentences that make a paragraph."""

    sentences: tuple[Sentence, ...]

    @property
    def keys(self) -> list[str]:
        """Of all citations, in the order in which they come."""
        return list(dict.fromkeys(key for sentence in self.sentences for key in sentence.keys))

    def plain(self) -> str:
        """The paragraph, citations as numbers in brackets."""
        numbers = {key: number for number, key in enumerate(self.keys, start=1)}
        return " ".join(
            _with(s.text, f" [{', '.join(str(numbers[key]) for key in s.keys)}]" if s.keys else "")
            for s in self.sentences
        )

    def markdown(self) -> str:
        """The paragraph, citations as Pandoc reads them: ``[@d3; @bj]``."""
        return " ".join(
            _with(s.text, f" [{'; '.join(f'@{key}' for key in s.keys)}]" if s.keys else "") for s in self.sentences
        )


def _with(text: str, cited: str) -> str:
    """A sentence with something before its full stop."""
    return f"{text.removesuffix('.')}{cited}."


def methods_of(plan: Plan, records: Mapping[str, Record]) -> Methods:
    """Describe how the records of a plan were computed.

    Parameters
    ----------
    plan
        Which calculations belong together.
    records
        By id; those that are there are described.
    """
    found = [records[i] for i in plan.calculations if i in records]
    if not found:
        return Methods((Sentence("Nothing is computed yet."),))
    legs = [leg for row in plan.rows for leg in row.legs] + [s for leg in plan.alone.values() for s in leg.states]
    sentences = [
        *_geometries(found, plan.calculations),
        *_energies(found, plan.calculations),
        *_numerics(found),
        *_states(found, plan.calculations),
        *_references(plan),
        *_parts(legs, records),
        *_frequencies(found),
        *_charges(found),
        *_programs(found),
    ]
    return Methods(tuple(sentences))


def elements_of(records: Iterable[Record]) -> list[str]:
    """Symbols of all elements, by atomic number."""
    return sorted({symbol for record in records for symbol in record.symbols}, key=atomic_number)


def _several(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# --- levels ----------------------------------------------------------------------------------------------------------


def _levels(records: Iterable[Record], step: str) -> list[tuple[Level, list[Record]]]:
    """The levels of a step, each with its records, in the order in which they come."""
    found: dict[str, tuple[Level, list[Record]]] = {}
    for record in records:
        if record.step == step:
            found.setdefault(record.level_of_theory.model_dump_json(), (record.level_of_theory, []))[1].append(record)
    return list(found.values())


def _geometries(records: list[Record], inputs: Mapping[str, CalculationInput]) -> list[Sentence]:
    said = []
    levels = _levels(records, "relax")
    for number, (level, of_level) in enumerate(levels):
        start = "then relaxed further" if number else "relaxed"
        if isinstance(level, Xtb):
            optimiser, code = _XTB_OPTIMISERS[level.optimiser]
            said.append(
                Sentence(
                    f"Geometries were {start} with GFN2-xTB and {optimiser} until no force "
                    f"exceeded {level.max_force} eV/Angstrom.",
                    ("gfn2", "tblite", code),
                )
            )
        else:
            threshold = {None: "default", "gau": "default", "gau-loose": "loose", "gau-tight": "tight"}
            name, keys = _level_words(level, of_level)
            said.append(
                Sentence(
                    f"Geometries were {start} at {name} with geomeTRIC to Gaussian's {threshold[level.convergence]} "
                    f"thresholds, on {_grid(level.grid)}.",
                    (*keys, "geometric"),
                )
            )
    relaxed = [record for record in records if record.step == "relax"]
    kept = sum((record.convergence.symmetry_operations or 1) > 1 for record in relaxed)
    if kept:
        which = "Relaxations" if kept == len(relaxed) else f"{kept} of {len(relaxed)} relaxations"
        said.append(Sentence(f"{which} kept the symmetry of their start."))
    held = [i for i, given in inputs.items() if given.constraints]
    if held:
        said.append(Sentence(f"In {len(held)} relaxations some atoms or coordinates were held."))
    return said


def _energies(records: list[Record], inputs: Mapping[str, CalculationInput]) -> list[Sentence]:
    said = []
    for level, of_level in _levels(records, "energy"):
        if isinstance(level, Xtb):
            said.append(Sentence("Energies are those of GFN2-xTB.", ("gfn2", "tblite")))
            continue
        name, keys = _level_words(level, of_level)
        open_shell = any(record.multiplicity > 1 for record in of_level)
        spin = " (spin-unrestricted for open shells)" if open_shell else ""
        where = "at these geometries" if any(given.parent for given in inputs.values()) else "at the given geometries"
        said.append(Sentence(f"Energies were computed {where} at {name}{spin}.", keys))
    return said


def _level_words(level: KohnSham, records: Sequence[Record]) -> tuple[str, tuple[str, ...]]:
    """A Kohn-Sham level in words, and what it cites."""
    functional, keys = _FUNCTIONALS[level.functional]
    words = f"the {functional} level"
    if level.dispersion:
        dispersion, more = _DISPERSIONS[level.dispersion]
        words, keys = f"{words} with {dispersion}", (*keys, *more)
    basis, of_basis = _basis(level, elements_of(records))
    words, keys = f"{words} and {basis}", (*keys, *of_basis)
    if level.solvent:
        words += f" in a continuum ({level.solvent})"
    return words, keys


def _basis(level: KohnSham, elements: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Basis sets by element in words, and what they cite."""
    of_basis: dict[str, list[str]] = {}
    for symbol in elements:
        of_basis.setdefault(level.basis_for(symbol), []).append(symbol)
    keys: list[str] = []
    for basis, symbols in of_basis.items():
        keys += _basis_keys(basis, symbols)
    if len(of_basis) == 1:
        words = f"the {_basis_name(next(iter(of_basis)))} basis ({', '.join(elements)})"
    else:
        words = "the basis sets " + _several([f"{_basis_name(b)} ({', '.join(s)})" for b, s in of_basis.items()])
    if level.substitute:
        words += f", {_basis_name(level.substitute)} for elements that it does not describe"
        keys += _basis_keys(level.substitute, elements)
    if level.cartesian:
        words += " with Cartesian d and f functions"
    return words, tuple(dict.fromkeys(keys))


def _basis_name(name: str) -> str:
    """As papers write it."""
    if name.startswith(("6-", "3-", "4-")):
        return name.replace("g", "G", 1)
    return f"def2-{name[5:].upper()}" if name.startswith("def2-") else name


def _basis_keys(basis: str, symbols: Sequence[str]) -> list[str]:
    """What to cite for a basis; nothing for one that this does not know."""
    numbers = [atomic_number(symbol) for symbol in symbols]
    if basis.startswith("6-311"):
        return ["pople6311", *(["pople6311second"] if any(z >= _SECOND_ROW for z in numbers) else [])]
    if basis.startswith("6-31"):
        polarised = ["pople631pol"] if "(" in basis else []
        return ["pople631", *polarised, *(["pople631second"] if any(z >= _SECOND_ROW for z in numbers) else [])]
    return ["def2"] if basis.startswith("def2-") else []


def grid_words(grid: Grid) -> str:
    """A grid for people, without article."""
    return f"grid level {grid} of PySCF" if isinstance(grid, int) else f"pruned ({grid[0]},{grid[1]}) grid"


def _grid(grid: Grid) -> str:
    return grid_words(grid) if isinstance(grid, int) else f"a {grid_words(grid)}"


def _numerics(records: list[Record]) -> list[Sentence]:
    """Integrals, grid and thresholds of the energies."""
    said = []
    for level, _ in _levels(records, "energy"):
        if isinstance(level, Xtb):
            continue
        if level.fitting:
            keys = ("jkfit",) if level.fitting == "def2-universal-jkfit" else ()
            said.append(Sentence(f"Coulomb and exchange integrals were fitted with {level.fitting}.", keys))
        else:
            said.append(Sentence("Two-electron integrals were exact (no density fitting).", ()))
        first = f", converged on {_grid(level.scf_grid)} first" if level.scf_grid is not None else ""
        said.append(
            Sentence(
                f"The integration grid was {_grid(level.grid)}{first}; SCF cycles ended below changes of "
                f"{level.energy_threshold:.0e} Hartree and an orbital gradient of {level.gradient_threshold:.0e}."
            )
        )
    return list(dict.fromkeys(said))


# --- states ----------------------------------------------------------------------------------------------------------


def _states(records: list[Record], inputs: Mapping[str, CalculationInput]) -> list[Sentence]:
    said = []
    tested = [r for r in records if r.convergence.stability and r.convergence.stability.get("tested")]
    energies = [r for r in records if r.step == "energy" and isinstance(r.level_of_theory, KohnSham)]
    if tested:
        which = (
            "All SCF solutions" if set(map(id, energies)) <= set(map(id, tested)) else f"{len(tested)} SCF solutions"
        )
        said.append(Sentence(f"{which} were tested for internal stability, and followed to stable ones."))
    elif energies:
        said.append(Sentence("SCF solutions were not tested for stability."))
    if any(inputs[r.id].searches_states for r in records):
        said.append(
            Sentence(
                "For open-shell complexes competing electronic states were searched at a cheaper level, and the lowest "
                "was carried on."
            )
        )
    corrected = sum(bool(r.convergence.corrections) for r in records)
    if corrected:
        said.append(Sentence(f"In {corrected} calculations convergence needed corrections, which the records list."))
    return said


def _references(plan: Plan) -> list[Sentence]:
    if not plan.rows:
        return []
    counted = {
        "atom": "the free atoms, ions or molecules",
        "ion": "the separate ions",
        "bulk": "the bulk metals, by experimental cohesive energies",
    }[plan.study.reference]
    last = (
        " of the last guest" if any(row.before_leg for row in plan.rows) and plan.study.energies == "stepwise" else ""
    )
    return [
        Sentence(
            f"Adsorption energies{last} are differences of electronic energies, E(complex) - E(host) - E(guest), "
            f"counted from {counted}; negative values mean binding."
        )
    ]


def _parts(legs: Sequence[Leg], records: Mapping[str, Record]) -> list[Sentence]:
    halves = [leg.halves for leg in legs if leg.halves is not None and all(i in records for i in leg.halves.ids)]
    said = []
    if halves:
        said.append(
            Sentence("They were divided into an interaction energy and the deformation energies of both fragments.")
        )
    if any(half.guest_in_basis for half in halves):
        said.append(
            Sentence(
                "Counterpoise corrections were computed and are given beside the energies, which do not contain them.",
                ("boysbernardi",),
            )
        )
    else:
        said.append(Sentence("No counterpoise correction was made."))
    return said if legs else []


def _frequencies(records: list[Record]) -> list[Sentence]:
    found = [record for record in records if record.vibrations is not None]
    if not found:
        return [Sentence("Vibrational frequencies were not computed, and energies contain no zero-point energy.")]
    minima = sum(record.vibrations is not None and record.vibrations.imaginary == 0 for record in found)
    return [
        Sentence(
            f"Harmonic frequencies were computed at {_several(sorted({record.level for record in found}))}: "
            f"{minima} of {len(found)} structures have no imaginary one."
        )
    ]


def _charges(records: list[Record]) -> list[Sentence]:
    from alkaflow.analysis.plot_charges import scheme_name

    schemes = list(dict.fromkeys(s for r in records if r.populations is not None for s in r.populations.charges))
    said = []
    if schemes:
        keys = tuple(SCHEME_CITATIONS[scheme] for scheme in schemes if scheme in SCHEME_CITATIONS)
        said.append(Sentence(f"Atomic charges are by {_several([scheme_name(s) for s in schemes])}.", keys))
    surfaces = [record.surface for record in records if record.surface is not None]
    if surfaces:
        isovalue = _several(sorted({f"{surface.isovalue:g}" for surface in surfaces}))
        said.append(
            Sentence(
                f"Electrostatic potentials were evaluated on the surface of electron density {isovalue} e/bohr^3.",
                ("politzermurray",),
            )
        )
    return said


# --- programs --------------------------------------------------------------------------------------------------------

_PROGRAMS = (
    ("pyscf", "PySCF", ("pyscf2018", "pyscf2020", "libcint")),
    ("gpu4pyscf", "gpu4pyscf", ()),
    ("tblite", "tblite", ("tblite",)),
    ("geometric", "geomeTRIC", ("geometric",)),
    ("ase", "ASE", ("ase",)),
)


def versions_of(records: Iterable[Record]) -> dict[str, list[str]]:
    """All versions of every program and library in the records, by name."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.provenance.versions.items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(found[name]) for name in sorted(found)}


def _programs(records: list[Record]) -> list[Sentence]:
    versions = versions_of(records)
    used = {
        "pyscf": any(isinstance(r.level_of_theory, KohnSham) for r in records),
        "gpu4pyscf": any(r.provenance.device == "gpu" for r in records),
        "tblite": any(isinstance(r.level_of_theory, Xtb) for r in records),
        "geometric": any(r.step == "relax" and isinstance(r.level_of_theory, KohnSham) for r in records),
        "ase": any(r.step == "relax" and isinstance(r.level_of_theory, Xtb) for r in records),
    }
    names: list[str] = []
    keys: list[str] = []
    for package, name, cited in _PROGRAMS:
        if used[package]:
            names.append(f"{name} {'/'.join(versions.get(package, ['of unknown version']))}")
            keys += cited
    own = "/".join(versions.get("alkaflow", ["of unknown version"]))
    programs = f"with {_several(names)}, " if names else ""
    return [
        Sentence(
            f"Calculations were done {programs}driven by alkaflow {own} through FireWorks.",
            (*keys, "fireworks"),
        )
    ]


def reference_list(keys: Iterable[str]) -> list[str]:
    """One line for people per key, in the order of the numbers in the paragraph."""
    return [CITATIONS[key].short for key in keys]
