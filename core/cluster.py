"""What a user says about a cluster, once: the section ``cluster`` of the configuration file.

Every field ends in a job script, so each has a pattern of its own and there is no field for free header lines. The
lines of ``environment`` are the user's own shell, run as that user, and the only place for it.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.@+-]{0,127}$"
_NAMES = r"^[A-Za-z0-9][A-Za-z0-9_.,@+-]{0,255}$"
_WALLTIME = r"^\d{1,4}:[0-5]\d:[0-5]\d$"
_SHOWN = 80  # characters of a value in a message
_LEAST_BEFORE_SIGNAL = 30  # s; the rest of a job that begins to end as soon as it begins is of no use

Name = Annotated[str, StringConstraints(pattern=_NAME)]


class ClusterSettings(BaseModel):
    """How workers are asked for, on one cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheduler: Literal["slurm", "pbs"] = Field(description="Which scheduler takes the jobs.")
    partition: str | None = Field(default=None, pattern=_NAMES, description="Slurm's partition or PBS's queue.")
    account: Name | None = Field(default=None, description="The account or project that pays.")
    qos: Name | None = Field(default=None, description="Slurm's quality of service.")
    constraint: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_\[(][A-Za-z0-9_.,:&|*\[\]()-]{0,255}$",
        description="Features that Slurm's node must have.",
    )
    gres: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z][A-Za-z0-9_.:,=/-]{0,127}$",
        description="Generic resources, such as gpu:1; on PBS only gpu:N.",
    )
    cores: int = Field(default=4, ge=1, le=4096, description="Cores of one job, on one node.")
    memory_mb: int | None = Field(
        default=None, ge=500, le=100_000_000, description="Memory of one job [MB]; default: what the estimates need."
    )
    walltime: str | None = Field(
        default=None, pattern=_WALLTIME, description="Time of one job, HH:MM:SS; default: what the estimates need."
    )
    signal_seconds: int = Field(
        default=300,
        ge=10,
        le=65535,
        description="The worker is told to checkpoint and stop this long before the walltime [s].",
    )
    environment: tuple[str, ...] = Field(
        default=(), max_length=50, description="Shell lines before the worker: module load ..., source .../activate."
    )
    scratch: str | None = Field(
        default=None,
        pattern=r"^(/|\$\{?[A-Z][A-Z0-9_]*\}?)[A-Za-z0-9_./${}-]{0,200}$",
        description="Folder on the node's own disk, such as $SLURM_TMPDIR or /tmp; the node fills in the variables.",
    )
    pack: int | Literal["auto"] = Field(
        default="auto", description="Calculations that share one job; 'auto': from their estimates."
    )
    completion_log: Path | None = Field(
        default=None, description="Slurm's job-completion log, where Slurm does not say where it is."
    )

    @field_validator("environment", mode="after")
    @classmethod
    def _single_lines(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            if not line.strip() or len(line) > 1000 or any(not c.isprintable() and c != "\t" for c in line):
                raise ValueError(f"{line!r} is not one line of shell of at most 1000 characters")
            if "$$" in line:
                raise ValueError(f"{line!r} contains $$, which FireWorks' templates would take for a field of theirs")
        return lines

    @field_validator("scratch", mode="after")
    @classmethod
    def _no_process_number(cls, value: str | None) -> str | None:
        if value is not None and ("$$" in value or ".." in value.split("/")):
            raise ValueError("give a folder with variables such as $SLURM_TMPDIR, without $$ and ..")
        return value

    @field_validator("pack", mode="after")
    @classmethod
    def _some(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 4096:
            raise ValueError("pack is 'auto' or a number from 1 to 4096")
        return value

    @field_validator("completion_log", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.expanduser().is_absolute():
            raise ValueError("give the whole path, from /")
        return value.expanduser() if value is not None else None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.pack, int) and self.pack > self.cores:
            raise ValueError(f"pack is {self.pack}, but a job has {self.cores} cores; each calculation needs one")
        if self.walltime is not None and seconds_of(self.walltime) < self.signal_seconds + _LEAST_BEFORE_SIGNAL:
            raise ValueError(
                f"walltime {self.walltime} leaves no time before the signal, {self.signal_seconds} s before its end; "
                "raise walltime or lower signal_seconds"
            )
        if self.scheduler == "pbs":
            for name in ("qos", "constraint", "completion_log"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is Slurm's; leave it out for PBS")
            if self.gres is not None and not re.fullmatch(r"gpu:\d{1,3}", self.gres):
                raise ValueError("on PBS gres can only be gpu:N")
        return self


_WANTED = {
    "scheduler": "slurm or pbs",
    "partition": "the name of a partition (several with commas): letters, digits and _.@+-",
    "account": "a name: letters, digits and _.@+-",
    "qos": "a name: letters, digits and _.@+-",
    "constraint": "features of a node, such as fast or [a|b]",
    "gres": "resources, such as gpu:1 or gpu:a100:2",
    "cores": "a whole number from 1 to 4096",
    "memory_mb": "whole MB from 500 on, such as 16000",
    "walltime": "HH:MM:SS, such as 12:00:00",
    "signal_seconds": "whole seconds from 10 to 65535",
    "environment": "a list of up to 50 shell lines",
    "scratch": "a folder from / or from a variable, such as /tmp or $SLURM_TMPDIR",
    "pack": "'auto' or a whole number",
    "completion_log": "the path of a file",
}


def fault_in_words(error: Mapping[str, Any], wanted: Mapping[str, str] = MappingProxyType(_WANTED)) -> str:
    """Say in words what is wrong with a value that pydantic refused, and what is wanted.

    Parameters
    ----------
    error
        One of those that a ``ValidationError`` has.
    wanted
        What each field wants, by its name.
    """
    name = next((str(part) for part in reversed(error["loc"]) if str(part) in wanted), "")
    if error["type"] == "value_error":  # our own words
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), wanted, n=1)
        return "there is no such field" + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(wanted)}")
    if error["type"] == "missing":
        return f"it is missing; give {wanted[name]}" if name else "it is missing"
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "expected 'key: value' lines under it"
    if not name:
        return str(error["msg"])
    given = repr(error.get("input"))
    return f"{given if len(given) <= _SHOWN else given[:_SHOWN] + '...'} cannot be used; give {wanted[name]}"


def seconds_of(walltime: str) -> int:
    """Seconds in ``HH:MM:SS``."""
    hours, minutes, seconds = (int(part) for part in walltime.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def walltime_of(seconds: float) -> str:
    """Whole seconds as ``HH:MM:SS``."""
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
