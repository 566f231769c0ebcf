"""How the modules import each other, beyond the layers that import-linter checks, and the names of their classes."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp
import pytest


def imports() -> dict[str, set[str]]:
    """Each module of ours and the modules of ours that it imports anywhere, also inside functions and under
    TYPE_CHECKING.
    """
    graph = grimp.build_graph("difftest", "emulators")
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def circle(modules: Mapping[str, Iterable[str]]) -> list[str]:
    """A circle of modules that import each other, or nothing."""
    try:
        graphlib.TopologicalSorter(modules).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(imports()) == []


@pytest.mark.parametrize(
    ("module", "user"),
    [("difftest.run.runner", "difftest.run.execute"), ("emulators.bochs.machine", "emulators.bochs.target")],
)
def test_a_circle_that_is_put_in_is_found(module: str, user: str) -> None:
    """The module is one that its user imports, straight or through others: an import back closes a circle."""
    modules = imports()
    modules[module].add(user)
    assert {module, user} <= set(circle(modules))


def classes(root: Path) -> dict[str, list[str]]:
    """The files that have a class of each name at their top level."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(path.relative_to(root).as_posix())
    return found


def test_each_class_has_a_name_of_its_own(tmp_path: Path) -> None:
    """One meaning per name. Two of one name are found, too."""
    root = Path(__file__).parent.parent
    found = classes(root / "difftest")
    for name, files in classes(root / "emulators").items():
        found.setdefault(name, []).extend(files)
    assert len(found) > 100 and {name: files for name, files in found.items() if len(files) > 1} == {}
    for name in "one", "two":
        (tmp_path / f"{name}.py").write_text(f"class Same:\n    pass\nclass Of{name}:\n    pass\n")
    assert [name for name, files in classes(tmp_path).items() if len(files) > 1] == ["Same"]
