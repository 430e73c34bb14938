"""How a calculation converged: energies along a relaxation, and energies and gradients along an SCF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alkaflow.analysis.plot_style import (
    GOOD,
    ONE_COLUMN,
    SERIES,
    TWO_COLUMNS,
    caption,
    empty_figure,
    new_figure,
    one_line,
    styled,
)
from alkaflow.records import Record
from alkaflow.structures import FloatArray
from alkaflow.units import HARTREE_EV, HARTREE_KJ_MOL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALLEST = 1e-7  # of differences on a logarithmic axis [Hartree]
_WEAKEST = 1e-6  # force on a logarithmic axis [eV/Angstrom]
_FAR = 100.0  # a relaxation that begins higher is drawn logarithmically [meV]
_SCF_STAGE = "SCF cycle"


@dataclass(frozen=True)
class Course:
    """How a calculation went.

    Attributes
    ----------
    title
        What it is.
    ending
        How it ended, or where it is.
    energies
        Of a relaxation, per step from 0 [Hartree].
    max_forces
        The largest force on an atom, per step [eV/Angstrom]; empty where they were not kept.
    scf_cycles
        SCF cycles at every step of a relaxation; empty where they were not kept.
    cycles
        Of an SCF, each with ``step``, ``energy_hartree`` and ``orbital_gradient``.
    """

    title: str
    ending: str
    energies: Sequence[float] = ()
    max_forces: Sequence[float] = ()
    scf_cycles: Sequence[int] = ()
    cycles: Sequence[Mapping[str, Any]] = ()


def course_of(record: Record) -> Course:
    """How a calculation with a record went."""
    title = f"{record.formula}, {record.level}, 2S+1 = {record.multiplicity}"
    ended = record.convergence
    cycles = [
        {"stage": _SCF_STAGE, "step": number, "energy_hartree": energy, "orbital_gradient": gradient}
        for number, (energy, gradient) in enumerate(
            zip(ended.cycle_energies, ended.cycle_gradients, strict=True), start=1
        )
    ]
    return Course(title, _ending(record), record.energies_along_relaxation, scf_cycles=ended.scf_cycles, cycles=cycles)


def convergence_chart(record: Record, progress: Sequence[Mapping[str, Any]] | None = None) -> "Figure":
    """Draw the energies along a relaxation, and along an SCF where its cycles are known.

    Parameters
    ----------
    record
        Its ``energies_along_relaxation`` are drawn relative to the last one [meV and kJ/mol].
    progress
        Reports of a running calculation, oldest first: ``stage``, ``step``, ``energy_hartree``, and
        ``orbital_gradient`` of SCF cycles. Those of stage "SCF cycle" are drawn; a step that is not larger than the
        one before it begins another SCF.
    """
    return course_chart(course_of(record), progress)


@styled
def course_chart(course: Course, progress: Sequence[Mapping[str, Any]] | None = None) -> "Figure":
    """Draw how a calculation went: energies and forces along a relaxation, and SCF cycles as `convergence_chart`."""
    along = np.array(course.energies, dtype=float)
    cycles = [report for report in progress or course.cycles if report.get("stage") == _SCF_STAGE]
    forces = len(along) > 1 and len(course.max_forces) == len(along)
    panels = (len(along) > 1) + forces + bool(cycles)
    if panels == 0:
        return empty_figure(f"{course.title}: {course.ending}; no energies along the way kept")
    figure = new_figure(ONE_COLUMN if panels == 1 else TWO_COLUMNS * panels / 2, 2.6)
    axes = np.atleast_1d(figure.subplots(1, panels))
    if len(along) > 1:
        _draw_relaxation(axes[0], along)
    if forces:
        _draw_forces(axes[1], np.array(course.max_forces))
    if cycles:
        _draw_scf(axes[-1], cycles)
    figure.text(0.02, 0.985, one_line(course.title, 56 * panels), fontsize=9, fontweight="bold", va="top")
    used = caption(figure, [_typeset(course.ending)], left=0.02)
    figure.subplots_adjust(
        left=0.15 if panels == 1 else 0.15 / panels,
        right=0.86 if len(along) > 1 and panels == 1 else 0.985,
        top=0.89,
        bottom=(used + 0.42) / figure.get_figheight(),
        wspace=0.42,
    )
    return figure


def _draw_relaxation(axes: "Axes", energies: FloatArray) -> None:
    """Energies above the last one; logarithmic beyond 1 meV where they reach far."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    above = (energies - energies[-1]) * HARTREE_EV * 1000
    axes.plot(np.arange(len(above)), above, color=GOOD, marker="o", ms=2.2)
    axes.axhline(0.0, color="#999999", linewidth=0.7, zorder=1)
    axes.set_xlabel("relaxation step")
    axes.set_ylabel("energy above the last / meV")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if above.max() > _FAR:
        axes.set_yscale("symlog", linthresh=1.0, linscale=0.6)
        axes.set_ylim(min(1.4 * float(above.min()), -0.4), 1.8 * float(above.max()))
        axes.yaxis.set_major_formatter(_plain)
    right = axes.twinx()
    factor = HARTREE_KJ_MOL / (HARTREE_EV * 1000)
    if above.max() > _FAR:
        right.set_yscale("symlog", linthresh=factor, linscale=0.6)
        right.yaxis.set_major_locator(FixedLocator([0.0, *(10.0**power for power in range(-1, 7))]))
        right.yaxis.set_major_formatter(_plain)
    right.set_ylim(*(factor * edge for edge in axes.get_ylim()))
    right.yaxis.set_minor_locator(NullLocator())
    right.set_ylabel("kJ/mol")
    right.spines["right"].set_visible(True)


