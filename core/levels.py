"""Levels of theory: small validated values with one written form and a canonical hash.

Written form: ``FUNCTIONAL[-DISPERSION]/BASIS[+OPTION...]``, for example ``b3lyp-d3bj/6-311g(d,p)+nofit``; a name among
`PRESETS`; or ``gfn2-xtb``. Options, in the order in which they are written back: ``nofit``, ``cart``, a solvent
(``cpcm(dme)``, ``iefpcm(epsilon=7.2)``, ``smd(acetonitrile)``) and ``substitute(BASIS)``.
"""

import json
import re
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from alkaflow.elements import atomic_number
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.files import sha256_of
from alkaflow.solvents import MODELS, Solvent, parse_solvent

# Written name -> libxc description for PySCF. b3lypg is the VWN-RPA form that Gaussian calls B3LYP; PySCF's plain
# b3lyp meant VWN5 before 2.3.
FUNCTIONALS: dict[str, str] = {
    "b3lyp": "b3lypg",
    "blyp": "blyp",
    "bp86": "bp86",
    "pbe": "pbe",
    "pbe0": "pbe0",
    "tpss": "tpss",
    "tpssh": "tpssh",
}
Dispersion = Literal["d3bj", "d3bjatm", "d4"]
DISPERSIONS: tuple[Dispersion, ...] = ("d3bj", "d3bjatm", "d4")
FITTING = "def2-universal-jkfit"

Grid = int | tuple[int, int]
"""A PySCF grid level, or (radial, angular) points per atom, pruned in both cases."""

_LEVEL_TEXT = re.compile(r"(?P<method>[^/]+)/(?P<basis>[^+]+(?:\+{1,2}g[^+]*)?)(?P<options>(?:\+.*)?)", re.IGNORECASE)
_NEXT_OPTION = re.compile(r"\+(?![+g])", re.IGNORECASE)  # the plus signs of 6-31++g belong to its name
_OPTION_TEXT = re.compile(r"(?P<name>[a-z]+)(?:\((?P<value>.*)\))?")
_OPTIONS = ("nofit", "cart", *MODELS, "substitute")
_FORM = "FUNCTIONAL[-DISPERSION]/BASIS[+OPTION...], such as b3lyp-d3bj/6-311g(d,p) or pbe0/def2-svp+nofit+cpcm(dme)"
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
    optimiser: Literal["bfgs", "geometric"] | None = Field(
        default=None,
        description="none: L-BFGS; bfgs keeps the whole Hessian and finds its way off flat saddle points; geometric "
        "steps in internal coordinates, for what is large and soft, where no atom is frozen",
    )

    def __str__(self) -> str:
        return self.method


