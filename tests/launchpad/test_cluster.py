"""Slurm for real, PBS by its script: what is asked for, what became of it, and what is freed."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import SecretStr
from slurm_service import SlurmService, slurm, slurm_daemons, wait_for

from alkaflow.cluster import ClusterSettings, seconds_of, walltime_of
from alkaflow.errors import AlkaflowError, BadInputError, ServiceError
from alkaflow.launchpad.cli import commands_cluster
from alkaflow.launchpad.cluster import fates, nodes
from alkaflow.launchpad.cluster.files import write_fireworks, write_section
from alkaflow.launchpad.cluster.launch import refuse_embedded, refuse_hidden_uri, script_of, submit
from alkaflow.launchpad.cluster.packing import Cost, Request, auto_pack, request_for
from alkaflow.launchpad.cluster.reconcile import overview, reconcile
from alkaflow.launchpad.cluster.scheduler import Slurm, number_of, scheduler_of
from alkaflow.launchpad.cluster.script import what_was_said
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings, load_settings
from alkaflow.studies import Study
from alkaflow.workflows import make_plan

__all__ = ["slurm", "slurm_daemons"]
SAMPLES = Path(__file__).parent.parent / "data" / "slurm"
SMALL = Request(cores=1, memory_mb=500, walltime_seconds=120, pack=1)
URI = "mongodb://ada:hunter2@db.example.org/"


def on(settings: Settings, **fields: Any) -> Settings:
    cluster = ClusterSettings.model_validate({"scheduler": "slurm", "signal_seconds": 10, **fields})
    return settings.model_copy(update={"cluster": cluster})


def sample(name: str) -> str:
    return (SAMPLES / name).read_text(encoding="utf-8")


# --- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("partition", "main\n#SBATCH --wrap=x"),
        ("partition", "a b"),
        ("partition", "-x"),
        ("account", "$(id)"),
        ("qos", "x;y"),
        ("constraint", "a`id`"),
        ("gres", "gpu:1 --uid=0"),
        ("walltime", "12:00"),
        ("walltime", "00:05:00"),
        ("cores", 0),
        ("memory_mb", 10),
        ("environment", ["module load a\nrm x"]),
        ("environment", ["export P=$$"]),
        ("environment", [""]),
        ("scratch", "$(id)"),
        ("scratch", '/x"; id; "'),
        ("scratch", "/x/../etc"),
        ("scratch", "/x/$$"),
        ("scratch", "relative"),
        ("pack", 5),
        ("pack", "many"),
        ("completion_log", "log"),
        ("header", "#SBATCH --x"),
    ],
)
def test_what_could_change_a_script_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field if field != "header" else "Extra inputs"):
        ClusterSettings.model_validate({"scheduler": "slurm", "cores": 4, field: value})


def test_pbs_refuses_what_only_slurm_has() -> None:
    with pytest.raises(ValueError, match="qos is Slurm's"):
        ClusterSettings.model_validate({"scheduler": "pbs", "qos": "long"})
    with pytest.raises(ValueError, match="gpu:N"):
        ClusterSettings.model_validate({"scheduler": "pbs", "gres": "gpu:a100:1"})


def test_the_section_is_read_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("cluster:\n  scheduler: slurm\n  walltime: 12:30:00\n  environment: [module load python]\n")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    cluster = load_settings().cluster
    assert cluster is not None
    assert cluster.walltime == "12:30:00"  # not the number that YAML 1.1 makes of it
    assert cluster.environment == ("module load python",)
    path.write_text("cluster: {scheduler: slurm, walltime: 00:01:00}\n")
    with pytest.raises(BadInputError, match=r"ALKAFLOW_CLUSTER\): walltime 00:01:00 leaves no time"):
        load_settings()
    monkeypatch.setenv("ALKAFLOW_CLUSTER", "slurm")
    with pytest.raises(BadInputError, match=r"ALKAFLOW_CLUSTER.*expected 'key: value' lines"):
        load_settings()


def test_walltimes_are_read_and_written() -> None:
    assert seconds_of("101:02:03") == 363_723
    assert walltime_of(363_723) == "101:02:03"


# --- packing -------------------------------------------------------------------------------------------------------


def test_packing_gives_each_calculation_cores_and_memory() -> None:
    short, long, large = Cost(60, 400), Cost(20_000, 1000), Cost(60, 4000)
    assert auto_pack(16, None, [short] * 50, 50) == 16
    assert auto_pack(16, None, [short] * 5, 5) == 5  # no more than there are
    assert auto_pack(16, None, [Cost(3000, 400)] * 50, 50) == 8
    assert auto_pack(16, None, [long] * 50, 50) == 4
    assert auto_pack(2, None, [long] * 50, 50) == 1
    assert auto_pack(16, 16_000, [large, short], 50) == 3  # (16000 - 500) / (4000 * 1.25) = 3.1
    assert auto_pack(16, 1000, [large], 50) == 1
    assert auto_pack(16, None, [], 50) == 4
    assert auto_pack(16, None, [], 0) == 1


def test_a_request_follows_the_settings_and_then_the_estimates() -> None:
    free = ClusterSettings(scheduler="slurm", cores=8)
    asked = request_for(free, [Cost(600, 1000)] * 16)
    # 8 at a time: 8 * 1000 * 1.25 + 500 MB; 16 * 600 / 8 * 2 + 300 + 300 = 3000 s, in quarters of an hour
    assert asked == Request(8, 10_500, 3600, 8)
    assert request_for(free, []) == Request(8, 16_000, 12 * 3600, 1)
    assert request_for(free, [Cost(1e6, 100)]).walltime == "24:00:00"
    assert request_for(free, [Cost(600, 1000)] * 16, jobs=4).pack == 4
    fixed = ClusterSettings(scheduler="slurm", cores=8, memory_mb=2000, walltime="01:00:00", pack=2)
    assert request_for(fixed, [Cost(600, 1000)] * 16) == Request(8, 2000, 3600, 2)
    assert asked.memory_mib == 10_014  # rounded up


# --- what schedulers say -------------------------------------------------------------------------------------------


def outcomes(found: dict[str, fates.Fate]) -> dict[int, str | None]:
    return {int(number_of(job).partition(".")[0]): fate.outcome for job, fate in found.items()}


def test_fates_from_sacct() -> None:
    found = fates.parse_sacct(sample("sacct.txt"))
    assert outcomes(found) == {
        1: "completed",
        2: "failed",
        3: "failed",
        4: "failed",
        5: "walltime",
        6: "cancelled",
        7: "preempted",
        8: None,
        9: None,
        10: "node_failure",
    }
    assert found["slurm:2"].reason == "job slurm:2 on one: its script failed, with exit code 3"
    assert found["slurm:3"].reason.endswith("by signal 11")
    assert found["slurm:6"].reason == "job slurm:6 on one: it was cancelled by user 0"
    assert found["slurm:8"].waiting
    assert not found["slurm:9"].waiting
    assert outcomes(fates.parse_sacct(sample("sacct_oom.txt"))) == {1: "out_of_memory", 2: "out_of_memory"}


def test_a_step_out_of_memory_explains_a_failed_job() -> None:
    text = "7|FAILED|1:0|None|one|ada\n7.batch|OUT_OF_MEMORY|0:125||one|\n8|COMPLETED|0:0|None|one|ada\n"
    text += "8.0|OUT_OF_MEMORY|0:125||one|\n"
    assert outcomes(fates.parse_sacct(text)) == {7: "out_of_memory", 8: "completed"}


def test_fates_from_the_completion_log() -> None:
    found = fates.parse_records(sample("jobcomp.txt").splitlines())
    assert outcomes(found) == {
        1: "completed",
        2: "failed",
        3: "failed",
        4: "failed",
        5: "walltime",
        6: "cancelled",
        7: "preempted",
        10: "node_failure",
    }
    assert outcomes(fates.parse_records(sample("jobcomp_oom.txt").splitlines())) == {
        1: "out_of_memory",
        2: "out_of_memory",
    }


def test_fates_from_squeue_and_scontrol() -> None:
    expected = {5: "walltime", 8: None, 9: None}
    squeue = fates.parse_squeue(sample("squeue.txt"))
    assert outcomes(squeue) == expected
    assert squeue["slurm:8"].reason == "BeginTime"
    assert squeue["slurm:9"].node == "one"
    assert squeue["slurm:9"].user == "root"
    assert outcomes(fates.parse_records(sample("scontrol.txt").splitlines())) == expected


def test_fates_from_qstat() -> None:
    found = fates.parse_qstat(sample("qstat.txt"))
    assert outcomes(found) == {
        101: None,
        102: "walltime",
        103: "out_of_memory",
        104: "cancelled",
        105: "failed",
        106: "completed",
        107: None,
    }
    assert found["pbs:101.pbs"].node == "node7"
    assert found["pbs:107.pbs"].waiting


@pytest.mark.parametrize("text", ["", "garbage", "1|", "a|b|c|d|e|f", "JobId=x JobState=FAILED", "Job Id: "])
def test_nonsense_is_no_fate(text: str) -> None:
    assert fates.parse_sacct(text) == fates.parse_squeue(text) == fates.parse_records([text]) == {}


@pytest.mark.parametrize("job", ["slurm:1;id", "slurm:-1", "slurm:", "1", "slurm:1 2", "slurm:--help"])
def test_only_numbers_become_arguments(job: str) -> None:
    with pytest.raises(ValueError, match="not a job"):
        number_of(job)


def test_nodes_of_a_partition() -> None:
    said, partitions = sample("nodes.txt"), sample("partitions.txt")
    assert nodes.hosts_of_partition(said, partitions, None) == {"one": "vm"}
    assert nodes.hosts_of_partition(said, partitions, "both") == {"one": "vm", "two": "vm"}
    assert nodes.hosts_of_partition(said, partitions, "main,urgent") == {"one": "vm", "two": "vm"}
    with pytest.raises(BadInputError, match="no partition 'long'; it has both, main, urgent"):
        nodes.hosts_of_partition(said, partitions, "long")
    assert nodes.all_hosts(said) == {"one", "two", "vm"}
    assert nodes.other_hosts({"one": "vm", "two": "VM.example.org", "three": "vm2"}, here="vm.local") == ["three"]


SINFO = """
small*|one|4|4000|(null)
small*|two|8|2000+|gpu:1
both|one|4|4000|(null)
both|big|64|256000|gpu:a100:4(S:0-1),gpu:t4:1,license:2
broken|line
other|odd|many|4000|(null)
"""


def test_sizes_of_nodes() -> None:
    assert [(n.node, n.cores, n.memory_mib) for n in nodes.sizes(SINFO, None)] == [("one", 4, 4000), ("two", 8, 2000)]
    [_, big] = nodes.sizes(SINFO, "both")
    assert big.gres == {"gpu": 5, "gpu:a100": 4, "gpu:t4": 1, "license": 2}
    assert len(nodes.sizes(SINFO, "small,both")) == 4
    assert nodes.sizes(SINFO, "other") == nodes.sizes("", None) == nodes.sizes(SINFO, "nosuch") == []


@pytest.mark.parametrize(
    ("partition", "cores", "memory", "gres", "said"),
    [
        (None, 9, 100, None, "asks for 9 cores, and no node of it has more than 8; give fewer --cores"),
        (None, 1, 4001, None, "asks for 4001 MiB of memory, and no node of it has more than 4000; give less --memory"),
        (None, 1, 100, "gpu:2", "asks for 2 of the resource gpu, and no node of it has more than 1"),
        (None, 1, 100, "fpga", "asks for 1 of the resource fpga, and no node of it has any"),
        (None, 8, 4000, None, "asks for 8 cores, 4000 MiB, and no node of it has all of it"),
        ("both", 64, 256_000, "gpu:a100:5", "5 of the resource gpu"),
        ("both", 64, 256_000, "gpu:t4:2", "2 of the resource gpu:t4, and no node of it has more than 1"),
        (None, 8, 2000, "gpu", None),
        ("both", 64, 256_000, "gpu:a100:4,license:2", None),
        ("nosuch", 1000, 10**9, "gpu:9", None),
    ],
)
def test_a_job_that_fits_no_node_is_refused_in_one_sentence(
    partition: str | None, cores: int, memory: int, gres: str | None, said: str | None
) -> None:
    problem = nodes.why_too_large(nodes.sizes(SINFO, partition), cores, memory, gres, "it")
    if said is None:
        assert problem is None
    else:
        assert problem is not None
        assert said in problem
        assert "\n" not in problem


def test_what_sbatch_wrote_becomes_one_sentence() -> None:
    text = (
        "sbatch: error: CPU count per node can not be satisfied\n"
        "sbatch: error: Batch job submission failed: Requested node configuration is not available\n"
        "sbatch: error: CPU count per node can not be satisfied\n\n"
    )
    wanted = "CPU count per node can not be satisfied; Requested node configuration is not available"
    assert what_was_said(text) == wanted
    assert what_was_said("qsub: Unknown queue\n") == "Unknown queue"
    assert what_was_said("") == ""


def test_what_a_job_computes_is_named() -> None:
    steps = {f"{k:020x}": "energy" for k in range(6)}
    assert commands_cluster._computed(steps).endswith("00000000 energy, 00000000 energy and 2 more")
    assert commands_cluster._computed({}) == ""
    assert commands_cluster._computed({"9e6e1234" + "0" * 12: "relax"}) == "9e6e1234 relax"


# --- scripts -------------------------------------------------------------------------------------------------------


def directives(script: str, mark: str) -> list[str]:
    return [line.removeprefix(mark).strip() for line in script.splitlines() if line.startswith(mark)]


def check_syntax(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=20)
    assert "$$" not in script


def test_a_slurm_script_has_all_that_was_asked_for(settings: Settings) -> None:
    asked = on(
        settings, partition="main", account="chem", qos="long", constraint="fast&ib", gres="gpu:1", cores=8,
        environment=["module load 'a b'"], scratch="/scratch/$USER", signal_seconds=300,
    )  # fmt: skip
    script = script_of(asked, Request(8, 10_500, 3600, 4), Path("/data/jobs/a b"), ["run", "it's"])
    check_syntax(script)
    assert directives(script, "#SBATCH") == [
        "--job-name=alkaflow", "--nodes=1", "--ntasks=1", "--cpus-per-task=8", "--mem=10014M", "--time=01:00:00",
        "--signal=B:USR1@300", "--partition=main", "--account=chem", "--qos=long", "--constraint=fast&ib",
        "--gres=gpu:1", "--output=job-%j.out", "--export=NONE", "--no-requeue",
    ]  # fmt: skip
    lines = script.splitlines()
    assert lines[-2:] == ['cd "/data/jobs/a b" || exit 1', "exec run 'it'\"'\"'s'"]
    assert "module load 'a b'" in lines


def test_what_was_not_asked_for_is_not_in_the_script(settings: Settings) -> None:
    script = script_of(on(settings), SMALL)
    check_syntax(script)
    for word in ("partition", "account", "qos", "constraint", "gres", "ALKAFLOW_SCRATCH_DIR"):
        assert word not in script
    assert script.splitlines()[-1] == f"exec {sys.executable} -P -m alkaflow.launchpad.cli worker --pack 1"


def test_a_pbs_script(settings: Settings) -> None:
    asked = on(settings, scheduler="pbs", partition="workq", account="chem", gres="gpu:2", cores=8)
    script = script_of(asked, Request(8, 10_500, 3600, 4), Path("/data/jobs/1"), ["run"])
    check_syntax(script)
    assert directives(script, "#PBS") == [
        "-N alkaflow", "-l select=1:ncpus=8:mem=10014mb:ngpus=2", "-l walltime=01:00:00", "-q workq", "-A chem",
        "-j oe", "-o job.out", "-r n",
    ]  # fmt: skip
    assert 'export PBS_WALLTIME="${PBS_WALLTIME:-3600}"' in script
    ran = subprocess.run(
        ["bash", "-c", script.replace('cd "/data/jobs/1" || exit 1', "cd /").replace("exec run", "exec env")],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert "PBS_WALLTIME=3600" in ran.stdout.splitlines()


def test_the_connection_string_never_gets_into_a_script(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"mongodb_uri: {URI}\n")
    path.chmod(0o600)
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    asked = on(settings).model_copy(update={"mongodb_uri": SecretStr(URI)})
    refuse_hidden_uri(asked)
    script = script_of(asked, SMALL)
    assert "hunter2" not in script
    assert f"export ALKAFLOW_CONFIG_FILE={path}" in script
    path.write_text("threads: 1\n")
    with pytest.raises(ServiceError, match="mongodb_uri comes from the environment"):
        refuse_hidden_uri(asked)


def test_a_path_that_a_script_cannot_carry_is_refused(settings: Settings) -> None:
    with pytest.raises(BadInputError, match="data_dir is"):
        script_of(on(settings.model_copy(update={"data_dir": Path('/data/"; id; "')})), SMALL)


# --- files ---------------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_section_is_written_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("# mine\nthreads: 2  # of four\ncluster:\n  scheduler: slurm\n  account: chem  # ours\n")
    path.chmod(0o644)
    cluster = write_section(path, {"scheduler": "slurm", "cores": 8, "environment": ["module load a: b"]})
    assert (cluster.account, cluster.cores) == ("chem", 8)
    text = path.read_text()
    for kept in ("# mine\n", "threads: 2  # of four\n", "account: chem  # ours\n"):
        assert kept in text
    assert mode(path) == 0o600
    with pytest.raises(BadInputError, match=r"cluster\.cores"):
        write_section(path, {"cores": -1})
    assert path.read_text() == text


def test_a_file_of_comments_keeps_them_and_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    path.write_text("# nothing yet")
    link.symlink_to(path)
    write_section(link, {"scheduler": "pbs"})
    assert link.is_symlink()
    assert path.read_text() == "# nothing yet\ncluster:\n  scheduler: pbs\n"


def run_cluster(*arguments: str) -> None:
    typer.main.get_command(commands_cluster.app).main(list(arguments), prog_name="cluster", standalone_mode=False)


def test_init_writes_files_that_fireworks_can_use(
    database: Database, cli_environment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "config.yaml"
    path.parent.mkdir()
    path.write_text("lease_seconds: 60\n")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    run_cluster("init", "slurm", "--partition", "main", "--walltime", "02:00:00", "-e", "module load x", "--pack", "2")
    cluster = load_settings().cluster
    assert cluster == ClusterSettings(
        scheduler="slurm", partition="main", walltime="02:00:00", environment=("module load x",), pack=2
    )
    folder = cli_environment.data_dir / "fireworks"
    assert mode(folder) == 0o700
    names = {"FW_config.yaml", "my_fworker.yaml", "my_launchpad.yaml", "my_qadapter.yaml"}
    assert {p.name: mode(p) for p in folder.iterdir()} == dict.fromkeys(names, 0o600)
    Queue(database).submit(make_plan(Study.model_validate(STUDY)))
    environment = os.environ | {"FW_CONFIG_FILE": str(folder / "FW_config.yaml")}
    counted = subprocess.run(
        [str(Path(sys.executable).with_name("lpad")), "-c", str(folder), "get_fws", "-d", "count"],
        env=environment, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert counted.stdout.split()[-1] == str(database.calculations.count_documents({}))


def test_the_adapter_file_gives_fireworks_the_same_script(settings: Settings) -> None:
    asked = on(settings, partition="main", environment=["module load a", "source b"], scratch="$SLURM_TMPDIR")
    assert asked.cluster is not None
    write_fireworks(asked, asked.cluster)
    ours = script_of(asked, request_for(asked.cluster, []), Path("/data/jobs/1"))
    load = (
        "import sys; from fireworks.utilities.fw_serializers import load_object_from_file as load;"
        "print(load(sys.argv[1]).get_script_str('/data/jobs/1'))"
    )
    theirs = subprocess.run(  # in a process of its own, as FireWorks imports its own tests when it looks for a class
        [sys.executable, "-c", load, str(settings.data_dir / "fireworks" / "my_qadapter.yaml")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert theirs.stdout.rstrip() == ours.rstrip()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["init", "sge"], "give slurm or pbs"),
        (["init", "slurm", "--walltime", "1h"], r"cluster\.walltime: '1h' cannot be used; give HH:MM:SS, such as"),
        (["init", "slurm", "--partition", "a; b"], r"cluster\.partition: 'a; b' cannot be used; give the name of a"),
        (["init", "slurm", "--gres", "2 gpus"], r"cluster\.gres: '2 gpus' cannot be used; give resources, such as"),
        (["init", "slurm", "--cores", "5000"], r"cluster\.cores: 5000 cannot be used; give a whole number from 1 to"),
        (["init", "slurm", "--signal-seconds", "1"], r"cluster\.signal_seconds: 1 cannot be used; give whole seconds"),
        (["init", "slurm", "--pack", "some"], "--pack is"),
        (["launch"], "has no section 'cluster'"),
        (["status"], "has no section 'cluster'"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], problem: str, cli_environment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("threads: 1\n")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    with pytest.raises(AlkaflowError, match=problem):
        run_cluster(*arguments)
    assert path.read_text() == "threads: 1\n"


# --- a real Slurm --------------------------------------------------------------------------------------------------

STUDY = {
    "name": "test",
    "hosts": [{"name": "pyrazine", "builtin": "pyrazine"}],
    "guests": ["Li"],
    "sites": ["face"],
    "protocol": "screen",
}
SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


def number_after(settings: Settings, database: Database, command: list[str], request: Request = SMALL) -> str:
    [launched] = submit(database, settings, request, command=command)
    return number_of(launched.job)


def test_a_job_reaches_its_node_with_the_right_environment(
    slurm: SlurmService, database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "canary-of-the-submitter")
    monkeypatch.setenv("SBATCH_EXPORT", "ALL")  # would win over the script
    scratch = tmp_path / "scratch"
    asked = on(settings, cores=2, scratch=f"{scratch}/$SLURM_JOB_ID", environment=["export FROM_A_LINE='a b'"])
    show = "import json, os; print(json.dumps([os.getpid(), os.getcwd(), dict(os.environ)]))"
    [launched] = submit(database, asked, Request(2, 600, 120, 2), command=[sys.executable, "-c", show])
    number = number_of(launched.job)
    slurm.wait(number, "COMPLETED")
    pid, cwd, seen = json.loads((launched.directory / f"job-{number}.out").read_text())
    assert str(pid) == seen["SLURM_TASK_PID"]  # signals for the batch shell reach the command
    assert Path(cwd) == launched.directory
    assert seen["ALKAFLOW_DATA_DIR"] == str(settings.data_dir)
    assert seen["ALKAFLOW_DATABASE"] == settings.database
    assert seen["FROM_A_LINE"] == "a b"
    assert seen["SLURM_CPUS_PER_TASK"] == "2"
    assert seen["SLURM_MEM_PER_NODE"] == "573"  # 600 MB in units of 2^20 bytes
    assert 0 < float(seen["SLURM_JOB_END_TIME"]) - time.time() < 120
    assert seen["ALKAFLOW_SCRATCH_DIR"] == f"{scratch}/{number}"
    assert Path(seen["ALKAFLOW_SCRATCH_DIR"]).is_dir()
    assert "CANARY" not in seen
    assert mode(launched.directory) == 0o700
    for left in slurm.root.rglob("*"):
        assert not left.is_file() or b"canary-of-the" not in left.read_bytes()
    document = database.jobs.find_one({"_id": launched.job})
    assert document is not None
    assert (document["scheduler"], document["id"], document["cluster"]) == ("slurm", number, "alkatest")
    assert document["resources"]["memory_mb"] == 600
    assert Path(document["script"]).read_text().startswith("#!/bin/bash -l\n#SBATCH")


def test_fates_on_a_real_slurm(slurm: SlurmService, database: Database, settings: Settings) -> None:
    asked = on(settings)
    failed = number_after(asked, database, [sys.executable, "-c", "raise SystemExit(3)"])
    killed = number_after(asked, database, [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"])
    done = number_after(asked, database, ["true"])
    cancelled = number_after(asked, database, SLEEP)
    running = number_after(on(settings, partition="both"), database, SLEEP)
    waiting = slurm.run("sbatch", "--parsable", "-o", "/dev/null", "--begin=now+1hour", "--wrap", "true").strip()
    slurm.wait(cancelled, "RUNNING")
    slurm.wait(running, "RUNNING")
    slurm.run("scancel", cancelled)
    wait_for(lambda: slurm.state(cancelled) not in ("RUNNING", "COMPLETING"), 60, "the end of a cancelled job")
    for number in (failed, killed, done):
        slurm.wait(number, "FAILED", "COMPLETED")
    numbers = [failed, killed, done, cancelled, running, waiting, "999999"]
    expected = ["failed", "failed", "completed", "cancelled", None, None, "unknown to the scheduler"]
    jobs = [f"slurm:{number}" for number in numbers]
    from_log = Slurm().fates(jobs)
    assert [from_log[job].outcome for job in jobs] == expected
    assert "with exit code 3" in from_log[f"slurm:{failed}"].reason
    assert "by signal 11" in from_log[f"slurm:{killed}"].reason
    assert from_log[f"slurm:{waiting}"].waiting
    without_log = Slurm(Path("/nonexistent/log")).fates(jobs)
    assert [without_log[job].outcome for job in jobs] == expected
    assert "with exit code 3" in without_log[f"slurm:{failed}"].reason


def test_a_lost_node_and_a_more_urgent_job(slurm: SlurmService, database: Database, settings: Settings) -> None:
    everything = Request(cores=4, memory_mb=500, walltime_seconds=120, pack=1)
    first = slurm.run(
        "sbatch", "--parsable", "-o", "/dev/null", "-p", "both", "-w", "two", "-c4", "--wrap", "sleep 300"
    ).strip()
    slurm.wait(first, "RUNNING")
    second = number_after(on(settings, partition="urgent"), database, SLEEP, everything)
    slurm.wait(second, "RUNNING")
    slurm.run("scontrol", "update", "node=two", "state=down", "reason=test")
    slurm.wait(second, "NODE_FAIL")
    found = Slurm().fates([f"slurm:{first}", f"slurm:{second}"])
    assert [fate.outcome for fate in found.values()] == ["preempted", "node_failure"]


def claim_as(number: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SLURM_JOB_ID", number)
    claim = Queue(database).claim()
    monkeypatch.delenv("SLURM_JOB_ID")
    assert claim is not None
    return claim.id


def test_what_a_dead_job_held_is_free_at_once(
    slurm: SlurmService, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = on(settings)
    plan = make_plan(Study.model_validate(STUDY | {"guests": ["Li", "Na", "K"]}))
    Queue(database).submit(plan)
    dead, alive = number_after(asked, database, SLEEP), number_after(asked, database, SLEEP)
    slurm.wait(dead, "RUNNING")
    slurm.wait(alive, "RUNNING")
    held = claim_as(dead, database, monkeypatch)
    kept = claim_as(alive, database, monkeypatch)
    stray = claim_as("999998", database, monkeypatch)  # of a job without a document, on this host
    scheduler = scheduler_of(asked)
    assert scheduler is not None
    slurm.run("scancel", dead)
    wait_for(lambda: slurm.state(dead) == "CANCELLED", 60, "the end of a cancelled job")

    rows = {row["job"]: row for row in overview(database, scheduler)}
    assert rows[f"slurm:{dead}"]["outcome"] == "cancelled"
    assert list(rows[f"slurm:{dead}"]["running"]) == [held]
    assert rows[f"slurm:{alive}"]["state"] == "RUNNING"

    ended = {one.job: one for one in reconcile(database, asked, scheduler)}
    assert ended.keys() == {f"slurm:{dead}", "slurm:999998"}
    assert ended[f"slurm:{dead}"].calculations == [held]
    assert ended["slurm:999998"].calculations == [stray]
    states = {d["_id"]: d["state"] for d in database.calculations.find({"_id": {"$in": [held, kept, stray]}})}
    assert states == {held: "READY", kept: "RUNNING", stray: "READY"}
    attempt = database.attempts.find_one({"calculation": held})
    assert attempt is not None
    assert attempt["outcome"] == "cancelled"
    assert "it was cancelled" in attempt["message"]
    documents = {d["_id"]: d for d in database.jobs.find()}
    assert documents[f"slurm:{dead}"]["ended"] is not None
    assert documents[f"slurm:{dead}"]["state"] == "CANCELLED"
    assert documents[f"slurm:{alive}"]["state"] == "RUNNING"
    assert reconcile(database, asked, scheduler) == []


def test_a_job_of_another_cluster_is_left_alone(
    slurm: SlurmService, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Queue(database).submit(make_plan(Study.model_validate(STUDY)))
    held = claim_as("999997", database, monkeypatch)
    database.jobs.insert_one({"_id": "slurm:999997", "scheduler": "slurm", "cluster": "other", "ended": None})
    assert reconcile(database, on(settings), Slurm()) == []
    database.jobs.delete_many({})
    database.calculations.update_one({"_id": held}, {"$set": {"claim.owner.host": "node9.elsewhere"}})
    assert reconcile(database, on(settings), Slurm()) == []
    database.calculations.update_one({"_id": held}, {"$set": {"claim.owner.host": socket.gethostname()}})
    assert [one.outcome for one in reconcile(database, on(settings), Slurm())] == ["unknown to the scheduler"]


def test_nothing_is_freed_while_slurm_does_not_answer(
    slurm: SlurmService, database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Queue(database).submit(make_plan(Study.model_validate(STUDY)))
    number = number_after(on(settings), database, SLEEP)
    held = claim_as(number, database, monkeypatch)
    before = database.jobs.find_one({"_id": f"slurm:{number}"})
    config = (slurm.root / "slurm.conf").read_text()
    port = config.partition("SlurmctldPort=")[2].split()[0]
    (tmp_path / "slurm.conf").write_text(config.replace(f"SlurmctldPort={port}", "SlurmctldPort=1"))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(ServiceError, match=r"scontrol failed|squeue failed"):
        reconcile(database, on(settings), Slurm())
    document = database.calculations.find_one({"_id": held})
    assert document is not None
    assert document["state"] == "RUNNING"
    assert database.jobs.find_one({"_id": f"slurm:{number}"}) == before


def test_an_embedded_database_is_refused_for_other_hosts(
    slurm: SlurmService, database: Database, settings: Settings
) -> None:
    far = on(settings, partition="far")
    with pytest.raises(ServiceError, match=r"jobs may run on elsewhere.*set mongodb_uri"):
        submit(database, far, SMALL)
    assert database.jobs.count_documents({}) == 0
    assert far.cluster is not None
    refuse_embedded(far.model_copy(update={"mongodb_uri": SecretStr(URI)}), far.cluster, Slurm())


def test_what_sbatch_says_reaches_the_user(slurm: SlurmService, database: Database, settings: Settings) -> None:
    with pytest.raises(ServiceError, match=r"sbatch did not take the job: Invalid feature specification; give another"):
        submit(database, on(settings, constraint="nosuch"), SMALL)
    with pytest.raises(BadInputError, match="no partition 'long'"):
        submit(database, on(settings, partition="long"), SMALL)
    with pytest.raises(BadInputError, match=r"asks for 5 cores, and no node of the default partition has more than 4;"):
        submit(database, on(settings), Request(5, 500, 120, 1))
    with pytest.raises(BadInputError, match=r"no node of partition both has more than 4000;"):
        submit(database, on(settings, partition="both"), Request(1, 5000, 120, 1))
    with pytest.raises(BadInputError, match=r"1 of the resource gpu, and no node of the default partition has any"):
        submit(database, on(settings, gres="gpu:1"), SMALL)
    assert database.jobs.count_documents({}) == 0


def test_the_commands_submit_and_show(
    slurm: SlurmService, database: Database, cli_environment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    path.write_text("cluster: {scheduler: slurm, cores: 1, memory_mb: 2000, walltime: 00:10:00, signal_seconds: 60}\n")
    with pytest.raises(BadInputError, match="nothing waits"):
        run_cluster("launch")
    Queue(database).submit(make_plan(Study.model_validate(STUDY)))
    waiting = database.calculations.count_documents({})
    run_cluster("launch", "--dry-run", "--constraint", "fast")
    script = capsys.readouterr().out
    assert "#SBATCH --constraint=fast\n" in script
    run_cluster("launch", "--json")
    [launched] = json.loads(capsys.readouterr().out)
    number = number_of(launched["job"])
    slurm.wait(number, "COMPLETED", "FAILED", seconds=200)
    run_cluster("status", "--json")
    [row] = json.loads(capsys.readouterr().out)
    log = (Path(launched["directory"]) / f"job-{number}.out").read_text()
    assert (row["job"], row["outcome"], row["running"]) == (launched["job"], "completed", {}), log
    assert database.calculations.count_documents({"state": "COMPLETED"}) == waiting, log
    run_cluster("status")
    assert launched["job"] in capsys.readouterr().out


def running_job(slurm: SlurmService, database: Database, settings: Settings) -> tuple[str, str]:
    """Launch a worker and wait until it computes; the job's number and the calculation."""
    [launched] = submit(database, settings, SMALL)
    query = {"state": "RUNNING", "claim.job": launched.job, "progress": {"$ne": None}}
    document = wait_for(lambda: database.calculations.find_one(query), 60, "a calculation to run")
    return number_of(launched.job), document["_id"]


