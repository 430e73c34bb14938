"""Every way in which a calculation ends without a result has a name, and no other way has."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from alkaflow.calculations import CalculationInput, Constraint, Fragment
from alkaflow.errors import ADVICE, BadInputError, CalculationError, Outcome
from alkaflow.levels import KohnSham, Xtb, parse_level
from alkaflow.records import Record
from alkaflow.structures import Structure, build_complex, changed_bonds, find_sites, get_guest, load_host
from alkaflow.workflows import plan_single
from alkaflow.workflows.basis import cheap_level
from alkaflow.workflows.checkpoint import fingerprint_of, load, save
from alkaflow.workflows.child import failure_of
from alkaflow.workflows.constraints import read_constraints
from alkaflow.workflows.drift import SameCompound
from alkaflow.workflows.fragments import likely_fragments
from alkaflow.workflows.lowest_state import checkpoint_of, find_lowest_state, found_in, orbitals_of
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.relaxation import relax, run_relaxation
from alkaflow.workflows.stability import check_stability
from alkaflow.workflows.states import Found, State, search_states
from alkaflow.workflows.steps import judge_stability, run_task
from alkaflow.workflows.surface import Evaluation
from alkaflow.workflows.task import FAILURE_FILE, RECORD_FILE, TASK_FILE, Task

REPOSITORY = Path(__file__).parents[2]
WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]]))


def level(text: str, **changes: object) -> KohnSham:
    return KohnSham.model_validate(parse_level(text).model_dump() | {"grid": 1} | changes)


# --- names ------------------------------------------------------------------------------------------------------------


def test_the_list_is_the_documented_one() -> None:
    text = (REPOSITORY / "docs" / "outcomes.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert documented == list(get_args(Outcome))
    assert set(ADVICE) == set(documented)
    for outcome in documented:
        assert CalculationError(outcome, "so it ended").advice == ADVICE[outcome]


def test_a_name_that_nobody_knows_is_no_outcome() -> None:
    with pytest.raises(ValueError, match="'lost' is no outcome; there are scf_not_converged, "):
        CalculationError("lost", "somewhere")


def full_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as stream:
        stream.write(b"1")


def full_disk_in_hdf5() -> None:
    raise OSError("Can't write data (file write failed: No space left on device)")


def too_large() -> None:
    np.empty((10**9, 10**9))


def odd() -> None:
    Structure(("H",), np.zeros((1, 3)), 0, 1)


def wrong() -> None:
    np.linalg.inv(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("cause", "outcome", "said"),
    [
        (full_disk, "disk_full", "No space left"),
        (full_disk_in_hdf5, "disk_full", "No space left"),
        (too_large, "out_of_memory", "more memory than there is"),
        (odd, "bad_input", "1 electrons cannot have multiplicity 1"),
        (wrong, "engine_crashed", "LinAlgError: Singular matrix"),
        (lambda: Path("/nowhere").read_bytes(), "engine_crashed", "No such file or directory: /nowhere"),
    ],
)
def test_what_went_wrong_has_a_name(cause: Any, outcome: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (each is another)
        cause()
    assert failure_of(caught.value, tmp_path)[0] == outcome
    assert said in failure_of(caught.value, tmp_path)[1]


def child(given: dict[str, Any], directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the process that computes, as the worker does."""
    content = {"symbols": WATER.symbols, "positions": WATER.positions.tolist(), "charge": 0, "multiplicity": 1} | given
    task = Task(
        calculation=CalculationInput.model_validate(content), positions=content["positions"], threads=1, memory_mb=2000
    )
    (directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "alkaflow.workflows.child", str(directory), str(os.getpid())]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False)


def test_a_failure_is_left_in_its_directory(tmp_path: Path) -> None:
    """Atoms on top of each other, as only a damaged task has them."""
    done = child({"step": "energy", "level": Xtb(), "positions": [[0, 0, 0], [0, 0, 0.1], [0, 1, 0]]}, tmp_path)
    assert done.returncode == 1
    assert json.loads((tmp_path / FAILURE_FILE).read_text())["outcome"] == "bad_input"
    assert b"Traceback" not in done.stderr


