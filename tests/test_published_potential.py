"""Surface potentials and Hirshfeld charges of molecules as others published them, each at the published level.

Where the nuclei are published, they are taken over (in bohr, with six decimals); elsewhere they are relaxed at the
published level (PySCF with fitted Coulomb and exchange integrals and geomeTRIC; Angstrom, four decimals, within 0.002
Angstrom of the minimum). All d functions of Pople's sets are Cartesian, as in Gaussian and NWChem.
"""

from typing import NamedTuple

import pytest
from pyscf import dft, gto, scf

from alkaflow.analysis.density import Density
from alkaflow.analysis.hirshfeld import hirshfeld
from alkaflow.analysis.potential import FittedPotential
from alkaflow.analysis.surface import SurfacePoint, SurfaceStatistics, molecular_surface, surface_statistics
from alkaflow.units import BOHR_ANGSTROM, HARTREE_KCAL_MOL
from alkaflow.workflows.guess import occupied_orbitals

# T. Lu, blog article http://sobereva.com/337 (2016, changed 2020), section 4; without coordinates.
BLOG = "Multiwfn, sobereva.com/337"
# T. Lu, manual of Multiwfn (2026-10-01), section 4.12.10, http://sobereva.com/multiwfn; without coordinates.
MANUAL = "manual of Multiwfn, 4.12.10"
# K. Zator, M. C. Storer, C. A. Hunter, test data of https://github.com/k-zator/AIP (4c74b1e), made for
# doi 10.1039/D3SC05690B by NWChem, with B3LYP/6-31G*: the points of a grid, 0.124 bohr apart, where the density is
# 0.002 e/bohr^3, and the potential there in Hartree/e, to six decimals. Whole surfaces have nuclei and a volume
# (``*_0.0020_merged.cube``); surfaces of one atom, the points nearest to it, have neither
# (``select_surfaces/*_002.csv``).
WHOLE = "k-zator/AIP, a whole surface"
ATOM = "k-zator/AIP, the surface of an atom"

RING = -1  # in place of the number of an atom: any of them


class Published(NamedTuple):
    """Extrema [kcal/mol] with the numbers of their atoms, and how far ours may be off.

    Points of a grid are on the surface to 1.5 % of the density, and the strongest is one a little inside: in methane
    and pyridine by 0.1 kcal/mol. Multiwfn's extrema are corners of triangles; those that symmetry makes equal differ by
    up to 0.04. Geometries that had to be relaxed add about 0.1.
    """

    atoms: str
    maxima: tuple[tuple[int, float], ...]
    minima: tuple[tuple[int, float], ...]
    tolerance: float
    source: str
    volume: float | None = None  # inside the surface [bohr^3]
    functional: str = "b3lypg"
    basis: str = "6-31g(d)"
    isovalue: float = 0.002


