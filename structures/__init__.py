"""Geometry only: hosts, guests, sites, placing, symmetry, file formats."""

from alkaflow.structures.candidates import Candidate
from alkaflow.structures.complexes import Complex, Placed, build_complex, complexes_at, place_guests
from alkaflow.structures.convert import from_ase, from_pymatgen, to_ase, to_pymatgen
from alkaflow.structures.guests import GUESTS, Guest, get_guest
from alkaflow.structures.hatcn import HATCN_PAIR_LABELS, HatcnGeometry, hatcn
from alkaflow.structures.hosts import BUILTIN, builtin_host, load_file, load_host
from alkaflow.structures.orientations import orientations
from alkaflow.structures.outcomes import FinalSite, changed_bonds, classify_complex, classify_guest, same_minimum
from alkaflow.structures.pdb import format_pdb
from alkaflow.structures.placements import Placement, enumerate_placements
from alkaflow.structures.rules import RULES, Host, Rule
from alkaflow.structures.sites import Member, Site, find_sites, score_sites, select_place, select_sites
from alkaflow.structures.smiles import conformers, from_smiles
from alkaflow.structures.spin import host_multiplicities, multiplicities_to_scan
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.xyz import format_xyz, parse_xyz, read_xyz, write_xyz

__all__ = [
    "BUILTIN",
    "GUESTS",
    "HATCN_PAIR_LABELS",
    "RULES",
    "Candidate",
    "Complex",
    "FinalSite",
    "FloatArray",
    "Guest",
    "HatcnGeometry",
    "Host",
    "Member",
    "Placed",
    "Placement",
    "Rule",
    "Site",
    "Structure",
    "build_complex",
    "builtin_host",
    "changed_bonds",
    "classify_complex",
    "classify_guest",
    "complexes_at",
    "conformers",
    "enumerate_placements",
    "find_sites",
    "format_pdb",
    "format_xyz",
    "from_ase",
    "from_pymatgen",
    "from_smiles",
    "get_guest",
    "hatcn",
    "host_multiplicities",
    "load_file",
    "load_host",
    "multiplicities_to_scan",
    "orientations",
    "parse_xyz",
    "place_guests",
    "read_xyz",
    "same_minimum",
    "score_sites",
    "select_place",
    "select_sites",
    "to_ase",
    "to_pymatgen",
    "write_xyz",
]
