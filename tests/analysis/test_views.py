import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib import image
from scipy.spatial.transform import Rotation

from alkaflow.analysis import picture
from alkaflow.analysis.colours import SITE_COLOURS, element_colour, site_colour
from alkaflow.analysis.page import sites_page
from alkaflow.analysis.picture import draw_sites
from alkaflow.analysis.viewpoint import view_rotation
from alkaflow.errors import BadInputError
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.hatcn import hatcn
from alkaflow.structures.sites import Member, Site
from alkaflow.structures.structure import Structure

NASTY = "</script><script>document.title = 'broken'</script><!-- <b>&amp; \"quoted\" $x_{"


def site(name: str, label: str, anchors: Sequence[Sequence[int]], offset: Sequence[float] = (0, 0, 0)) -> Site:
    """A site of HATCN whose members lie off the middle of their anchors."""
    host, members = hatcn(), []
    for number, atoms in enumerate(anchors, start=1):
        middle = host.positions[list(atoms)].mean(axis=0)
        out = middle / np.linalg.norm(middle) if not any(offset) else np.array(offset) * (-1.0) ** (number + 1)
        members.append(Member(f"{name}.{number}", tuple(atoms), middle + 1.4 * out, out / np.linalg.norm(out)))
    return Site(name, name.rpartition("-")[0], label, tuple(members))


BAY = site("bay-1", "imine bay", [(1, 16), (6, 21), (11, 26)])
CORNER = site("corner-1", "nitrile corner", [(4, 9), (14, 19), (24, 29)])
FACE = site("face-1", "pyrazine face", [(0, 1, 2, 5, 6, 7)] * 2, (0, 0, 1.2))
SITES = [BAY, CORNER, FACE]


def has_colour(pixels: np.ndarray, colour: str, tolerance: float = 0.06) -> int:
    """How many pixels have a colour."""
    wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return int((np.abs(pixels[..., :3] - wanted).max(axis=-1) < tolerance).sum())


def drawn(tmp_path: Path, host: Structure, sites: Sequence[Site], title: str = "") -> np.ndarray:
    draw_sites(host, sites, tmp_path / "picture.png", title)
    return image.imread(tmp_path / "picture.png")


# --- picture ---------------------------------------------------------------------------------------------------------


def test_a_picture_shows_atoms_and_markers(tmp_path: Path) -> None:
    pixels = drawn(tmp_path, hatcn(), SITES)
    white = has_colour(pixels, "#ffffff", 0.01) / pixels[..., 0].size
    assert 0.4 < white < 0.95
    for colour in (element_colour("C"), element_colour("N")):
        assert has_colour(pixels, colour) > 1000
    for kind in ("bay", "corner", "face"):
        assert has_colour(pixels, site_colour(kind)) > 300
    assert has_colour(pixels, site_colour("oxo")) < 20


def test_a_site_less_is_another_picture(tmp_path: Path) -> None:
    pixels = drawn(tmp_path, hatcn(), [BAY, FACE])
    assert has_colour(pixels, site_colour("corner")) < 20
    assert has_colour(pixels, site_colour("bay")) > 300


@pytest.mark.parametrize("suffix", [".png", ".svg", ".PNG"])
def test_pictures_repeat_exactly(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        draw_sites(hatcn(), SITES, tmp_path / f"{name}{suffix}", "HATCN")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_an_svg_is_xml_with_the_colours(tmp_path: Path) -> None:
    draw_sites(hatcn(), SITES, tmp_path / "picture.svg", NASTY)
    text = (tmp_path / "picture.svg").read_text()
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314  (written a line above)
    assert site_colour("bay") in text


@pytest.mark.parametrize("name", ["picture.pdf", "picture.jpg", "picture", "png"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match=r"ends in \.png or \.svg"):
        draw_sites(hatcn(), SITES, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no directory .*absent"):
        draw_sites(hatcn(), SITES, tmp_path / "absent" / "picture.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(BadInputError, match=r"cannot write the picture .*taken\.png"):
        draw_sites(hatcn(), SITES, tmp_path / "taken.png")


@pytest.mark.parametrize(
    "host",
    [
        Structure(("Li",), np.zeros((1, 3))),
        Structure(("Ti",), np.full((1, 3), 7.0)),
        Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 0.74]])),
        Structure(("N", "C", "C", "N"), np.array([[0, 0, z] for z in (0, 1.16, 2.54, 3.7)])),
        Structure(("Og",), np.zeros((1, 3))),
    ],
    ids=["atom", "metal", "hydrogen", "cyanogen", "oganesson"],
)
def test_small_and_linear_hosts(tmp_path: Path, host: Structure) -> None:
    far = host.positions[-1] + [0, 0, 2.0]
    end = Site("end-1", "end", "end", (Member("end-1.1", (len(host) - 1,), far, np.array([0, 0, 1.0])),))
    assert has_colour(drawn(tmp_path, host, [end]), site_colour("end")) > 300
    bare = drawn(tmp_path, host, [])
    assert has_colour(bare, site_colour("end")) < 20
    assert has_colour(bare, element_colour(host.symbols[0]), 0.15) > 300
    assert "No sites" in sites_page(host, [])


