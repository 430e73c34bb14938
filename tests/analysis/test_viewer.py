import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from alkaflow.analysis import viewer
from alkaflow.analysis.viewer import molecule_view, page, surface_view
from alkaflow.errors import BadInputError
from alkaflow.structures.structure import Structure
from alkaflow.units import BOHR_ANGSTROM

NASTY = "</script><script>document.title = 'broken'</script><!-- <b>&amp; \"quoted\""
WATER = Structure(
    ("O", "H", "H"), np.array([[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]), name="water"
)


def ball(count: int = 24, radius: float = 3.0) -> SimpleNamespace:
    """A sphere [bohr] that is negative below and positive above; its triangles go round either way."""
    polar, around = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, count), np.arange(count) * 2 * np.pi / count, indexing="ij"
    )
    normals = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    number = np.arange(count * count).reshape(count, count)
    right = np.roll(number, -1, axis=1)
    a, b, c, d = (quad.ravel() for quad in (number[:-1], number[1:], right[1:], right[:-1]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, d, c], axis=1)])
    flat = normals.reshape(-1, 3)
    return SimpleNamespace(vertices=radius * flat, faces=faces, normals=flat, potential=0.05 * flat[:, 2])


def data_of(html: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in re.findall(r'class="data">(.*?)</script>', html, flags=re.DOTALL)]


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


# --- data of a view --------------------------------------------------------------------------------------------------


def test_a_molecule_has_its_labels_and_distances() -> None:
    (data,) = data_of(molecule_view(WATER, ["O", "", "H2"], [(0, 1)]))
    assert [atom["elem"] for atom in data["atoms"]] == ["O", "H", "H"]
    places = np.array([[atom[axis] for axis in "xyz"] for atom in data["atoms"]])
    assert np.linalg.norm(places[0] - places[1]) == pytest.approx(0.9572, abs=2e-3)
    assert [label["text"] for label in data["labels"]] == ["O", "H2", "0.96 \N{ANGSTROM SIGN}"]
    assert len(data["lines"]) == 1
    assert not data["meshes"]


def test_a_surface_arrives_as_it_was() -> None:
    mesh = ball()
    (data,) = data_of(surface_view(mesh, WATER))
    (sent,) = data["meshes"]
    places = sent["step"] * array(sent["vertices"], "<u2").reshape(-1, 3) + sent["origin"]
    centre = WATER.positions.mean(axis=0)
    wanted = np.linalg.norm(mesh.vertices * BOHR_ANGSTROM - centre, axis=1)
    assert np.linalg.norm(places, axis=1) == pytest.approx(wanted, abs=1e-3)
    normals = array(sent["normals"], "<i1").reshape(-1, 3) / 127
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1.0, abs=0.02)
    faces = array(sent["faces"], "<u2").reshape(-1, 3)
    assert len(faces) == len(mesh.faces)
    corners = places[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("nx,nx->n", across, normals[faces].mean(axis=1)) >= -1e-6).all()
    assert data["extent"][0] >= np.abs(places[:, 0]).max()
    colours = [sent["palette"][number] for number in array(sent["colours"], "<u1")]
    lowest, highest, zero = (colours[int(n)] for n in (mesh.potential.argmin(), mesh.potential.argmax(), 0))
    assert int(lowest[1:3], 16) > 2 * int(lowest[5:7], 16)  # red
    assert int(highest[5:7], 16) > 2 * int(highest[1:3], 16)  # blue
    assert zero == highest  # the first vertex is the upper pole
    white = sent["palette"][len(sent["palette"]) // 2]
    assert min(int(white[at : at + 2], 16) for at in (1, 3, 5)) > 240


def test_the_legend_tells_signs_and_limits() -> None:
    html = surface_view(ball(), WATER, limits=(-40.0, 40.0), caption=NASTY)
    assert "red: negative, attracts cations; white: zero; blue: positive, attracts anions" in html
    assert "\N{MINUS SIGN}40</span>" in html
    assert "+40 kcal/mol" in html
    assert "V_S,max +31.4 kcal/mol" in html
    first, last = re.findall(r"to right, (#\w+).*?(#\w+)\)", html)[0]
    assert int(first[1:3], 16) > int(first[5:7], 16)
    assert int(last[5:7], 16) > int(last[1:3], 16)
    assert NASTY not in html


def test_large_surfaces_are_thinned_but_keep_their_extremes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "_MOST_VERTICES", 1000)
    mesh = ball(90)
    thin = viewer._thinned(mesh.vertices, mesh.normals, mesh.potential, mesh.faces)
    assert len(thin.places) <= 1000
    assert len(thin.places) == len(thin.normals) == len(thin.potential)
    assert thin.faces.max() < len(thin.places)
    assert thin.potential.min() == mesh.potential.min()
    assert thin.potential.max() == mesh.potential.max()
    assert np.linalg.norm(thin.places, axis=1) == pytest.approx(3.0, abs=0.1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInputError, match="2 labels for 3 atoms"):
        molecule_view(WATER, ["O", "H"])
    with pytest.raises(BadInputError, match="no distance between atoms"):
        molecule_view(WATER, distances=[(0, 7)])
    mesh = ball(6)
    mesh.faces = mesh.faces[:0]
    with pytest.raises(BadInputError, match="no triangles"):
        surface_view(mesh, WATER)


