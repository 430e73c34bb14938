"""The study manifest: what a paper published and what to compute beside it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError, model_validator

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import parse_level
from alkaflow.yaml import load_yaml

DEFAULT_TOLERANCE_EV = 0.10
NOT_STATED = "not stated"
"""What `Study.published_level` says of a paper that does not give its level of theory."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$"


def _as_multiplicities(value: Any) -> Any:
    """None, ``auto``, or a list of 2S+1; a single number is a list of one."""
    if value is None or value == "auto":
        return value
    given = [value] if isinstance(value, int) else value
    plain = isinstance(given, list | tuple) and all(type(number) is int and number >= 1 for number in given)
    if not plain or not given or len(set(given)) < len(given):
        raise ValueError(f"{value!r} is neither auto nor a list of different 2S+1, such as [1, 3]")
    return given


Multiplicities = Annotated[Literal["auto"] | tuple[int, ...] | None, BeforeValidator(_as_multiplicities)]
"""Spin states to compute: ``auto`` for those that the fragments can couple to, or a list of 2S+1."""


def _as_text_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


TextList = Annotated[list[str], BeforeValidator(_as_text_list), Field(min_length=1)]
GuestList = Annotated[list[str], BeforeValidator(_as_text_list)]


class HostEntry(BaseModel):
    """A host by name, and where its structure comes from: exactly one of builtin, smiles and file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_NAME)
    builtin: str | None = None
    smiles: str | None = None
    file: str | None = Field(default=None, description="an XYZ, MOL, SDF or CIF file, relative to the study file")
    conformer: str | int | None = Field(
        default=None, description="of a molecule: lowest, flattest, chelating or a number from 1"
    )
    molecule: str | None = Field(default=None, description="formula of the one to take from a CIF with several")
    charge: int | None = Field(default=None, description="default: what the source says; neutral for built-in hosts")
    multiplicity: int | None = Field(default=None, ge=1, description="default: the lowest")
    multiplicities: Multiplicities = Field(default=None, description="compute all of these; the lowest energy counts")
    protocol: str | None = Field(default=None, description="of this host and its complexes, instead of the study's")
    level: str | None = Field(default=None, description="of the energies of this host, instead of the study's")
    rigid: StrictBool = Field(
        default=False, description="keep its geometry as it is given, alone and in complexes; guests relax"
    )
    guests: GuestList | None = Field(
        default=None, description="of this host, instead of the study's; an empty list: the host alone"
    )
    sites: TextList | None = Field(default=None, description="of this host, instead of the study's")

    @model_validator(mode="after")
    def _one_source(self) -> "HostEntry":
        given = [key for key in ("builtin", "smiles", "file") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(f"host {self.name!r} needs exactly one of builtin, smiles, file; it has {given or 'none'}")
        if self.multiplicity is not None and self.multiplicities is not None:
            raise ValueError(f"host {self.name!r} has both multiplicity and multiplicities; give one of them")
        return self


class PublishedRow(BaseModel):
    """One row of the published table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=64)
    host: str
    guest: str
    site: str
    value_ev: float = Field(allow_inf_nan=False)
    tolerance_ev: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    source: str | None = None

    @property
    def tolerance(self) -> float:
        """Accepted absolute deviation [eV]."""
        return self.tolerance_ev if self.tolerance_ev is not None else DEFAULT_TOLERANCE_EV


class Study(BaseModel):
    """A YAML manifest: hosts, guests, sites, protocol, and the published rows to compare with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_NAME)
    title: str = ""
    doi: str | None = Field(default=None, pattern=r"^10\.\d{4,9}/\S+$")
    hosts: list[HostEntry] = Field(min_length=1)
    guests: TextList
    sites: TextList
    protocol: str
    published: list[PublishedRow] = Field(default_factory=list)
    level: str | None = None
    guests_per_complex: Literal[1, 2] = 1
    energies: Literal["stepwise", "total"] = Field(
        default="stepwise", description="of several guests: of the last one, or of all of them together"
    )
    reference: Literal["atom", "ion", "bulk"] = Field(
        default="atom", description="what the energy of a guest is counted from"
    )
    decomposition: StrictBool = Field(default=False, description="interaction, deformation and dispersion of every row")
    counterpoise: StrictBool = Field(default=False, description="the same, and the counterpoise correction")
    frequencies: StrictBool = Field(default=False, description="of all legs, at the level of the last relaxation")
    multiplicities: Multiplicities = Field(default=None, description="spin states of the complexes")
    properties: StrictBool = Field(
        default=False, description="charges by all schemes and the electrostatic potential of all legs"
    )
    states: StrictBool = Field(default=False, description="search electronic states also in protocols that do not")
    published_level: str | None = Field(
        default=None,
        description="of the paper, such as b3lyp-d3bj/6-311g(d,p), or 'not stated'; default: the study's own level, or "
        "Gaussian's B3LYP-D3(BJ)/6-311G(d,p)",
    )
    notes: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="warnings about the published numbers, for readers of the paper"
    )
    solvent: Any = None

    @model_validator(mode="after")
    def _served_and_consistent(self) -> "Study":
        if self.solvent is not None:
            raise ValueError(f"solvent: {self.solvent!r} is not served by this version; leave it out")
        if self.published_level not in (None, NOT_STATED):
            parse_level(self.published_level)
        if self.takes_apart and self.guests_per_complex > 1 and self.energies == "total":
            raise ValueError("of several guests only stepwise energies have parts; leave out energies: total")
        names = [host.name for host in self.hosts]
        lists = [("host", names), ("guest", self.guests), ("site", self.sites)]
        lists += [("guest", host.guests or []) for host in self.hosts]
        lists += [("site", host.sites or []) for host in self.hosts]
        for what, values in lists:
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"{what} {value!r} is listed twice")
        for row in self.published:
            if row.host not in names:
                raise UnknownNameError(f"host of the published row {row.label!r}:", row.host, names)
            guests = self.guests_of(self.hosts[names.index(row.host)])
            if row.guest not in guests:
                raise UnknownNameError(f"guest of the published row {row.label!r}:", row.guest, guests)
        return self

    def guests_of(self, host: HostEntry) -> list[str]:
        """Names of the guests of a host: its own, or those of the study."""
        return self.guests if host.guests is None else host.guests

    @property
    def takes_apart(self) -> bool:
        """Whether every row needs the energies of host and guest at the geometry of their complex."""
        return self.decomposition or self.counterpoise


def read_study(path: Path) -> Study:
    """Read and validate a study file.

    Raises
    ------
    BadInputError
        Not YAML, an unknown key (with suggestions), a missing or impossible value; names file and field.
    """
    content = load_yaml(path)
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: a study is a mapping with the keys name, hosts, guests, sites, protocol")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise _explained(error, path) from None
    except UnknownNameError as error:
        raise BadInputError(f"{path}: {error}") from None


def _explained(error: ValidationError, path: Path) -> BadInputError:
    """Turn the first problem of a validation into one sentence that names the field."""
    # A misspelt key is also a missing one; the misspelling is the better news.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    location = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {"hosts": HostEntry, "published": PublishedRow}
        model = models.get(str(first["loc"][0]), Study)
        if len(first["loc"]) == 1:
            model = Study
        parent = ".".join(str(part) for part in first["loc"][:-1])
        what = f"key in {parent}:" if parent else "key"
        return BadInputError(f"{path}: {UnknownNameError(what, str(first['loc'][-1]), model.model_fields)}")
    if first["type"] == "missing":
        return BadInputError(f"{path}: the key {location!r} is missing")
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return BadInputError(f"{path}: {location + ': ' if location else ''}{message}{more}")