def test_constraints_and_stability_reach_the_record(tmp_path: Path) -> None:
    held = Constraint(kind="distance", atoms=(0, 1), value=1.05)
    asked = level("b3lyp/sto-3g", stability=True)
    done = child({"step": "relax", "level": asked, "constraints": [held.model_dump()]}, tmp_path)
    assert done.returncode == 0, done.stderr
    record = Record.model_validate_json((tmp_path / RECORD_FILE).read_bytes())
    lengths = np.linalg.norm(np.subtract(record.positions_angstrom[1:], record.positions_angstrom[0]), axis=1)
    assert lengths[0] == pytest.approx(1.05, abs=1e-4)
    assert abs(lengths[1] - 1.05) > 0.01
    assert record.convergence.symmetry_operations == 2  # of four: one bond is not the other
    assert record.convergence.stability is not None
    assert record.convergence.stability["tested"]
    assert record.convergence.stability["stable"]


def computed(given: dict[str, Any], directory: Path) -> Record:
    """What a step records, in this process."""
    content = {"symbols": WATER.symbols, "positions": WATER.positions.tolist(), "charge": 0, "multiplicity": 1} | given
    task = Task(
        calculation=CalculationInput.model_validate(content), positions=content["positions"], threads=1, memory_mb=2000
    )
    return run_task(task, directory)


def test_ghosts_lend_their_functions(tmp_path: Path) -> None:
    """The two hydrogen atoms of water and an electron more, alone and with the functions of the missing oxygen."""
    lent = computed(
        {"step": "energy", "level": level("b3lyp/3-21g"), "ghosts": (0,), "charge": -1, "multiplicity": 2}, tmp_path
    )
    parts = {"symbols": ("H", "H"), "positions": WATER.positions[1:].tolist(), "charge": -1, "multiplicity": 2}
    alone = computed({"step": "energy", "level": level("b3lyp/3-21g")} | parts, tmp_path)
    assert (lent.basis_functions, alone.basis_functions) == (13, 4)
    assert lent.energy_hartree < alone.energy_hartree - 1e-3
    assert lent.energy_components["nuclear"] == pytest.approx(alone.energy_components["nuclear"], abs=1e-9)


def test_frequencies_are_a_step_of_kohn_sham_levels(tmp_path: Path) -> None:
    record = computed({"step": "frequencies", "level": level("b3lyp/sto-3g")}, tmp_path)
    assert record.vibrations is not None
    assert len(record.vibrations.wavenumbers) == 3
    assert record.orbitals is not None
    assert "hessian" in record.orbitals.format
    with pytest.raises(CalculationError, match="frequencies are computed at Kohn-Sham levels, not at gfn2-xtb") as said:
        computed({"step": "frequencies", "level": Xtb()}, tmp_path)
    assert said.value.outcome == "bad_input"


# --- constraints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "freeze", "atoms": [0, 0]}, "not different numbers"),
        ({"kind": "freeze", "atoms": [-1]}, "not different numbers"),
        ({"kind": "freeze", "atoms": []}, "not different numbers"),
        ({"kind": "freeze", "atoms": [0], "value": 1.0}, "leave out the value"),
        ({"kind": "distance", "atoms": [0, 1, 2]}, "distance needs 2 atoms, not 3"),
        ({"kind": "distance", "atoms": [0, 1], "value": 0.1}, "0.1 Angstrom is not between"),
        ({"kind": "angle", "atoms": [1, 0, 2], "value": 180.0}, "180.0 degrees is not between"),
        ({"kind": "dihedral", "atoms": [0, 1, 2, 3], "value": float("nan")}, "nan degrees is not between"),
    ],
)
def test_impossible_constraints_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Constraint.model_validate(given)


def relaxation(constraints: Any, **changes: Any) -> CalculationInput:
    content = {"step": "relax", "level": level("b3lyp/sto-3g"), "charge": 0, "multiplicity": 1}
    content |= {"symbols": WATER.symbols, "positions": WATER.positions.tolist(), "constraints": constraints}
    return CalculationInput.model_validate(content | changes)