PUBLISHED = {
    "phenol": Published(
        "O 2.416 .4104 -.4901; C 1.0949 .1898 -.2221; C .2689 1.3129 -.1119; C -1.0873 1.1456 .1607;"
        "C -1.6314 -.1319 .3252; C -.7991 -1.2464 .2134; C .5618 -1.093 -.0595; H 2.8834 -.4326 -.5435;"
        "H .7041 2.3004 -.2419; H -1.7246 2.0235 .2454; H -2.6903 -.2559 .5379; H -1.2064 -2.2475 .3385;"
        "H 1.2069 -1.9676 -.1458",
        ((7, 54.364812), (11, 16.030883), (9, 14.137932), (10, 13.806218), (8, 11.703623)),
        ((0, -25.836976), (4, -16.997774), (4, -16.995483)),
        0.2,
        BLOG,
        functional="b3p86g",
        basis="6-31+g(d,p)",
        isovalue=0.001,
    ),
    # Both faces of phosphorus, and the end of chlorine.
    "phosphenic chloride": Published(
        "P 0 0 -.0888; Cl 0 0 1.8869; O 0 1.3349 -.6539; O 0 -1.3349 -.6539",
        ((0, 47.493977), (0, 47.456909), (1, 26.725470)),
        (),
        0.2,
        MANUAL,
        functional="pbe0",
        basis="def2-tzvp",
        isovalue=0.001,
    ),
    "water": Published(
        "O -.373704 0 .654985; H 1.437226 0 .386615; H -1.061633 0 -1.041601",
        ((2, 0.084445 * HARTREE_KCAL_MOL),),
        ((0, -0.070811 * HARTREE_KCAL_MOL),),
        0.15,
        WHOLE,
        142.038172,
    ),
    "methane": Published(
        "C -.000107 .000077 .00009; H -1.150909 -1.591808 -.640177; H -.850839 1.76857 -.645839;"
        "H .095806 -.004899 2.063809; H 1.906049 -.171939 -.777883",
        ((2, 0.01918 * HARTREE_KCAL_MOL),),
        ((0, -0.003986 * HARTREE_KCAL_MOL),),
        0.15,
        WHOLE,
        218.762105,
    ),
    "dimethyl sulfide": Published(
        "S .071482 2.244498 -.280646; C -2.632149 .119579 .008537; C 2.634294 -.051393 -.018368;"
        "H -4.335026 1.282865 -.113269; H -2.625106 -.859349 1.830904; H -2.664368 -1.268566 -1.524853;"
        "H 4.407726 .999981 -.149963; H 2.577754 -1.033633 1.801349; H 2.565389 -1.433981 -1.555579",
        ((3, 0.030619 * HARTREE_KCAL_MOL),),
        ((0, -0.046874 * HARTREE_KCAL_MOL),),
        0.15,
        WHOLE,
        508.813103,
    ),
    "pyridine": Published(
        "C -.011048 2.260163 -.031931; C -2.267792 .903595 .071798; C 2.258837 .923373 -.098187;"
        "C 2.165491 -1.713126 -.057598; C -2.14865 -1.731967 .104424; N .014885 -3.042757 .041743;"
        "H -.021035 4.313829 -.060522; H -4.084011 1.858438 .126511; H 4.065641 1.894035 -.179521;"
        "H 3.903714 -2.813911 -.107372; H -3.876033 -2.84789 .184987",
        ((6, 0.039053 * HARTREE_KCAL_MOL),),
        ((5, -0.07039 * HARTREE_KCAL_MOL),),
        0.15,
        WHOLE,
        602.653393,
    ),
    # Oxygen, and both faces of the carbon atom beside it.
    "acetone": Published(
        "O 0 0 1.4036; C 0 0 .188; C 0 1.2931 -.6123; C 0 -1.2931 -.6123; H 0 2.1486 .066; H 0 -2.1486 .066;"
        "H -.881 1.3414 -1.2648; H .881 1.3414 -1.2648; H .881 -1.3414 -1.2648; H -.881 -1.3414 -1.2648",
        ((1, 0.036181 * HARTREE_KCAL_MOL),),
        ((0, -0.064063 * HARTREE_KCAL_MOL),),
        0.2,
        ATOM,
    ),
    # The file is there twice, as ethanal and as acetamide; acetamide's oxygen has -48 kcal/mol.
    "acetaldehyde": Published(
        "O 1.2161 .3703 0; C .0092 .4651 0; H -.4792 1.4666 0; C -.9442 -.7036 0; H -.3933 -1.6469 0;"
        "H -1.5977 -.6506 .8808; H -1.5977 -.6506 -.8808",
        (),
        ((0, -0.059903 * HARTREE_KCAL_MOL),),
        0.2,
        ATOM,
    ),
    # Oxygen, and sulfur on the side away from it.
    "dimethyl sulfoxide": Published(
        "S 0 .1893 -.437; O 0 1.4594 .382; C 1.3639 -.871 .1892; C -1.3639 -.871 .1892; H 1.2747 -.9785 1.2743;"
        "H 2.2999 -.3611 -.0514; H 1.3358 -1.8472 -.3048; H -1.2747 -.9785 1.2743; H -2.2999 -.3611 -.0514;"
        "H -1.3358 -1.8472 -.3048",
        ((0, 0.051984 * HARTREE_KCAL_MOL),),
        ((1, -0.0803 * HARTREE_KCAL_MOL),),
        0.2,
        ATOM,
    ),
    # The end of chlorine, and the ring around it.
    "chlorobenzene": Published(
        "C 0 0 0; C -.6822 1.216 0; C -.6822 -1.216 0; C -2.0782 1.2075 0; C -2.0782 -1.2075 0; C -2.7786 0 0;"
        "Cl 1.7612 0 0; H -.1292 2.1494 0; H -.1292 -2.1494 0; H -2.6162 2.1515 0; H -2.6162 -2.1515 0; H -3.8647 0 0",
        ((6, 0.012215 * HARTREE_KCAL_MOL),),
        ((6, -0.024471 * HARTREE_KCAL_MOL),),
        0.2,
        ATOM,
    ),
    "benzene": Published(
        "C 0 1.3967 0; C 1.2095 .6983 0; C 1.2095 -.6983 0; C 0 -1.3967 0; C -1.2095 -.6983 0; C -1.2095 .6983 0;"
        "H 0 2.4837 0; H 2.1509 1.2418 0; H 2.1509 -1.2418 0; H 0 -2.4837 0; H -2.1509 -1.2418 0; H -2.1509 1.2418 0",
        (),
        ((RING, -0.028425 * HARTREE_KCAL_MOL),),
        0.2,
        ATOM,
    ),
}


def statistics_of(published: Published) -> SurfaceStatistics:
    """The exchange is fitted too, and the grid coarse: together 0.02 kcal/mol."""
    molecule = gto.M(
        atom=published.atoms,
        unit="bohr" if published.source == WHOLE else "angstrom",
        basis=published.basis,
        cart=published.basis.startswith("6-31"),
        verbose=0,
    )
    mean_field = dft.RKS(molecule, xc=published.functional).density_fit(auxbasis="def2-universal-jkfit")
    mean_field.grids.level = 1
    density = Density.of(molecule, occupied_orbitals(mean_field.run(conv_tol=1e-7)))
    potential = FittedPotential(density)
    mesh = molecular_surface(density, published.isovalue, potential=potential)
    return surface_statistics(mesh, density, potential)


