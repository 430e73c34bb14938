"""Hessians for relaxations to begin with, of GFN2-xTB or the level before. Imported only by the process that computes.

What an optimiser knows at its first step decides how many it needs: geomeTRIC's own guess gives every bond, angle and
torsion a constant. A Hessian of tight binding costs the time of a few SCF cycles and knows how they couple. It is used
in internal coordinates together with its own gradient, and where it curves downwards it is turned up. A relaxation at
a cheaper density functional before has learned more: its own approximation is handed on.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from alkaflow.errors import CalculationError
from alkaflow.levels import Xtb
from alkaflow.structures import FloatArray, Structure
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.xtb_surface import XtbGradient

MOST_ATOMS = 80
"""Larger structures have none: it costs six gradients for every atom."""

_STEP = 0.01  # bohr
_SOFTEST = 5e-3  # of eigenvalues in internal coordinates; geomeTRIC's own guess gives the softest coordinates more
_ACCURACY = 0.01  # of tblite, as differences divide its noise


@dataclass(frozen=True)
class ModelHessian:
    """Gradient [Hartree/bohr], shape=(3 n_atoms,), and Hessian [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms)."""

    gradient: FloatArray
    hessian: FloatArray

    def in_internals(self, coordinates: Any, positions: FloatArray) -> FloatArray:
        """The Hessian in geomeTRIC's internal coordinates, with no eigenvalue below a small positive one.

        Parameters
        ----------
        coordinates
            Of geomeTRIC.
        positions
            Flat [bohr].
        """
        found = coordinates.calcHess(positions, self.gradient, self.hessian)
        values, vectors = np.linalg.eigh((found + found.T) / 2)
        lifted: FloatArray = (vectors * np.maximum(np.abs(values), _SOFTEST)) @ vectors.T
        return lifted


def learned_hessian(hessian: FloatArray | None, structure: Structure) -> ModelHessian | None:
    """What a relaxation that ended at a structure has learned, without its remaining gradient; None of another shape.

    Parameters
    ----------
    hessian
        As `RelaxResult.hessian` [Hartree/bohr^2].
    structure
        Where the next begins.
    """
    size = 3 * len(structure)
    if hessian is None or hessian.shape != (size, size) or not np.isfinite(hessian).all():
        return None
    return ModelHessian(np.zeros(size), hessian)


def model_hessian(structure: Structure) -> ModelHessian | None:
    """Differentiate GFN2-xTB gradients at a structure; None where it is too large, or GFN2-xTB fails there.

    On one thread: a relaxation that goes on from its checkpoint makes it anew, and needs the same to the last digit.
    """
    if not 1 < len(structure) <= MOST_ATOMS:
        return None
    surface = XtbGradient(structure, Xtb(accuracy=_ACCURACY))
    positions = structure.positions / BOHR_ANGSTROM

    def gradient(moved: FloatArray) -> FloatArray:
        return surface(moved.reshape(-1, 3), None).gradient.ravel()

    try:
        with threadpool_limits(1):
            here = gradient(positions)
            rows = [
                (gradient(positions.ravel() + step) - gradient(positions.ravel() - step)) / (2 * _STEP)
                for step in _STEP * np.eye(positions.size)
            ]
    except (CalculationError, ValueError, RuntimeError):  # an element that it does not have
        return None
    hessian = np.array(rows)
    if not np.isfinite(hessian).all():
        return None
    return ModelHessian(here, (hessian + hessian.T) / 2)
