"""Geometry only: hosts, guests, sites, placing, symmetry, file formats."""

from alkaflow.structures.complexes import Complex, FinalSite, build_complex, classify_guest
from alkaflow.structures.convert import from_ase, from_pymatgen, to_ase, to_pymatgen
from alkaflow.structures.guests import GUESTS, Guest, get_guest
from alkaflow.structures.hatcn import HatcnGeometry, hatcn
from alkaflow.structures.hosts import BUILTIN, builtin_host, load_host
from alkaflow.structures.sites import Member, Site, find_sites, select_place, select_sites
from alkaflow.structures.smiles import from_smiles
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.xyz import format_xyz, parse_xyz, read_xyz, write_xyz

__all__ = [
    "BUILTIN",
    "GUESTS",
    "Complex",
    "FinalSite",
    "FloatArray",
    "Guest",
    "HatcnGeometry",
    "Member",
    "Site",
    "Structure",
    "build_complex",
    "builtin_host",
    "classify_guest",
    "find_sites",
    "format_xyz",
    "from_ase",
    "from_pymatgen",
    "from_smiles",
    "get_guest",
    "hatcn",
    "load_host",
    "parse_xyz",
    "read_xyz",
    "select_place",
    "select_sites",
    "to_ase",
    "to_pymatgen",
    "write_xyz",
]