class KohnSham(BaseModel):
    """A Kohn-Sham level: functional, basis, dispersion, density fitting, solvent, grid and SCF thresholds.

    Basis sets made for an effective core potential bring it with them. What is None plays no part in any hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["dft"] = "dft"
    functional: str
    dispersion: Dispersion | None = Field(
        default=None, description="d3bj: two-body D3(BJ), as Gaussian's GD3BJ; d3bjatm: with three-body terms; d4"
    )
    basis: str = Field(description="basis of every element without an entry of its own")
    basis_of_element: dict[str, str] = Field(default_factory=dict)
    substitute: str | None = Field(default=None, description="basis of the elements that `basis` cannot describe")
    cartesian: Literal[True] | None = Field(default=None, description="six d and ten f functions; none: five and seven")
    fitting: str | None = Field(default=FITTING, description="auxiliary basis; none: exact integrals")
    solvent: Solvent | None = Field(default=None, description="continuum around the molecule; none: vacuum")
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

    @field_validator("basis", "substitute")
    @classmethod
    def _plain_basis(cls, value: str | None) -> str | None:
        return None if value is None else normalise_basis(value)

    @field_validator("basis_of_element")
    @classmethod
    def _plain_bases(cls, value: dict[str, str]) -> dict[str, str]:
        for element in value:
            atomic_number(element)
        return {element: normalise_basis(basis) for element, basis in value.items()}

    def basis_for(self, symbol: str) -> str:
        """Return the name of the basis of an element; a substitute only knows who knows the basis sets."""
        return self.basis_of_element.get(symbol, self.basis)

    def __str__(self) -> str:
        dispersion = f"-{self.dispersion}" if self.dispersion else ""
        options = [
            None if self.fitting else "nofit",
            "cart" if self.cartesian else None,
            str(self.solvent) if self.solvent else None,
            f"substitute({self.substitute})" if self.substitute else None,
        ]
        return "+".join([f"{self.functional}{dispersion}/{self.basis}", *(option for option in options if option)])


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


PRESETS: dict[str, KohnSham] = {
    "gaussian-b3lyp": KohnSham(
        functional="b3lyp", dispersion="d3bj", basis="6-311g(d,p)", fitting=None, scf_grid=3, grid=(99, 590)
    ),
    "b3lyp-svp": KohnSham(functional="b3lyp", dispersion="d3bj", basis="def2-svp", scf_grid=None, grid=3),
    "b3lyp-tzvp": KohnSham(functional="b3lyp", dispersion="d3bj", basis="def2-tzvp", scf_grid=3, grid=(99, 590)),
}
"""Levels by name. The first is what Gaussian 16 does by default for ``B3LYP/6-311G(d,p) EmpiricalDispersion=GD3BJ``."""


def parse_level(text: str, like: KohnSham | None = None) -> Xtb | KohnSham:
    """Read the written form of a level.

    Parameters
    ----------
    text
        ``gfn2-xtb``, a name among `PRESETS`, or ``FUNCTIONAL[-DISPERSION]/BASIS[+OPTION...]``.
    like
        Where thresholds come from, and grids where the text is no preset; the defaults of KohnSham without it.

    Raises
    ------
    BadInputError
        The text has no such form, names an unknown functional, dispersion, option or solvent, or gives a name options.
    """
    stripped = text.strip()
    _refuse_options_of_a_name(stripped)
    if stripped.lower() == "gfn2-xtb":
        return Xtb()
    written: dict[str, Any] = {"dispersion": None, "basis_of_element": {}, "fitting": FITTING}
    written |= dict.fromkeys(("cartesian", "solvent", "substitute"))
    if stripped.lower() in PRESETS:
        written |= PRESETS[stripped.lower()].model_dump(exclude_unset=True)
    else:
        written |= _read_form(stripped)
    return KohnSham.model_validate((like.model_dump() if like is not None else {}) | written)


def _read_form(text: str) -> dict[str, Any]:
    """Fields of KohnSham that a written form sets."""
    match = _LEVEL_TEXT.fullmatch(text)
    if match is None:
        raise _formless(text)
    functional, _, dispersion = match["method"].lower().partition("-")
    if dispersion and dispersion not in DISPERSIONS:
        raise UnknownNameError("dispersion", dispersion, DISPERSIONS)
    if functional not in FUNCTIONALS:
        raise UnknownNameError("functional", functional, FUNCTIONALS)
    fields: dict[str, Any] = {
        "functional": functional,
        "dispersion": dispersion or None,
        "basis": normalise_basis(match["basis"]),
    }
    for option in _NEXT_OPTION.split(match["options"].lower())[1:]:
        name, value = _read_option(text, option)
        if name in fields:
            raise BadInputError(f"level {text!r} says twice what its {name} is")
        fields[name] = value
    return fields


def _refuse_options_of_a_name(text: str) -> None:
    """Refuse ``b3lyp-svp+cpcm(dme)``, and say how that level is written."""
    name, plus, options = text.lower().partition("+")
    if not plus:
        return
    if name == "gfn2-xtb":
        raise BadInputError(
            f"level {text!r}: gfn2-xtb takes no options, nor a solvent; write gfn2-xtb alone, or a level of the form "
            f"{_FORM}"
        )
    if name in PRESETS:
        refused = f"level {text!r}: the name {name}, which stands for {PRESETS[name]}, takes no options"
        try:
            written = parse_level(f"{PRESETS[name]}+{options}")
        except BadInputError as error:
            raise BadInputError(f"{refused}; {error}") from None
        raise BadInputError(f"{refused}; write the level out, on the protocol's grid or the default one: {written}")


def _formless(text: str) -> BadInputError:
    """The error on a text that is neither a name nor has a functional and a basis."""
    if "/" in text:
        return BadInputError(f"level {text!r} is not of the form {_FORM}")
    names = ("gfn2-xtb", *PRESETS)
    near = get_close_matches(text.lower().partition("+")[0], names, n=3, cutoff=0.5)
    advice = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return BadInputError(f"level {text!r} is none of {', '.join(names)}, and not of the form {_FORM}{advice}")


def _read_option(text: str, option: str) -> tuple[str, Any]:
    """Field of KohnSham that an option sets, and its value."""
    match = _OPTION_TEXT.fullmatch(option)
    if match is None:
        raise BadInputError(f"level {text!r} is not of the form {_FORM}")
    name, value = match["name"], match["value"]
    if name not in _OPTIONS:
        raise UnknownNameError("option of a level", name, _OPTIONS)
    if (value is None) != (name in ("nofit", "cart")):
        raise BadInputError(f"option {option!r} of level {text!r} {'needs' if value is None else 'takes no'} brackets")
    if name == "nofit":
        return "fitting", None
    if name == "cart":
        return "cartesian", True
    if name == "substitute":
        return "substitute", normalise_basis(value)
    return "solvent", parse_solvent(name, value)


def level_hash(level: Xtb | KohnSham) -> str:
    """Return 16 hexadecimal digits that name the level and all its thresholds."""
    return sha256_of(json.dumps(level.model_dump(mode="json", exclude_none=True), sort_keys=True).encode())[:16]
