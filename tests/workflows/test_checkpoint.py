"""A checkpoint is whole and ours, or it is not used: every truncation, every flipped byte, every moment of a save."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alkaflow.calculations import CalculationInput
from alkaflow.files import sha256_of
from alkaflow.levels import Xtb, parse_level
from alkaflow.workflows import checkpoint as module
from alkaflow.workflows.checkpoint import Checkpoint, fingerprint_of, generations, load, save


def state(step: int, fingerprint: str = "mine", size: int = 5) -> Checkpoint:
    return Checkpoint(
        fingerprint, {"step": step}, {"positions": np.full((size, 3), float(step)), "counts": np.arange(step)}
    )


def step_of(found: Checkpoint | None) -> int | None:
    if found is None:
        return None
    assert np.array_equal(found.arrays["positions"], np.full_like(found.arrays["positions"], found.values["step"]))
    assert np.array_equal(found.arrays["counts"], np.arange(found.values["step"]))
    return int(found.values["step"])


ARRAYS = hnp.arrays(
    st.sampled_from([np.float64, np.int64]), hnp.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=4)
)
VALUES = st.dictionaries(
    st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s, max_size=3))
)


@settings(max_examples=60)
@given(values=VALUES, arrays=st.dictionaries(st.text(), ARRAYS, max_size=4))
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object], arrays: dict[str, np.ndarray]
) -> None:
    directory = tmp_path_factory.mktemp("saved")
    save(directory, Checkpoint("mine", values, arrays))
    found, notes = load(directory, "mine")
    assert found is not None
    assert notes == []
    assert found.values == values
    assert list(found.arrays) == list(arrays)
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()  # not-a-number and negative zero included


def test_nothing_there(tmp_path: Path) -> None:
    assert load(tmp_path, "mine") == (None, [])
    assert load(tmp_path / "nowhere", "mine") == (None, [])


def test_two_generations_are_kept(tmp_path: Path) -> None:
    for step in range(1, 5):
        save(tmp_path, state(step))
    newest, previous = generations(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([newest, previous])
    assert step_of(load(tmp_path, "mine").checkpoint) == 4
    newest.unlink()
    assert step_of(load(tmp_path, "mine").checkpoint) == 3


def test_names_share_a_directory(tmp_path: Path) -> None:
    save(tmp_path, state(1), name="one")
    save(tmp_path, state(2), name="two")
    assert [step_of(load(tmp_path, "mine", name).checkpoint) for name in ("one", "two")] == [1, 2]


def test_truncated_at_every_length(tmp_path: Path) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    newest, previous = generations(tmp_path)
    whole = newest.read_bytes()
    for length in range(len(whole)):
        newest.write_bytes(whole[:length])
        found, notes = load(tmp_path, "mine")
        assert step_of(found) == 1
        assert len(notes) == 1
        assert str(newest) in notes[0]
    newest.write_bytes(whole + b"more")
    assert step_of(load(tmp_path, "mine").checkpoint) == 1
    previous.write_bytes(b"")
    found, notes = load(tmp_path, "mine")
    assert (found, len(notes)) == (None, 2)


def test_every_byte_flipped(tmp_path: Path) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    newest = generations(tmp_path)[0]
    whole = newest.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        newest.write_bytes(damaged)
        found, notes = load(tmp_path, "mine")
        assert step_of(found) == 1
        assert len(notes) == 1


@settings(max_examples=100)
@given(junk=st.binary(max_size=400))
def test_junk_is_no_checkpoint(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    directory = tmp_path_factory.mktemp("junk")
    generations(directory)[0].write_bytes(junk)
    assert load(directory, "mine").checkpoint is None
    # even with the format's first line and a digest that fits
    generations(directory)[0].write_bytes(module._MAGIC + sha256_of(junk).encode() + b"\n" + junk)
    assert load(directory, "mine").checkpoint is None


def test_another_calculation_and_another_version(tmp_path: Path) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2, fingerprint="theirs"))
    found, notes = load(tmp_path, "mine")
    assert step_of(found) == 1
    assert "another calculation" in notes[0]
    newest = generations(tmp_path)[0]
    newest.write_bytes(newest.read_bytes().replace(b"checkpoint 1\n", b"checkpoint 2\n"))
    assert "another version" in load(tmp_path, "mine").notes[0]


def test_a_directory_in_its_place_is_a_note(tmp_path: Path) -> None:
    generations(tmp_path)[0].mkdir()
    found, notes = load(tmp_path, "mine")
    assert (found, len(notes)) == (None, 1)


def test_a_full_disk_leaves_the_generations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, state(3))
    assert len(list(tmp_path.iterdir())) == 2
    assert step_of(load(tmp_path, "mine").checkpoint) == 2


def test_killed_between_the_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    rename, calls = Path.replace, []

    def dies_at_the_second(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, state(3))
    monkeypatch.undo()
    assert not generations(tmp_path)[0].exists()
    assert step_of(load(tmp_path, "mine").checkpoint) == 2
    save(tmp_path, state(4))
    assert step_of(load(tmp_path, "mine").checkpoint) == 4
    assert step_of(load(tmp_path, "mine").checkpoint) == 4


WRITER = """
import sys, numpy as np
from pathlib import Path
from alkaflow.workflows.checkpoint import Checkpoint, save
print("ready", flush=True)
step = int(sys.argv[2])
while True:
    step += 1
    arrays = {"positions": np.full((20000, 3), float(step)), "counts": np.arange(step)}
    save(Path(sys.argv[1]), Checkpoint("mine", {"step": step}, arrays))
"""


def test_a_storm_of_kills_leaves_a_whole_one(tmp_path: Path) -> None:
    """A writer that saves without pause, killed again and again: never nothing, never a mixture, never a step back."""
    randomness, step = np.random.default_rng(7), 0
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(step)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and step_of(load(tmp_path, "mine").checkpoint) in (None, step):
                time.sleep(0.001)
            time.sleep(randomness.uniform(0, 0.02))
            writer.send_signal(signal.SIGKILL)
        found, notes = load(tmp_path, "mine")
        assert notes == []
        reached = step_of(found)
        assert reached is not None
        assert reached > step
        step = reached


def test_only_plain_numbers(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'words' is of"):
        save(tmp_path, Checkpoint("mine", {}, {"words": np.array(["a"])}))
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_tell_calculations_apart() -> None:
    def water(level: object = Xtb(), **changes: object) -> CalculationInput:
        content = {"step": "relax", "level": level, "charge": 0, "multiplicity": 1, "symbols": ("O", "H", "H")}
        return CalculationInput.model_validate(content | {"parent": "0" * 20} | changes)

    given_ones = [
        water(),
        water(symbols=("H", "O", "H")),  # a parent's id does not say them
        water(charge=2),
        water(Xtb(max_steps=7)),
        water(parse_level("b3lyp/6-31g")),
    ]
    assert len({fingerprint_of(one) for one in given_ones}) == len(given_ones)
    assert fingerprint_of(water()) == fingerprint_of(water())
