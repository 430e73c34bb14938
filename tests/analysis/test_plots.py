from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from alkaflow.analysis import plots, surface_picture
from alkaflow.analysis.painting import Painting
from alkaflow.analysis.plot_energies import spread
from alkaflow.analysis.plot_style import DPI, check_picture_path, figure_image, new_figure, signed
from alkaflow.analysis.potential_scale import PotentialScale, mark_names, marks_of, scale_for
from alkaflow.analysis.table import Table
from alkaflow.errors import BadInputError
from alkaflow.records import Record
from alkaflow.structures.structure import Structure
from alkaflow.units import BOHR_ANGSTROM, HARTREE_KCAL_MOL
from alkaflow.workflows.library import shipped_bundle, shipped_table

WATER = Structure(
    ("O", "H", "H"), np.array([[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]), name="water"
)


@pytest.fixture(scope="module")
def table() -> Table:
    return shipped_table("hatcn", "published-sp")


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return shipped_bundle("hatcn", "published-sp").records


def record_of(records: Sequence[Record], formula: str, step: str) -> Record:
    return next(record for record in records if (record.formula, record.step) == (formula, step))


@dataclass
class Ball:
    """A sphere of 2 bohr whose potential is the third direction cosine, in steps of 1 Hartree/e over its radius."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    potential: np.ndarray


def ball(shift: float = 0.0, scale: float = 0.05, radius: float = 2.0, count: int = 24) -> Ball:
    """A sphere with potential ``shift + scale z/radius`` [Hartree/e]."""
    polar, around = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, count), np.arange(count) * 2 * np.pi / count, indexing="ij"
    )
    normals = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    number = np.arange(count * count).reshape(count, count)
    right = np.roll(number, -1, axis=1)
    quads = [number[:-1], number[1:], right[1:], right[:-1]]
    a, b, c, d = (quad.ravel() for quad in quads)
    flat = normals.reshape(-1, 3)
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return Ball(radius * flat, faces, flat, shift + scale * flat[:, 2])


def joined(figure: Figure) -> str:
    return "\n".join(plots.figure_texts(figure))


def inside(figure: Figure) -> bool:
    """Whether texts and titles lie within the figure."""
    figure.canvas.draw()
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
    frame = figure.bbox
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return all(
        frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 and frame.y0 - 1 <= box.y0 and box.y1 <= frame.y1 + 1
        for box in boxes
    )


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_files_repeat_exactly(tmp_path: Path, table: Table, suffix: str) -> None:
    for name in ("a", "b"):
        plots.save_figure(plots.site_ladder(table), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_users_settings_play_no_role(table: Table) -> None:
    import matplotlib as mpl

    plain = plots.figure_bytes(plots.site_ladder(table))
    with mpl.rc_context({"font.size": 30, "savefig.facecolor": "black", "axes.grid": True}):
        assert plots.figure_bytes(plots.site_ladder(table)) == plain
        assert mpl.rcParams["font.size"] == 30


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"ends in \.png or \.svg"):
        check_picture_path(tmp_path / "picture.pdf")


def test_numbers_have_a_typeset_sign() -> None:
    assert signed(-0.374) == "\N{MINUS SIGN}0.37"
    assert signed(0.25) == "+0.25"
    assert signed(-0.0004) == "0.00"


# --- energies --------------------------------------------------------------------------------------------------------


def test_computed_stands_beside_published(table: Table) -> None:
    figure = plots.compared_chart(table)
    texts = joined(figure)
    for row in table.rows:
        assert f"{row.label}, {row.site_label}" in texts
    assert texts.count("\N{CHECK MARK} agrees") == sum(row.verdict == "agrees" for row in table.rows) == 2
    assert texts.count("\N{BALLOT X} deviates") == 4
    assert "+0.25" in texts
    flat = " ".join(texts.split())
    assert "b3lyp-d3bj/6-311g(d,p)//gfn2-xtb" in flat
    assert "10.1002/batt.202300351" in flat
    assert "adsorption energy / eV" in texts
    energies, differences = figure.axes
    drawn = sorted(float(line.get_xdata()[0]) for line in energies.lines if line.get_marker() == "o")
    assert drawn == pytest.approx(sorted(row.computed_ev or 0.0 for row in table.rows))
    bars = [patch for group in differences.containers if isinstance(group, BarContainer) for patch in group]
    assert len(bars) == 12  # a difference and a tolerance for each row
    assert inside(figure)


def test_rows_without_a_number_are_said(table: Table) -> None:
    lost = table.rows[0].model_copy(
        update={"computed_ev": None, "difference_ev": None, "verdict": "missing", "problem": "the SCF did not converge"}
    )
    moved = table.rows[1].model_copy(update={"difference_ev": None, "verdict": "guest moved"})
    other = table.model_copy(update={"rows": [lost, moved, *table.rows[2:]]})
    texts = joined(plots.compared_chart(other))
    assert "No number for Li1: the SCF did not converge" in texts
    assert "missing" in texts.split("\n")
    assert "\N{RIGHTWARDS ARROW} guest moved" in texts
    assert "computed, deviates or moved" in texts
    assert inside(plots.compared_chart(other))
    ladder = joined(plots.site_ladder(other))
    assert "missing: Li1" in ladder
    assert "(moved)" in ladder


def test_several_hosts_are_named(table: Table) -> None:
    twice = [*table.rows, *(row.model_copy(update={"host": "another host"}) for row in table.rows)]
    texts = plots.figure_texts(plots.compared_chart(table.model_copy(update={"rows": twice})))
    assert {"Li on HATCN", "Na on another host"} <= set(texts)


def test_a_ladder_has_rungs_and_gaps(table: Table) -> None:
    figure = plots.site_ladder(table)
    texts = plots.figure_texts(figure)
    energies = {row.label: row.computed_ev or 0.0 for row in table.rows}
    for lower, upper in (("Li1", "Li2"), ("Li2", "Li3"), ("Na1", "Na2"), ("Na2", "Na3")):
        assert f"{energies[upper] - energies[lower]:.2f}" in texts
    rungs = [line for line in figure.axes[0].lines if line.get_linewidth() == 1.9]
    assert len(rungs) == 6
    assert inside(figure)


def test_tables_without_rows_or_energies_say_so(table: Table) -> None:
    assert "no rows" in joined(plots.compared_chart(table.model_copy(update={"rows": []})))
    without = [row.model_copy(update={"computed_ev": None, "verdict": "missing"}) for row in table.rows]
    assert "no energies yet" in " ".join(joined(plots.site_ladder(table.model_copy(update={"rows": without}))).split())


def test_texts_are_spread_no_farther_than_needed() -> None:
    assert spread(np.array([0.0, 5.0]), 1.0) == pytest.approx([0.0, 5.0])
    assert spread(np.array([1.0, 1.0, 1.0]), 1.0) == pytest.approx([0.0, 1.0, 2.0])
    assert spread(np.array([0.0, 0.2, 3.0]), 1.0) == pytest.approx([-0.4, 0.6, 3.0])
    places = spread(np.sort(np.random.default_rng(0).uniform(0, 5, 20)), 0.4)
    assert np.diff(places).min() >= 0.4 - 1e-9


# --- convergence -----------------------------------------------------------------------------------------------------


def test_a_relaxation_ends_at_zero(records: list[Record]) -> None:
    relaxed = record_of(records, "C18LiN12", "relax")
    figure = plots.convergence_chart(relaxed)
    curve = figure.axes[0].lines[0].get_ydata()
    assert len(curve) == len(relaxed.energies_along_relaxation)
    first = relaxed.energies_along_relaxation[0] - relaxed.energies_along_relaxation[-1]
    assert curve[0] == pytest.approx(27211.386 * first, rel=1e-6)
    assert curve[-1] == 0.0
    texts = joined(figure)
    assert "energy above the last / meV" in texts
    assert "kJ/mol" in texts
    right = figure.axes[1].get_ylim()
    assert np.divide(right, figure.axes[0].get_ylim()) == pytest.approx([0.0964853] * 2, rel=1e-5)


def test_an_scf_begins_anew_where_its_steps_do(records: list[Record]) -> None:
    reports = [
        {"stage": "SCF cycle", "step": n, "energy_hartree": -1.0 + 10.0**-n, "orbital_gradient": 10.0**-n}
        for n in (1, 2, 3, 1, 2)
    ]
    figure = plots.convergence_chart(record_of(records, "C18N12", "energy"), reports)
    (axes,) = figure.axes
    changes = axes.lines[0].get_ydata()
    assert list(np.isnan(changes)) == [False, False, True, False]
    assert changes[0] == pytest.approx(0.09)
    assert axes.get_yscale() == "log"
    assert inside(figure)


def test_what_was_not_kept_is_said(records: list[Record]) -> None:
    assert "no energies along the way kept" in " ".join(
        joined(plots.convergence_chart(record_of(records, "Li", "energy"))).split()
    )


# --- charges and structures ------------------------------------------------------------------------------------------


def test_every_atom_bears_its_charge(records: list[Record]) -> None:
    record = record_of(records, "C18LiN12", "energy")
    structure, values = plots.structure_of(record), plots.values_of(record)
    figure = plots.charges_picture(structure, values)
    panels = [axes for axes in figure.axes if axes.get_title() or axes.get_title(loc="center")]
    assert [axes.get_title(loc="center") for axes in panels] == ["meta-Löwdin", "Mulliken"]
    for axes, charges in zip(panels, values.values(), strict=True):
        written = [text.get_text() for text in axes.texts]
        assert written == [f"{s}\n{signed(q)}" for s, q in zip(record.symbols, charges, strict=True)]
    assert "red: negative, blue: positive" in joined(figure)


def test_the_most_negative_atom_is_red() -> None:
    figure = plots.charges_picture(WATER, {"mulliken": [-0.8, 0.4, 0.4]})
    shapes = next(c for c in figure.axes[0].collections if isinstance(c, PathCollection))
    balls = [face for face, width in zip(shapes.get_facecolors(), shapes.get_linewidths(), strict=True) if width > 0]
    assert len(balls) == 3
    oxygen = min(balls, key=lambda face: face[2])
    assert oxygen[0] > 2 * oxygen[2]
    assert sum(face[2] > face[0] for face in balls) == 2  # the hydrogens are blue


def test_charges_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInputError, match="2 mulliken values for 3 atoms"):
        plots.charges_picture(WATER, {"mulliken": [0.1, 0.2]})
    with pytest.raises(BadInputError, match="atom 1 has no finite"):
        plots.charge_bars(WATER, {"mulliken": [0.1, float("nan"), 0.0]})
    assert "no charges were computed" in " ".join(joined(plots.charges_picture(WATER, {})).split())


def test_bars_show_the_guest_its_neighbours_and_sums(records: list[Record]) -> None:
    record = record_of(records, "C18LiN12", "energy")
    structure, values = plots.structure_of(record), plots.values_of(record)
    figure = plots.charge_bars(structure, values, {"HATCN": range(30), "Li": [30]})
    atoms, sums = figure.axes
    labels = [label.get_text() for label in atoms.get_xticklabels()]
    assert labels[0] == "Li30"
    assert {label[0] for label in labels[1:]} == {"N"}  # Li sits between two nitrogens
    assert len(labels) == 3
    assert len([group for group in atoms.containers if isinstance(group, BarContainer)]) == 2
    heights = [bar.get_height() for group in sums.containers for bar in group]
    assert heights[0] == pytest.approx(-heights[1], abs=1e-5)  # a neutral complex
    assert heights[1] == pytest.approx(values["meta_loewdin"][30])
    assert inside(figure)
    with pytest.raises(BadInputError, match="there is no atom 99"):
        plots.charge_bars(structure, values, atoms=[99])


def test_distances_are_written() -> None:
    figure = plots.structure_picture(WATER, [(0, 1), (0, 2), (1, 2)])
    texts = plots.figure_texts(figure)
    assert texts.count("0.96") == 2
    assert "1.51" in texts
    assert inside(figure)
    for pair in ((0, 3), (1, 1), (-1, 0)):
        with pytest.raises(BadInputError, match="no distance between atoms"):
            plots.structure_picture(WATER, [pair])


def test_a_single_atom_has_a_picture() -> None:
    assert "Li" in plots.figure_texts(plots.structure_picture(Structure(("Li",), np.zeros((1, 3)))))


# --- surfaces --------------------------------------------------------------------------------------------------------


def test_red_is_negative_and_blue_positive() -> None:
    mesh = ball()
    scale = scale_for(mesh, None)
    colours = scale.colours_of(mesh.potential)
    lowest, highest = colours[mesh.potential.argmin()], colours[mesh.potential.argmax()]
    assert lowest[0] > 2 * lowest[2]
    assert highest[2] > 2 * highest[0]
    assert scale.colours_of(np.zeros(1))[0] == pytest.approx([0.97] * 3, abs=0.02)
    assert "red: negative, attracts cations" in scale.words
    uneven = PotentialScale(-10.0, 40.0)
    assert uneven.colours_of(np.zeros(1))[0] == pytest.approx([0.97] * 3, abs=0.02)


def test_words_tell_of_one_sign() -> None:
    assert "red: most negative" in scale_for(ball(-0.2), None).words
    assert "blue: most positive" in scale_for(ball(0.2), None).words


def test_a_series_has_one_scale() -> None:
    low, high = plots.common_limits([ball(0.01), ball(-0.03)])
    assert -low == high
    assert high >= 0.08 * HARTREE_KCAL_MOL - 0.1
    assert high < 0.08 * HARTREE_KCAL_MOL + 1.0
    assert plots.common_limits([ball(-0.2)])[1] < 0.0
    for bad in ((1.0, 1.0), (2.0, -2.0), (float("nan"), 1.0)):
        with pytest.raises(BadInputError, match="ascend"):
            scale_for(ball(), bad)
    with pytest.raises(BadInputError, match="no surface"):
        plots.common_limits([])


def test_a_surface_picture_tells_signs_extremes_and_units() -> None:
    figure = plots.surface_picture(ball(), Structure(("Ne",), np.zeros((1, 3)), name="ball"), limits=(-40.0, 40.0))
    flat = " ".join(joined(figure).split())
    assert "red: negative, attracts cations; white: zero; blue: positive, attracts anions" in flat
    assert "0.001 e/bohr\N{SUPERSCRIPT THREE}" in flat
    assert "$V_\\mathrm{S,max}$ +31.4" in flat
    assert "$V_\\mathrm{S,min}$ \N{MINUS SIGN}31.4" in flat
    assert {"+40", "\N{MINUS SIGN}40", "positive", "negative"} <= set(plots.figure_texts(figure))
    assert inside(figure)


def test_colours_of_a_surface_lie_where_the_potential_is() -> None:
    figure = plots.surface_picture(ball(), Structure(("Ne",), np.zeros((1, 3))))
    (painting,) = figure.findobj(Painting)
    image = painting.pixels
    solid = image[image[..., 3] == 255][:, :3].astype(int)
    red = (solid[:, 0] > solid[:, 2] + 40).sum()
    blue = (solid[:, 2] > solid[:, 0] + 40).sum()
    assert min(red, blue) > 0.1 * len(solid)
    covered = (image[..., 3] == 255).mean() * np.prod(figure.axes[0].get_xlim()[1] - figure.axes[0].get_xlim()[0]) ** 2
    assert covered == pytest.approx(np.pi * (2.0 * BOHR_ANGSTROM) ** 2, rel=0.03)  # the disc of the sphere


def test_given_extrema_are_marked_in_order() -> None:
    mesh = ball()
    extrema = [
        SimpleNamespace(position=np.array([0.0, 0.0, 2.0]), potential=0.04, kind="maximum"),
        SimpleNamespace(position=np.array([0.0, 2.0, 0.0]), potential=0.01, kind="maximum"),
        SimpleNamespace(position=np.array([0.0, 0.0, -2.0]), potential=-0.05, kind="minimum"),
    ]
    names = mark_names(marks_of(mesh, extrema))
    assert names == ["V_S,max +25.1", "V_S,min \N{MINUS SIGN}31.4", "+6.3"]


def test_broken_meshes_are_refused() -> None:
    host, good = Structure(("Ne",), np.zeros((1, 3))), ball(count=4)
    for change, words in (
        ({"faces": good.faces[:0]}, "no triangles"),
        ({"potential": good.potential[:-1]}, "15 potentials for 16 vertices"),
        ({"normals": good.normals[:-1]}, "as many normals"),
        ({"faces": good.faces + 1}, "of 16"),
    ):
        broken = SimpleNamespace(**{**vars(good), **change})
        with pytest.raises(BadInputError, match=words):
            plots.surface_picture(broken, host)


def test_a_painting_fills_its_axes_at_any_resolution() -> None:
    """Red above blue, half translucent, over the upper half of a figure; white elsewhere."""
    figure = new_figure(1.0, 2.0)
    axes = figure.add_axes((0.0, 0.5, 1.0, 0.5))
    axes.set_axis_off()
    pixels = np.zeros((20, 20, 4), dtype=np.uint8)
    pixels[:10], pixels[10:] = (255, 0, 0, 255), (0, 0, 255, 255)
    axes.add_artist(Painting(pixels, 0.5))
    image = np.array(figure_image(figure))
    assert image.shape == (2 * DPI, DPI, 3)
    for down, colour in ((0.2, (255, 127, 127)), (0.8, (127, 127, 255)), (1.2, (255, 255, 255))):
        assert image[int(down * DPI), DPI // 2] == pytest.approx(colour, abs=1), down
    svg = ET.fromstring(plots.figure_bytes(figure, "svg"))  # noqa: S314
    (drawn,) = svg.iter("{http://www.w3.org/2000/svg}image")
    assert [float(drawn.attrib[name]) for name in ("x", "y", "width", "height")] == pytest.approx([0, 0, 72, 72])
    assert "translate(0 -72)" in drawn.attrib["transform"]


def test_gain_and_loss_lie_on_their_sides() -> None:
    from matplotlib.colors import to_rgb

    from alkaflow.analysis.surface_picture import GAIN, LOSS

    axis = np.linspace(-4.0, 4.0, 30)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    moved = 0.05 * np.exp(-((y - 1.5) ** 2) - x**2 - z**2) - 0.05 * np.exp(-((y + 1.5) ** 2) - x**2 - z**2)
    step = np.eye(3) * (axis[1] - axis[0])
    figure = plots.difference_picture(moved, np.full(3, -4.0), step, WATER)
    assert {"electrons gained", "electrons lost"} <= set(plots.figure_texts(figure))
    assert "\N{PLUS-MINUS SIGN}0.003 e/bohr\N{SUPERSCRIPT THREE}" in joined(figure)
    (painting,) = figure.findobj(Painting)
    image = painting.pixels
    hues = image[..., :3] / np.maximum(image[..., :3].max(axis=-1, keepdims=True), 1)
    counts = [
        int(((np.abs(hues - np.array(to_rgb(c)) / max(to_rgb(c))) < 0.1).all(axis=-1) & (image[..., 3] == 255)).sum())
        for c in (GAIN, LOSS)
    ]
    assert min(counts) > 2000
    assert counts[0] == pytest.approx(counts[1], rel=0.1)
    with pytest.raises(BadInputError, match="does not change anywhere"):
        plots.difference_picture(np.zeros((4, 4, 4)), np.zeros(3), np.eye(3), WATER)
    with pytest.raises(BadInputError, match="three indices"):
        plots.difference_picture(np.zeros((4, 4)), np.zeros(3), np.eye(3), WATER)


def test_a_slice_goes_through_its_atoms() -> None:
    axis = np.linspace(-5.0, 5.0, 41)
    x, y, _ = np.meshgrid(axis, axis, axis, indexing="ij")
    step = np.eye(3) * (axis[1] - axis[0])
    figure = plots.slice_picture(0.01 * x, np.full(3, -5.0), step, WATER, (0, 1, 2), limit=0.02)
    assert {"O", "H"} <= set(plots.figure_texts(figure))  # the plane x = 0
    assert "Orange: electrons gained" in joined(figure)
    flat = surface_picture._interpolated(0.01 * x + y, np.full(3, -5.0), step, WATER.positions)
    assert flat == pytest.approx((WATER.positions[:, 0] * 0.01 + WATER.positions[:, 1]) / BOHR_ANGSTROM)
    for atoms, words in (((0, 1), "three atoms"), ((0, 1, 9), "three atoms"), ((0, 1, 1), "one line")):
        with pytest.raises(BadInputError, match=words):
            plots.slice_picture(x, np.full(3, -5.0), step, WATER, atoms)


def test_an_svg_of_a_surface_is_xml_with_one_image(tmp_path: Path) -> None:
    path = plots.save_figure(plots.surface_picture(ball(), WATER, title="a < b & $c"), tmp_path / "surface.svg")
    root = ET.fromstring(path.read_text())  # noqa: S314  (written a line above)
    images = [element for element in root.iter() if element.tag.endswith("}image")]
    assert 1 <= len(images) <= 3  # the surface, and the colours of the bar
    assert path.stat().st_size < 2_000_000