def test_a_thousand_atoms(tmp_path: Path) -> None:
    grid = np.array([[i, j, k] for i in range(10) for j in range(10) for k in range(10)])
    host = Structure(tuple("MgO"[2 * (n % 2) :][:2] for n in grid.sum(axis=1)), 2.1 * grid)
    pixels = drawn(tmp_path, host, [])
    assert has_colour(pixels, element_colour("O"), 0.15) > 10000


def test_odd_titles_and_names(tmp_path: Path) -> None:
    odd = replace(BAY, id=f"{NASTY} \n\x07\u6f22", label=NASTY)
    long = drawn(tmp_path, hatcn(), [odd, FACE], f"{NASTY} \u6f22\u5b57 \\frac" * 20)
    assert has_colour(long, site_colour("bay")) > 300


def test_users_settings_of_matplotlib_play_no_role(tmp_path: Path) -> None:
    import matplotlib as mpl

    plain = drawn(tmp_path, hatcn(), SITES, "HATCN")
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "savefig.facecolor": "black"}):
        assert np.array_equal(drawn(tmp_path, hatcn(), SITES, "HATCN"), plain)
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize("seed", range(3))
def test_the_view_does_not_depend_on_the_orientation(seed: int) -> None:
    host = hatcn()
    spun = host.with_positions(host.positions @ Rotation.random(random_state=seed).as_matrix().T + 5.0)
    extents = []
    for turned in (host, spun):
        rotation = view_rotation(turned)
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        extents.append(np.ptp(turned.positions @ rotation.T, axis=0))
    assert extents[0] == pytest.approx(extents[1], abs=0.15)
    assert extents[0][2] < min(extents[0][:2])


def test_the_first_members_face_the_reader() -> None:
    for side in (1.0, -1.0):
        rotation = view_rotation(hatcn(), [site("face-1", "pyrazine face", [FACE.anchors], (0, 0, side))])
        assert (rotation @ [0, 0, side])[2] > 0.5


def test_labels_do_not_overlap() -> None:
    places = [site(f"top-{n}", "top", [(n,)], (0, 0, 1.3)) for n in range(30)]
    scene, _, _ = picture._scene(hatcn(), places)
    labels = picture._place_labels(scene)
    assert len(labels) == 30
    overlapping = [
        (a.text, b.text)
        for a, b in combinations(labels, 2)
        if (np.abs(a.place - b.place) < (a.size + b.size) / 2 - 1.0).all()
    ]
    assert not overlapping


def test_near_shapes_are_drawn_over_far_ones() -> None:
    scene, _, _ = picture._scene(hatcn(), [FACE])
    upper, lower = (marker.place[2] for marker in scene.markers)
    ring = scene.places[list(FACE.anchors)][:, 2]
    assert upper > ring.max() > ring.min() > lower


def test_every_kind_has_a_colour_of_its_own() -> None:
    kinds = {"bay", "corner", "end", "lone-pair", "face", "top", "bridge", "oxo", "acidic"}
    assert set(SITE_COLOURS) == kinds
    assert len(set(SITE_COLOURS.values())) == len(kinds)
    assert site_colour("unheard-of") not in SITE_COLOURS.values()


