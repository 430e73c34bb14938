"""What a scheduler's own words say about a job. Nothing here asks anybody anything."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

FateOutcome = Literal[
    "walltime",
    "out_of_memory",
    "node_failure",
    "cancelled",
    "preempted",
    "failed",
    "completed",
    "unknown to the scheduler",
]
UNKNOWN: FateOutcome = "unknown to the scheduler"

SLURM_ENDED: dict[str, FateOutcome] = {
    "TIMEOUT": "walltime",
    "DEADLINE": "walltime",
    "OUT_OF_MEMORY": "out_of_memory",
    "NODE_FAIL": "node_failure",
    "BOOT_FAIL": "node_failure",
    "RECONFIG_FAIL": "node_failure",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "PREEMPTED": "preempted",
    "FAILED": "failed",
    "LAUNCH_FAILED": "failed",
    "COMPLETED": "completed",
}
"""Slurm's states of a job that will not run again, and what they mean."""

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_PHRASES: dict[FateOutcome, str] = {
    "walltime": "it reached its walltime",
    "out_of_memory": "it used more memory than it asked for",
    "node_failure": "its node failed",
    "cancelled": "it was cancelled",
    "preempted": "another job took its place",
    "failed": "its script failed",
    "completed": "it ended by itself",
    UNKNOWN: "the scheduler does not know it any more",
}
_PAIR = re.compile(r"(?:^|\s)(JobId|JobState|Reason|ExitCode|NodeList)=(\S*)")
_NOTHING = {"", "None", "(null)", "None assigned", "N/A", "n/a"}


@dataclass(frozen=True)
class Fate:
    """What became of a job.

    Parameters
    ----------
    job
        ``slurm:123`` or ``pbs:123.server``.
    state
        The scheduler's word; empty when it has none.
    outcome
        How it ended; None while it waits or runs.
    reason
        A sentence for people on how it ended, or why it waits.
    node
        Where it runs or ran.
    user
        Whose it is, where the answer says so.
    """

    job: str
    state: str
    outcome: FateOutcome | None
    reason: str
    node: str | None = None
    user: str | None = None

    @property
    def dead(self) -> bool:
        """Whether it will not run again."""
        return self.outcome is not None

    @property
    def waiting(self) -> bool:
        """Whether it has not begun, or was sent back to begin again: nothing of it runs."""
        return not self.dead and self.state in _WAITING


def unknown(job: str) -> Fate:
    """The fate of a job that no source knows."""
    return Fate(job, "", UNKNOWN, _sentence(job, UNKNOWN))


def slurm_fate(number: str, words: str, exit_code: str = "", note: str = "", node: str = "", user: str = "") -> Fate:
    """Make a fate of Slurm's words.

    Parameters
    ----------
    number
        The job's number.
    words
        Its state, with what follows it, such as ``CANCELLED by 1000``.
    exit_code
        ``code:signal``.
    note
        Slurm's reason for its state.
    node, user
        Where, and whose.
    """
    state, _, rest = words.strip().partition(" ")
    state = state.rstrip("+")
    outcome = SLURM_ENDED.get(state)
    job = f"slurm:{number}"
    place = None if node in _NOTHING else node
    if outcome is None:
        return Fate(job, state, None, "" if note in _NOTHING else note, place, user or None)
    detail = ""
    if outcome == "cancelled" and rest.startswith("by "):
        detail = f" {rest}" if not rest[3:].isdigit() else f" by user {rest[3:]}"
    elif outcome == "failed":
        detail = _exit_detail(exit_code)
    return Fate(job, state, outcome, _sentence(job, outcome, detail, place), place, user or None)


def _exit_detail(exit_code: str) -> str:
    code, _, signal = exit_code.partition(":")
    if signal not in ("", "0"):
        return f", by signal {signal}"
    return f", with exit code {code}" if code not in ("", "0") else ""


def _sentence(job: str, outcome: FateOutcome, detail: str = "", node: str | None = None) -> str:
    where = f" on {node}" if node else ""
    return f"job {job}{where}: {_PHRASES[outcome]}{detail}"


def parse_squeue(text: str) -> dict[str, Fate]:
    """Fates by job, from ``squeue -h -t all -o '%A|%T|%u|%N|%r'``."""
    fates = {}
    for line in text.splitlines():
        parts = line.split("|", 4)
        if len(parts) == 5 and parts[0].strip().isdigit():
            number, state, user, node, reason = (part.strip() for part in parts)
            fate = slurm_fate(number, state, note=reason, node=node, user=user)
            fates[fate.job] = fate
    return fates