def test_constraints_have_a_place_in_relaxations_only() -> None:
    """GFN2-xTB freezes atoms, and holds no distance."""
    frozen = [{"kind": "freeze", "atoms": [1]}]
    with pytest.raises(ValidationError, match="only relaxations take constraints, not the step 'energy'"):
        relaxation(frozen, step="energy")
    with pytest.raises(ValidationError, match="at gfn2-xtb can freeze atoms, but not hold a distance"):
        relaxation([{"kind": "distance", "atoms": [0, 1]}], level=Xtb())
    assert relaxation(frozen, level=Xtb()).constraints is not None
    with pytest.raises(ValidationError, match="atom 3 of 3"):
        relaxation([{"kind": "freeze", "atoms": [3]}])
    with pytest.raises(ValidationError, match="nothing is left to relax"):
        relaxation([{"kind": "freeze", "atoms": [0, 1]}, {"kind": "freeze", "atoms": [2]}])
    ids = [relaxation(c).id for c in (None, frozen, [{"kind": "distance", "atoms": [0, 1]}])]
    assert len(set(ids)) == 3


def test_constraints_as_users_write_them() -> None:
    assert read_constraints() is None
    assert read_constraints(["0,1,7"], ["distance:0-5=2.1", "dihedral:2-0-1-3=-60", "angle:1-0-2"]) == (
        Constraint(kind="freeze", atoms=(0, 1, 7)),
        Constraint(kind="distance", atoms=(0, 5), value=2.1),
        Constraint(kind="dihedral", atoms=(2, 0, 1, 3), value=-60.0),
        Constraint(kind="angle", atoms=(1, 0, 2)),
    )
    for freeze, hold, said in (
        (["0-1"], [], "'0-1' are not numbers from 0 with commas between"),
        ([], ["distance:0,5"], "'distance:0,5' is not of the form"),
        ([], ["distance:0-5=two"], "is not of the form"),
        ([], ["distance:0-5-6"], "constraint 'distance:0-5-6': a constraint of the kind distance needs 2 atoms, not 3"),
    ):
        with pytest.raises(BadInputError, match=re.escape(said)):
            read_constraints(freeze, hold)


# --- the same compound ------------------------------------------------------------------------------------------------

HYDRATED = Structure(  # a proton between two waters, 1.0 and 1.5 Angstrom from their oxygens
    ("O", "H", "H", "O", "H", "H", "H"),
    np.array(
        [[0, 0, 0], [-0.4, 0.8, 0.3], [-0.4, -0.8, 0.3], [2.5, 0, 0], [2.9, 0.8, -0.3], [2.9, -0.8, -0.3], [1.0, 0, 0]]
    ),
    1,
)


def moved(structure: Structure, atom: int, to: tuple[float, float, float]) -> np.ndarray:
    positions = structure.positions.copy()
    positions[atom] = to
    return positions


def test_a_proton_that_changes_its_owner_is_a_reaction() -> None:
    watch = SameCompound(HYDRATED)
    there = moved(HYDRATED, 6, (1.25, 0, 0))
    assert watch.changed_bonds(HYDRATED.positions) == []
    assert watch.changed_bonds(there) == []  # half way, it is still the first one's
    farther = moved(HYDRATED, 6, (1.7, 0, 0))
    assert watch.changed_bonds(farther) == ["O0-H6 broken", "O3-H6 made"]
    assert watch(farther, True) == "reacted: O0-H6 broken; O3-H6 made"


def test_a_passing_change_is_no_reaction() -> None:
    watch = SameCompound(HYDRATED)
    farther = moved(HYDRATED, 6, (1.7, 0, 0))
    passing = [watch(farther, False) for _ in range(4)] + [watch(HYDRATED.positions, False)]
    assert passing == [None] * 5
    lasting = [watch(farther, False) for _ in range(5)]
    assert lasting[:4] == [None] * 4
    assert lasting[4] is not None
    assert watch(HYDRATED.positions, True) is None


def test_atoms_that_leave_are_named_first() -> None:
    gone = SameCompound(WATER)(moved(WATER, 2, (0, -9, 0)), False)
    assert gone is not None
    assert gone.startswith("dissociated: atom 2 ")


