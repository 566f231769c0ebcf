"""Changing a state that Bochs saved. No emulator is started here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emulators.bochs.saved_state import BLOCK, asks_for_a_file, started_with, with_lines, without_blocks
from emulators.hosted.appliance.assembler import LIBRARY, MEMORY_SOURCE, compiled

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
    return dict(
        line.split(" = ") for line in memory.replace(" ", "").replace("=", " = ").splitlines() if line.startswith("blk")
    )


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
        "# made by Bochs\nplugin_ctrl: serial=true, usb_uhci=true, biosdev=true\nlog: /old/bochs.log\n"
        "com1: enabled=true, dev=x\n"
    )
    changed = with_lines(config, ["log: /new/bochs.log", "com1: enabled=1, dev=127.0.0.1:9"]).splitlines()
    assert changed[0] == "# made by Bochs"
    assert changed[1].index("serial") < changed[1].index("usb_uhci"), (
        "the order in which Bochs itself loads them at the start"
    )
    assert changed[2:] == ["log: /new/bochs.log", "com1: enabled=1, dev=127.0.0.1:9"]


def test_a_state_is_started_with_other_lines_and_is_not_touched(tmp_path: Path) -> None:
    kept, state = tmp_path / "kept", tmp_path / "state"
    kept.mkdir()
    before = {"config": b"log: old\nmemory: guest=4\n", "memory": MEMORY.encode(), "memory.ram": b"\0" * 9}
    for name, data in before.items():
        (kept / name).write_bytes(data)
    assert started_with(kept, ["log: new"], None, state) == {}
    assert (state / "config").read_text() == "log: new\nmemory: guest=4\n"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert all((state / name).read_bytes() == before[name] for name in ("memory", "memory.ram"))


READER = """
import ctypes, sys
c = ctypes.CDLL(None)
c.tmpfile64.restype = ctypes.c_void_p
c.fread.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
c.fseeko64.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]
file = c.tmpfile64()
if not file or c.fseeko64(file, 5000, 0):
    sys.exit("no file")
buffer = ctypes.create_string_buffer(9000)
read = c.fread(buffer, 1, len(buffer), file)
sys.stdout.buffer.write(buffer.raw[:read])
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
def test_a_bochs_with_the_library_reads_the_memory_that_was_kept(tmp_path: Path) -> None:
    library, kept, state = tmp_path / "memory.so", tmp_path / "kept", tmp_path / "state"
    library.write_bytes(compiled(MEMORY_SOURCE, tmp_path, LIBRARY))
    kept.mkdir()
    ram = bytes(index * 7 % 251 for index in range(20_000))
    (kept / "memory.ram").write_bytes(ram)
    (kept / "config").write_text("")
    environment = started_with(kept, [], library, state)
    assert (state / "memory.ram").read_bytes() == b"", "nothing is left to copy"

    def read(**environment: str) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-c", READER]
        return subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, check=False)

    assert read(**environment).stdout == ram[5000:14_000]
    assert read(LD_PRELOAD=str(library)).stderr.strip() == b"no file"
    assert read(LD_PRELOAD=str(library), DIFFTEST_MEMORY=str(tmp_path / "gone")).stderr.strip() == b"no file"


def test_whether_a_bochs_can_be_given_a_file_is_seen_from_what_it_calls(tmp_path: Path) -> None:
    for name, content in (("asks", b"\x7fELF\0fopen64\0tmpfile64\0"), ("does-not", b"\x7fELF\0mkstemp64\0")):
        (tmp_path / name).write_bytes(content)
    assert asks_for_a_file(str(tmp_path / "asks"))
    assert not asks_for_a_file(str(tmp_path / "does-not"))
    assert not asks_for_a_file(str(tmp_path / "is-not-there"))
