"""Small geometry: unit vectors, angles, rotations, planes. Lengths in Angstrom, shape=(3,) unless said."""

import math

import numpy as np

from alkaflow.structures.structure import FloatArray


def unit(vector: FloatArray) -> FloatArray:
    """The unit vector along a vector."""
    along: FloatArray = vector / np.linalg.norm(vector)
    return along


def angle_between(a: FloatArray, b: FloatArray) -> float:
    """Angle between two vectors [degree]."""
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def rotation_about(axis: FloatArray, angle: float) -> FloatArray:
    """Rotation matrix about a unit vector [radian], shape=(3, 3); Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: FloatArray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation


def rotation_between(a: FloatArray, b: FloatArray) -> FloatArray:
    """The rotation that takes one unit vector to another the shortest way, shape=(3, 3)."""
    axis = np.cross(a, b)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        if a @ b > 0:
            return np.eye(3)
        return rotation_about(unit(np.cross(a, np.eye(3)[int(np.argmin(np.abs(a)))])), math.pi)
    return rotation_about(axis / sine, math.atan2(sine, float(a @ b)))


def plane_normal(points: FloatArray) -> FloatArray:
    """Unit normal of the best plane through points, shape=(n, 3); its largest component is positive."""
    normal: FloatArray = np.linalg.svd(points - points.mean(axis=0))[2][2]
    largest = normal[int(np.argmax(np.abs(np.round(normal, 6))))]
    upward: FloatArray = normal * np.sign(largest)
    return upward


def apex(
    a: FloatArray, b: FloatArray, out: FloatArray, reach_a: float, reach_b: float
) -> tuple[FloatArray, FloatArray]:
    """The point at given distances from two atoms, to the side that ``out`` shows, and the unit vector towards it.

    Atoms too far apart to be touched at once give a point between them, 0.5 Angstrom to that side.
    """
    gap = float(np.linalg.norm(b - a))
    across = (b - a) / gap
    side = out - across * (out @ across)
    normal = side / np.linalg.norm(side)
    along = gap / 2 + (reach_a**2 - reach_b**2) / (2 * gap)
    height = math.sqrt(max(reach_a**2 - along**2, 0.25))
    return (a + b) / 2 + (along - gap / 2) * across + height * normal, normal


def slide(movers: FloatArray, fixed: FloatArray, reaches: FloatArray, normal: FloatArray) -> float:
    """How far movers must go along a unit vector until the last of them is free of every fixed point.

    Parameters
    ----------
    movers, fixed
        Positions [Angstrom], shape=(n_movers, 3) and (n_fixed, 3).
    reaches
        Distances at which a pair touches [Angstrom], shape=(n_movers, n_fixed).
    normal
        shape=(3,)

    Returns
    -------
    float
        The largest t at which |mover + t normal - fixed| equals the reach of a pair; 0 where no pair ever touches.
    """
    apart = movers[:, None] - fixed[None]
    along = apart @ normal
    square = along**2 - (apart**2).sum(axis=-1) + reaches**2
    touching = square >= 0
    if not touching.any():
        return 0.0
    return float((np.sqrt(square[touching]) - along[touching]).max())