def test_a_single_atom_may_bond() -> None:
    """A hydrogen atom that lands on a radical: with fragments, and where nothing is known of them."""
    methyl = np.array([[0, 0, 0], [0, 1.08, 0], [0.935, -0.54, 0], [-0.935, -0.54, 0]])
    apart = Structure(("C", "H", "H", "H", "H"), np.vstack([methyl, [0, 0, 2.5]]), 0, 1)
    parts = [Fragment(atoms=(0, 1, 2, 3), charge=0, multiplicity=2), Fragment(atoms=(4,), charge=0, multiplicity=2)]
    bound = moved(apart, 4, (0, 0, 1.09))
    assert SameCompound(apart)(bound, True) is None
    assert SameCompound(apart, parts)(bound, True) is None
    halves = [parts[0].model_copy(update={"atoms": (0, 1, 2)}), parts[1].model_copy(update={"atoms": (3, 4)})]
    assert SameCompound(apart, halves)(bound, True) == "reacted: C0-H4 made"


def test_the_bonds_that_a_table_judges_are_judged_alike() -> None:
    """Of a complex with known fragments, the sentences are those of the final classification."""
    host = load_host("pyrazine")
    site = next(site for site in find_sites(host, "Li") if site.kind == "face")
    built = build_complex(host, "Li", site)
    atoms = list(built.fragments.values())
    fragments = [
        Fragment(atoms=part, charge=0, multiplicity=each.multiplicity)
        for part, each in zip(atoms, (host, get_guest("Li").structure), strict=True)
    ]
    hydrogen = built.structure.symbols.index("H")
    for shift in (0.0, 0.4, 0.9):
        positions = built.structure.positions.copy()
        positions[hydrogen] *= 1 + shift / np.linalg.norm(positions[hydrogen])
        positions[-1] *= 1 - shift / 3  # the guest comes nearer
        expected = changed_bonds(built, positions)
        assert len(expected) == int(shift > 0.65)
        assert SameCompound(built.structure, fragments).changed_bonds(positions) == expected
        assert SameCompound(built.structure).changed_bonds(positions) == expected


def test_a_relaxation_that_reacts_is_no_result(tmp_path: Path) -> None:
    """GFN2: hydroxide and hydronium become two waters without a barrier."""
    from tblite.interface import Calculator

    ions = Structure(
        ("O", "H", "O", "H", "H", "H"),
        np.array([[0, 0, 0], [-0.3, 0.9, 0], [2.7, 0, 0], [1.7, 0, 0], [3.1, 0.8, 0.4], [3.1, -0.8, 0.4]]),
    )

    def evaluate(positions: np.ndarray, _: Any) -> Evaluation:
        calculator = Calculator("GFN2-xTB", ions.numbers, positions)
        calculator.set("verbosity", 0)
        found = calculator.singlepoint()
        return Evaluation(float(found.get("energy")), np.array(found.get("gradient")))

    options = {"directory": tmp_path, "fingerprint": "mine", "progress": Progress(tmp_path)}
    with pytest.raises(CalculationError, match=r"reacted: O2-H3 broken; O0-H3 made") as caught:
        relax(ions, evaluate, judge=SameCompound(ions), **options)
    assert caught.value.outcome == "reacted"
    free = relax(ions, evaluate, **options)
    assert np.linalg.norm(free.positions[3] - free.positions[0]) < 1.1


# --- states -----------------------------------------------------------------------------------------------------------


def test_an_unstable_solution_is_no_result_where_the_level_asks(tmp_path: Path) -> None:
    """Equal spins on stretched H2, which a search from them cannot leave."""
    pair = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 2.5]]))
    asked = level("b3lyp/sto-3g", stability=True)
    molecule = build_molecule(pair, asked, 1000)
    mean_field = build_mean_field(molecule, asked, unrestricted=True)
    density = build_mean_field(molecule, asked).get_init_guess() / 2
    mean_field.kernel(np.array([density, density]))
    found = check_stability(mean_field)
    with pytest.raises(CalculationError, match=r"unstable \(lowest eigenvalue .* -.* Hartree\) after 0 rep") as caught:
        judge_stability(asked, found)
    assert caught.value.outcome == "scf_unstable"
    assert judge_stability(level("b3lyp/sto-3g"), found) == []
    assert judge_stability(asked, None) == []
    # an eigenvalue below zero that has not converged is an upper bound of one farther below
    with pytest.raises(CalculationError, match="unstable"):
        judge_stability(asked, replace(found, tested=False))
    assert "not known" in judge_stability(asked, replace(found, tested=False, eigenvalue=0.1))[0]


