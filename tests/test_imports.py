"""How the modules import each other, beyond the layers that import-linter checks."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping

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
