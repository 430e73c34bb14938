import ast
import subprocess
import sys
from pathlib import Path

import pytest

import alkaflow

ROOT = Path(alkaflow.__file__).parent
REPOSITORY = Path(__file__).parents[2]
LAYERS = [
    "core",
    "structures",
    "analysis",
    "workflows",
    "launchpad",
]  # each may import itself and those before it
HEAVY = {
    "fireworks": {"launchpad"},
    "pymongo": {"launchpad"},
    "gridfs": {"launchpad"},
    "bson": {"launchpad"},
    "pyscf": {"workflows", "analysis"},
    "geometric": {"workflows", "analysis"},
    "tblite": {"workflows", "analysis"},
}


def modules() -> list[tuple[str, Path]]:
    found = []
    for layer in LAYERS:
        folder = REPOSITORY / layer
        found += [(layer, path) for path in sorted(folder.rglob("*.py"))]
    return found


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "alkaflow":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "core"


@pytest.mark.parametrize(("layer", "path"), modules(), ids=lambda value: getattr(value, "name", value))
def test_imports_go_down_only(layer: str, path: Path) -> None:
    for name in imported_names(path):
        target = layer_of(name)
        if target is not None:
            assert LAYERS.index(target) <= LAYERS.index(layer), f"{path} ({layer}) imports {name} ({target})"
        package = name.split(".")[0]
        if package in HEAVY:
            assert layer in HEAVY[package], f"{path} ({layer}) imports {package}"


def test_there_is_something_to_check() -> None:
    assert len(modules()) > 30
    assert {layer for layer, _ in modules()} == set(LAYERS)


def test_import_alkaflow_is_light() -> None:
    heavy = "('pyscf', 'pymatgen', 'ase', 'fireworks', 'numpy')"
    code = f"import sys, alkaflow; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    for name in alkaflow.__all__:
        assert getattr(alkaflow, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        alkaflow.nonsense  # noqa: B018


@pytest.mark.parametrize("package", ["structures", "analysis", "workflows"])
def test_exports_exist_and_are_sorted(package: str) -> None:
    from importlib import import_module

    module = import_module(f"alkaflow.{package}")
    assert all(hasattr(module, name) for name in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
