"""Continuum solvents: how one is written, and the dielectric constants of those that have a name.

Dielectric constants are static ones at 25 degrees Celsius.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from alkaflow.errors import BadInputError, UnknownNameError

_MINNESOTA = (
    "Minnesota Solvent Descriptor Database, https://comp.chem.umn.edu/solvation/mnsddb.pdf; "
    "Marenich, Cramer, Truhlar, J. Phys. Chem. B 113, 6378 (2009), doi 10.1021/jp810292n"
)
_XU = "Xu, Chem. Rev. 104, 4303 (2004), doi 10.1021/cr030203g, Tables 1 and 2"


@dataclass(frozen=True)
class KnownSolvent:
    """A solvent by name.

    Attributes
    ----------
    name
        In full.
    epsilon
        Static dielectric constant at 25 degrees Celsius.
    source
        Of the dielectric constant.
    smd
        Its name among the solvents that SMD has parameters for; None where there are none.
    """

    name: str
    epsilon: float
    source: str
    smd: str | None = None


SOLVENTS: dict[str, KnownSolvent] = {
    "water": KnownSolvent("water", 78.355, _MINNESOTA, "water"),
    "acetonitrile": KnownSolvent("acetonitrile", 35.688, _MINNESOTA, "acetonitrile"),
    "dmso": KnownSolvent("dimethyl sulfoxide", 46.826, _MINNESOTA, "dimethylsulfoxide"),
    "dmf": KnownSolvent("N,N-dimethylformamide", 37.219, _MINNESOTA, "N,N-dimethylformamide"),
    "sulfolane": KnownSolvent("sulfolane", 43.962, _MINNESOTA, "tetrahydrothiophene-S,S-dioxide"),
    "acetone": KnownSolvent("acetone", 20.493, _MINNESOTA, "acetone"),
    "thf": KnownSolvent("tetrahydrofuran", 7.4257, _MINNESOTA, "tetrahydrofuran"),
    "dioxane": KnownSolvent("1,4-dioxane", 2.2099, _MINNESOTA, "1,4-dioxane"),
    "methanol": KnownSolvent("methanol", 32.613, _MINNESOTA, "methanol"),
    "ethanol": KnownSolvent("ethanol", 24.852, _MINNESOTA, "ethanol"),
    "dme": KnownSolvent("1,2-dimethoxyethane", 7.2, _XU),
    "dol": KnownSolvent("1,3-dioxolane", 7.1, _XU),
    "ec": KnownSolvent("ethylene carbonate", 89.78, _XU),
    "pc": KnownSolvent("propylene carbonate", 64.92, _XU),
    "dmc": KnownSolvent("dimethyl carbonate", 3.107, _XU),
    "emc": KnownSolvent("ethyl methyl carbonate", 2.958, _XU),
    "dec": KnownSolvent("diethyl carbonate", 2.805, _XU),
}
"""Names that a level may give its solvent. The constants of Xu for liquids that freeze above 25 degrees Celsius, as
ethylene carbonate does, are his."""

Model = Literal["cpcm", "iefpcm", "smd"]
MODELS: tuple[Model, ...] = ("cpcm", "iefpcm", "smd")


class Solvent(BaseModel):
    """A continuum around the molecule.

    ``cpcm`` and ``iefpcm`` have the electrostatic part alone and need a dielectric constant, which a name fills in.
    ``smd`` (IEF-PCM with radii and non-electrostatic terms of its own; Marenich, Cramer, Truhlar, J. Phys. Chem. B
    113, 6378 (2009), doi 10.1021/jp810292n) needs a name.

    C-PCM: Barone, Cossi, J. Phys. Chem. A 102, 1995 (1998), doi 10.1021/jp9716997. IEF-PCM: Cances, Mennucci, Tomasi,
    J. Chem. Phys. 107, 3032 (1997), doi 10.1063/1.474659.

    Raises
    ------
    BadInputError
        Neither a name nor a dielectric constant, a name nobody knows, or one without parameters for SMD.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Model
    name: str | None = None
    epsilon: float | None = Field(default=None, gt=1, allow_inf_nan=False, description="static dielectric constant")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        name = values.get("name") if isinstance(values, dict) else None
        if not isinstance(name, str):
            return values
        filled = values | {"name": name.lower()}
        if filled["name"] not in SOLVENTS and filled.get("epsilon") is None:
            hint = "or give a dielectric constant, as in cpcm(epsilon=7.2)"
            raise UnknownNameError("solvent", name, SOLVENTS, hint)
        if filled.get("model") != "smd" and filled.get("epsilon") is None:
            filled["epsilon"] = SOLVENTS[filled["name"]].epsilon
        return filled

    @model_validator(mode="after")
    def _complete(self) -> "Solvent":
        if self.model != "smd":
            if self.epsilon is None:
                raise BadInputError(f"{self.model} needs a solvent or a dielectric constant, as in {self.model}(dme)")
            return self
        if self.name not in SOLVENTS or self.epsilon is not None:
            raise BadInputError("smd takes the name of a solvent and no dielectric constant, as in smd(acetonitrile)")
        if SOLVENTS[self.name].smd is None:
            raise BadInputError(f"smd has no parameters for {self.name}; use cpcm({self.name}) or iefpcm({self.name})")
        return self

    def __str__(self) -> str:
        known = SOLVENTS.get(self.name or "")
        parts = [self.name] if self.name else []
        if self.epsilon is not None and (known is None or known.epsilon != self.epsilon):
            parts.append(f"epsilon={repr(self.epsilon).removesuffix('.0')}")
        return f"{self.model}({','.join(parts)})"


def parse_solvent(model: str, text: str) -> Solvent:
    """Read what stands in the brackets of ``cpcm(...)``, ``iefpcm(...)`` or ``smd(...)``.

    Parameters
    ----------
    model
        The word before them.
    text
        The name of a solvent, ``epsilon=NUMBER``, or both with a comma between.

    Raises
    ------
    BadInputError
        What `Solvent` raises, or the text is neither.
    """
    values: dict[str, Any] = {"model": model}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        key, equals, number = part.partition("=")
        if not equals:
            key, number = "name", part
        if key.strip() not in ("name", "epsilon") or key.strip() in values:
            raise BadInputError(f"{model}({text}) is neither {model}(SOLVENT) nor {model}(epsilon=NUMBER)")
        values[key.strip()] = number.strip().lower()
    if "epsilon" in values:
        values["epsilon"] = _dielectric_constant(values["epsilon"])
    return Solvent.model_validate(values)


def _dielectric_constant(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 1 < value < float("inf"):
        raise BadInputError(f"{text!r} is no dielectric constant; it is a number above 1, as in cpcm(epsilon=7.2)")
    return value