def test_a_restricted_singlet_that_should_break_its_symmetry_is_no_result(tmp_path: Path) -> None:
    """Stretched from where the restricted solution is stable to where it is not, while the relaxation keeps it."""
    pair = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 1.0]]))
    asked = level("b3lyp/sto-3g", stability=True)
    held = Constraint(kind="distance", atoms=(0, 1), value=2.5)
    result = run_relaxation(pair, asked, 1000, Progress(tmp_path), tmp_path, "mine", constraints=(held,))
    assert result.stability is not None
    assert result.stability.stable
    with pytest.raises(CalculationError, match="unstable") as caught:
        judge_stability(asked, result.stability)
    assert caught.value.outcome == "scf_unstable"


@pytest.mark.parametrize(("apart", "restricted"), [(0.75, True), (4.0, False)])
def test_two_open_shell_guests_begin_with_their_lowest_singlet(apart: float, restricted: bool, tmp_path: Path) -> None:
    """Hydrogen atoms near a helium atom: bound, their spins share orbitals; far apart, one electron stays on each."""
    structure = Structure(("He", "H", "H"), np.array([[0, 4.0, 0], [-apart / 2, 0, 0], [apart / 2, 0, 0]]))
    parts = [Fragment(atoms=(k,), charge=0, multiplicity=1 + bool(k)) for k in range(3)]
    given = relaxation(None, symbols=structure.symbols, positions=structure.positions.tolist(), fragments=parts)
    task = Task(calculation=given, positions=given.positions or (), threads=1, memory_mb=1000)
    wanted = level("b3lyp/sto-3g", states=True)
    orbitals, found = find_lowest_state(structure, wanted, task, Progress(tmp_path), tmp_path)
    assert found[0].restricted is restricted
    assert [state.energy_hartree for state in found] == sorted(state.energy_hartree for state in found)
    spins = ("restricted",) if restricted else ("alpha", "beta")
    assert sum(orbitals[f"occupations_{spin}"].sum() for spin in spins) == 4
    assert len(orbitals) == 2 * len(spins)
    (tmp_path / "progress.json").unlink()
    again, states = find_lowest_state(structure, wanted, task, Progress(tmp_path), tmp_path)
    assert not (tmp_path / "progress.json").exists()  # it was not searched a second time
    assert states == found
    assert all(np.array_equal(again[name], orbitals[name]) for name in orbitals)


def test_an_energy_that_searches_ends_in_the_lowest_state(tmp_path: Path) -> None:
    """Two hydrogen atoms far apart: twice the energy of one with the search; without it, a restricted singlet."""

    def energy(symbols: str, positions: list[list[float]], **more: Any) -> Record:
        given = {"step": "energy", "level": level("b3lyp/6-31g"), "symbols": tuple(symbols), "positions": positions}
        return computed(given | more, tmp_path)

    pair = [[0.0, 0.0, 0.0], [6.0, 0.0, 0.0]]
    parts = [Fragment(atoms=(k,), charge=0, multiplicity=2) for k in range(2)]
    searched, plain = energy("HH", pair, fragments=parts), energy("HH", pair)
    atom = energy("H", pair[:1], multiplicity=2)
    assert searched.energy_hartree == pytest.approx(2 * atom.energy_hartree, abs=1e-5)
    assert searched.s_squared == pytest.approx(1.0, abs=0.01)  # half singlet, half triplet
    assert plain.energy_hartree > searched.energy_hartree + 0.1
    assert [state.restricted for state in searched.states] == [False, True]
    assert plain.states == []
    seconds = searched.provenance.seconds
    assert 0 < seconds["states"] < seconds["total"]
    assert searched.id != plain.id
    assert searched.level_of_theory == plain.level_of_theory


