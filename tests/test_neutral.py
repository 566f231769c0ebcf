"""Paths of this machine in what is kept of a boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.report.words import command_line
from difftest.run.neutral import neutral
from emulators.fake import observation


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the cache in it."""
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return Path("/home/someone")


def test_commands_and_logs_name_neither_home_nor_cache(home: Path) -> None:
    cache = f"{home}/.cache/difftest"
    seen = neutral(
        observation(
            "bochs",
            b"said /home/someone",
            commands=[[f"{cache}/bochs/ld.so", "--library-path", f"{cache}/a:{cache}/b", f"{home}/x y", "plain"]],
            logs={"bochs.log": f"romimage {cache}/bios, {home}/other, {home}body".encode()},
            detail=f"cannot read {home}/disk.img",
        )
    )
    assert seen.commands == [["$CACHE/bochs/ld.so", "--library-path", "$CACHE/a:$CACHE/b", "~/x y", "plain"]]
    assert seen.logs == {
        "bochs.log": b"romimage $CACHE/bios, ~/other, /home/somebody".replace(b"somebody", b"someonebody")
    }
    assert seen.detail == "cannot read ~/disk.img"
    assert seen.serial == b"said /home/someone", "what the guest said stays"


def test_another_place_of_the_cache_is_found_too(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    seen = neutral(observation("bochs", b"", commands=[[str(tmp_path / "caches" / "difftest" / "x")]]))
    assert seen.commands == [["$CACHE/x"]]


def test_a_command_line_leaves_them_to_the_shell() -> None:
    assert command_line(["$CACHE/x", "~/y", "$CACHE/a:$CACHE/b"]) == "$CACHE/x ~/y $CACHE/a:$CACHE/b"
    assert command_line(["$HOME", "a~b c", "", "$CACHED"]) == "'$HOME' 'a~b c' '' '$CACHED'"
