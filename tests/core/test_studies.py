from pathlib import Path

import pytest

from alkaflow.errors import BadInputError
from alkaflow.studies import Study, read_study

GOOD = """
name: test
hosts:
  - name: HATCN
    builtin: hatcn
guests: [Li, Na]
sites: [bay]
protocol: screen
published:
  - {label: M1, host: HATCN, guest: Li, site: bay, value_ev: -3.44}
"""


def read(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return read_study(path)


def test_good_study(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD)
    assert study.hosts[0].builtin == "hatcn"
    assert study.published[0].tolerance == 0.10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("guests:", "gests:", "unknown key 'gests'; did you mean 'guests'"),
        ("builtin: hatcn", "bultin: hatcn", "did you mean 'builtin'"),
        ("value_ev: -3.44", "value: -3.44", "did you mean 'value_ev'"),
        ("value_ev: -3.44", "value_ev: strong", r"published\.0\.value_ev"),
        ("value_ev: -3.44", "value_ev: .nan", "finite"),
        ("builtin: hatcn", "builtin: hatcn\n    smiles: C", "exactly one of"),
        ("guest: Li,", "guest: K,", "unknown guest of the published row 'M1': 'K'"),
        ("host: HATCN,", "host: HATC,", "did you mean 'HATCN'"),
        ("protocol: screen", "protocol: screen\ncounterpoise: 1", "counterpoise: Input should be a valid boolean"),
        ("protocol: screen", "protocol: screen\ndecomposition: maybe", "decomposition: .* boolean"),
        ("protocol: screen", "protocol: screen\nsolvent: water", "solvent: 'water' is not served"),
        ("protocol: screen", "protocol: screen\nguests_per_complex: 3", "guests_per_complex: Input should be 1 or 2"),
        (
            "protocol: screen",
            "protocol: screen\nguests_per_complex: 2\nenergies: total\ncounterpoise: true",
            "only stepwise energies have parts",
        ),
        ("protocol: screen", "protocol: screen\npublished_level: unknown", "'unknown'"),
        ("protocol: screen", "protocol: screen\nreference: metal", "reference: .* 'atom', 'ion' or 'bulk'"),
        ("protocol: screen", "protocol: screen\nmultiplicities: [1, 0]", "neither auto nor a list of different 2S"),
        ("protocol: screen", "protocol: screen\nmultiplicities: [3, 3]", "neither auto nor a list of different 2S"),
        ("protocol: screen", "protocol: screen\nmultiplicities: all", "neither auto nor a list of different 2S"),
        (
            "builtin: hatcn",
            "builtin: hatcn\n    multiplicity: 1\n    multiplicities: [1, 3]",
            "has both multiplicity and multiplicities",
        ),
        ("protocol: screen\n", "", "the key 'protocol' is missing"),
        ("name: test", "name: test\nname: again", r"study\.yaml:3: .*duplicate"),
        ("guests: [Li, Na]", "guests: [Li, Li]", "listed twice"),
        ("guests: [Li, Na]", "guests: [Li, Na", r"study\.yaml:\d+"),
        ("name: test", "name: ../up", "name"),
        ("sites: [bay]", "sites: &a [bay]\nother: *a", "aliases"),
    ],
)
def test_bad_study_is_refused_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(BadInputError, match=message):
        read(tmp_path, GOOD.replace(old, new))


def test_spin_states_and_parts_are_read(tmp_path: Path) -> None:
    plain = read(tmp_path, GOOD)
    assert (plain.multiplicities, plain.hosts[0].multiplicities, plain.takes_apart) == (None, None, False)
    keys = "multiplicities: 3\ndecomposition: true\nreference: bulk"
    asked = read(tmp_path, GOOD.replace("protocol: screen", f"protocol: screen\n{keys}"))
    assert (asked.multiplicities, asked.takes_apart, asked.reference) == ((3,), True, "bulk")
    host = read(tmp_path, GOOD.replace("builtin: hatcn", "builtin: hatcn\n    multiplicities: auto")).hosts[0]
    assert host.multiplicities == "auto"
    assert Study.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError, match="a study is a mapping"):
        read(tmp_path, text)


def test_python_tags_are_not_obeyed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(BadInputError):
        read(tmp_path, f"name: !!python/object/apply:os.system ['touch {canary}']\n")
    assert not canary.exists()


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        read_study(tmp_path / "missing.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(BadInputError, match=r"binary\.yaml:1: not UTF-8"):
        read_study(binary)
