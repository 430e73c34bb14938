"""Basis sets and core potentials by name: what is refused, what is put in its place, and what a level comes down to."""

import numpy as np
import pytest
from pyscf import gto

from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.workflows import shipped_bundle
from alkaflow.workflows.basis import (
    basis_hash,
    cheap_level,
    check_level,
    count_functions,
    element_basis,
    load_basis,
    valence_electrons,
    with_smaller_basis,
    with_substitutes,
)
from alkaflow.workflows.pyscf_engine import build_molecule

MEMORY = 2000


def level(text: str) -> KohnSham:
    return KohnSham.model_validate(parse_level(text).model_dump())


def atom(symbol: str, charge: int = 0, multiplicity: int = 0) -> Structure:
    return Structure((symbol,), np.zeros((1, 3)), charge, multiplicity)


@pytest.mark.parametrize(
    ("text", "symbol", "electrons"),
    [
        ("b3lyp/def2-svp", "Zr", 12),  # Andrae et al., Theor. Chim. Acta 77, 123 (1990): 28 electrons in the core
        ("b3lyp/def2-tzvp", "I", 25),
        ("b3lyp/lanl2dz", "Na", 1),
        ("b3lyp/lanl2dz", "Ti", 12),
        ("b3lyp/lanl2dz", "C", 6),
        ("b3lyp/cc-pvdz-pp", "Ag", 19),
        ("b3lyp/6-311g(d,p)+nofit", "I", 53),
    ],
)
def test_core_potentials_come_with_their_basis(text: str, symbol: str, electrons: int) -> None:
    built = build_molecule(atom(symbol), level(text), MEMORY)
    assert (built.nelectron, built.atom_charge(0)) == (electrons, electrons)
    assert valence_electrons(level(text), (symbol, symbol)) == 2 * electrons


def test_valence_functions_without_a_potential_are_never_computed_with() -> None:
    """Whatever PySCF has for an element is either refused, or has a potential, or reaches down to the 1s shell."""
    from pyscf.gto.basis import ALIAS

    names = [
        name for name in ALIAS if name.startswith(("def2", "madef2", "cc", "augcc", "lanl", "3", "6", "sto", "bfd"))
    ]
    names = [name for name in names if not any(part in name for part in ("fit", "ri", "gth"))]
    allowed = 0
    for symbol in ("Na", "Ti", "Zr", "I", "Au"):
        for name in names:
            try:
                found = element_basis(KohnSham(functional="b3lyp", basis=name, fitting=None), symbol)
            except BadInputError:
                continue
            allowed += 1
            number = gto.charge(symbol)
            # one electron around the bare nucleus: -Z^2 / 2 in the limit, and far above without functions for it
            one = gto.M(
                atom=[(symbol, (0, 0, 0))], basis={symbol: gto.uncontract([s for s in found.shells if s[0] == 0])},
                charge=number - 1, spin=1, verbose=0,
            )  # fmt: skip
            hamiltonian = one.intor("int1e_kin") + one.intor("int1e_nuc")
            overlap = one.intor("int1e_ovlp")
            values, vectors = np.linalg.eigh(overlap)
            root = vectors / np.sqrt(values)
            lowest = np.linalg.eigvalsh(root.T @ hamiltonian @ root)[0]
            assert (lowest < -0.9 * number**2 / 2) or found.core_electrons >= 2, (name, symbol)
    assert allowed > 150