def nearest(points: list[SurfacePoint], atom: int, value: float) -> float:
    """Of the extrema of one atom, or of any carbon atom of a ring, that nearest to a value."""
    of_atom = [point.value_kcal_mol for point in points if atom in {point.atom, RING}]
    return min(of_atom, key=lambda found: abs(found - value))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_extrema(name: str) -> None:
    published = PUBLISHED[name]
    found = statistics_of(published)
    for points, expected in ((found.maxima, published.maxima), (found.minima, published.minima)):
        for atom, value in expected:
            assert nearest(points, atom, value) == pytest.approx(value, abs=published.tolerance)
    if published.source != ATOM:
        for points, expected in ((found.maxima, published.maxima), (found.minima, published.minima)):
            if expected:
                assert points[0].value_kcal_mol == pytest.approx(expected[0][1], abs=published.tolerance)
    if published.volume:  # counted in cells of the grid
        assert found.volume == pytest.approx(published.volume * BOHR_ANGSTROM**3, rel=0.006)


# The tests of HORTON (https://github.com/theochem/horton at 053c437, ``horton/part/test/test_wpart.py``): charges of
# water by HiPart, and of Si(OH)4, whose sum is -0.00075 for its grid. Sets with one function for each shell leave a
# free atom no choice, so that conventions for open shells do not matter.
SILICON = [
    [0, [1.222, -0.274463915], [0.2595, 0.616693302], [0.0931, 0.558089893]],
    [1, [2.58, -0.039783808], [0.2984, 0.521981461], [0.0885, 0.587364502]],
]  # LANL2MB
SILICIC_ACID = """Si .0476387932 .000180485736 -.0306621737; O -1.13791409 -.00228163938 2.88668669;
O -.932654671 2.57249928 -1.55957405; O -.933290988 -2.56957004 -1.56375047; O 3.19336588 -.000284961374 .114886866;
H -2.96519751 -.00426785462 3.07361952; H -.491705442 4.21198353 -.858236605; H -2.74227193 -2.80749376 -1.7763646;
H 4.01618276 -1.40564988 .964259844"""


def test_hirshfeld_of_water_in_a_minimal_basis() -> None:
    atoms = "O 0 0 0; H 0 0 1.79523983; H 1.69257101 0 -.598406347"
    mean_field = scf.RHF(gto.M(atom=atoms, unit="bohr", basis="sto-3g", verbose=0)).run(conv_tol=1e-11)
    assert mean_field.e_tot == pytest.approx(-74.95929232844, abs=1e-7)
    found = hirshfeld(Density.of(mean_field.mol, occupied_orbitals(mean_field)))
    assert found.charges == pytest.approx([-0.246171541212, 0.123092011074, 0.123079530138], abs=2e-5)


def test_hirshfeld_of_silicic_acid_with_a_core_potential() -> None:
    molecule = gto.M(
        atom=SILICIC_ACID,
        unit="bohr",
        basis={"Si": SILICON, "O": "sto-3g", "H": "sto-3g"},
        ecp={"Si": "lanl2dz"},
        verbose=0,
    )
    mean_field = scf.RHF(molecule).run(conv_tol=1e-10)
    assert mean_field.e_tot == pytest.approx(-301.3354068483611, abs=1e-5)
    found = hirshfeld(Density.of(molecule, occupied_orbitals(mean_field)))
    published = [
        *(0.56175431, -0.30002709, -0.28602105, -0.28335086, -0.26832878),
        *(0.13681904, 0.14535691, 0.14206876, 0.15097682),
    ]
    assert found.charges[0] == pytest.approx(published[0], abs=1e-3)
    assert found.charges[1:] == pytest.approx(published[1:], abs=1e-4)


def test_hirshfeld_of_water_by_gaussian() -> None:
    """Gaussian 16 as quoted in ASE's tests (``ase/test/fio/test_gaussian_out.py``), whose energy is that of HF/6-31G.

    Its free atoms differ a little. Not compared: Q-Chem 4.2, B3LYP/6-31G*, in pymatgen's test files
    (``hirshfeld_population.qcout``) has -0.2863 for the oxygen of water, ours is -0.3219, and -0.3142 with free atoms
    of whole electrons. There the SCF for the free atoms stopped after 50 cycles, not converged.
    """
    atoms = "O 0 0 .119262; H 0 .763239 -.477047; H 0 -.763239 -.477047"
    mean_field = scf.RHF(gto.M(atom=atoms, basis="6-31g", verbose=0)).run(conv_tol=1e-11)
    assert mean_field.e_tot == pytest.approx(-75.9834173665, abs=2e-8)
    found = hirshfeld(Density.of(mean_field.mol, occupied_orbitals(mean_field)))
    assert found.charges == pytest.approx([-0.338600, 0.169300, 0.169300], abs=0.003)
