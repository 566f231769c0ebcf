"""The near end of a COM port: what a sender like Bochs, byte by byte, sends comes whole and in order."""

from __future__ import annotations

import asyncio
import socket

from emulators.bochs.com_port import com_port


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
