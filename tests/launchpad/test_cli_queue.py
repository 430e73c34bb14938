"""What the command line says of a queue: what waits and why, what failed, and a server that does not answer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alkaflow.errors import ServiceError
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.cli.display import Display
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.drain import Terminated, in_words
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.redaction import cause_of, hosts_of
from alkaflow.launchpad.worker import Event
from alkaflow.settings import Settings

Capture = pytest.CaptureFixture[str]


def test_paused_work_names_the_way_on(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    assert run(["submit", str(small_study)]) == 0
    assert "compute it with: alkaflow worker" in capsys.readouterr().out
    assert run(["pause", "small"]) == 0
    capsys.readouterr()
    assert run(["submit", str(small_study)]) == 0
    shown = capsys.readouterr().out
    assert "5 are paused" in shown
    assert "alkaflow resume small" in shown
    assert "compute it with" not in shown
    assert run(["worker"]) == 0
    talk = capsys.readouterr().err
    assert "the queue is empty" not in talk
    assert "5 are paused; go on with: alkaflow resume small" in talk
    assert run(["reproduce", str(small_study)]) == 1
    talk = capsys.readouterr().err
    assert "5 calculations are paused; run: alkaflow resume small; then the same command goes on" in talk


def test_cancelled_is_not_failed(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    assert run(["cancel", "small"]) == 0
    capsys.readouterr()
    assert run(["submit", str(small_study)]) == 0
    shown = capsys.readouterr().out
    assert "5 were cancelled and are queued again" in shown
    assert "failed" not in shown


@pytest.mark.parametrize(
    "arguments", [["-5", "ID"], ["ID", "--json", "-5"][::-1], ["3", "ID"], ["--json", "-1000", "ID"]]
)
def test_priorities_below_zero(
    arguments: list[str], small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    name = database.calculations.find_one({})["_id"]
    number = next(int(a) for a in arguments if a.lstrip("-").isdigit())
    capsys.readouterr()
    assert run(["priority", *(name if a == "ID" else a for a in arguments)]) == 0
    assert database.calculations.find_one({"_id": name})["priority"] == number
    if "--json" not in arguments:
        assert capsys.readouterr().out == f"1 now has priority {number}\n"


def test_priorities_that_are_none(cli_environment: Settings, database: Database, capsys: Capture) -> None:
    assert run(["priority", "-5", "--jsn", "small"]) == 2
    assert "No such option" in capsys.readouterr().err
    for arguments, said in (
        (["priority", "-1001", "small"], "'-1001' has to be -1000 or more"),
        (["priority", "1001", "small"], "'1001' has to be 1000 or less"),
        (["priority", "high", "small"], "'high' is not a whole number"),
        (["worker", "--pack", "0"], "'0' has to be 1 or more"),
        (["worker", "--stay", "long"], "'long' is not a number"),
    ):
        assert run(arguments) == 2
        assert said in (error := capsys.readouterr().err)
        assert "Input should" not in error


def test_ids_that_fit_none_or_many(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    database.calculations.insert_many([{"_id": f"{k:020x}", "state": "READY", "studies": []} for k in range(2000)])
    for given in ("", "ffff", "not an id"):
        capsys.readouterr()
        assert run(["why", given]) == 2
        error = capsys.readouterr().err
        assert len(error) < 300
        assert "unknown calculation" in error
        assert "alkaflow results list" in error
    assert run(["why", "0000"]) == 2
    error = capsys.readouterr().err
    assert "'0000' fits several calculations" in error
    assert error.rstrip().endswith("give more digits of one")
    assert len(error) < 300


def test_what_fits_nothing_names_a_next_step(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    short = database.calculations.find_one({"state": "READY"})["_id"][:8]
    capsys.readouterr()
    assert run(["retry", short]) == 2
    assert f"nothing of {short} failed or was cancelled: 1 is READY; alkaflow why {short}" in capsys.readouterr().err
    assert run(["resume", "small"]) == 2
    assert "nothing of small is paused: " in (error := capsys.readouterr().err)
    assert "alkaflow status small says more" in error


def test_a_directory_is_no_study(tmp_path: Path, small_study: Path, capsys: Capture) -> None:
    assert run(["submit", str(tmp_path)]) == 2
    assert f"{tmp_path} is a directory; give the YAML file of a study, such as {small_study}" in capsys.readouterr().err
    assert run(["submit", "hatnc"]) == 2
    assert "unknown study 'hatnc'; did you mean 'hatcn'?" in capsys.readouterr().err
    assert run(["submit", "hatcn", "--protocol", "scren"]) == 2
    assert "did you mean 'screen'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["submit", "hatnc"], ["calculate", "O", "--level", "b3lip/6-31g"]])
def test_a_typo_is_found_before_chemistry_is_loaded(arguments: list[str]) -> None:
    heavy = "('scipy', 'ase', 'pymongo', 'rdkit')"
    code = (
        f"import sys; from alkaflow.launchpad.cli import run; code = run({arguments!r}); "
        f"print(code, [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
    assert "did you mean" in done.stderr


def test_submit_names_the_cluster_where_there_is_one(
    small_study: Path, cli_environment: Settings, database: Database, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text("cluster: {scheduler: slurm}\n")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    assert run(["submit", str(small_study)]) == 0
    assert "alkaflow worker, or on the cluster: alkaflow cluster launch" in capsys.readouterr().out


def test_why_of_a_failed_one_tells_each_attempt_once(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    queue = Queue(database)
    name = database.calculations.find_one({"step": "relax"})["_id"]
    for number in range(3):
        claim = queue.claim([name])
        assert claim is not None
        queue.fail(claim, "engine_crashed", f"crash number {number}", "/nowhere", died=True)
    capsys.readouterr()
    assert run(["why", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  it failed: engine_crashed, as 3 tries died: engine_crashed, engine_crashed, engine_crashed"
    assert [line.split(" (")[0] for line in lines[2:5]] == [f"  attempt {number}" for number in (1, 2, 3)]
    assert "".join(lines).count("crash number 2") == 1
    assert [line for line in lines if "next:" in line] == [lines[-1]]
    assert lines[-1].endswith(f"alkaflow retry {name[:8]}")
    assert lines[-1].count("alkaflow retry") == 1


def test_why_a_worker_gave_up_is_said_in_words() -> None:
    assert in_words(KeyboardInterrupt()) == "the worker was told to stop by Ctrl-C (SIGINT)"
    assert in_words(Terminated()) == "the worker was told to stop by SIGTERM"
    assert "its job slurm:7 was cancelled" in in_words(Terminated(), "slurm:7")
    assert in_words(ServiceError("no disk left")) == "the worker could not go on: no disk left"
    assert in_words(RuntimeError("x")) == "the worker ended by a fault: RuntimeError: x"


def test_logs_of_one_that_has_said_nothing(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    claim = Queue(database).claim()
    assert claim is not None
    directory = cli_environment.data_dir / "attempts" / claim.id / "001-abc"
    directory.mkdir(parents=True)
    (directory / "output.log").touch()
    capsys.readouterr()
    assert run(["logs", claim.id]) == 0
    assert "is empty: the computing process has said nothing so far" in capsys.readouterr().err


def test_counts_and_times_of_the_display(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("alkaflow.launchpad.cli.display._LINE_EVERY", -1.0)
    counts = iter([(3, 8), (4, 9)])
    with Display({"a": 30.0, "b": 60.0}, 2, lambda: next(counts), alone=False) as display:
        display(Event("started", "a", "A"))
        display(Event("progress", "a", "A", {"stage": "SCF cycle", "step": 1, "energy_hartree": -1.0, "elapsed": 42.0}))
        display(Event("progress", "a", "A", seconds=42.0))
        display(Event("completed", "a", "A", message="-1.0", seconds=43.0))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["[3/8", "[3/8", "[3/8", "[4/9"]
    assert "in all" not in "".join(lines)
    assert "about 30 s left" in lines[1]
    assert "longer than the 30 s expected" in lines[2]
    with Display({"a": 1.0}, 1) as display:
        for _ in range(2):
            display(Event("completed", "a", "A", message="-1.0"))
    assert capsys.readouterr().err.splitlines()[-1].startswith("[2/2,")


def test_two_workers_end_with_one_line(
    small_study: Path, cli_environment: Settings, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    run(["submit", str(small_study)])
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two workers need two cores")
    assert run(["worker", "--pack", "2"]) == 0
    talk = capfd.readouterr().err
    assert [line for line in talk.splitlines() if "worked on" in line] == [
        "5 calculations were worked on; the queue is empty"
    ]
    counts = [tuple(map(int, found)) for found in re.findall(r"\[(\d+)/(\d+),", talk)]
    assert {total for _, total in counts} == {5}
    assert (5, 5) in counts


def test_a_folder_is_not_starting(
    small_study: Path, cli_environment: Settings, database: Database, tmp_path: Path, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    assert run(["cluster", "pack", str(tmp_path / "job")]) == 0
    capsys.readouterr()
    assert run(["status"]) == 0
    shown = capsys.readouterr().out
    assert f"in the job folder {tmp_path / 'job'} until 20" in shown
    assert ": starting" not in shown
    assert run(["worker"]) == 0
    assert "0 calculations were worked on; 5 are in job folders" in capsys.readouterr().err


def test_settings_that_cannot_be_used_are_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    for text, said in (
        ("threads: many\n", "'many' cannot be used; give a whole number from 1 on"),
        ("threads: 0\n", "0 cannot be used; give a whole number from 1 on"),
        ("device: tpu\n", "'tpu' cannot be used; give cpu or gpu"),
        ("database: a b\n", "'a b' cannot be used; give a name of up to 60 letters"),
        ("time_limit: -1\n", "-1 cannot be used; give seconds above 0"),
        ("data_dir: [1]\n", "[1] cannot be used; give the path of a folder"),
        ("cluster: {scheduler: slurm, walltime: 1h}\n", "'1h' cannot be used; give HH:MM:SS"),
        ("cluster: {scheduler: sge}\n", "'sge' cannot be used; give slurm or pbs"),
        ("cluster: {scheduler: slurm, walltme: 1}\n", "there is no such field; did you mean 'walltime'?"),
        ("cluster: {scheduler: slurm, partition: 'a; b'}\n", "'a; b' cannot be used; give the name of a partition"),
        ("cluster: {scheduler: slurm, account: '$(id)'}\n", "'$(id)' cannot be used; give a name: letters"),
        ("cluster: {cores: 2}\n", "it is missing; give slurm or pbs"),
        ("cluster: {scheduler: slurm, pack: some}\n", "'some' cannot be used; give 'auto' or a whole number"),
    ):
        path.write_text(text)
        assert run(["status"]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert f"({path} or ALKAFLOW_" in error
        assert not re.search(r"pattern|\^|Input should|union|constrained", error)
    path.write_text("mongodb_uri: [mongodb://ada:hunter2@db/]\n")
    path.chmod(0o600)
    assert run(["status"]) == 2
    assert "hunter2" not in (error := capsys.readouterr().err)
    assert "give a text that begins with mongodb://" in error
    path.unlink()
    monkeypatch.delenv("ALKAFLOW_CONFIG_FILE")
    monkeypatch.setenv("ALKAFLOW_CLUSTER", "slurm")
    assert run(["status"]) == 2
    assert "expected 'key: value' lines" in capsys.readouterr().err


def test_an_unreachable_server_is_named_with_the_cause(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("alkaflow.launchpad.database._SERVER_SECONDS", 0.3)
    uri = "mongodb://user:canary@{}/?serverSelectionTimeoutMS=300&authSource=admin"
    refused = "127.0.0.1:1) does not answer: the connection was refused; check that the server runs"
    unknown = "nowhere.invalid:27017) does not answer: there is no host of that name; check the name"
    for place, cause, commands in (
        ("127.0.0.1:1", refused, (["status"], ["doctor"], ["db", "status"])),
        ("nowhere.invalid", unknown, (["status"], ["db", "status"])),
    ):
        monkeypatch.setenv("ALKAFLOW_MONGODB_URI", uri.format(place))
        for command in commands:
            assert run(command) in (1, 3)
            shown = capsys.readouterr()
            assert "canary" not in shown.out + shown.err
            assert "run: alkaflow doctor" not in shown.out + shown.err
            assert "alkaflow db start" not in shown.out
            if command == ["status"]:
                assert cause in shown.err
            else:
                assert cause.partition(": ")[2].partition(";")[0] in shown.out


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("db:27017: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (configured timeouts: x)", "TLS"),
        ("db:27017: timed out (configured timeouts: connectTimeoutMS: 1), Timeout: 1s, Topology", "no answer in time"),
        ("db:27017: connection closed (configured timeouts: x)", "closed by the server"),
        ("No replica set members found yet, Timeout: 1s", "replica set"),
        ("db:27017: [Errno 113] No route to host (configured timeouts: x)", "cannot be reached"),
        ("something else (configured timeouts: x)", "something else"),
        ("", "Exception"),
    ],
)
def test_causes_in_words(said: str, cause: str) -> None:
    assert cause in cause_of(Exception(said))[0]


def test_hosts_of_connection_strings() -> None:
    assert hosts_of("mongodb://ada:p%40ss@db1,db2:27018/x?replicaSet=r@s") == "db1:27017, db2:27018"
    assert hosts_of("mongodb+srv://ada:secret@cluster.example.org/") == "cluster.example.org"
    assert hosts_of("mongodb://%2Frun%2Fmongodb.sock/") == "/run/mongodb.sock"