# --- page ------------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Elements, attributes and the text of each kind of element of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        self.text.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text[self._open][-1] += data

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  (the signature is the parser's)
        self._open = ""


def test_a_page_refers_to_nothing_outside() -> None:
    page = Elements(sites_page(hatcn(), SITES, NASTY))
    for tag, attributes in page.elements:
        assert not {"src", "href", "srcset", "action", "data"} & set(attributes), tag
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
    (policy,) = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert not re.search(r"url\(|@import", page.text["style"][0])
    _library, *scripts = page.text["script"]
    assert not any("http" in script for script in scripts)


def test_names_are_escaped() -> None:
    plain = Elements(sites_page(hatcn(), SITES, "HATCN"))
    nasty_sites = [replace(BAY, id=NASTY, label=NASTY, members=(replace(BAY.members[0], id=NASTY),)), CORNER, FACE]
    nasty = Elements(sites_page(replace(hatcn(), name=NASTY), nasty_sites))
    assert [tag for tag, _ in nasty.elements] == [tag for tag, _ in plain.elements]
    assert nasty.text["h1"] == nasty.text["title"] == [NASTY]
    assert nasty.text["button"][0] == nasty.text["td"][0] == NASTY
    assert json.loads(nasty.text["script"][2])[0]["members"][0]["id"] == NASTY


def test_a_page_without_title_has_the_name_or_the_formula() -> None:
    assert Elements(sites_page(hatcn(), [])).text["h1"] == ["HATCN"]
    assert Elements(sites_page(replace(hatcn(), name=""), [])).text["h1"] == ["C18N12"]


def test_a_page_lists_the_sites() -> None:
    page = Elements(sites_page(hatcn(), SITES))
    assert page.text["button"] == ["bay-1", "corner-1", "face-1"]
    assert page.text["td"] == [
        *("imine bay", "3", "N1 N16"),
        *("nitrile corner", "3", "N4 N9"),
        *("pyrazine face", "2", "C0 N1 C2 C5 N6 C7"),
    ]


def test_the_viewer_gets_our_atoms_and_bonds() -> None:
    page = sites_page(hatcn(), SITES)
    viewer = Elements(page).text["script"][1]
    found = re.search(r"\.addAtoms\((.*)\);", viewer)
    assert found is not None
    atoms = json.loads(found[1])
    assert [atom["elem"] for atom in atoms] == list(hatcn().symbols)
    bonds = {(i, j) for i, atom in enumerate(atoms) for j in atom["bonds"] if i < j}
    assert bonds == set(BondGraph(hatcn()).bonds)
    places = np.array([[atom[axis] for axis in "xyz"] for atom in atoms])
    between = np.linalg.norm(places[:, None] - places, axis=-1)
    assert between == pytest.approx(np.linalg.norm(hatcn().positions[:, None] - hatcn().positions, axis=-1), abs=1e-4)
    assert viewer.count(".addSphere(") == 8  # one per member
    assert page == sites_page(hatcn(), SITES)


def browser() -> str:
    """The path of a Chromium; skips on a user's machine without one, fails in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        reason = f"no browser on this machine: none of {', '.join(names)}"
        (pytest.fail if os.environ.get("ALKAFLOW_CI") == "1" else pytest.skip)(reason)
    return found


WATCH = """<script>
document.addEventListener("securitypolicyviolation", (event) => {
  document.documentElement.dataset.blocked = event.blockedURI;
});
</script><style>"""
COUNT = """<script>
document.body.dataset.fetched = performance.getEntriesByType("resource").map((entry) => entry.name).join(" ");
</script></body>"""


def test_a_browser_without_network_draws_the_page(tmp_path: Path) -> None:
    page = sites_page(hatcn(), SITES, NASTY).replace("<style>", WATCH, 1).replace("</body>", COUNT)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    command = [
        browser(),
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--proxy-server=127.0.0.1:9",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--use-gl=angle",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--virtual-time-budget=3000",
        "--window-size=1200,900",
        f"--screenshot={tmp_path / 'page.png'}",
        "--dump-dom",
        f"{(tmp_path / 'page.html').as_uri()}#bay-1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = Elements(done.stdout)
    (body,) = [attributes for tag, attributes in seen.elements if tag == "body"]
    (html,) = [attributes for tag, attributes in seen.elements if tag == "html"]
    assert body["data-view"] == "drawn"
    assert body["data-fetched"] == ""
    assert "data-blocked" not in html
    assert seen.text["title"] == seen.text["h1"] == [NASTY]
    assert seen.text["button"] == ["bay-1", "corner-1", "face-1"]
    pressed = [attributes["aria-pressed"] for tag, attributes in seen.elements if tag == "button"]
    assert pressed == ["true", "false", "false"]
    assert "canvas" in seen.text

    view = image.imread(tmp_path / "page.png")[:, :700]  # the table is on the right
    assert has_colour(view, element_colour("N"), 0.2) > 1000
    assert has_colour(view, element_colour("C"), 0.2) > 3000
    assert has_colour(view, site_colour("bay"), 0.2) > 1000  # the selected site is opaque
    assert has_colour(view, "#ffffff", 0.01) < 0.95 * view[..., 0].size
