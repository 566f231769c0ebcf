"""Emulator processes: ended with their context, and counted to the last instruction."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from emulators.host.errors import EmulatorError
from emulators.host.process import finished, running


def _first_words(path: Path) -> str:
    while not (said := path.read_text()).strip():
        time.sleep(0.01)
    return said


async def test_what_it_has_used_is_known_while_it_runs_and_once_it_has_ended(tmp_path: Path) -> None:
    spin = "while sum(os.times()[:2]) < 0.3: pass"
    busy = (
        f"import os\n{spin}\nif os.fork(): os.wait()\nelse:\n {spin}\n os._exit(0)\nprint('done', flush=True)\ninput()"
    )
    stdin, to_stdin = os.pipe()
    with (tmp_path / "log").open("wb") as output, os.fdopen(stdin, "rb"), os.fdopen(to_stdin, "wb", 0) as speak:
        async with running(["python3", "-c", busy], output=output, cwd=tmp_path, stdin=stdin) as process:
            await asyncio.to_thread(_first_words, tmp_path / "log")
            running_still = process.cpu_seconds()
            speak.write(b"\n")
            assert await process.wait() == 0
    for used in (running_still, process.cpu_seconds()):
        assert 0.58 < used == pytest.approx(0.65, abs=0.3), "its child's too"


async def test_it_ends_with_the_context_and_with_its_own_children(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as output:
        async with running(["sh", "-c", "sleep 100 & echo $!; wait"], output=output, cwd=tmp_path) as process:
            said = await asyncio.to_thread(_first_words, tmp_path / "log")
            assert process.returncode is None and await process.wait_for(0.01) is None
    assert process.returncode == -signal.SIGTERM
    for number in (process.pid, int(said)):
        with pytest.raises(ProcessLookupError):
            for _ in range(200):
                os.kill(number, 0)
                await asyncio.sleep(0.01)
    process.send_signal(signal.SIGTERM)  # no error


async def test_one_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulators.host.limits.GRACE", 0.1)
    with (tmp_path / "log").open("wb") as output:
        argv = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]
        async with running(argv, output=output, cwd=tmp_path) as process:
            await asyncio.to_thread(_first_words, tmp_path / "log")
    assert process.returncode == -signal.SIGKILL


async def test_a_program_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with (tmp_path / "log").open("wb") as output, pytest.raises(EmulatorError, match="cannot start"):
        async with running(["no-such-program"], output=output, cwd=tmp_path):
            pass


async def test_who_gives_up_waits_for_work_that_must_be_finished() -> None:
    done = []

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append(True)

    task = asyncio.ensure_future(finished(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done
