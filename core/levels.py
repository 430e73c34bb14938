"""Levels of theory: small validated values with one written form and a canonical hash.

Written form: ``FUNCTIONAL[-DISPERSION]/BASIS[+nofit]``, for example ``b3lyp-d3bj/6-311g(d,p)``; or ``gfn2-xtb``.
"""

import json
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.files import sha256_of

# Written name -> libxc description for PySCF. b3lypg is the VWN-RPA form that Gaussian calls B3LYP; PySCF's plain
# b3lyp meant VWN5 before 2.3. PySCF takes the D3(BJ) parameters of the same functional.
FUNCTIONALS: dict[str, str] = {
    "b3lyp": "b3lypg",
    "blyp": "blyp",
    "bp86": "bp86",
    "pbe": "pbe",
    "pbe0": "pbe0",
    "tpss": "tpss",
    "tpssh": "tpssh",
}
DISPERSIONS = ("d3bj",)

Grid = int | tuple[int, int]
"""A PySCF grid level, or (radial, angular) points per atom, pruned in both cases."""

_LEVEL_TEXT = re.compile(r"(?P<method>[^/]+)/(?P<basis>[^+]+(?:\+{1,2}g[^+]*)?)(?P<nofit>\+nofit)?", re.IGNORECASE)
_BASIS_TEXT = re.compile(r"[A-Za-z0-9*(),+\-]{1,40}")


class Xtb(BaseModel):
    """A tight-binding method of Grimme's group, for geometries.

    GFN2-xTB: Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019), doi 10.1021/acs.jctc.8b01176.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["gfn2-xtb"] = "gfn2-xtb"
    accuracy: float = Field(default=0.1, gt=0, description="tblite's accuracy factor")
    max_force: float = Field(default=0.005, gt=0, description="a relaxation ends below this force [eV/Angstrom]")
    max_steps: int = Field(default=600, ge=1, description="a relaxation fails after this many steps")
    optimiser: Literal["bfgs"] | None = Field(
        default=None, description="none: L-BFGS; bfgs keeps the whole Hessian and finds its way off flat saddle points"
    )

    def __str__(self) -> str:
        return self.method


class KohnSham(BaseModel):
    """A Kohn-Sham level: functional, basis, dispersion, density fitting, grid and SCF thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["dft"] = "dft"
    functional: str
    dispersion: Literal["d3bj"] | None = Field(default=None, description="d3bj: two-body D3(BJ), as Gaussian's GD3BJ")
    basis: str = Field(description="basis of every element without an entry of its own; spherical d and f")
    basis_of_element: dict[str, str] = Field(default_factory=dict)
    fitting: str | None = Field(default="def2-universal-jkfit", description="auxiliary basis; none: exact integrals")
    grid: Grid = Field(default=3, description="integration grid of the energy")
    scf_grid: Grid | None = Field(default=None, description="grid to converge on before finishing on `grid`")
    energy_threshold: float = Field(default=1e-8, gt=0, description="SCF energy change [Hartree]")
    gradient_threshold: float = Field(default=1e-4, gt=0, description="norm of the SCF orbital gradient")
    max_cycles: int = Field(default=80, ge=1)
    convergence: Literal["gau-loose", "gau", "gau-tight"] | None = Field(
        default=None, description="when a relaxation has converged, by Gaussian's sets; none: gau"
    )
    max_steps: int | None = Field(default=None, ge=1, description="a relaxation fails after this many; none: 200")
    stability: Literal[True] | None = Field(
        default=None, description="test the SCF solution and leave an unstable one; none: only after corrections"
    )
    states: Literal[True] | None = Field(
        default=None, description="search the states of an open-shell complex cheaply, begin with the lowest"
    )

    @field_validator("functional")
    @classmethod
    def _known_functional(cls, value: str) -> str:
        if value.lower() not in FUNCTIONALS:
            raise UnknownNameError("functional", value, FUNCTIONALS)
        return value.lower()

    @field_validator("basis")
    @classmethod
    def _plain_basis(cls, value: str) -> str:
        return normalise_basis(value)

    @field_validator("basis_of_element")
    @classmethod
    def _plain_bases(cls, value: dict[str, str]) -> dict[str, str]:
        return {element: normalise_basis(basis) for element, basis in value.items()}

    def basis_for(self, symbol: str) -> str:
        """Return the name of the basis of an element."""
        return self.basis_of_element.get(symbol, self.basis)

    def __str__(self) -> str:
        dispersion = f"-{self.dispersion}" if self.dispersion else ""
        return f"{self.functional}{dispersion}/{self.basis}{'' if self.fitting else '+nofit'}"


Level = Annotated[Xtb | KohnSham, Field(discriminator="method")]


def normalise_basis(name: str) -> str:
    """Lower-case a basis name and write Pople's stars as ``(d)`` and ``(d,p)``.

    Raises
    ------
    BadInputError
        The text is not a name (a path, or basis data): only names are accepted.
    """
    if not _BASIS_TEXT.fullmatch(name):
        raise BadInputError(f"basis {name!r} is not the name of a basis set")
    lowered = name.lower()
    if lowered.startswith(("6-31", "3-21", "4-31")):
        lowered = re.sub(r"\*\*$", "(d,p)", lowered)
        lowered = re.sub(r"\*$", "(d)", lowered)
    return lowered


def parse_level(text: str, like: KohnSham | None = None) -> Xtb | KohnSham:
    """Read the written form of a level.

    Parameters
    ----------
    text
        ``gfn2-xtb`` or ``FUNCTIONAL[-DISPERSION]/BASIS[+nofit]``.
    like
        Where grid and thresholds come from; the defaults of KohnSham without it.

    Raises
    ------
    BadInputError
        The text has no such form, or names an unknown functional or dispersion.
    """
    stripped = text.strip()
    if stripped.lower() == "gfn2-xtb":
        return Xtb()
    match = _LEVEL_TEXT.fullmatch(stripped)
    if match is None:
        raise BadInputError(
            f"level {text!r} is not of the form FUNCTIONAL[-DISPERSION]/BASIS[+nofit], such as b3lyp-d3bj/6-311g(d,p)"
        )
    functional, _, dispersion = match["method"].lower().partition("-")
    if dispersion and dispersion not in DISPERSIONS:
        raise UnknownNameError("dispersion", dispersion, DISPERSIONS)
    if functional not in FUNCTIONALS:
        raise UnknownNameError("functional", functional, FUNCTIONALS)
    values = like.model_dump() if like is not None else {}
    values |= {
        "functional": functional,
        "dispersion": dispersion or None,
        "basis": normalise_basis(match["basis"]),
        "basis_of_element": {},
        "fitting": None if match["nofit"] else "def2-universal-jkfit",
    }
    return KohnSham.model_validate(values)


def level_hash(level: Xtb | KohnSham) -> str:
    """Return 16 hexadecimal digits that name the level and all its thresholds."""
    return sha256_of(json.dumps(level.model_dump(mode="json", exclude_none=True), sort_keys=True).encode())[:16]
