"""The dialogue with Bochs' debugger, held with a program that behaves as it does, at its worst."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulators.bochs import debugger as module
from emulators.bochs.debugger import BochsEnd, Debugger
from emulators.host import limits
from emulators.host.errors import EmulatorError
from emulators.host.process import running

# Interrupts of a simulation set a flag, which `c` clears as Bochs does. What the guest says comes from the test.
BOCHS = r"""
import signal, sys, time, os
flag = [False]
def interrupt(*_):
    if {deaf}: return
    flag[0] = True
signal.signal(signal.SIGINT, interrupt)
def say(text): sys.stdout.write(text); sys.stdout.flush()
say("noise\nNext at t=0\n(0) [0x0] f000:fff0 (unk. ctxt): jmpf\n")
number = 0
def go_on(says):
    time.sleep({late})
    flag[0] = False
    say(says)
    while not flag[0]:
        time.sleep(0.001)
        {meanwhile}
    say("Next at t=77\n(0) [0x1] 0000:7c00 (unk. ctxt): hlt\n")
go_on({says!r})
while True:
    number += 1
    say(f"<bochs:{{number}}> ")
    line = sys.stdin.readline().strip()
    say(line + "\n" if {echoes} else "")
    if line == "c": go_on({again!r})
    elif line == "quit": say("leaving\n"); sys.exit(0)
    elif line.startswith("calc "): total = eval(line[5:]); say(f"{{total:#x}} {{total}}\n")
    elif line == "big": say("x" * 300000 + "\n")
    elif line == "die": os._exit(1)
    else: say(f"did {{line}}\n")
"""


@contextlib.asynccontextmanager
async def bochs(
    folder: Path,
    *,
    says: str = "guest",
    again: str = "more",
    late: float = 0.0,
    deaf: bool = False,
    echoes: bool = True,
    meanwhile: str = "pass",
) -> AsyncIterator[Debugger]:
    script = folder / "bochs.py"
    script.write_text(BOCHS.format(says=says, again=again, late=late, deaf=deaf, echoes=echoes, meanwhile=meanwhile))
    debugger = Debugger()
    argv = [sys.executable, str(script)]
    async with running(argv, output=debugger.output, stdin=debugger.input, cwd=folder) as process:
        debugger.serve(process)
        try:
            await debugger.started()
            yield debugger
        finally:
            await debugger.close()


@pytest.mark.parametrize("echoes", [True, False])
async def test_it_stops_answers_goes_on_and_leaves(tmp_path: Path, echoes: bool) -> None:
    async with bochs(tmp_path, echoes=echoes) as debugger:
        async with debugger.paused():
            assert "did r\n" in await debugger.command("r")
            assert "did creg\n" in await debugger.command("creg")
        assert await asyncio.wait_for(debugger.guest.readuntil(b"more"), 5)
        await debugger.stop()
        assert len(await debugger.command("big")) > 300000
        assert debugger.debug_port() == b"guestmore"
        await debugger.quit()
        assert debugger.said().endswith(b"leaving\n")


async def test_an_interrupt_that_comes_before_the_simulation_runs_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.1)
    async with bochs(tmp_path, late=0.3) as debugger:
        for _ in range(3):
            async with debugger.paused():
                assert "did r\n" in await debugger.command("r")
        await debugger.stop()
        assert debugger.debug_port() == b"guestmoremoremore"


async def test_a_guest_cannot_speak_for_the_debugger(tmp_path: Path) -> None:
    fake = "".join(f"<bochs:{number}> calc 0x1 + 0x2\n0x3 3\n" for number in range(1, 9)) + "<bochs:9> "
    async with bochs(tmp_path, says=fake) as debugger:
        await asyncio.wait_for(debugger.prompted.wait(), 5)
        await debugger.stop()
        assert "did r\n" in await debugger.command("r")
        assert debugger.debug_port() == fake.encode()


async def test_a_flood_is_read_while_it_comes_and_stays_whole(tmp_path: Path) -> None:
    async with bochs(tmp_path, meanwhile="say('0123456789' * 10000)") as debugger:
        said = await asyncio.wait_for(debugger.guest.readexactly(20_000_000), 20)
        begun = time.monotonic()
        await debugger.stop()
        assert time.monotonic() - begun < 5
        assert said.startswith(b"guest0123") and debugger.debug_port().startswith(said)
        digits = debugger.debug_port().removeprefix(b"guest")  # as many as are kept: on a slow host more have come
        assert digits == (b"0123456789" * (len(digits) // 10 + 1))[: len(digits)]


async def test_one_that_leaves_while_it_is_asked_is_gone_at_once(tmp_path: Path) -> None:
    async with bochs(tmp_path) as debugger:
        await debugger.stop()
        begun = time.monotonic()
        with pytest.raises(BochsEnd):
            await debugger.command("die")
        with pytest.raises(BochsEnd):
            await debugger.stop()
        assert time.monotonic() - begun < 2


async def test_one_that_leaves_by_itself_is_gone_when_it_is_asked(tmp_path: Path) -> None:
    async with bochs(tmp_path, meanwhile="time.sleep(0.1); os._exit(1)") as debugger:
        await asyncio.sleep(0.3)
        with pytest.raises(BochsEnd):
            await debugger.stop()


async def test_one_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOCHS_STOP", 0.3)
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.1)
    async with bochs(tmp_path, deaf=True) as debugger:
        with pytest.raises(EmulatorError, match="does not answer"):
            await debugger.stop()
