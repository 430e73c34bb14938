"""Records without a computation."""

from datetime import UTC, datetime

from alkaflow.launchpad.queue import Claim
from alkaflow.records import Convergence, Provenance, Record, formula_of


def fake_record(claim: Claim, energy: float = -1.0) -> Record:
    given = claim.calculation
    return Record(
        id=claim.id,
        recipe=given.recipe,
        step=given.step,
        level=str(given.level),
        level_of_theory=given.level,
        parent=given.parent,
        formula=formula_of(given.symbols),
        symbols=list(given.symbols),
        charge=given.charge,
        multiplicity=given.multiplicity,
        positions_angstrom=list(claim.positions),
        energy_hartree=energy,
        convergence=Convergence(cycles=1),
        provenance=Provenance(
            versions={}, blas=[], threads=1, cpu="", peak_memory_mb=0, seconds={"total": 1}, finished=datetime.now(UTC)
        ),
    )
