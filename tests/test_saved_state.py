"""Changing a state that Bochs saved. No emulator is started here."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emulators.saved_state import BLOCK, feed, with_blocks, with_lines, without_blocks
from emulators.target import EmulatorError

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


def test_untouched_blocks_get_numbers_of_their_own() -> None:
    changed = with_blocks(MEMORY, BLOCK + 5, 2 * BLOCK)  # blocks 1 to 3
    assert blocks(changed) == {"blk0": "0", "blk1": "2", "blk2": "3", "blk3": "1", "blk4": "-1", "blk12": "-1"}
    assert "used_blocks = 4\n" in changed


def test_no_number_is_given_twice() -> None:
    changed = with_blocks(MEMORY, 0, 5 * BLOCK)
    numbers = [number for number in blocks(changed).values() if number != "-1"]
    assert len(set(numbers)) == len(numbers) == 5
    assert "used_blocks = 5\n" in changed


@pytest.mark.parametrize(
    ("start", "size", "gone"),
    [(0, BLOCK, {"blk0"}), (1, 2 * BLOCK, {"blk1"}), (0, 4 * BLOCK, {"blk0", "blk1", "blk3"}), (5, 10, set())],
)
def test_only_whole_blocks_are_forgotten(start: int, size: int, gone: set[str]) -> None:
    before, after = blocks(MEMORY), blocks(without_blocks(MEMORY, start, size))
    assert {name for name in before if before[name] != after[name]} == gone
    assert all(after[name] == "-1" for name in gone)


def test_a_state_of_another_form_is_refused() -> None:
    with pytest.raises(EmulatorError, match="form"):
        with_blocks("memory = {\n}\n", 0, BLOCK)


def test_lines_of_a_configuration_are_replaced_by_their_keys() -> None:
    config = (
        "# made by Bochs\nplugin_ctrl: serial=true, usb_uhci=true, biosdev=true\nlog: /old/bochs.log\ncom1: enabled=true, dev=x\n"
    )
    changed = with_lines(config, ["log: /new/bochs.log", "com1: enabled=1, dev=127.0.0.1:9"]).splitlines()
    assert changed[0] == "# made by Bochs"
    assert changed[1].index("serial") < changed[1].index("usb_uhci"), "the order in which Bochs itself loads them at the start"
    assert changed[2:] == ["log: /new/bochs.log", "com1: enabled=1, dev=127.0.0.1:9"]


@pytest.mark.parametrize("address", [0, 5000, 3 << 20, (4 << 20) - 3, 6 << 20], ids=["start", "data", "hole", "end", "behind"])
def test_memory_is_fed_with_the_image_in_its_place(tmp_path: Path, address: int) -> None:
    ram, pipe, content = tmp_path / "ram", tmp_path / "pipe", b"the image" * 1000
    with ram.open("wb") as file:
        file.write(b"x" * 10000)
        os.truncate(file.fileno(), 4 << 20)
        os.pwrite(file.fileno(), b"y" * 10000, 2 << 20)
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        feeding = pool.submit(feed, pipe, ram, address, content, threading.Event())
        fed = pipe.read_bytes()
        feeding.result(timeout=10)
    expected = bytearray(ram.read_bytes())
    expected.extend(bytes(max(0, address - len(expected))))
    expected[address : address + len(content)] = content
    assert fed == expected


@pytest.mark.parametrize("comes", [True, False])
def test_feeding_ends_with_its_reader(tmp_path: Path, comes: bool) -> None:
    ram, pipe, stop = tmp_path / "ram", tmp_path / "pipe", threading.Event()
    ram.write_bytes(b"x" * (1 << 20))
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        feeding = pool.submit(feed, pipe, ram, 0, b"", stop)
        if comes:
            with pipe.open("rb") as reader:
                assert reader.read(1) == b"x"
        else:
            stop.set()
        feeding.result(timeout=10)