# --- page ------------------------------------------------------------------------------------------------------------


def test_a_page_holds_the_viewer_once_and_only_where_it_is_needed() -> None:
    one, many = page("a", molecule_view(WATER)), page("a", molecule_view(WATER) * 20)
    assert len(many) < 1.2 * len(one)
    plain = page("a < b", "<p>no views</p>")
    assert "<script" not in plain
    assert "<h1>a &lt; b</h1>" in plain
    for html in (one, plain):
        policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
        assert policy == [viewer.POLICY]
        assert "http" not in policy[0]
        assert not re.search(r"<(link|iframe|object|embed|base)\b|url\(|@import", html.split("<script>")[0])


def test_names_are_escaped() -> None:
    nasty = Structure(WATER.symbols, WATER.positions, name=NASTY)
    html = page(NASTY, molecule_view(nasty, [NASTY] * 3))
    assert html.count("<script") == page("a", molecule_view(WATER)).count("<script")
    assert data_of(html)[0]["labels"][0]["text"] == NASTY


def test_a_still_stands_where_nothing_can_be_drawn() -> None:
    png = b"\x89PNG\r\n\x1a\n"
    html = molecule_view(WATER, still=png)
    assert f'src="data:image/png;base64,{base64.b64encode(png).decode()}"' in html
    assert "The picture shows the same" in html
    assert "needs JavaScript. The text below" in molecule_view(WATER)


# --- in a browser ----------------------------------------------------------------------------------------------------

WATCH = """<script>
document.addEventListener("securitypolicyviolation", (event) => {
  document.documentElement.dataset.blocked = event.blockedURI;
});
window.addEventListener("error", (event) => { document.documentElement.dataset.error = event.message; });
["warn", "error"].forEach((name) => {
  console[name] = (...words) => { document.documentElement.dataset.said = words.join(" "); };
});
</script><style>"""
COUNT = """<script>
window.setTimeout(() => {
  document.body.dataset.fetched = performance.getEntriesByType("resource")
    .map((entry) => entry.name).filter((name) => !name.startsWith("data:")).join(" ");
}, 1500);
</script></body>"""


def browser() -> str:
    """The path of a Chromium; skips on a user's machine without one, fails in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        reason = f"no browser on this machine: none of {', '.join(names)}"
        (pytest.fail if os.environ.get("ALKAFLOW_CI") == "1" else pytest.skip)(reason)
    return found


_TRIES = 5  # virtual time does not wait for the frame in which a page looks at its views


def seen(tmp_path: Path, html: str, *flags: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Attributes of the elements html and body, and the states of the views, after a browser has shown a page."""
    (tmp_path / "page.html").write_text(html.replace("<style>", WATCH, 1).replace("</body>", COUNT), encoding="utf-8")
    command = [
        browser(),
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--proxy-server=127.0.0.1:9",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=6000",
        "--window-size=900,600",
        f"--screenshot={tmp_path / 'page.png'}",
        "--dump-dom",
        *flags,
        (tmp_path / "page.html").as_uri(),
    ]
    for _ in range(_TRIES):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        root, body = (
            dict(
                re.findall(
                    r'data-(\w+)="([^"]*)"', re.findall(rf"<{tag}[^>]*>", done.stdout)[-1 if tag == "body" else 0]
                )
            )
            for tag in ("html", "body")
        )
        if "view" in body:
            break
    return root, body, re.findall(r'<figure class="view3d" data-view="(\w+)"', done.stdout)


SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def test_a_browser_without_network_draws_what_is_in_sight(tmp_path: Path) -> None:
    views = [
        surface_view(ball(), WATER),
        molecule_view(WATER, ["O", "H1", "H2"], [(0, 1)]),
        *[molecule_view(WATER)] * 10,
    ]
    root, body, states = seen(tmp_path, page("views", f'<div class="views">{"".join(views)}</div>'), *SOFTWARE_GL)
    assert body["view"] == "drawn"
    assert body["fetched"] == ""
    assert not root
    assert states[:2] == ["drawn", "drawn"]
    assert states.count("drawn") <= 8  # contexts of WebGL are few
    assert states[-1] == "waiting"
    left = image.imread(tmp_path / "page.png")[60:400, :440, :3]
    assert int((left[..., 0] > left[..., 2] + 0.2).sum()) > 800  # the negative half
    assert int((left[..., 2] > left[..., 0] + 0.2).sum()) > 800


def test_a_browser_without_webgl_says_so(tmp_path: Path) -> None:
    _, body, states = seen(tmp_path, page("views", molecule_view(WATER)), "--disable-gpu", "--disable-3d-apis")
    assert body["view"] == "failed"
    assert states == ["failed"]
