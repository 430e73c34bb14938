"""The energy of a pure singlet from that of a broken-symmetry one, which is part singlet and part higher spins.

K. Yamaguchi, F. Jensen, A. Dorigo, K. N. Houk, Chem. Phys. Lett. 149, 537 (1988); reviewed by Y. Kitagawa, T. Saito,
K. Yamaguchi, doi 10.5772/intechopen.75726.
"""

from alkaflow.errors import BadInputError


def projected_singlet_energy(
    energy: float, s_squared: float, high_spin_energy: float, high_spin_s_squared: float
) -> float:
    """E_S = E_BS - <S2>_BS / (<S2>_HS - <S2>_BS) (E_HS - E_BS), in the unit of the energies given.

    Exact where the broken-symmetry state is a mixture of the singlet and the high-spin state alone (two unpaired
    electrons: the triplet) or, with more, where the spins couple as Heisenberg's do. Both states at one geometry.

    Parameters
    ----------
    energy, s_squared
        Of the broken-symmetry singlet; <S2> between 0 and that of the high-spin state.
    high_spin_energy, high_spin_s_squared
        Of the state with the same unpaired electrons all parallel.

    Raises
    ------
    BadInputError
        The <S2> of the two states leave nothing to project.
    """
    if not 0.0 <= s_squared < high_spin_s_squared:
        raise BadInputError(
            f"<S2> {s_squared:.3f} of the broken-symmetry singlet and {high_spin_s_squared:.3f} of the high-spin state "
            "cannot be projected: the first must be at least 0 and below the second; check which record is which"
        )
    share = s_squared / (high_spin_s_squared - s_squared)
    return energy - share * (high_spin_energy - energy)
