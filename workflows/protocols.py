"""Protocols: the ordered steps a structure goes through, each at a level."""

from dataclasses import dataclass

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import KohnSham, Xtb, parse_level


@dataclass(frozen=True)
class Protocol:
    """Relax at one level, take the energy at another."""

    name: str
    relaxation: Xtb
    energy: KohnSham
    summary: str

    def with_level(self, text: str) -> "Protocol":
        """Return the protocol with another final level, on the same grids and thresholds.

        Raises
        ------
        BadInputError
            The level is unknown, or no Kohn-Sham level.
        """
        level = parse_level(text, like=self.energy)
        if not isinstance(level, KohnSham):
            raise BadInputError(f"level {text!r} cannot give the final energy; use FUNCTIONAL[-DISPERSION]/BASIS")
        return Protocol(self.name, self.relaxation, level, self.summary)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="screen",
            relaxation=Xtb(),
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
            relaxation=Xtb(),
            energy=KohnSham(
                functional="b3lyp",
                dispersion="d3bj",
                basis="6-311g(d,p)",
                scf_grid=3,
                grid=(99, 590),
                energy_threshold=1e-7,
                gradient_threshold=2e-4,
            ),
            summary="GFN2-xTB geometry, B3LYP-D3(BJ)/6-311G(d,p) energy on the pruned (99,590) grid",
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """Return a protocol by name; raise UnknownNameError with the known ones."""
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
