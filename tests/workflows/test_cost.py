"""What a calculation is expected to take on disk, against what PySCF puts there."""

import threading
import time
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from alkaflow.calculations import CalculationInput, rounded
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure, build_complex, find_sites, load_host
from alkaflow.workflows.cost import estimate
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.protocols import get_protocol
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule

ANGLES = np.arange(6) * np.pi / 3
RING = [[radius * np.cos(angle), radius * np.sin(angle), 0.0] for radius in (1.39, 2.48) for angle in ANGLES]
BENZENE = Structure(("C",) * 6 + ("H",) * 6, np.array(RING))
ETHYLENE = Structure(
    ("C", "C", "H", "H", "H", "H"),
    np.array([[0, 0, s * 0.665] for s in (1, -1)] + [[0, t * 0.92, s * 1.23] for s in (1, -1) for t in (1, -1)]),
)


def given(
    step: str, text: str = "b3lyp/6-31g(d,p)", structure: Structure = BENZENE, **changes: object
) -> CalculationInput:
    positions = rounded(structure.positions.tolist())
    values = {"charge": 0, "multiplicity": 1, "symbols": structure.symbols, "positions": positions} | changes
    return CalculationInput.model_validate({"step": step, "level": parse_level(text)} | values)


@pytest.fixture
def scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where PySCF puts its scratch."""
    from pyscf import lib

    monkeypatch.setattr(lib.param, "TMPDIR", str(tmp_path))
    return tmp_path


class Scratch:
    """Largest size of the open files in a folder [MB]; PySCF unlinks some of them at once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stop, self.peak = folder, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.is_set():
            self.look()
            time.sleep(0.002)

    def look(self) -> None:
        """Look once; a busy machine may not have come to it since a file was finished."""
        sizes = {}
        for link in Path("/proc/self/fd").iterdir():
            try:
                if str(link.readlink()).startswith(str(self._folder)):
                    status = link.stat()
                    sizes[status.st_ino] = status.st_size
            except OSError:  # closed in between
                continue
        self.peak = max(self.peak, sum(sizes.values()) / 1e6)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_scratch_of_gradients_is_foreseen(scratch_folder: Path) -> None:
    level = KohnSham(functional="b3lyp", basis="6-31g(d,p)", grid=0)
    with Scratch(scratch_folder) as scratch:
        mean_field = build_mean_field(build_molecule(ETHYLENE, level, 4000), level)
        set_grid(mean_field, 0)
        mean_field.max_cycle = 1
        mean_field.kernel()
        mean_field.nuc_grad_method().kernel()
    assert scratch.peak > 0.5
    assert estimate(given("relax", structure=ETHYLENE), 1).disk_mb == pytest.approx(scratch.peak, rel=0.05)


def test_fitted_integrals_that_do_not_fit_in_memory_are_foreseen(scratch_folder: Path) -> None:
    level = KohnSham(functional="b3lyp", basis="6-31g(d,p)")
    with Scratch(scratch_folder) as scratch:
        fitting = build_mean_field(build_molecule(BENZENE, level, 10), level).with_df
        fitting.build()
        scratch.look()
        fitting._cderi_to_save.close()
    assert scratch.peak > 25
    assert estimate(given("energy"), 1, available_mb=10).disk_mb == pytest.approx(scratch.peak, rel=0.05)


def test_memory_that_is_not_there_becomes_disk() -> None:
    roomy, tight = (estimate(given("energy"), 1, available_mb=mb) for mb in (4000.0, 420.0))
    assert roomy.disk_mb < 1
    assert tight.disk_mb > 25
    assert tight.memory_mb < roomy.memory_mb
    assert estimate(given("energy", "b3lyp/6-31g(d,p)+nofit"), 1, available_mb=420.0).disk_mb == roomy.disk_mb


def test_costs_follow_the_level() -> None:
    plain = estimate(given("energy"), 1)
    assert estimate(given("energy", "b3lyp/6-31g(d,p)+cart"), 1).basis_functions == plain.basis_functions + 6
    assert estimate(given("energy", "b3lyp/6-31g(d,p)+cpcm(dme)"), 1).seconds > plain.seconds
    pair = {"symbols": ("Zr", "O"), "positions": ((0, 0, 0), (0, 0, 1.7))}
    assert estimate(given("energy", "b3lyp/6-311g(d,p)+substitute(def2-svp)", **pair), 1).basis_functions == 31 + 18


def test_a_search_of_states_costs_as_many_energies() -> None:
    """Where the level is that of the search: fifteen more energies, and two to put near states in order."""
    symbols = (*BENZENE.symbols, "Li")
    complex_ = Structure(symbols, np.vstack([BENZENE.positions, [[0, 0, 1.8]]]), 0, 2)
    parts = [{"atoms": range(12), "charge": 0, "multiplicity": 1}, {"atoms": [12], "charge": 0, "multiplicity": 2}]
    cheap = parse_level("b3lyp/6-31g").model_copy(update={"grid": 1})
    plain, searching = (
        estimate(given("energy", structure=complex_, level=cheap, multiplicity=2, fragments=fragments), 1).seconds
        for fragments in (None, parts)
    )
    start = estimate(given("energy", structure=Structure(("H",), np.zeros((1, 3)), 0, 2), multiplicity=2), 1).seconds
    assert searching - start == pytest.approx(18 * (plain - start), rel=0.01)


def test_an_energy_is_expected_to_take_what_it_took() -> None:
    """Lithium on bipyrimidine, one thread of an EPYC of Zen 5: 41 s; TPSS is integrated by other loops."""
    host = load_host("bipyrimidine")
    complex_ = build_complex(host, "Li", find_sites(host, "Li")[0]).structure
    published = get_protocol("published-sp").energy
    assert isinstance(published, KohnSham)
    b3lyp, tpss = (
        estimate(given("energy", structure=complex_, multiplicity=2, level=level), 1).seconds
        for level in (published, published.model_copy(update={"functional": "tpss"}))
    )
    assert b3lyp == pytest.approx(41, rel=0.5)
    assert tpss > 3 * b3lyp
