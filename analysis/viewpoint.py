"""From where to look at a host so that most of it and of its sites is seen."""

import math
from collections.abc import Sequence

import numpy as np

from alkaflow.structures.sites import Site
from alkaflow.structures.structure import FloatArray, Structure

_LEVEL = 1e-3  # sums smaller than this have no sign


def view_rotation(host: Structure, sites: Sequence[Site] = ()) -> FloatArray:
    """Find the rotation that shows a host best: flat and wide on the page, slightly tilted.

    Returns
    -------
    ndarray
        Proper rotation, shape=(3, 3); ``positions @ rotation.T`` has z towards the reader.
    """
    centred = host.positions - host.positions.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    towards = axes[:, 0] * _sign(sum(float(site.normal @ axes[:, 0]) for site in sites))
    flat = _widest(centred, np.array([axes[:, 2], np.cross(towards, axes[:, 2]), towards]))
    points = np.vstack([host.positions, *(member.position for site in sites for member in site.members)])
    turned = [_tilted(flat, about_x, about_y) for about_x in (24.0, 30.0, 18.0) for about_y in (0.0, -10.0, 10.0, 20.0)]
    return max(turned, key=lambda rotation: round(_spread((points @ rotation.T)[:, :2]), 3))


def _widest(centred: FloatArray, frame: FloatArray) -> FloatArray:
    """Turn a frame about its z axis until the drawing is as low as can be, the longer arms to the right or up."""
    angles = np.radians(np.arange(0.0, 180.0, 0.5))
    x, y, _ = frame @ centred.T
    heights = np.ptp(np.outer(np.cos(angles), y) - np.outer(np.sin(angles), x), axis=1)
    angle = float(angles[int(np.argmin(np.round(heights, 2)))])
    rotation = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]]) @ frame
    x, y, _ = rotation @ centred.T
    lean = float((x**3).sum())
    upright = _sign(lean if abs(lean) > _LEVEL else float((y**3).sum()))
    turned: FloatArray = np.diag([upright, upright, 1.0]) @ rotation
    return turned


def _tilted(frame: FloatArray, about_x: float, about_y: float) -> FloatArray:
    """Lean the top of a frame back, then turn its right side back [degree]."""
    a, b = math.radians(about_x), math.radians(about_y)
    lean = np.array([[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]])
    turn = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    rotation: FloatArray = turn @ lean @ frame
    return rotation


def _spread(points: FloatArray) -> float:
    """Mean distance of points in the drawing from their nearest neighbours, each counted up to 1 Angstrom."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return 0.0
    return float(np.minimum(cKDTree(points).query(points, k=2)[0][:, 1], 1.0).mean())


def _sign(value: float) -> float:
    return -1.0 if value < -_LEVEL else 1.0
