"""The near end of a COM port: what a sender like Bochs, byte by byte, sends comes whole and in order."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from emulators.bochs.com_port import com_port, owner


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


def test_the_owner_of_an_end_is_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        with far:
            assert owner(near.getsockname(), near.getpeername()) == os.getuid()
            assert owner(("127.0.0.1", 1), near.getpeername()) is None
