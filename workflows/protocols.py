"""Protocols: the ordered steps a structure goes through, each at a level."""

from dataclasses import dataclass, replace

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import KohnSham, Level, Xtb, parse_level

_FINE_GRID_LEVEL = 5  # of PySCF: (105,770) for the second row, finer than (99,590)


@dataclass(frozen=True)
class Protocol:
    """Relax at one level after the other, take the energy at the last, and frequencies where they are asked for.

    With ``properties`` the energies at Kohn-Sham levels are followed by charges and the electrostatic potential. With
    ``states`` the energies of open-shell complexes begin with the lowest state that a search at a cheap level
    finds, where no relaxation before them has searched already.
    """

    name: str
    relaxations: tuple[Level, ...]
    energy: Level
    summary: str
    frequencies: bool = False
    states: bool = False
    properties: bool = False

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

    def with_frequencies(self) -> "Protocol":
        """Return the protocol with frequencies after the last relaxation.

        Raises
        ------
        BadInputError
            There is no level for them; see `vibrational_level`.
        """
        asked = replace(self, frequencies=True)
        asked.vibrational_level  # noqa: B018  (refuses)
        return asked

    @property
    def energy_searches(self) -> bool:
        """Whether it is the energy that searches electronic states."""
        relaxed = any(isinstance(level, KohnSham) and level.states for level in self.relaxations)
        return self.states and not relaxed

    @property
    def vibrational_level(self) -> KohnSham:
        """Of the frequencies: that of the last relaxation, where alone its geometry is stationary; on a fine grid.

        Tested for stability, as the Hessian of an unstable solution means nothing. Without a relaxation it is that of
        the energy.

        Raises
        ------
        BadInputError
            It would be no Kohn-Sham level.
        """
        level = self.relaxations[-1] if self.relaxations else self.energy
        if not isinstance(level, KohnSham):
            known = " and ".join(name for name, p in PROTOCOLS.items() if isinstance(p.relaxations[-1], KohnSham))
            raise BadInputError(
                f"{self.name!r} gives geometries of {level}, for which there are no frequencies; the protocols "
                f"{known} can have them, and any Kohn-Sham level with a relaxation"
            )
        plain = {"states": None, "convergence": None, "max_steps": None, "stability": True}
        return differentiable(level).model_copy(update=plain)


def differentiable(level: KohnSham) -> KohnSham:
    """Return a level on a grid and with SCF thresholds that soft modes need."""
    coarse = isinstance(level.grid, int) and level.grid < _FINE_GRID_LEVEL
    return level.model_copy(
        update={
            "grid": (99, 590) if coarse else level.grid,
            "scf_grid": None,
            "energy_threshold": min(level.energy_threshold, 1e-10),
            "gradient_threshold": min(level.gradient_threshold, 1e-6),
        }
    )


def tightened(level: KohnSham) -> KohnSham:
    """Return a level whose relaxations end where the surface is flat to Gaussian's tight thresholds."""
    return differentiable(level).model_copy(update={"convergence": "gau-tight"})


def choose_protocol(
    level: str | None, protocol: str | None, relax: bool = False, frequencies: bool = False
) -> Protocol:
    """Return the protocol of one structure: a known one, or that of a level.

    Parameters
    ----------
    level, protocol
        One of the two; a level alone is a single point at the given geometry.
    relax
        At that level, before the energy.
    frequencies
        After the last relaxation.

    Raises
    ------
    BadInputError
        Both or neither are given, a level or protocol is unknown, or there are no frequencies for it.
    """
    if (level is None) == (protocol is None) or (relax and protocol is not None):
        raise BadInputError("give either a level, with or without a relaxation, or a protocol, which has its own")
    chosen = get_protocol(protocol) if protocol is not None else _at_level(str(level), relax)
    return chosen.with_frequencies() if frequencies else chosen


def _at_level(text: str, relax: bool) -> Protocol:
    """A protocol of one level."""
    level = parse_level(text)
    return Protocol(name=text, relaxations=(level,) if relax else (), energy=level, summary="one level")


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
            name="xtb",
            relaxations=(Xtb(optimiser="geometric"),),
            energy=Xtb(),
            summary="GFN2-xTB throughout: for what is too large for anything else; trends, no energies to quote",
        ),
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
            name="anion-sp",
            relaxations=(Xtb(),),
            energy=KohnSham(
                functional="b3lyp",
                dispersion="d3bj",
                basis="6-31+g(d,p)",
                grid=3,
                energy_threshold=1e-7,
                gradient_threshold=2e-4,
            ),
            summary="GFN2-xTB geometry, B3LYP-D3(BJ)/6-31+G(d,p) energy: diffuse functions for weakly bound anions",
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
