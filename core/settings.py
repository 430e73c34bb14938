"""All settings: one YAML file (``~/.alkaflow.yaml``, or ``ALKAFLOW_CONFIG_FILE``) and ``ALKAFLOW_*`` variables."""

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from alkaflow.cluster import ClusterSettings, fault_in_words
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.yaml import load_yaml

ENV_PREFIX = "ALKAFLOW_"
CONFIG_FILE_VARIABLE = "ALKAFLOW_CONFIG_FILE"
# Variables with our prefix that are not settings.
_OTHER_VARIABLES = {CONFIG_FILE_VARIABLE, "ALKAFLOW_CI"}


_WANTED = {
    "data_dir": "the path of a folder",
    "mongodb_uri": "a text that begins with mongodb:// or mongodb+srv://",
    "database": "a name of up to 60 letters, digits, _ and -",
    "mongod": "the path of a file",
    "mongod_cache_gb": "a number of GB from 0.25 on",
    "threads": "a whole number from 1 on",
    "memory_mb": "whole MB from 500 on, such as 16000",
    "scratch_dir": "the path of a folder",
    "time_limit": "seconds above 0",
    "device": "cpu or gpu",
    "blas_kernel": "auto, keep or the name of a kernel, such as Haswell",
    "lease_seconds": "seconds from 2 on",
    "allow_unauthenticated_server": "true or false",
    "cluster": "'key: value' lines",
}
_KIND = re.compile(r"[^A-Za-z0-9_]")  # pydantic names the kinds of a union between the names of fields


def config_file() -> Path:
    """Return where the configuration file is looked for."""
    return Path(os.environ.get(CONFIG_FILE_VARIABLE) or "~/.alkaflow.yaml").expanduser()


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "alkaflow"


class Settings(BaseSettings):
    """Everything a user can set. Environment variables win over the file."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where the embedded database and the working directories of calculations live.",
    )
    mongodb_uri: SecretStr | None = Field(
        default=None,
        description="A MongoDB server to use; without one, alkaflow starts its own on a Unix socket.",
    )
    database: str = Field(default="alkaflow", pattern=r"^[A-Za-z0-9_-]{1,60}$", description="Name of the database.")
    mongod: Path | None = Field(
        default=None,
        description="The mongod binary; default: the one on PATH, then the one of the extra 'local'.",
    )
    mongod_cache_gb: float = Field(default=0.25, ge=0.25, description="Cache of the embedded mongod [GB].")
    threads: int | None = Field(default=None, ge=1, description="Threads per calculation; default: all usable cores.")
    memory_mb: int | None = Field(
        default=None,
        ge=500,
        description="Memory a calculation may plan with [MB]; default: 80 % of what the machine, control groups and "
        "Slurm give.",
    )
    scratch_dir: Path | None = Field(
        default=None,
        description="Where integrals that do not fit in memory go, such as a disk of the node; default: beside the "
        "calculation.",
    )
    time_limit: float | None = Field(
        default=None,
        gt=0,
        description="A calculation is stopped after this long [s]; within a Slurm job also a minute before its end. "
        "The same command continues a relaxation from its checkpoint.",
    )
    device: Literal["cpu", "gpu"] = Field(
        default="cpu", description="'gpu': SCF cycles and gradients by gpu4pyscf, from the extra 'gpu'."
    )
    blas_kernel: str = Field(
        default="auto",
        description="OPENBLAS_CORETYPE of calculations: 'auto' by CPU flags, 'keep' the library's choice, or a name.",
    )
    fast_kernels: bool = Field(
        default=True,
        description="Potentials and gradients by dense loops of alkaflow's own where it has them, to 1e-8 the same; "
        "false: all by PySCF.",
    )
    lease_seconds: float = Field(
        default=120.0,
        ge=2,
        description="A claim on another host counts as dead after this long without a sign [s].",
    )
    allow_unauthenticated_server: bool = Field(
        default=False, description="Whether to use a MongoDB server on another host that asks for no password."
    )
    cluster: ClusterSettings | None = Field(
        default=None, description="How workers are asked for on a cluster; 'alkaflow cluster init' writes it."
    )

    @field_validator("data_dir", "mongod", "scratch_dir", mode="after")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, the one file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, InitSettingsSource(settings_cls, _file_values())


def _file_values() -> dict[str, Any]:
    path = config_file()
    if not path.exists():
        if CONFIG_FILE_VARIABLE in os.environ:
            raise BadInputError(f"{CONFIG_FILE_VARIABLE} names {path}, which does not exist")
        return {}
    values = load_yaml(path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadInputError(f"{path}: expected 'key: value' lines")
    for key in values:
        if key not in Settings.model_fields:
            raise UnknownNameError(f"key in {path}:", str(key), Settings.model_fields)
    if "mongodb_uri" in values and path.stat().st_mode & 0o077:
        raise BadInputError(f"{path} holds mongodb_uri and others can read it; run: chmod 600 {path}")
    return values


def uri_in_file() -> str | None:
    """Return the mongodb_uri of the configuration file, whatever the environment says; None without one.

    Raises
    ------
    BadInputError
        The file cannot be used.
    """
    value = _file_values().get("mongodb_uri")
    return None if value is None else str(value)


def load_settings() -> Settings:
    """Read the configuration file and the environment.

    Raises
    ------
    BadInputError
        An unknown key or variable, or a value of the wrong kind; the message names it.
    """
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | _OTHER_VARIABLES
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and variable not in known:
            raise UnknownNameError("environment variable", variable, known)
    try:
        return Settings()
    except ValidationError as error:
        raise BadInputError(_refused(error.errors()[0])) from None
    except SettingsError as error:  # a value of a variable that should be JSON
        raise BadInputError(_unreadable(str(error))) from None


def _refused(error: Any) -> str:
    """What is wrong with a setting, in words; never with the connection string."""
    known = [part for part in error["loc"] if not (isinstance(part, str) and _KIND.search(part))]
    name = ".".join(str(part) for part in known)
    field = name.partition(".")[0]
    if field == "mongodb_uri":
        message = f"give {_WANTED[field]}"
    elif field == "cluster" and len(known) > 1:
        message = fault_in_words({**error, "loc": tuple(known[1:])})
    else:
        message = fault_in_words({**error, "loc": tuple(known)}, _WANTED)
    return f"setting {name!r} ({config_file()} or {ENV_PREFIX + field.upper()}): {message}"


def _unreadable(said: str) -> str:
    name = next((name for name in Settings.model_fields if f'"{name}"' in said), "cluster")
    return f"setting {name!r} ({ENV_PREFIX + name.upper()}): expected 'key: value' lines, in the configuration file"
