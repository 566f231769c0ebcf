"""Changing a state that Bochs saved. No emulator is started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulators.saved_state import BLOCK, started_with, with_lines, without_blocks

MEMORY = """memory = {
  ram = memory.ram
  used_blocks = 3
  mapping = {
    blk0 = 0
    blk1 = 2
    blk2 = -1
    blk3 = 1
    blk4 = -1
    blk12 = -1
  }
}
"""


def blocks(memory: str) -> dict[str, str]:
    return dict(line.split(" = ") for line in memory.replace(" ", "").replace("=", " = ").splitlines() if line.startswith("blk"))


@pytest.mark.parametrize(
    ("start", "size", "gone"),
    [(0, BLOCK, {"blk0"}), (1, 2 * BLOCK, {"blk1"}), (0, 4 * BLOCK, {"blk0", "blk1", "blk3"}), (5, 10, set())],
)
def test_only_whole_blocks_are_forgotten(start: int, size: int, gone: set[str]) -> None:
    before, after = blocks(MEMORY), blocks(without_blocks(MEMORY, start, size))
    assert {name for name in before if before[name] != after[name]} == gone
    assert all(after[name] == "-1" for name in gone)


def test_lines_of_a_configuration_are_replaced_by_their_keys() -> None:
    config = (
        "# made by Bochs\nplugin_ctrl: serial=true, usb_uhci=true, biosdev=true\nlog: /old/bochs.log\ncom1: enabled=true, dev=x\n"
    )
    changed = with_lines(config, ["log: /new/bochs.log", "com1: enabled=1, dev=127.0.0.1:9"]).splitlines()
    assert changed[0] == "# made by Bochs"
    assert changed[1].index("serial") < changed[1].index("usb_uhci"), "the order in which Bochs itself loads them at the start"
    assert changed[2:] == ["log: /new/bochs.log", "com1: enabled=1, dev=127.0.0.1:9"]


def test_a_state_is_started_with_other_lines_and_is_not_touched(tmp_path: Path) -> None:
    kept, state = tmp_path / "kept", tmp_path / "state"
    kept.mkdir()
    before = {"config": b"log: old\nmemory: guest=4\n", "memory": MEMORY.encode(), "memory.ram": b"\0" * 9}
    for name, data in before.items():
        (kept / name).write_bytes(data)
    started_with(kept, ["log: new"], state)
    assert (state / "config").read_text() == "log: new\nmemory: guest=4\n"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert all((state / name).read_bytes() == before[name] for name in ("memory", "memory.ram"))
