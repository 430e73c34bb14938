"""What a relaxation holds: constraints as geomeTRIC reads them, and the symmetry that they leave."""

import re
from collections.abc import Sequence

import numpy as np
from pydantic import ValidationError

from alkaflow.calculations import Constraint
from alkaflow.errors import BadInputError
from alkaflow.structures.symmetry import Operation

_FREEZE = re.compile(r"\d{1,5}(,\d{1,5})*")
_HOLD = re.compile(r"(?P<kind>distance|angle|dihedral):(?P<atoms>\d{1,5}(-\d{1,5})+)(=(?P<value>-?\d+(\.\d*)?))?")


def read_constraints(freeze: Sequence[str] = (), hold: Sequence[str] = ()) -> tuple[Constraint, ...] | None:
    """Read constraints as users write them; None where there are none. Atoms are counted from 0.

    Parameters
    ----------
    freeze
        Such as ``0,1,2``.
    hold
        Such as ``distance:0-5=2.1`` [Angstrom], ``angle:1-0-2=109.5`` [degrees], or ``dihedral:2-0-1-3``, which keeps
        what the start has.

    Raises
    ------
    BadInputError
        A text has another form, or says what is impossible.
    """
    found = []
    for text in freeze:
        if not _FREEZE.fullmatch(text):
            raise BadInputError(f"atoms to freeze {text!r} are not numbers from 0 with commas between, such as 0,1,2")
        found.append(_checked(text, {"kind": "freeze", "atoms": text.split(",")}))
    for text in hold:
        match = _HOLD.fullmatch(text)
        if match is None:
            raise BadInputError(
                f"constraint {text!r} is not of the form distance:0-5=2.1, angle:1-0-2=109.5 or dihedral:2-0-1-3=60"
            )
        found.append(_checked(text, {**match.groupdict(), "atoms": match["atoms"].split("-")}))
    return tuple(found) or None


def _checked(text: str, fields: dict[str, object]) -> Constraint:
    try:
        return Constraint.model_validate(fields)
    except ValidationError as error:
        raise BadInputError(f"constraint {text!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def constraint_text(constraints: Sequence[Constraint]) -> str:
    """Return constraints as geomeTRIC reads them: ``$freeze`` and ``$set``, atoms counted from 1."""
    lines = []
    for each in constraints:
        atoms = [str(atom + 1) for atom in each.atoms]
        if each.kind == "freeze":
            lines += ["$freeze", *(f"xyz {atom}" for atom in atoms)]
        elif each.value is None:
            lines += ["$freeze", f"{each.kind} {' '.join(atoms)}"]
        else:
            lines += ["$set", f"{each.kind} {' '.join(atoms)} {each.value:.10f}"]
    return "\n".join(lines)


def agreeing(operations: Sequence[Operation], constraints: Sequence[Constraint]) -> list[Operation]:
    """Return the symmetry operations that send constraints onto constraints; of a group, they are one too."""
    wanted = {_plain(each) for each in _single(constraints)}

    def image(each: Constraint, operation: Operation) -> Constraint:
        value = each.value
        if each.kind == "dihedral" and value is not None and np.linalg.det(operation.matrix) < 0:
            value = -value  # a mirror turns it over
        atoms = tuple(operation.permutation[atom] for atom in each.atoms)
        return each.model_copy(update={"atoms": atoms, "value": value})

    return [o for o in operations if {_plain(image(each, o)) for each in _single(constraints)} == wanted]


def _single(constraints: Sequence[Constraint]) -> list[Constraint]:
    """The same constraints with one for each frozen atom."""
    apart = [
        [c.model_copy(update={"atoms": (k,)}) for k in c.atoms] if c.kind == "freeze" else [c] for c in constraints
    ]
    return [each for part in apart for each in part]


def _plain(constraint: Constraint) -> tuple[str, tuple[int, ...], float | None]:
    """What is equal for two ways to write one constraint."""
    atoms = min(constraint.atoms, constraint.atoms[::-1])
    value = constraint.value
    if constraint.kind == "dihedral" and value is not None:
        value = round(value % 360.0, 6) % 360.0
    return constraint.kind, atoms, value
