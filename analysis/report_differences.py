"""What was computed otherwise than published: a list made from levels and records, not from memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alkaflow.analysis.methods import elements_of, grid_words
from alkaflow.errors import BadInputError
from alkaflow.levels import PRESETS, KohnSham, Level, parse_level
from alkaflow.plans import Plan
from alkaflow.records import Record
from alkaflow.studies import NOT_STATED

_GAUSSIAN = "gaussian-b3lyp"


@dataclass(frozen=True)
class Difference:
    """One aspect of the method: how it is taken to have been published, how it was done here; None: not known."""

    aspect: str
    published: str
    here: str
    differs: bool | None
    remark: str = ""


def published_level(plan: Plan) -> KohnSham | None:
    """The level that a study takes for the published one: what it says of it, its own, or Gaussian's B3LYP-D3(BJ).

    None where the study says that the paper does not state it.
    """
    preset = PRESETS[_GAUSSIAN]
    if plan.study.published_level == NOT_STATED:
        return None
    stated = plan.study.published_level or plan.study.level
    if stated is None:
        return preset
    try:
        level = parse_level(stated, like=preset)
    except BadInputError:
        return preset
    return level.model_copy(update={"fitting": None}) if isinstance(level, KohnSham) else preset


def differences(plan: Plan, records: Mapping[str, Record]) -> list[Difference]:
    """Compare how a plan was computed with the method that is taken for the published one; what differs comes first.

    Published is taken to mean: relaxed and computed at one level with exact integrals, on Gaussian's default grid,
    each energy the lowest SCF solution that was found, electronic, without counterpoise correction. A study without
    published rows has no such list.
    """
    found = [records[i] for i in plan.calculations if i in records]
    energies = [record for record in found if record.step == "energy"]
    if not energies or all(row.published_ev is None for row in plan.rows):
        return []
    expected = published_level(plan)
    of_level = (
        [*_of_geometries(expected, found), *_of_levels(expected, energies)]
        if expected is not None
        else _of_unknown_level(found, energies)
    )
    listed = [
        *of_level,
        *_of_states(plan, found),
        *_of_extras(plan, found),
        _of_programs(found),
    ]
    return sorted(listed, key=lambda difference: (True, None, False).index(difference.differs))


def _said(values: Iterable[object]) -> str:
    return "; ".join(dict.fromkeys(str(value) for value in values))


def _of_geometries(expected: KohnSham, records: Sequence[Record]) -> list[Difference]:
    relaxed = [record for record in records if record.step == "relax"]
    if not relaxed:
        return [
            Difference("geometries", f"relaxed at {expected}", "as they were given", True, "the first thing to look at")
        ]
    handed_on = {record.parent for record in relaxed}
    last = [record for record in relaxed if record.id not in handed_on]
    here = _said(_geometry_words(record.level_of_theory) for record in last)
    same = all(_alike(record.level_of_theory, expected) for record in last)
    remark = "" if same else "distances to the guest differ, and with them the energies; the first thing to look at"
    listed = [Difference("geometries", f"relaxed at {expected}", here, not same, remark)]
    kept = [record for record in relaxed if (record.convergence.symmetry_operations or 1) > 1]
    if kept:
        listed.append(
            Difference(
                "symmetry",
                "kept, as Gaussian does by default",
                f"kept in {len(kept)} of {len(relaxed)} relaxations",
                False if len(kept) == len(relaxed) else None,
                "a stationary point of that symmetry need not be a minimum",
            )
        )
    return listed


def _of_unknown_level(records: Sequence[Record], energies: Sequence[Record]) -> list[Difference]:
    relaxed = [record.level_of_theory for record in records if record.step == "relax"]
    geometries = _said(map(_geometry_words, relaxed)) or "as they were given"
    levels = _said(record.level_of_theory for record in energies)
    return [
        Difference("geometries", NOT_STATED, geometries, None, "distances to the guest differ between methods"),
        Difference("energies", NOT_STATED, levels, None, "nobody can tell what a deviation means"),
    ]


def _geometry_words(level: Level) -> str:
    return f"relaxed at {level}"


def _alike(level: Level, expected: KohnSham) -> bool:
    """Whether functional, dispersion and basis are the same."""
    return isinstance(level, KohnSham) and (level.functional, level.dispersion, level.basis) == (
        expected.functional,
        expected.dispersion,
        expected.basis,
    )


def _of_levels(expected: KohnSham, energies: Sequence[Record]) -> list[Difference]:
    levels = [record.level_of_theory for record in energies]
    dft = [level for level in levels if isinstance(level, KohnSham)]
    if len(dft) < len(levels):
        return [Difference("energies", str(expected), _said(levels), True, "another kind of method: trends alone")]
    elements = elements_of(energies)

    def one(aspect: str, published: str, here: Sequence[str], remark: str = "", same: bool | None = None) -> Difference:
        differs = any(value != published for value in here) if same is None else not same
        return Difference(aspect, published, _said(here), differs, remark if differs else "")

    def functional(level: KohnSham) -> str:
        return "b3lyp with VWN-RPA, Gaussian's" if level.functional == "b3lyp" else level.functional

    fitted = [f"fitted with {level.fitting}" if level.fitting else "exact" for level in dft]
    return [
        one("functional", functional(expected), [functional(level) for level in dft], "shifts all energies"),
        one("dispersion", expected.dispersion or "none", [level.dispersion or "none" for level in dft],
            "its share of the energies is listed with their parts"),
        one("basis", _bases(expected, elements), [_bases(level, elements) for level in dft],
            "other superposition errors, which make binding too strong in a small basis, and other charges"),
        one("two-electron integrals", "exact", fitted, "less than 1 meV in tests with small complexes"),
        one("integration grid", grid_words(expected.grid), [grid_words(level.grid) for level in dft],
            "noise of the grid, more of it on a coarse one"),
        one("solvent", str(expected.solvent or "none"), [str(level.solvent or "none") for level in dft]),
    ]  # fmt: skip


def _bases(level: KohnSham, elements: Sequence[str]) -> str:
    names = {symbol: level.basis_for(symbol) for symbol in elements}
    plain = names.values()
    kind = ", six d functions" if level.cartesian else ""
    substitute = f", {level.substitute} where it has no functions" if level.substitute else ""
    if len(set(plain)) == 1:
        return f"{next(iter(plain))}{kind}{substitute}"
    return ", ".join(f"{symbol}: {basis}" for symbol, basis in names.items()) + kind + substitute


def _of_states(plan: Plan, records: Sequence[Record]) -> list[Difference]:
    complexes = [leg for row in plan.rows for leg in row.complex_leg.states]
    scanned = sorted({plan.calculations[leg.energy].multiplicity for leg in complexes})
    several = any(row.complex_leg.others for row in plan.rows)
    spins = f"2S+1 = {', '.join(map(str, scanned))}" + (", the lowest counts" if several else "")
    searched = any(plan.calculations[record.id].searches_states for record in records)
    tested = any(record.convergence.stability and record.convergence.stability.get("tested") for record in records)
    found = "searched" if searched else "the solution that PySCF's default guess leads to"
    return [
        Difference("spin states of complexes", "not stated; as a rule the lowest multiplicity", spins,
                   several or None,
                   "a lower state binds more" if several else ""),
        Difference("electronic states", "not stated; as a rule what the program's guess leads to", found, None,
                   "guesses differ between programs, and nearly degenerate states of one spin compete"),
        Difference("stability of SCF solutions", "not stated", "tested" if tested else "not tested", None),
    ]  # fmt: skip


def _of_extras(plan: Plan, records: Sequence[Record]) -> list[Difference]:
    counterpoise = any(record.ghosts for record in records)
    vibrating = any(record.vibrations for record in records)
    return [
        Difference("counterpoise correction", "none",
                   "computed, not part of the energies" if counterpoise else "none", False),
        Difference("zero-point energy", "none", "computed, not part of the energies" if vibrating else "none", False),
        Difference("reference of the guest", "free atom or ion", f"{plan.study.reference}",
                   plan.study.reference == "bulk", "shifts all energies of a guest by its cohesive energy"
                   if plan.study.reference == "bulk" else ""),
    ]  # fmt: skip


def _of_programs(records: Sequence[Record]) -> Difference:
    versions = _said(f"PySCF {r.provenance.versions['pyscf']}" for r in records if "pyscf" in r.provenance.versions)
    return Difference("program", "see the paper", versions or "tblite", None)
