"""Every wait has a limit, and a wait on a machine ends with the machine."""

from __future__ import annotations

import ast
import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from emulators.host import limits
from emulators.host.errors import EmulatorError
from emulators.host.limits import AnswerTimeout, in_time
from emulators.host.tools import ran

EMULATORS = Path(limits.__file__).parent.parent
# Waits that a limit of their own makes no safer: the boot's own deadlines, and apt's, which are its mirror's.
# debugging.py hands a guest to a person, who ends it.
OF_THEIR_OWN = {"watch.py", "apt.py", "limits.py", "process.py", "debugger.py", "debugging.py"}


async def test_work_that_is_done_in_time_gives_its_result() -> None:
    async def work() -> int:
        await asyncio.sleep(0.01)
        return 7

    assert await in_time(work(), 5, "never") == 7


async def test_work_that_takes_too_long_is_cancelled_and_told() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(AnswerTimeout, match=r"no word within 0\.05 s"):
        await in_time(work(), 0.05, "no word", evidence=lambda: "what it said")
    assert cancelled.is_set()


async def test_the_end_of_the_machine_ends_the_wait() -> None:
    async def ended() -> int:
        await asyncio.sleep(0.02)
        return -9

    begun = time.monotonic()
    with pytest.raises(EmulatorError, match="its emulator has ended") as caught:
        await in_time(asyncio.sleep(60), 60, "no word", end=ended)
    assert not isinstance(caught.value, AnswerTimeout) and time.monotonic() - begun < 5


async def test_what_the_work_raises_comes_out() -> None:
    async def work() -> None:
        raise EmulatorError("broken")

    with pytest.raises(EmulatorError, match="broken"):
        await in_time(work(), 5, "no word")


def test_a_tool_that_does_not_end_is_killed() -> None:
    with pytest.raises(EmulatorError, match="has not ended after") as caught:
        ran([sys.executable, "-c", "import sys, time; print('stuck', file=sys.stderr, flush=True); time.sleep(60)"],
            seconds=0.5)  # fmt: skip
    assert "stuck" in caught.value.evidence


def test_what_a_tool_has_started_ends_with_it() -> None:
    """As a compiler's driver starts the compiler, which has its outputs."""
    begun = time.monotonic()
    with pytest.raises(EmulatorError, match="has not ended after"):
        ran(["sh", "-c", "sleep 61 & wait"], seconds=0.5)
    assert time.monotonic() - begun < 10
    assert not [child for child in psutil.Process().children(recursive=True) if child.name() == "sleep"]


def test_a_tool_that_is_missing_is_told_with_its_package() -> None:
    with pytest.raises(EmulatorError, match="cannot start no-such-tool") as caught:
        ran(["no-such-tool"], hint="apt-get install it")
    assert caught.value.hint == "apt-get install it"


def unlimited(source: str) -> Iterator[str]:
    """The calls in a module that could wait for ever, or whose limit is not one of emulators.host.limits."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("subprocess.run", "subprocess.check_output", "asyncio.wait_for", "asyncio.timeout"):
            yield f"line {node.lineno}: {called}"
        if called in ("in_time", "ran") and any(isinstance(part, ast.Constant) for part in _limits_of(node, called)):
            yield f"line {node.lineno}: a number in {called}"


def _limits_of(node: ast.Call, called: str) -> list[ast.expr]:
    given = [keyword.value for keyword in node.keywords if keyword.arg == "seconds"]
    return [*given, *(node.args[1:2] if called == "in_time" else [])]


@pytest.mark.parametrize(
    "path", sorted(EMULATORS.rglob("*.py")), ids=lambda path: path.relative_to(EMULATORS).as_posix()
)
def test_no_module_waits_without_a_limit_that_a_reader_can_find(path: Path) -> None:
    if path.name not in OF_THEIR_OWN and path.name != "tools.py":
        assert list(unlimited(path.read_text())) == []


@pytest.mark.parametrize(
    "wrong",
    ["subprocess.run(['ls'])", "await asyncio.wait_for(it, 5)", "in_time(it, 5.0, '')", "ran(['ls'], seconds=1)"],
)
def test_a_wait_without_a_limit_is_found(wrong: str) -> None:
    assert list(unlimited(f"async def f():\n {wrong}"))


@pytest.mark.parametrize("right", ["in_time(it, limits.X, '')", "ran(['ls'])", "in_time(it, self._seconds, '')"])
def test_a_wait_with_a_limit_is_none(right: str) -> None:
    assert not list(unlimited(right))