def parse_sacct(text: str) -> dict[str, Fate]:
    """Fates by job, from ``sacct -n -P -o JobIDRaw,State,ExitCode,Reason,NodeList,User``.

    A job some step of which ran out of memory is out of memory, though Slurm calls the job itself failed.
    """
    fates: dict[str, Fate] = {}
    killed: set[str] = set()
    for line in text.splitlines():
        parts = line.split("|")
        number, _, step = parts[0].partition(".")
        if len(parts) != 6 or not number.isdigit():
            continue
        _, state, exit_code, reason, node, user = (part.strip() for part in parts)
        if not step:
            fate = slurm_fate(number, state, exit_code, reason, node, user)
            fates[fate.job] = fate
        elif state.startswith("OUT_OF_ME"):
            killed.add(f"slurm:{number}")
    for job in killed & fates.keys():
        fate = fates[job]
        if fate.outcome in ("failed", "cancelled"):
            reason = _sentence(job, "out_of_memory", node=fate.node)
            fates[job] = Fate(job, fate.state, "out_of_memory", reason, fate.node, fate.user)
    return fates


def parse_records(lines: Iterable[str]) -> dict[str, Fate]:
    """Fates by job, from ``scontrol show job -o`` or the log of ``jobcomp/filetxt``; the last line counts."""
    fates = {}
    for line in lines:
        if not line.startswith("JobId="):
            continue
        fields: dict[str, str] = {}
        for key, value in _PAIR.findall(line):
            fields.setdefault(key, value)  # a job's name may hold anything, but comes after its number
        if fields["JobId"].isdigit() and "JobState" in fields:
            fate = slurm_fate(
                fields["JobId"], fields["JobState"], fields.get("ExitCode", ""), fields.get("Reason", ""),
                fields.get("NodeList", ""),
            )  # fmt: skip
            fates[fate.job] = fate
    return fates


def parse_qstat(text: str) -> dict[str, Fate]:
    """Fates by job, from ``qstat -x -f`` of OpenPBS.

    ``Exit_status`` is what its documentation says: -29 killed for walltime, -27 and -26 for memory; from 256 on, 256
    and a signal.
    """
    fates = {}
    for block in re.split(r"(?m)^(?=Job Id: )", text):
        lines = re.sub(r"\n\t", "", block).splitlines()
        if not lines or not lines[0].startswith("Job Id: "):
            continue
        fields: dict[str, str] = {}
        for line in lines[1:]:
            key, separator, value = line.strip().partition(" = ")
            if separator:
                fields.setdefault(key, value)
        fate = _pbs_fate(lines[0].removeprefix("Job Id: ").strip(), fields)
        fates[fate.job] = fate
    return fates


_PBS_KILLED: dict[int, FateOutcome] = {-29: "walltime", -27: "out_of_memory", -26: "out_of_memory"}
_PBS_SIGNAL = 256


def _pbs_fate(number: str, fields: dict[str, str]) -> Fate:
    job, state = f"pbs:{number}", fields.get("job_state", "")
    node = fields.get("exec_host", "").partition("/")[0] or None
    user = fields.get("Job_Owner", "").partition("@")[0] or None
    if state not in ("F", "C", "X"):
        return Fate(job, "PENDING" if state in ("Q", "H", "W", "T") else state, None, "", node, user)
    comment = fields.get("comment", "")
    try:
        status = int(fields["Exit_status"])
    except (KeyError, ValueError):
        return Fate(job, state, "cancelled", _sentence(job, "cancelled", node=node), node, user)
    detail = ""
    if status in _PBS_KILLED:
        outcome = _PBS_KILLED[status]
    elif status >= _PBS_SIGNAL and "walltime" in comment:
        outcome = "walltime"
    elif status == _PBS_SIGNAL + 15 or status == _PBS_SIGNAL + 9:
        outcome = "cancelled"
        detail = f", by signal {status - _PBS_SIGNAL}"
    elif status == 0:
        outcome = "completed"
    else:
        outcome = "failed"
        detail = f", with exit status {status}"
    return Fate(job, state, outcome, _sentence(job, outcome, detail, node), node, user)
