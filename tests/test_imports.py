"""Imports point one way, read from the source: nothing is imported to find out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("rtriton", "ops", "engine", "server")
"""Each may import those before it."""

# inside rtriton: a part -> the parts it must never import, anywhere in a file
FORBIDDEN = {
    "types": {"ir", "language", "frontend", "passes", "backend"},
    "layout": {"ir", "language", "frontend", "passes", "backend"},
    "ir": {"language", "frontend", "passes", "backend"},
    "language": {"frontend", "passes", "backend"},
    "frontend": {"passes", "backend"},
    "passes": {"backend", "frontend"},
}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, fully named; and whether only a type checker sees it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, node in typing_only
            yield from ((f"{module}.{alias.name}", node in typing_only) for alias in node.names)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported_from(folder: str, roots: set[str]) -> list[str]:
    """Where a folder's files import from any of these top-level packages."""
    found = [(path, name) for path in files(folder) for name, _ in imports(path)]
    return [f"{path.relative_to(ROOT)}: {name}" for path, name in found if name.split(".")[0] in roots]


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_only_those_below(layer: str) -> None:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    assert not imported_from(layer, above)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_parts_of_rtriton_import_one_way(part: str) -> None:
    here = files(f"rtriton/{part}") or [ROOT / "rtriton" / f"{part}.py"]
    wrong = []
    for path in here:
        for name, typing_only in imports(path):
            inside = name.split(".")[1:2] if name.startswith("rtriton.") else []
            if not typing_only and set(inside) & FORBIDDEN[part]:
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong


@pytest.mark.parametrize("layer", ["ops", "engine", "server"])
def test_torch_is_never_imported_by_ops_engine_and_server(layer: str) -> None:
    assert not imported_from(layer, {"torch"})


def test_only_knobs_reads_the_environment_inside_rtriton() -> None:
    readers = {str(p.relative_to(ROOT)) for p in files("rtriton") if "os.environ" in p.read_text(encoding="utf-8")}
    assert readers <= {"rtriton/knobs/environment.py"}