@pytest.mark.parametrize(
    ("text", "symbol", "message"),
    [
        ("b3lyp/6-311g(d,p)", "Ti", r"6-311g\(d,p\) has no functions for Ti; give Ti .*basis_of_element"),
        ("b3lyp/6-311g(d,p)", "I", "has all electrons of I, but def2-universal-jkfit fits only"),
        ("b3lyp/bfd-vdz", "Na", "no effective core potential of that name"),
        ("b3lyp/aug-cc-pvdz-pp", "Ag", "no effective core potential of that name"),
        ("b3lyp/def2-mtzvp", "I", "no effective core potential of that name"),
        ("b3lyp/6-311g(d,p)+substitute(def2-tzvp)", "Ce", "def2-tzvp has no functions for Ce; name one"),
        ("b3lyp/def2-svp+smd(water)", "Zr", "smd cannot be used with the core potential of Zr"),
    ],
)
def test_what_pyscf_would_get_wrong_is_refused(text: str, symbol: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        check_level(level(text), ("C", symbol))


def test_too_few_electrons_outside_the_cores() -> None:
    with pytest.raises(BadInputError, match="leaves 0 electrons of Na outside its core potentials"):
        build_molecule(atom("Na", 1), level("b3lyp/lanl2dz"), MEMORY)


def test_substitutes_are_taken_only_where_needed() -> None:
    published = level("b3lyp-d3bj/6-311g(d,p)")
    assert with_substitutes(published, ("C", "N", "Li", "Na", "K")) is published
    filled = with_substitutes(published, ("C", "Ti", "Li"))
    assert str(filled) == "b3lyp-d3bj/6-311g(d,p)+substitute(def2-tzvp)"
    check_level(filled, ("C", "Ti", "Zr", "I"))
    names = {symbol: element_basis(filled, symbol).name for symbol in ("C", "Li", "Ti", "Zr", "I")}
    assert names == {"C": "6-311g(d,p)", "Li": "6-311g(d,p)"} | dict.fromkeys(("Ti", "Zr", "I"), "def2-tzvp")
    other = level("b3lyp/6-311g(d,p)+substitute(def2-svp)")
    assert with_substitutes(other, ("Ti",)) is other
    own = published.model_copy(update={"basis_of_element": {"Ti": "6-31g(d,p)"}})
    assert with_substitutes(own, ("Ti", "C")) is own
    with pytest.raises(UnknownNameError, match="unknown basis"):
        with_substitutes(level("b3lyp/6-31q"), ("C",))


def test_a_smaller_basis_has_the_same_electrons() -> None:
    symbols = ("C", "Ti", "Zr", "Na")
    given = level("b3lyp/lanl2dz")
    smaller = with_smaller_basis(given, "6-31g", symbols)
    assert smaller.basis_of_element == dict.fromkeys(("Na", "Ti", "Zr"), "lanl2dz")
    assert valence_electrons(smaller, symbols) == valence_electrons(given, symbols)
    assert with_smaller_basis(level("b3lyp/def2-svp"), "6-31g", ("C", "Zr")).basis_of_element == {"Zr": "def2-svp"}


@pytest.mark.parametrize("basis", ["6-31g(d)", "6-311g(d,p)", "def2-tzvp"])
def test_cartesian_functions_are_counted_as_pyscf_does(basis: str) -> None:
    symbols = ("C", "Na", "H")
    atoms = [(symbol, (3.0 * k, 0.0, 0.0)) for k, symbol in enumerate(symbols)]
    for cartesian in (False, True):
        molecule = gto.M(atom=atoms, basis=basis, cart=cartesian, verbose=0)
        assert count_functions(basis, symbols, cartesian) == molecule.nao


def test_the_hash_of_shipped_records_stands_and_sees_the_potential() -> None:
    record = next(r for r in shipped_bundle("hatcn", "published-sp").records if r.formula == "Na")
    assert isinstance(record.level_of_theory, KohnSham)
    sodium = build_molecule(atom("Na"), record.level_of_theory, MEMORY)
    assert basis_hash(sodium._basis, sodium._ecp) == record.basis_sha256
    zirconium = build_molecule(atom("Zr"), level("b3lyp/def2-svp"), MEMORY)
    both = basis_hash(zirconium._basis, zirconium._ecp)
    changed = {"Zr": [zirconium._ecp["Zr"][0] + 2, zirconium._ecp["Zr"][1]]}
    assert len({both, basis_hash(zirconium._basis), basis_hash(zirconium._basis, changed)}) == 3


def test_old_inputs_keep_their_ids() -> None:
    given = CalculationInput(
        step="energy",
        level=level("b3lyp-d3bj/6-31g"),
        charge=0,
        multiplicity=2,
        symbols=("Li",),
        positions=((0, 0, 0),),
    )
    content = given.level.model_dump(exclude_none=True)
    assert not {"substitute", "cartesian", "solvent"} & set(content)
    assert load_basis("6-31g", "Li") == gto.basis.load("6-31g", "Li")


def test_states_are_searched_in_the_solvent_of_their_level() -> None:
    """An ion pair gains more from a continuum than a neutral state does."""
    level = parse_level("b3lyp-d3bj/6-311g(d,p)+cpcm(dme)")
    assert isinstance(level, KohnSham)
    assert str(cheap_level(level, ("Li", "O"))) == "b3lyp-d3bj/6-31g+cpcm(dme)"