@pytest.mark.faults
def test_a_worker_ends_well_at_the_signal_and_badly_without_it(
    slurm: SlurmService, database: Database, settings: Settings
) -> None:
    Queue(database).submit(make_plan(Study.model_validate(STUDY | {"protocol": "published"})))
    asked = on(settings)
    number, held = running_job(slurm, database, asked)
    slurm.run("scancel", "--batch", "--signal=USR1", number)
    slurm.wait(number, "COMPLETED", "FAILED", seconds=120)
    assert Slurm().fates([f"slurm:{number}"])[f"slurm:{number}"].outcome == "completed"
    document = database.calculations.find_one({"_id": held})
    assert document is not None
    assert (document["state"], document["claim"], document["deaths"]) == ("READY", None, [])

    number, held = running_job(slurm, database, asked)
    document = database.calculations.find_one({"_id": held})
    assert document is not None
    os.kill(document["claim"]["owner"]["pid"], signal.SIGKILL)
    slurm.wait(number, "FAILED")
    ended = {one.job: one for one in reconcile(database, asked, Slurm())}
    assert ended[f"slurm:{number}"].calculations == [held]
    assert "by signal 9" in ended[f"slurm:{number}"].reason
    document = database.calculations.find_one({"_id": held})
    assert document is not None
    assert (document["state"], document["claim"]) == ("READY", None)
    assert document["deaths"] in (["failed"], [])  # the latter where it had got further than the job before


