"""Where a guest that left through a port had got to: what it wrote to its ports before that, and not after it.

QEMU's ports come by streams of their own, and one that left goes on to run until QEMU has been stopped. So QEMU also
writes what comes through COM1, port 0xE9 and the ports to leave by to the end of one file, in the order in which the
guest did.
"""

from __future__ import annotations

from emulators.observation import LEFT_BY_PORT
from emulators.watch import SHUTDOWN_WORD, End, Watch, shut_down

State = tuple[int, int, int]  # bytes of COM1, of port 0xE9 and of port 0x8900 so far


def left_by_port(end: End) -> bool:
    return end == shut_down() or end[1].startswith(LEFT_BY_PORT)


def cut(watch: Watch, order: bytes, end: End) -> None:
    """Forget what was watched after the guest had left through a port. `order` is as for `before_exit`."""
    code = int(end[1].rpartition(" ")[2]) if end[1].startswith(LEFT_BY_PORT) else None
    if (places := before_exit(order, bytes(watch.serial.data), bytes(watch.debug.data), code)) is not None:
        del watch.serial.data[places[0] :], watch.debug.data[places[1] :]


def before_exit(order: bytes, com1: bytes, debug: bytes, code: int | None) -> tuple[int, int] | None:
    """How many bytes of COM1 and of port 0xE9 had been written when the guest left: with a `code` through port 0xF4,
    else by its word on port 0x8900. `order` has the bytes of all ports as they were written. None where they do not fit
    together.

    Where one byte could be of several ports all are followed; the last place that fits is the one.
    """
    left: tuple[int, int] | None = None
    states: set[State] = {(0, 0, 0)}
    for byte in order:
        fresh: set[State] = set()
        for at_com1, at_debug, at_word in states:
            if byte == code:
                left = at_com1, at_debug
            if com1[at_com1 : at_com1 + 1] == bytes([byte]):
                fresh.add((at_com1 + 1, at_debug, at_word))
            if debug[at_debug : at_debug + 1] == bytes([byte]):
                fresh.add((at_com1, at_debug + 1, at_word))
            if code is None and byte == SHUTDOWN_WORD[at_word]:
                if at_word + 1 == len(SHUTDOWN_WORD):
                    left = at_com1, at_debug
                else:
                    fresh.add((at_com1, at_debug, at_word + 1))
        states = fresh
        if not states:
            break
    return left
