"""How a calculation went or goes: the steps of its relaxation, from its record or from what it has saved so far."""

from alkaflow.analysis.plot_convergence import Course, course_of
from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.worker import checkpoints_of
from alkaflow.settings import Settings
from alkaflow.workflows.checkpoint import steps_so_far


def find_course(database: Database, settings: Settings, document: Document) -> Course:
    """How the calculation of a document of ``calculations`` went.

    Raises
    ------
    BadInputError
        It has no record, and has saved no steps on this host.
    """
    record = database.record(document["_id"])
    if record is not None:
        return course_of(record)
    given = CalculationInput.model_validate(document["input"])
    folder = checkpoints_of(settings, given.id)
    steps = steps_so_far(folder, given)
    if steps is None:
        raise BadInputError(
            f"calculation {given.id} ({document['title']}) is {document['state']} and has left no relaxation steps in "
            f"{folder} on this host"
        )
    title = f"{document['formula']}, {document['level']}, 2S+1 = {given.multiplicity}"
    failure = f", {document['failure']['outcome']}" if document["failure"] else ""
    ending = f"{document['state']}{failure}, at relaxation step {len(steps.energies) - 1}"
    return Course(title, ending, steps.energies, steps.max_forces, steps.scf_cycles)
