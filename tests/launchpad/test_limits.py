"""What control groups and Slurm allow, from files and variables as Linux and Slurm write them."""

import time
from pathlib import Path

import psutil
import pytest

from alkaflow.launchpad.limits import killed_for_memory, time_limit, usable_cores, usable_memory_mb


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A place for control groups, the process in /job/step of version 2."""
    (tmp_path / "membership").write_text("0::/job/step\n")
    (tmp_path / "groups" / "job" / "step").mkdir(parents=True)
    return tmp_path / "groups"


def memory(groups: Path, **environment: str) -> int:
    return usable_memory_mb(environment, groups.parent / "membership", groups)


def test_without_limits_most_of_the_machine_is_used(groups: Path) -> None:
    available = psutil.virtual_memory().available / 1e6
    assert memory(groups) == pytest.approx(0.8 * available, rel=0.1)
    assert usable_cores() >= 1


def test_the_tightest_group_counts(groups: Path) -> None:
    """The limit of a parent holds for its children; \"max\" is none."""
    (groups / "job" / "step" / "memory.max").write_text("max\n")
    (groups / "job" / "memory.max").write_text("1000000000\n")
    assert memory(groups) == 800
    (groups / "job" / "step" / "memory.max").write_text("900000000\n")
    assert memory(groups) == 720
    (groups / "memory.max").write_text("800000000\n")
    assert memory(groups) == 640


def test_groups_of_version_1(groups: Path) -> None:
    (groups.parent / "membership").write_text("5:cpu,cpuacct:/elsewhere\n4:memory:/box\n0::/\n")
    (groups / "memory" / "box").mkdir(parents=True)
    (groups / "memory" / "box" / "memory.limit_in_bytes").write_text("1000000000\n")
    assert memory(groups) == 800


def test_slurm_says_how_much(groups: Path) -> None:
    """In units of 2^20 bytes, for the node or for each of its CPUs; 0 is all of the node."""
    assert memory(groups, SLURM_MEM_PER_NODE="1000") == 838
    assert memory(groups, SLURM_MEM_PER_CPU="500", SLURM_CPUS_ON_NODE="2") == 838
    unlimited = memory(groups)
    assert memory(groups, SLURM_MEM_PER_NODE="0") == pytest.approx(unlimited, rel=0.1)
    assert memory(groups, SLURM_MEM_PER_CPU="500") == pytest.approx(unlimited, rel=0.1)
    assert memory(groups, SLURM_MEM_PER_NODE="100") == 500  # never less


def test_the_nearer_end_counts() -> None:
    assert time_limit(None, {}) is None
    limit = time_limit(100.0, {})
    assert limit is not None
    assert (limit.seconds, limit.reason) == (100.0, "time_limit is 100 s")
    ends = {"SLURM_JOB_END_TIME": str(int(time.time()) + 90)}
    limit = time_limit(100.0, ends)
    assert limit is not None
    assert limit.reason == "the Slurm job ends"
    assert limit.seconds == pytest.approx(30.0, abs=2.0)  # a minute is kept
    limit = time_limit(10.0, ends)
    assert limit is not None
    assert limit.seconds == 10.0
    assert time_limit(None, {"SLURM_JOB_END_TIME": "never"}) is None


def test_the_kernel_counts_what_it_kills(groups: Path) -> None:
    membership = groups.parent / "membership"
    assert killed_for_memory(membership, groups) is None
    (groups / "job" / "step" / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert killed_for_memory(membership, groups) == 2
    membership.write_text("4:memory:/box\n")
    (groups / "memory" / "box").mkdir(parents=True)
    (groups / "memory" / "box" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert killed_for_memory(membership, groups) == 7
