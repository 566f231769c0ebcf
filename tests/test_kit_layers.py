"""The files of the kit call each other in one direction: no file needs, through others, one that needs it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from difftest.image.build import FLAGS, KIT


def _symbols(source: Path, folder: Path) -> tuple[set[str], set[str]]:
    """The global symbols that a source file defines, and those that it uses and does not define."""
    target = folder / f"{source.name}.o"
    argv = ["gcc", *FLAGS, '-DCASE_NAME="none"', f"-I{KIT}", "-c", str(source), "-o", str(target)]
    subprocess.run(argv, check=True)
    output = subprocess.run(["nm", "-g", str(target)], check=True, capture_output=True, text=True).stdout
    kinds = [line.split()[-2:] for line in output.splitlines()]
    return {name for kind, name in kinds if kind != "U"}, {name for kind, name in kinds if kind == "U"}


def _circle(sources: Sequence[Path], folder: Path) -> list[str]:
    """A circle of files, or nothing. `x.c` and `x_entry.S` count as one file, named `x`."""
    defined: dict[str, str] = {}
    used: dict[str, set[str]] = {}
    for source in sources:
        name = source.stem.removesuffix("_entry")
        defines, uses = _symbols(source, folder)
        defined |= dict.fromkeys(defines, name)
        used[name] = used.get(name, set()) | uses
    needs = {name: {defined[symbol] for symbol in uses if symbol in defined} - {name} for name, uses in used.items()}
    assert any(needs.values())
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for needed in sorted(needs[name]):
            if found := walk(needed, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(needs) if (found := walk(name, []))), [])


@pytest.fixture
def sources() -> list[Path]:
    return sorted([*KIT.glob("*.c"), *KIT.glob("*.S")])


def test_no_circle_of_calls(sources: list[Path], tmp_path: Path) -> None:
    assert _circle(sources, tmp_path) == []


def test_a_circle_is_found(sources: list[Path], tmp_path: Path) -> None:
    """`console` is made to call `vmx`, which calls it by way of `outcome`."""
    changed = tmp_path / "console.c"
    text = (KIT / "console.c").read_text()
    changed.write_text(
        f"{text}\nvoid vmx_off(void);\nvoid console_off(void);\nvoid console_off(void) {{ vmx_off(); }}\n"
    )
    others = [path for path in sources if path.name != changed.name]
    found = _circle([*others, changed], tmp_path)
    assert found[0] == found[-1] and {"console", "vmx"} <= set(found)


def test_no_line_is_longer_than_120_columns() -> None:
    files = [path for kind in ("c", "h", "S", "ld", "md") for path in KIT.parent.glob(f"**/*.{kind}")]
    assert len(files) > 80
    long = [f"{path.relative_to(KIT.parent)}: {line}" for path in files for line in path.read_text().splitlines()
            if len(line) > 120 and not line.startswith("|")]  # fmt: skip
    assert long == []