@pytest.mark.faults
def test_the_signal_comes_before_the_walltime(slurm: SlurmService, database: Database, settings: Settings) -> None:
    wait = "import signal, time; print(signal.sigwait([signal.SIGUSR1]), time.time(), flush=True)"
    block = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]);"
    asked = on(settings, signal_seconds=20)
    begun = time.time()
    [launched] = submit(database, asked, Request(1, 500, 60, 1), command=[sys.executable, "-c", block + wait])
    number = number_of(launched.job)
    slurm.wait(number, "COMPLETED", "TIMEOUT", "FAILED", seconds=150)
    seen, when = (launched.directory / f"job-{number}.out").read_text().split()
    assert int(seen.removeprefix("Signals.").replace("SIGUSR1", str(int(signal.SIGUSR1)))) == signal.SIGUSR1
    assert float(when) - begun < 60
    assert Slurm().fates([launched.job])[launched.job].outcome == "completed"


@pytest.mark.faults
def test_a_job_that_goes_on_ends_by_its_walltime(slurm: SlurmService, database: Database, settings: Settings) -> None:
    deaf = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGUSR1, signal.SIG_IGN); time.sleep(300)"]
    number = number_after(on(settings), database, deaf, Request(1, 500, 60, 1))
    slurm.wait(number, "TIMEOUT", "FAILED", "COMPLETED", seconds=200)
    fate = Slurm().fates([f"slurm:{number}"])[f"slurm:{number}"]
    assert fate.outcome == "walltime"
    assert "reached its walltime" in fate.reason
    wait_for(lambda: slurm.state(number) == "", 100, "Slurm to forget a job")
    assert Slurm().fates([f"slurm:{number}"])[f"slurm:{number}"].outcome == "walltime"  # from the log
    without = Slurm(Path("/nonexistent/log")).fates([f"slurm:{number}"])
    assert without[f"slurm:{number}"].outcome == "unknown to the scheduler"
