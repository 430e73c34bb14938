"""Competing doublets of an alkali atom on HATCN at a cheap level: all that the search finds, in order.

    python benchmarks/states.py --guest Na --site bay --level 'b3lyp-d3bj/6-31g(d)'

On the GFN2-xTB geometry of the shipped records. The search is the one that relaxations at a Kohn-Sham level begin
with. Each state is printed with its energy above the lowest, <S2>, the charge of the guest, the starts that led to
it, and how its unpaired electron behaves under the mirror planes of the complex (+1 even, -1 odd, 0 neither); beside
them the state of the shipped record, which began with PySCF's default guess at the published level.
"""

import argparse
import io
import os
import time

import numpy as np
from pyscf import dft

from alkaflow.calculations import Fragment
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.units import HARTREE_EV
from alkaflow.workflows.blas import loaded_blas
from alkaflow.workflows.bundle import read_orbital_file
from alkaflow.workflows.library import shipped_bundle, shipped_studies
from alkaflow.workflows.orbital_symmetry import expectation_values, reflections_and_turns
from alkaflow.workflows.pyscf_engine import build_molecule
from alkaflow.workflows.states import State, search_states


def shipped_complex(guest: str, site: str) -> tuple[Structure, list[Fragment], State, KohnSham]:
    """The relaxed complex of the shipped records, its fragments, and its state with the level of that."""
    bundle = shipped_bundle("hatcn", "published-sp")
    row = next(row for row in bundle.plan.rows if row.guest == guest and row.site_kind == site)
    record = bundle.by_id[row.complex_leg.energy]
    level = record.level_of_theory
    assert record.orbitals is not None
    assert isinstance(level, KohnSham)
    archive = shipped_studies()["hatcn"] / "published-sp.orbitals.zip"
    with np.load(io.BytesIO(read_orbital_file(archive, record.orbitals.sha256))) as orbitals:
        coefficients = [orbitals["coefficients_alpha"], np.pad(orbitals["coefficients_beta"], ((0, 0), (0, 1)))]
        occupations = [orbitals["occupations_alpha"], np.pad(orbitals["occupations_beta"], (0, 1))]
    state = State(
        "shipped record",
        record.energy_hartree,
        record.s_squared or 0.0,
        (sum(record.populations.charges["mulliken"][-1:]) if record.populations else 0.0,),
        False,
        np.array(coefficients),
        np.array(occupations),
    )
    structure = Structure(
        tuple(record.symbols), np.array(record.positions_angstrom), record.charge, record.multiplicity
    )
    host = bundle.plan.hosts[row.host]
    size = len(host.symbols)
    fragments = [
        Fragment(atoms=tuple(range(size)), charge=host.charge, multiplicity=host.multiplicity),
        Fragment(atoms=(size,), charge=0, multiplicity=2),
    ]
    return structure, fragments, state, level


def mirror_characters(structure: Structure, level: KohnSham, state: State) -> str:
    """Expectation values, for the unpaired orbital, of the plane of the molecule and of that through the axis."""
    molecule = build_molecule(structure, level, 4000)
    overlap = molecule.intor_symmetric("int1e_ovlp")
    up, down = (c[:, n > 0] for c, n in zip(state.coefficients, state.occupations, strict=True))
    # the unpaired orbital: what spin up occupies and spin down does not
    shared = up.T @ overlap @ down
    orbital = up @ np.linalg.eigh(shared @ shared.T)[1][:, :1]
    grids = dft.Grids(molecule)
    grids.level = 1
    planes = [each for each in reflections_and_turns(structure) if np.linalg.det(each.matrix) < 0]
    planes.sort(key=lambda each: each.permutation != tuple(range(len(structure))))  # that which moves no atom first
    return " ".join(f"{float(x[0]):+.2f}" for x in expectation_values(orbital, molecule, grids.build(), planes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", default="Na")
    parser.add_argument("--site", default="bay")
    parser.add_argument("--level", default="b3lyp-d3bj/6-31g")
    parser.add_argument("--grid", type=int, default=1)
    parser.add_argument("--swaps", type=int, default=3)
    arguments = parser.parse_args()
    level = parse_level(arguments.level)
    assert isinstance(level, KohnSham)
    level = level.model_copy(update={"grid": arguments.grid, "energy_threshold": 1e-7})
    structure, fragments, shipped, published = shipped_complex(arguments.guest, arguments.site)
    begin = time.monotonic()

    def report(stage: str, number: int, energy: float) -> None:
        print(f"# {stage} {number}: {energy:.6f} Eh after {time.monotonic() - begin:.0f} s", flush=True)

    states = search_states(structure, level, fragments, 6000, report, swaps=arguments.swaps)
    blas = ", ".join(f"{b['library']} {b.get('kernel')}" for b in loaded_blas())
    print(f"{arguments.guest} at the {arguments.site} of HATCN, {level}, grid level {level.grid}")
    print(f"{time.monotonic() - begin:.0f} s; OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}; {blas}")
    print(f"shipped record at {published}: mirrors {mirror_characters(structure, published, shipped)}")
    for state in states:
        above = (state.energy - states[0].energy) * HARTREE_EV
        print(
            f"{state.energy:.6f} Eh  +{above:.3f} eV  <S2> {state.s_squared:.3f}  q {state.guest_charges[0]:+.2f}  "
            f"mirrors {mirror_characters(structure, level, state)}  {'; '.join(state.starts or (state.label,))}"
        )


if __name__ == "__main__":
    main()
