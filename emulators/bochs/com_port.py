"""The near end of a COM port of Bochs, which connects to it by TCP, as it can in no other way.

Other users of this host can connect, too. So a connection counts only when the process at its other end is this user's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

# Of netlink(7) and sock_diag(7): the number of the protocol, the kind of request and answer, and their layouts.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NETLINK_HEADER, ERROR = struct.Struct("=IHHII"), struct.Struct("=i")
DIAG_REQUEST = struct.Struct("=BBHI4s32sIII")  # struct inet_diag_req_v2
UID, UID_AT = struct.Struct("=I"), 64  # in struct inet_diag_msg
DIAG_SECONDS = 1.0  # that the kernel may take to answer, which it does at once

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LIMIT = 1 << 22  # bytes of one line
# Seconds between looks at a port on which bytes come: after a whole line, which may be all there is, and in the middle
# of one.
NEXT_LINE, SAME_LINE = 0.002, 0.006


class ComPort:
    """`port` is what Bochs is to connect to, `connected` what it is spoken to by then."""

    def __init__(self, port: int, connected: asyncio.Future[Stream]) -> None:
        self.port = port
        self.connected = connected

    def line(self, number: int) -> str:
        """The line of Bochs' configuration that makes this its COM port of this number."""
        return f"com{number}: enabled=1, mode=socket-client, dev=127.0.0.1:{self.port}"


class _Prompt(asyncio.StreamReaderProtocol):
    """Acknowledges at once. Bochs sends byte by byte and lets TCP gather them: until the first byte is acknowledged,
    which a receiver may put off by 40 ms, the others of an answer wait. And gathers a little itself, or each byte would
    be an event.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._from_bochs = transport
        self._socket: socket.socket = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        with contextlib.suppress(OSError):  # it has gone
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._from_bochs.pause_reading()
        pause = NEXT_LINE if data.endswith(b"\n") else SAME_LINE
        asyncio.get_running_loop().call_later(pause, self._from_bochs.resume_reading)


def owner(end: tuple[str, int], other: tuple[str, int]) -> int | None:
    """The user who has this end of a TCP connection on loopback; None when there is none."""
    try:
        return _looked_up(end, other)
    except (OSError, struct.error):  # a kernel without that interface
        return _in_kernel_s_table(end, other)


def _looked_up(end: tuple[str, int], other: tuple[str, int]) -> int | None:
    """By sock_diag(7), which finds one connection at once. Raises OSError and struct.error where there is none of
    that.
    """
    ports = struct.pack("!HH", end[1], other[1])
    addresses = b"".join(socket.inet_aton(address).ljust(16, b"\0") for address, _ in (end, other))
    anything = 0xFFFFFFFF  # as for the states and the cookie
    request = DIAG_REQUEST.pack(
        socket.AF_INET, socket.IPPROTO_TCP, 0, anything, ports, addresses, 0, anything, anything
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(DIAG_SECONDS)
        kernel.send(NETLINK_HEADER.pack(NETLINK_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, 1, 0, 0) + request)
        answer = kernel.recv(4096)
    _, kind, *_ = NETLINK_HEADER.unpack_from(answer)
    if kind == SOCK_DIAG_BY_FAMILY:
        uid: int = UID.unpack_from(answer, NETLINK_HEADER.size + UID_AT)[0]
        return uid
    error = -ERROR.unpack_from(answer, NETLINK_HEADER.size)[0]
    if error == errno.ENOENT:
        return None
    raise OSError(error, os.strerror(error))


def _in_kernel_s_table(end: tuple[str, int], other: tuple[str, int]) -> int | None:
    """By proc(5): the kernel walks all of its connections for that, which takes milliseconds."""
    wanted = [_in_table(*end), _in_table(*other)]
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if words[1:3] == wanted:
                return int(words[7])
    return None


def _in_table(address: str, port: int) -> str:
    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}:{port:04X}"


@contextlib.asynccontextmanager
async def com_port() -> AsyncIterator[ComPort]:
    """A port for one connection, on loopback; it is open while the context lasts."""
    loop = asyncio.get_running_loop()
    connected: asyncio.Future[Stream] = loop.create_future()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        if not connected.done() and owner(*ends) == os.getuid():
            connected.set_result((reader, writer))
        else:
            writer.close()

    server = await loop.create_server(lambda: _Prompt(asyncio.StreamReader(limit=LIMIT), take), "127.0.0.1", 0)
    try:
        yield ComPort(server.sockets[0].getsockname()[1], connected)
    finally:
        server.close()