def test_a_calculation_takes_up_its_unfinished_search(tmp_path: Path) -> None:
    """A state that no SCF would find, planted in the checkpoint, is taken for found."""
    structure = Structure(("He", "H"), np.array([[0, 4.0, 0], [0, 0, 0]]), 0, 2)
    parts = (Fragment(atoms=(0,), charge=0, multiplicity=1), Fragment(atoms=(1,), charge=0, multiplicity=2))
    content = {"multiplicity": 2, "symbols": structure.symbols, "positions": structure.positions.tolist()}
    given = relaxation(None, **content, fragments=parts)
    task = Task(calculation=given, positions=given.positions or (), threads=1, memory_mb=1000)
    wanted = level("b3lyp/sto-3g", states=True)
    found: Found = {}
    search_states(structure, cheap_level(wanted, structure.symbols), parts, 1000, keep=found.update)
    planted = replace(found["default guess"][0], energy=-10.0)
    save(tmp_path, checkpoint_of(found | {"default guess": [planted]}, fingerprint_of(given)), "search")
    _, states = find_lowest_state(structure, wanted, task, Progress(tmp_path), tmp_path)
    assert states[0].energy_hartree == -10.0


def test_parts_of_a_single_structure_are_guessed() -> None:
    def parts(symbols: str, charge: int = 0, multiplicity: int = 2) -> list[tuple[tuple[int, ...], int, int]]:
        names = tuple(symbols.split())
        structure = Structure(names, np.arange(3 * len(names), dtype=float).reshape(-1, 3), charge, multiplicity)
        return [(part.atoms, part.charge, part.multiplicity) for part in likely_fragments(structure)]

    assert parts("O H Li H") == [((0, 1, 3), 0, 1), ((2,), 0, 2)]
    assert parts("Na O H Li H", -1, 2) == [((1, 2, 4), -1, 2), ((0,), 0, 2), ((3,), 0, 2)]
    assert parts("O H") == [((0, 1), 0, 2)]
    assert parts("Li Na", 1) == [((0, 1), 1, 2)]
    assert parts("Li O Na O K") == [((0, 1, 2, 3, 4), 0, 2)]  # too many ways to share electrons
    assert parts("Li H", 2, 1) == [((0, 1), 2, 1)]  # a neutral lithium atom would leave H(2+)


def test_a_single_open_shell_structure_is_searched_too(tmp_path: Path) -> None:
    """Lithium superoxide, whose parts nobody named; a closed shell has nothing to search."""
    superoxide = {"symbols": ("O", "O", "Li"), "positions": [[0, 0.675, 0], [0, -0.675, 0], [0, 0, 1.62]]}
    plan = plan_single(Structure(superoxide["symbols"], np.array(superoxide["positions"]), 0, 2), None, "composite")
    (parts,) = (given.fragments for given in plan.calculations.values() if given.searches_states)
    assert [(part.atoms, part.multiplicity) for part in parts or ()] == [((0, 1), 1), ((2,), 2)]
    given = {"step": "relax", "level": level("b3lyp/sto-3g", states=True, convergence="gau-loose", grid=0)}
    record = computed(given | superoxide | {"multiplicity": 2, "fragments": parts}, tmp_path)
    energies = [state.energy_hartree for state in record.states]
    assert len(energies) > 1
    assert energies == sorted(energies)
    assert len(record.states[0].guest_charges) == 1
    assert record.provenance.seconds["states"] > 0
    closed = plan_single(WATER, None, "composite").calculations.values()
    assert not any(given.searches_states or given.fragments for given in closed)
    oxygen = plan_single(Structure(("O", "O"), np.array([[0, 0, 0], [0, 0, 1.2]]), 0, 3), None, "composite")
    (parts,) = (given.fragments for given in oxygen.calculations.values() if given.searches_states)
    assert [(part.atoms, part.multiplicity) for part in parts or ()] == [((0, 1), 3)]


