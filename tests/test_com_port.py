"""The near end of a COM port: what a sender like Bochs, byte by byte, sends comes whole and in order."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
from collections.abc import Callable

import pytest

from emulators.bochs.com_port import _in_kernel_s_table, _looked_up, com_port, owner

Asked = Callable[[tuple[str, int], tuple[str, int]], int | None]


async def test_bytes_that_come_one_by_one_come_all() -> None:
    words = bytes(range(256)) * 4
    async with com_port() as port:
        assert port.line(3) == f"com3: enabled=1, mode=socket-client, dev=127.0.0.1:{port.port}"
        with socket.create_connection(("127.0.0.1", port.port)) as bochs:
            reader, writer = await port.connected

            def send() -> None:
                for byte in words:
                    bochs.send(bytes([byte]))

            sending = asyncio.create_task(asyncio.to_thread(send))
            assert await reader.readexactly(len(words)) == words
            await sending
            writer.write(b"answer")
            assert await asyncio.to_thread(bochs.recv, 100) == b"answer"
        assert await reader.read() == b"", "its end is seen, too"
        writer.close()


async def test_only_the_first_is_taken() -> None:
    async with com_port() as port:
        with socket.create_connection(("127.0.0.1", port.port)) as first:
            reader, writer = await port.connected
            with socket.create_connection(("127.0.0.1", port.port)) as second:
                second.send(b"stranger")
                first.send(b"bochs")
                assert await reader.readexactly(5) == b"bochs"
        writer.close()


async def test_another_user_is_not_taken_for_bochs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def of_another_first(*ends: object) -> int:
        asked.append(ends)
        return os.getuid() + (len(asked) == 1)

    monkeypatch.setattr("emulators.bochs.com_port.owner", of_another_first)
    async with com_port() as port:
        with socket.create_connection(("127.0.0.1", port.port)) as stranger:
            assert await asyncio.to_thread(stranger.recv, 1) == b"", "it is shown the door"
            assert not port.connected.done()
        with socket.create_connection(("127.0.0.1", port.port)) as bochs:
            reader, writer = await port.connected
            bochs.send(b"bochs")
            assert await reader.readexactly(5) == b"bochs"
        writer.close()


@pytest.mark.parametrize("asked", [owner, _looked_up, _in_kernel_s_table])
def test_the_owner_of_an_end_is_known(asked: Asked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        with far:
            assert asked(near.getsockname(), near.getpeername()) == os.getuid()
            assert asked(("127.0.0.1", 1), near.getpeername()) is None


def test_one_of_another_user_has_that_user() -> None:
    """As root, who may make a connection in another's name."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).recv(1)"
        argv = ["python3" if os.getuid() else "/usr/bin/python3", "-c", script, str(server.getsockname()[1])]
        user = 65534 if os.getuid() == 0 else os.getuid()
        with subprocess.Popen(argv, stdout=subprocess.PIPE, user=user if os.getuid() == 0 else None) as child:
            far, end = server.accept()
            with far:
                assert {asked(end, far.getsockname()) for asked in (_looked_up, _in_kernel_s_table)} == {user}
            child.wait()


def test_a_kernel_without_the_quick_way_is_asked_for_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "no such protocol")

    monkeypatch.setattr("emulators.bochs.com_port._looked_up", refused)
    monkeypatch.setattr("emulators.bochs.com_port._in_kernel_s_table", lambda *_: 77)
    assert owner(("127.0.0.1", 1), ("127.0.0.1", 2)) == 77
