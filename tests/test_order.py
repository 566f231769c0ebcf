"""Where a guest that left through a port had got to, out of the order in which its ports were written."""

from __future__ import annotations

import random

import pytest

from emulators.qemu.order import before_exit


@pytest.mark.parametrize(
    ("order", "com1", "debug", "code", "left"),
    [
        (b"one\n\x03two\n", b"one\ntwo\n", b"", 3, (4, 0)),
        (b"one\n\x03", b"one\n", b"", 3, (4, 0)),
        (b"test 1 ok\n1more", b"test 1 ok\nmore", b"", ord("1"), (10, 0)),
        (b"a1b2c\x00d", b"abc", b"12d", 0, (3, 2)),
        (b"one\nShutdowntwo\n", b"one\ntwo\n", b"", None, (4, 0)),
        (b"Shutdown now\nShutdownlater", b"Shutdown now\nlater", b"", None, (13, 0)),
        (b"never", b"never", b"", 3, None),
        (b"one\n\x03two\n", b"other\n", b"", 3, None),
    ],
)
def test_what_was_written_before_the_exit_is_found(
    order: bytes, com1: bytes, debug: bytes, code: int | None, left: tuple[int, int] | None
) -> None:
    assert before_exit(order, com1, debug, code) == left


def test_any_interleaving_of_two_ports_with_different_bytes_is_taken_apart() -> None:
    random.seed(7)
    for _ in range(200):
        before, after = ([random.choice("aX") for _ in range(random.randrange(12))] for _ in range(2))
        order = "".join([*before, "\x07", *after]).encode()
        com1, debug = (bytes(byte for byte in order if byte == ord(letter)) for letter in "aX")
        assert before_exit(order, com1, debug, 7) == (before.count("a"), before.count("X"))
