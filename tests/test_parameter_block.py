"""The parameter block of the kit's images, changed by the tester, and the header of the log that they leave in RAM."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from difftest.errors import BuildError
from difftest.image.parameter_block import LAYOUT, MAGIC, params_of, select_checks, selection, speaking, with_ram_log
from emulators.ram_log import HEADER, RamLog
from emulators.ram_log import MAGIC as LOG_MAGIC

LOG = RamLog(address=0x600000, most=1000 - HEADER.size)
BLOCK = LAYOUT.pack(MAGIC, 2, 2, b"\xff" * 64, 0, 0x600000, 1000)
IMAGE = bytes(100) + BLOCK + bytes(300)
BITS = 100 + 24


def test_a_selection_changes_the_bitmap_and_nothing_else() -> None:
    selected = select_checks(IMAGE, [1])
    assert selected[BITS : BITS + 64] == b"\x02" + bytes(63)
    assert selected[:BITS] + selected[BITS + 64 :] == IMAGE[:BITS] + IMAGE[BITS + 64 :]


@pytest.mark.parametrize("indices", [[2], [-1], [0, 512]])
def test_a_selection_of_checks_that_are_not_there(indices: list[int]) -> None:
    with pytest.raises(BuildError, match="2 checks"):
        select_checks(IMAGE, indices)


@pytest.mark.parametrize(
    "image", [bytes(512), BLOCK + bytes(500) + MAGIC, MAGIC + struct.pack("<II", 9, 2) + bytes(80), BLOCK[:-1], b""]
)
def test_an_image_without_a_parameter_block(image: bytes) -> None:
    with pytest.raises(BuildError, match="parameter block"):
        select_checks(image, [0])
    assert speaking(image) == image


@pytest.mark.parametrize("size", [0, HEADER.size, (1 << 20) + 1, 0xFFFFFFFF])
def test_a_log_of_no_sensible_size_is_refused(size: int) -> None:
    with pytest.raises(BuildError, match="RAM log"):
        params_of(LAYOUT.pack(MAGIC, 2, 2, b"\xff" * 64, 0, 0x600000, size))


def test_lines_go_to_ram_when_asked_and_back_to_com1(tmp_path: Path) -> None:
    built = tmp_path / "disk.img"
    built.write_bytes(IMAGE)
    path, _, log = with_ram_log(built)
    assert log == LOG
    assert params_of(path.read_bytes()).in_ram
    assert speaking(path.read_bytes()) == IMAGE
    some, _ = selection(path, [0])
    assert params_of(some.read_bytes()).in_ram, "a selection keeps the rest of the block"


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (HEADER.pack(LOG_MAGIC, 5), 5),
        (HEADER.pack(LOG_MAGIC, LOG.most), LOG.most),
        (HEADER.pack(LOG_MAGIC, LOG.most + 1), 0),  # a guest that wrote over its log's header
        (HEADER.pack(b"DIFFTEST-RAMLOH", 5), 0),
        (bytes(HEADER.size), 0),  # a guest that never came so far
    ],
)
def test_a_header_is_believed_only_when_it_can_be_true(header: bytes, length: int) -> None:
    assert LOG.length(header) == length