def test_a_transition_metal_in_whatever_state_has_a_warning(tmp_path: Path) -> None:
    oxide = {"symbols": ("Sc", "O"), "positions": [[0.0, 0, 0], [0, 0, 1.67]], "multiplicity": 2}
    said = "competing electronic states of Sc were not searched"
    plain = computed({"step": "energy", "level": level("b3lyp/sto-3g")} | oxide, tmp_path)
    assert any(warning.startswith(said) for warning in plain.warnings)
    whole = [Fragment(atoms=(0, 1), charge=0, multiplicity=2)]
    searched = computed({"step": "energy", "level": level("b3lyp/sto-3g"), "fragments": whole} | oxide, tmp_path)
    assert not any(warning.startswith(said) for warning in searched.warnings)
    assert searched.energy_hartree < plain.energy_hartree + 1e-5


def test_a_search_that_fails_leaves_the_step_its_own_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise CalculationError("scf_not_converged", "no start converged")

    monkeypatch.setattr("alkaflow.workflows.lowest_state.search_states", failing)
    pair = {"symbols": ("H", "H"), "positions": [[0.0, 0, 0], [3.0, 0, 0]]}
    parts = [Fragment(atoms=(k,), charge=0, multiplicity=2) for k in range(2)]
    record = computed({"step": "energy", "level": level("b3lyp/sto-3g"), "fragments": parts} | pair, tmp_path)
    plain = computed({"step": "energy", "level": level("b3lyp/sto-3g")} | pair, tmp_path)
    assert record.energy_hartree == pytest.approx(plain.energy_hartree, abs=1e-8)
    assert record.states == []
    assert "competing electronic states were not found: no start converged" in record.warnings[0]


def test_a_search_that_is_cut_short_goes_on(tmp_path: Path) -> None:
    """After any of its starts: those before are not repeated, and the outcome is that of an uninterrupted search."""
    structure = Structure(("He", "H", "H"), np.array([[0, 4.0, 0], [-2.0, 0, 0], [2.0, 0, 0]]))
    parts = [Fragment(atoms=(k,), charge=0, multiplicity=1 + bool(k)) for k in range(3)]
    cheap = level("b3lyp/sto-3g", grid=0)
    lengths: list[int] = []
    energies: list[float] = []

    def report(stage: str, number: int, energy: float) -> None:
        energies.append(energy)

    whole = search_states(structure, cheap, parts, 1000, report, keep=lambda found: lengths.append(len(found)))
    states = len(energies)
    assert lengths == list(range(1, len(lengths) + 1))
    assert len(lengths) > 4

    class KilledError(Exception):
        """At a moment of our choosing."""

    def keep(found: Found, moment: int) -> None:
        save(tmp_path, checkpoint_of(found, "it"), "search")
        if len(found) == moment:
            raise KilledError

    for moment in (1, len(lengths) // 2, len(lengths) - 1):
        with pytest.raises(KilledError):
            search_states(structure, cheap, parts, 1000, keep=partial(keep, moment=moment))
        left = load(tmp_path, "it", "search").checkpoint
        assert left is not None
        found = found_in(left)
        assert len(found) == moment
        energies.clear()
        again = search_states(structure, cheap, parts, 1000, report, found=found)
        assert len(energies) == states - sum(map(len, found.values()))
        assert [state.starts for state in again] == [state.starts for state in whole]
        assert [state.energy for state in again] == pytest.approx([state.energy for state in whole], abs=1e-6)


def test_orbitals_of_a_state_are_those_of_a_record() -> None:
    empty = State("", 0.0, 0.75, (), False, np.ones((2, 3, 2)), np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert {name: array.shape for name, array in orbitals_of(empty).items()} == {
        "coefficients_alpha": (3, 2),
        "occupations_alpha": (2,),
        "coefficients_beta": (3, 1),
        "occupations_beta": (1,),
    }


# --- killed -----------------------------------------------------------------------------------------------------------


def test_kill_9_at_random_moments() -> None:
    """The process that computes, killed three times: the same minimum, and at most one gradient repeated for each."""
    script = REPOSITORY / "benchmarks" / "kill.py"
    command = [sys.executable, str(script), "--kills", "3", "--seed", "11", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 3
    assert found["energy_difference_hartree"] < 1e-5
    assert found["largest_displacement_angstrom"] < 0.01
    assert max(found["repeated_by_attempt"]) <= 1
    assert sum(found["gradients_begun"]) >= found["relaxations"] * found["gradients_uninterrupted"]
