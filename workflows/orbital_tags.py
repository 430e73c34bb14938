"""The orbitals that PySCF fastens to a density matrix."""

from typing import Any

import numpy as np

from alkaflow.structures import FloatArray


def occupied(density: Any) -> list[FloatArray] | None:
    """Occupied orbitals by spin, times the roots of their occupations; None where a density comes without them.

    Parameters
    ----------
    density
        Shape=(n, n) or (2, n, n), with attributes ``mo_coeff`` and ``mo_occ`` or without.
    """
    coefficients, occupations = getattr(density, "mo_coeff", None), getattr(density, "mo_occ", None)
    if coefficients is None or occupations is None or np.iscomplexobj(density):
        return None
    if np.ndim(occupations) == 1:
        coefficients, occupations = [coefficients], [occupations]
    spins = 1 if np.ndim(density) == 2 else len(density)
    if len(occupations) != spins:  # of ROHF, or of several densities
        return None
    pairs = [(np.asarray(c), np.asarray(n)) for c, n in zip(coefficients, occupations, strict=True)]
    return [np.ascontiguousarray(c[:, n > 0] * np.sqrt(n[n > 0])) for c, n in pairs]
