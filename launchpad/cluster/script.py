"""Job scripts: FireWorks' adapter fills in our templates."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

from alkaflow.cluster import ClusterSettings
from alkaflow.errors import BadInputError, ServiceError
from alkaflow.launchpad.cluster.packing import Request
from alkaflow.settings import CONFIG_FILE_VARIABLE, ENV_PREFIX, Settings, config_file

JOB_NAME = "alkaflow"
_SUBMIT_SECONDS = 120.0
_PATH = re.compile(r"^/[A-Za-z0-9_./+@=,: -]*$")
# sbatch takes these over what the script asks for.
_OVERRIDES = ("SBATCH_EXPORT", "SBATCH_SIGNAL", "SBATCH_REQUEUE", "SBATCH_NO_REQUEUE", "SBATCH_TIMELIMIT",
              "SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU", "SBATCH_ARRAY_INX",
              "SBATCH_OUTPUT", "SBATCH_ERROR", "SBATCH_JOB_NAME", "SLURM_CLUSTERS", "SBATCH_CLUSTERS",
              "QSUB_")  # fmt: skip
_OVERRIDES_WHEN_SET = {"partition": "SBATCH_PARTITION", "account": "SBATCH_ACCOUNT", "qos": "SBATCH_QOS",
                       "constraint": "SBATCH_CONSTRAINT", "gres": "SBATCH_GRES"}  # fmt: skip


class Adapter(CommonAdapter):  # type: ignore[misc]  # fireworks has no types
    """FireWorks' adapter, which says why a submission failed."""

    def submit(self, script: Path, environment: Mapping[str, str]) -> str:
        """Submit a script from its folder and return the scheduler's number of the job.

        Raises
        ------
        ServiceError
            It was not taken; with what the scheduler said.
        """
        command = str(self.q_commands[self.q_type]["submit_cmd"])
        try:
            done = subprocess.run(
                [command, script.name], cwd=script.parent, env=dict(environment), stdin=subprocess.DEVNULL,
                capture_output=True, timeout=_SUBMIT_SECONDS, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise ServiceError(
                f"{command} is not on PATH; run this where jobs are submitted, on a login node"
            ) from None
        except subprocess.TimeoutExpired:
            raise ServiceError(
                f"{command} did not answer within {_SUBMIT_SECONDS:.0f} s; see with 'alkaflow cluster status' whether "
                "it took the job before trying again"
            ) from None
        except OSError as error:
            raise ServiceError(f"{command} cannot be run: {error.strerror}") from None
        said = done.stdout.decode("utf-8", "replace").strip()
        if done.returncode != 0:
            problem = what_was_said(done.stderr.decode("utf-8", "replace")) or f"exit code {done.returncode}"
            step = next((step for words, step in _STEPS if words.search(problem)), _ANY_STEP)
            raise ServiceError(f"{command} did not take the job: {problem[:400]}; {step}; the script: {script}")
        number = _number(self.q_type, said)
        if number is None:
            raise ServiceError(f"{command} took the job but did not say its number: {said[:200]!r}")
        return number


def what_was_said(text: str) -> str:
    """One sentence out of what sbatch or qsub wrote: its errors, without the name of the command, each once."""
    lines = [re.sub(r"^(sbatch|qsub): *(error: *)?", "", line.strip()) for line in text.splitlines()]
    lines = [line.removeprefix("Batch job submission failed: ").rstrip(".") for line in lines]
    return "; ".join(dict.fromkeys(line for line in lines if line))


_ANY_STEP = "change what the job asks for: alkaflow cluster launch --help"
_STEPS = [
    (re.compile(words, re.IGNORECASE), step)
    for words, step in (
        ("partition|queue", "give another --partition; sinfo (PBS: qstat -q) lists them"),
        ("account", "give another --account, or check it with those who run the cluster"),
        ("qos", "give another --qos"),
        ("feature|constraint", "give another --constraint; sinfo -o '%n %f' lists the features of nodes"),
        ("gres|generic resource", "give another --gres; sinfo -o '%n %G' lists them"),
        ("time limit|walltime", "give a shorter --walltime"),
        ("memory", "give less --memory-mb, or a smaller --pack"),
        (
            "node configuration|cpu|node count|processors",
            "give fewer --cores or less --memory-mb; sinfo -N -l lists nodes",
        ),
    )
]


def _number(q_type: str, said: str) -> str | None:
    pattern = r"Submitted batch job (\d+)" if q_type == "SLURM" else r"(?m)^(\d+(?:\.[A-Za-z0-9.-]+)?)$"
    found = re.search(pattern, said)
    return found.group(1) if found else None


def adapter_for(settings: Settings, cluster: ClusterSettings, request: Request, command: Sequence[str]) -> Adapter:
    """Make the adapter of a job that runs a command.

    Parameters
    ----------
    settings
        Where the data is; the script hands it on.
    cluster
        What to ask for.
    request
        How much of it.
    command
        What the job becomes.

    Raises
    ------
    BadInputError
        A path has characters that a job script cannot carry.
    """
    lines = [*_began(), *cluster.environment, *_time_limit(cluster, request), *_exports(settings), *_scratch(cluster)]
    fields: dict[str, Any] = {
        "job_name": JOB_NAME,
        "walltime": request.walltime,
        "queue": cluster.partition,
        "account": cluster.account,
        "pre_rocket": "\n".join(lines),
        "rocket_launch": "exec " + shlex.join(command),
    }
    if cluster.scheduler == "slurm":
        fields |= {
            "cores": request.cores,
            "mem": f"{request.memory_mib}M",
            "signal": f"B:USR1@{cluster.signal_seconds}",
            "qos": cluster.qos,
            "constraint": cluster.constraint,
            "gres": cluster.gres,
        }
        kind = "SLURM"
    else:
        gpus = f":ngpus={cluster.gres.partition(':')[2]}" if cluster.gres else ""
        fields["select"] = f"1:ncpus={request.cores}:mem={request.memory_mib}mb{gpus}"
        kind = "PBS"
    for name, value in fields.items():
        if value is not None and "$$" in str(value):
            raise BadInputError(f"{name} of the job contains $$, which a job script cannot carry: {value}")
    template = Path(__file__).with_name(f"{cluster.scheduler}_template.txt")
    return Adapter(kind, template_file=str(template), timeout=30, **fields)


def render(adapter: Adapter, directory: Path) -> str:
    """Return the script of a job that runs in a folder.

    Raises
    ------
    BadInputError
        The folder's name has characters that a job script cannot carry.
    """
    text: str = adapter.get_script_str(str(_carried("data_dir", directory)))
    return text.rstrip("\n") + "\n"


def worker_command(pack: int) -> list[str]:
    """The command of a job: a worker with as many calculations at a time, of this installation."""
    return [sys.executable, "-P", "-m", "alkaflow.launchpad.cli", "worker", "--pack", str(pack)]


def submit_environment(environment: Mapping[str, str], cluster: ClusterSettings) -> dict[str, str]:
    """The environment of sbatch or qsub: without variables that would win over the script."""
    names = [*_OVERRIDES, *(variable for field, variable in _OVERRIDES_WHEN_SET.items() if getattr(cluster, field))]
    return {key: value for key, value in environment.items() if not key.startswith(tuple(names))} | {"LC_ALL": "C"}


def _began() -> list[str]:
    return ["began=$(date +%s)"]


def _time_limit(cluster: ClusterSettings, request: Request) -> list[str]:
    """Tell the worker when the job ends, where the scheduler does not."""
    seconds = request.walltime_seconds
    if cluster.scheduler == "slurm":
        return [f'export SLURM_JOB_END_TIME="${{SLURM_JOB_END_TIME:-$((began + {seconds}))}}"']
    return [f'export PBS_WALLTIME="${{PBS_WALLTIME:-{seconds}}}"']


def _exports(settings: Settings) -> list[str]:
    """Where the data and the settings are; never the connection string, which the job reads from the file."""
    values = {ENV_PREFIX + "DATA_DIR": str(_carried("data_dir", settings.data_dir)),
              ENV_PREFIX + "DATABASE": settings.database}  # fmt: skip
    if (path := config_file()).exists():
        values[CONFIG_FILE_VARIABLE] = str(_carried(CONFIG_FILE_VARIABLE, path.absolute()))
    return [f"export {name}={shlex.quote(value)}" for name, value in sorted(values.items())]


def _scratch(cluster: ClusterSettings) -> list[str]:
    if cluster.scratch is None:
        return []
    problem = f"'cluster.scratch {cluster.scratch} is no folder here; scratch goes to data_dir: '"
    return [
        f'scratch="{cluster.scratch}"',
        'if mkdir -p -- "$scratch" && [ -w "$scratch" ]; then export ALKAFLOW_SCRATCH_DIR="$scratch"',
        f'else echo {problem}"$(hostname)" >&2; fi',
    ]


def _carried(what: str, path: Path) -> Path:
    if not _PATH.match(str(path)):
        raise BadInputError(
            f"{what} is {path}, and a job script cannot carry it; use letters, digits, spaces and _./+@=,:- only"
        )
    return path
