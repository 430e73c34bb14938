"""Archives and their import: the same table on an empty database, nothing overwritten, nothing unsafe believed."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alkaflow.analysis import format_table
from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError
from alkaflow.launchpad import campaign
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.importing import import_archive
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings
from alkaflow.workflows import load_study, make_plan, shipped_bundle, shipped_studies, shipped_table
from alkaflow.workflows.archive import BUNDLE, METADATA, Archive, make_archive, open_archive

SHIPPED = shipped_studies()["hatcn"] / "screen.json"
TABLE = format_table(shipped_table("hatcn", "screen"), "json")


@pytest.fixture(scope="module")
def archive_bytes() -> bytes:
    opened = open_archive(SHIPPED)
    return make_archive(opened.bundle, {"table.json": TABLE.encode()}, opened.read_file)


@pytest.fixture
def archive(archive_bytes: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "archive.zip"
    path.write_bytes(archive_bytes)
    return path


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def resealed(files: dict[str, bytes]) -> dict[str, bytes]:
    """With metadata that agrees with the files again, as a forger would leave them."""
    metadata = json.loads(files[METADATA])
    for entry in metadata["@graph"]:
        if entry["@type"] == "File":
            data = files[entry["@id"]]
            entry["contentSize"], entry["sha256"] = str(len(data)), hashlib.sha256(data).hexdigest()
    return files | {METADATA: json.dumps(metadata).encode()}


# --- writing ---------------------------------------------------------------------------------------------------------


def test_the_same_records_give_the_same_bytes(archive_bytes: bytes) -> None:
    opened = open_archive(SHIPPED)
    assert make_archive(opened.bundle, {"table.json": TABLE.encode()}, opened.read_file) == archive_bytes


def test_the_metadata_is_a_crate(archive_bytes: bytes) -> None:
    """As RO-Crate 1.1 asks, section by section."""
    files = unzipped(archive_bytes)
    metadata = json.loads(files[METADATA])
    context = metadata["@context"]
    assert "https://w3id.org/ro/crate/1.1/context" in context
    entities = {entity["@id"]: entity for entity in metadata["@graph"]}
    assert len(entities) == len(metadata["@graph"]), "every @id once"
    descriptor, root = entities[METADATA], entities["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license", "hasPart"} <= root.keys()
    assert {part["@id"] for part in root["hasPart"]} == files.keys() - {METADATA}
    for name, data in files.items():
        if name != METADATA:
            assert entities[name]["sha256"] == hashlib.sha256(data).hexdigest()
            assert entities[name]["contentSize"] == str(len(data))
    assert root["isBasedOn"] == {"@id": "https://doi.org/10.1002/batt.202300351"}
    referred = [value["@id"] for key in ("license", "isBasedOn") for value in [root[key]]]
    referred += [value["@id"] for value in root["mentions"]]
    assert set(referred) <= entities.keys()


def test_an_archive_reads_back_as_zip_folder_and_report(archive: Path, archive_bytes: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    for name, data in unzipped(archive_bytes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    shipped = open_archive(SHIPPED)
    for path in (archive, folder, tmp_path):  # tmp_path holds an archive.zip, as reports do
        opened = open_archive(path)
        assert opened.bundle == shipped.bundle
        assert opened.hashes == shipped.hashes
        for sha in sorted(opened.hashes)[:2]:
            assert hashlib.sha256(opened.read_file(sha)).hexdigest() == sha


# --- importing -------------------------------------------------------------------------------------------------------


def test_an_import_gives_the_same_table(database: Database, settings: Settings, archive: Path) -> None:
    source = load_study("hatcn")
    plan = make_plan(source.study, "screen", source.folder)
    assert not campaign.table_of(database, settings, plan).complete
    done = import_archive(database, settings, open_archive(archive))
    assert done.new == list(plan.calculations)
    assert (done.known, done.kept, done.missing, done.without_file) == ([], {}, [], [])
    assert format_table(campaign.table_of(database, settings, plan), "json") == TABLE
    held = shipped_bundle("hatcn", "screen")
    assert database.records_of(list(plan.calculations)) == dict(held.by_id)
    for record in held.records:
        if record.orbitals is not None:
            assert len(database.get_file(record.orbitals.sha256)) == record.orbitals.bytes
    states = {d["state"] for d in database.calculations.find({}, {"state": 1})}
    assert states == {"COMPLETED"}
    submission = Queue(database).submit(plan)
    assert submission.done == list(plan.calculations)
    assert Queue(database).claim() is None
    assert set(database.fireworks.fireworks.distinct("state")) == {"COMPLETED"}


def test_importing_again_changes_nothing(database: Database, settings: Settings, archive: Path) -> None:
    opened = open_archive(archive)
    import_archive(database, settings, opened)
    before = list(database.calculations.find({}).sort("_id", 1))
    again = import_archive(database, settings, opened)
    assert again.new == []
    assert again.known == list(opened.bundle.plan.calculations)
    assert list(database.calculations.find({}).sort("_id", 1)) == before


def test_only_what_is_missing_is_queued(database: Database, settings: Settings) -> None:
    opened = open_archive(SHIPPED)
    last = opened.bundle.plan.rows[-1].complex_leg.energy
    some = opened.bundle.model_copy(update={"records": [r for r in opened.bundle.records if r.id != last]})
    done = import_archive(database, settings, Archive(SHIPPED, some, opened.read_file, opened.hashes))
    assert done.missing == [last]
    assert Queue(database).claim() is None, "an import queues nothing"
    submission = Queue(database).submit(opened.bundle.plan)
    assert submission.new == [last]
    claim = Queue(database).claim()
    assert claim is not None
    assert claim.id == last
    assert Queue(database).release(claim, "done with the test")


def test_results_that_are_there_stay(database: Database, settings: Settings) -> None:
    opened = open_archive(SHIPPED)
    mine = next(r for r in opened.bundle.records if r.step == "energy" and len(r.symbols) == 1)
    parts = mine.energy_components | {"nuclear": mine.energy_components["nuclear"] + 0.001}
    ours = mine.model_copy(update={"energy_hartree": mine.energy_hartree + 0.001, "energy_components": parts})
    database.insert_record(ours)
    done = import_archive(database, settings, opened)
    assert database.record(mine.id) == ours
    assert list(done.kept) == [mine.id]
    assert "another result" in done.kept[mine.id]
    assert len(done.new) == len(opened.bundle.records) - 1


def test_what_somebody_computes_is_left_to_him(database: Database, settings: Settings) -> None:
    opened = open_archive(SHIPPED)
    queue = Queue(database)
    queue.submit(opened.bundle.plan)
    claim = queue.claim()
    assert claim is not None
    done = import_archive(database, settings, opened)
    children = {i for i, given in opened.bundle.plan.calculations.items() if given.parent == claim.id}
    assert set(done.kept) == {claim.id} | children
    assert done.kept[claim.id] == "somebody computes it"
    assert not database.has_record(claim.id)
    assert queue.complete(claim, opened.bundle.by_id[claim.id])
    assert set(import_archive(database, settings, opened).new) == children


def test_nothing_is_left_to_repair_after_an_import(database: Database, settings: Settings, archive: Path) -> None:
    import_archive(database, settings, open_archive(archive))
    assert Queue(database).repair(everything=True) == []


# --- what is refused -------------------------------------------------------------------------------------------------

Tamper = Callable[[dict[str, Any]], None]


def _energy(content: dict[str, Any]) -> None:
    record = next(r for r in content["records"] if r["step"] == "energy")
    record["energy_hartree"] -= 0.1


def _charge(content: dict[str, Any]) -> None:
    content["records"][-1]["charge"] = 1


def _moved(content: dict[str, Any]) -> None:
    content["records"][-1]["positions_angstrom"][0][0] += 0.1


def _level(content: dict[str, Any]) -> None:
    content["records"][-1]["level_of_theory"]["grid"] = 5


def _input(content: dict[str, Any]) -> None:
    last = content["records"][-1]["id"]
    content["plan"]["calculations"][last]["level"]["grid"] = 5


def _stranger(content: dict[str, Any]) -> None:
    content["records"][-1]["id"] = "0" * 20


def _twice(content: dict[str, Any]) -> None:
    content["records"].append(content["records"][-1])


def _orphan(content: dict[str, Any]) -> None:
    parent = content["records"][-1]["parent"]
    content["records"] = [r for r in content["records"] if r["id"] != parent]


def _schema(content: dict[str, Any]) -> None:
    content["schema_version"] = 99


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_energy, "not the sum of its parts"),
        (_charge, "its charge is another one"),
        (_moved, "its geometry is another one"),
        (_level, "its level is another one"),
        (_input, "is not that of its input"),
        (_stranger, "belongs to no calculation of the plan"),
        (_twice, "there twice"),
        (_orphan, "is there without that of"),
        (_schema, "schema_version"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_tampered_records_are_refused(archive_bytes: bytes, tmp_path: Path, tamper: Tamper, said: str) -> None:
    files = unzipped(archive_bytes)
    content = json.loads(files[BUNDLE])
    tamper(content)
    files[BUNDLE] = json.dumps(content).encode()
    path = zipped(files, tmp_path / "changed.zip")
    with pytest.raises(BadInputError, match=r"SHA-256 is not the one in|is not what"):
        open_archive(path)
    with pytest.raises(BadInputError, match=said):
        open_archive(zipped(resealed(files), path))


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "C:\\out", "a\\b", ".hidden", "a//b", "a\nb"])
def test_names_that_lead_out_are_refused(archive_bytes: bytes, tmp_path: Path, name: str) -> None:
    files = unzipped(archive_bytes) | {name: b"x"}
    with pytest.raises(BadInputError, match=r"leads out of the archive|no plain name"):
        open_archive(zipped(files, tmp_path / "a.zip"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


def test_what_unpacks_to_too_much_is_refused(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, said in (("_LARGEST", "more than the 5000"), ("_MOST_BYTES", "unpacks to"), ("_MOST_FILES", "files")):
        with monkeypatch.context() as patch:
            patch.setattr(f"alkaflow.workflows.archive.{limit}", 5000 if limit != "_MOST_FILES" else 3)
            with pytest.raises(BadInputError, match=said):
                open_archive(archive)


def test_links_are_refused(archive_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive_bytes)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(BadInputError, match="is a link"):
        open_archive(path)
    folder = tmp_path / "folder"
    for name, data in unzipped(archive_bytes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "table.json").rename(tmp_path / "elsewhere.json")
    (folder / "table.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BadInputError, match="is a link, which is not followed"):
        open_archive(folder)


@pytest.mark.parametrize("cut", [0, 10, 5000, -100, -1])
def test_cut_archives_are_refused(archive_bytes: bytes, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive_bytes[:cut])
    with pytest.raises(BadInputError, match=r"a\.zip"):
        open_archive(path)


def test_flipped_bits_are_found(archive_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for at in range(200, len(archive_bytes), len(archive_bytes) // 12):
        damaged = bytearray(archive_bytes)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(BadInputError):
            open_archive(path)


def test_a_bundle_without_its_orbitals_says_so(tmp_path: Path, database: Database, settings: Settings) -> None:
    (tmp_path / "screen.json").write_bytes(SHIPPED.read_bytes())
    opened = open_archive(tmp_path / "screen.json")
    done = import_archive(database, settings, opened)
    assert done.files == 0
    assert len(done.without_file) == sum(record.orbitals is not None for record in opened.bundle.records)


def test_an_id_is_the_hash_of_its_input() -> None:
    for calculation, given in shipped_bundle("hatcn", "screen").plan.calculations.items():
        assert CalculationInput.model_validate_json(given.model_dump_json()).id == calculation


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command(cli_environment: Settings, database: Database, archive: Path,
                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert run(["import", str(archive), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["new"]) == 16
    assert run(["import", "--shipped", "hatcn", "--protocol", "screen"]) == 0
    assert "0 records are new, 16 were there already" in capsys.readouterr().out
    assert run(["table", "hatcn", "--protocol", "screen", "--format", "json"]) == 0
    assert capsys.readouterr().out == TABLE
    assert run(["table", str(archive), "--format", "json"]) == 0
    assert capsys.readouterr().out == TABLE
    assert run(["table", str(archive), "--protocol", "screen"]) == 2
    assert run(["status"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either an archive or --shipped"),
        (["absent.zip"], "cannot read absent.zip"),
        (["--shipped", "nothing"], "unknown shipped study 'nothing'"),
        (["--shipped", "dicyanopyrazine"], "ships no records"),
        (["a.zip", "--shipped", "hatcn"], "give either"),
        (["a.zip", "--protocol", "screen"], "--protocol goes with --shipped"),
        (["."], "holds no archive"),
    ],
)
def test_wrong_words_are_one_sentence(
    cli_environment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["import", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