def _draw_forces(axes: "Axes", forces: FloatArray) -> None:
    """The largest force at every step, logarithmic."""
    from matplotlib.ticker import MaxNLocator

    axes.plot(np.arange(len(forces)), np.maximum(forces, _WEAKEST), color=SERIES[5], marker="o", ms=2.2)
    _set_decades(axes, np.maximum(forces, _WEAKEST))
    axes.yaxis.set_major_formatter(_plain)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("relaxation step")
    axes.set_ylabel("largest force / eV \N{ANGSTROM SIGN}\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT ONE}")


def _set_decades(axes: "Axes", values: FloatArray) -> None:
    """A logarithmic axis from one power of ten to another, so that some have numbers."""
    from matplotlib.ticker import NullFormatter

    reach = np.log10(values[np.isfinite(values)])
    axes.set_yscale("log")
    axes.set_ylim(10.0 ** np.floor(reach.min() - 0.02), 10.0 ** np.ceil(reach.max() + 0.02))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _typeset(text: str) -> str:
    return text.replace("Angstrom", "\N{ANGSTROM SIGN}").replace(" -", " \N{MINUS SIGN}")


def _plain(value: float, _: float) -> str:
    return f"{value:g}"


def _draw_scf(axes: "Axes", cycles: Sequence[Mapping[str, Any]]) -> None:
    """Changes of the energy from cycle to cycle and orbital gradients, on one logarithmic axis in atomic units."""
    from matplotlib.ticker import MaxNLocator

    numbers = np.arange(1, len(cycles) + 1)
    energies = np.array([float(cycle["energy_hartree"]) for cycle in cycles])
    steps = np.array([int(cycle.get("step", number)) for cycle, number in zip(cycles, numbers, strict=True)])
    starts = numbers[1:][np.diff(steps) <= 0]
    changes = np.abs(np.diff(energies))
    changes[np.isin(numbers[1:], starts)] = np.nan
    axes.plot(numbers[1:], np.maximum(changes, 0.1 * _SMALLEST), color=SERIES[0], marker="o", ms=2.4,
              label="energy change / Hartree")  # fmt: skip
    gradients = np.array([float(cycle.get("orbital_gradient", np.nan)) for cycle in cycles])
    if np.isfinite(gradients).any():
        at, broken = numbers.astype(float), gradients
        for start in reversed(starts):  # no line from one SCF to the next
            at, broken = np.insert(at, start - 1, start - 0.5), np.insert(broken, start - 1, np.nan)
        axes.plot(at, broken, color=SERIES[5], marker="s", ms=2.4, label="orbital gradient / a.u.")
    for start in starts:
        axes.axvline(start - 0.5, color="#bbbbbb", linewidth=0.7, ls=":")
    drawn = np.concatenate([np.maximum(changes, 0.1 * _SMALLEST), gradients])
    if np.isfinite(drawn).any():
        _set_decades(axes, drawn)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-").replace("e+00", ""))
    axes.set_xlabel("SCF cycle")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best", handlelength=1.4)


def _ending(record: Record) -> str:
    """How it ended, in words."""
    end, noun = record.convergence, "steps" if record.energies_along_relaxation else "SCF cycles"
    parts = [f"converged in {end.cycles} {noun}"]
    if end.max_force is not None:
        parts.append(f"largest force {end.max_force:.4f} eV/Angstrom")
    if end.energy_change is not None:
        parts.append(f"last energy change {abs(end.energy_change):.1e} Hartree")
    if end.orbital_gradient is not None:
        parts.append(f"orbital gradient {end.orbital_gradient:.1e}")
    if record.energies_along_relaxation:
        parts.append(f"last energy {record.energies_along_relaxation[-1]:.6f} Hartree")
    return "; ".join(parts)
