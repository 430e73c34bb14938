"""Protocols: the ordered steps a structure goes through, each at a level."""

from dataclasses import dataclass, replace

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import KohnSham, Level, Xtb, parse_level


@dataclass(frozen=True)
class Protocol:
    """Relax at one level after the other, take the energy at the last."""

    name: str
    relaxations: tuple[Level, ...]
    energy: Level
    summary: str

    @property
    def level(self) -> str:
        """Written form: the energy's level // the geometry's."""
        return f"{self.energy}//{self.relaxations[-1]}" if self.relaxations else str(self.energy)

    def with_level(self, text: str) -> "Protocol":
        """Return the protocol with another level, on the same grids and thresholds.

        It replaces that of the energy, and of the relaxations at that same level.

        Raises
        ------
        BadInputError
            The level is unknown, or no Kohn-Sham level.
        """
        level = parse_level(text, like=self.energy if isinstance(self.energy, KohnSham) else None)
        if not isinstance(level, KohnSham):
            raise BadInputError(f"level {text!r} cannot give the final energy; use FUNCTIONAL[-DISPERSION]/BASIS")
        relaxations = tuple(
            parse_level(text, like=relaxation)
            if isinstance(relaxation, KohnSham) and str(relaxation) == str(self.energy)
            else relaxation
            for relaxation in self.relaxations
        )
        return replace(self, relaxations=relaxations, energy=level)


_PUBLISHED = KohnSham(
    functional="b3lyp",
    dispersion="d3bj",
    basis="6-311g(d,p)",
    scf_grid=3,
    grid=(99, 590),
    energy_threshold=1e-7,
    gradient_threshold=2e-4,
)
_SMALL = KohnSham(
    functional="b3lyp",
    dispersion="d3bj",
    basis="6-31g(d)",
    grid=2,
    energy_threshold=1e-7,
    gradient_threshold=2e-4,
    states=True,
)
_STABLE = _PUBLISHED.model_copy(update={"stability": True})

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="screen",
            relaxations=(Xtb(),),
            energy=KohnSham(
                functional="b3lyp",
                dispersion="d3bj",
                basis="6-31g",
                grid=1,
                energy_threshold=1e-6,
                gradient_threshold=1e-3,
            ),
            summary="GFN2-xTB geometry, B3LYP-D3(BJ)/6-31G energy on a coarse grid: minutes, right order",
        ),
        Protocol(
            name="published-sp",
            relaxations=(Xtb(),),
            energy=_PUBLISHED,
            summary="GFN2-xTB geometry, B3LYP-D3(BJ)/6-311G(d,p) energy on the pruned (99,590) grid",
        ),
        Protocol(
            name="composite",
            relaxations=(Xtb(), _SMALL),
            energy=_STABLE,
            summary="B3LYP-D3(BJ)/6-31G(d) geometry, B3LYP-D3(BJ)/6-311G(d,p) energy on the pruned (99,590) grid",
        ),
        Protocol(
            name="published",
            relaxations=(Xtb(), _SMALL, _PUBLISHED.model_copy(update={"scf_grid": None, "grid": 3})),
            energy=_STABLE,
            summary="B3LYP-D3(BJ)/6-311G(d,p) throughout: relaxed on grid level 3, energy on the pruned (99,590) grid",
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """Return a protocol by name; raise UnknownNameError with the known ones."""
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
