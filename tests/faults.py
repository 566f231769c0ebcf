"""Commands on a disk that fails: at each of their file operations in turn.

Run as a program with tests/faults.c preloaded (`every_fault` does that): each attempt is a process of its own, forked
when all modules are loaded, in which the nth operation below one folder fails, and all after it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from tests import mirror

ROOT = Path(__file__).parent.parent
LIBRARY = "faults.so"
SECONDS = 60  # that an attempt may take
MOST = 400  # operations of a command


class Attempt(NamedTuple):
    """What a command did when its nth operation failed. `hits` is how many operations failed."""

    nth: int
    code: int
    hits: int
    said: str


class FaultScenario(NamedTuple):
    """What is done, the folder on the disk that fails, and what has to be there first; all below the attempt's folder,
    which is the current one.
    """

    act: Callable[[], object]
    below: str
    set_up: Callable[[Path], None]


def built_library(folder: Path) -> Path:
    """tests/faults.c, compiled."""
    library = folder / LIBRARY
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


def every_fault(scenario: str, error: int, folder: Path) -> list[Attempt]:
    """All attempts of a scenario, up to the one in which nothing failed any more."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(built_library(folder))}
    argv = [sys.executable, "-m", "tests.faults", scenario, str(error), str(folder)]
    done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [Attempt(*attempt) for attempt in json.loads(done.stdout)]


def _command(*argv: str) -> Callable[[], object]:
    def act() -> None:
        from difftest.cli import application

        application(argv)(argv)

    return act


def _fetch_a_kernel() -> None:
    from emulators.hosted.appliance import kernel

    kernel.fetch(str(Path("linux.deb").absolute()), Path("cache").absolute(), lambda line: None)


def _deb(folder: Path) -> None:
    release = "6.1.0-9-amd64"
    module = f"lib/modules/{release}/kernel/arch/x86/kvm/kvm-intel.ko"
    files = {f"boot/vmlinuz-{release}": mirror.bzimage(release), module: mirror.module(release)}
    mirror.deb(folder, f"linux-image-{release}", "1", files).rename(folder / "linux.deb")


def _image(folder: Path) -> None:
    (folder / "x.img").write_bytes(bytes(510) + b"\x55\xaa")
    (folder / "results").mkdir()


def _stored(folder: Path) -> None:
    from tests import sample_run as sample

    sample.write_run(folder / "results")


def _case(folder: Path) -> None:
    shutil.copytree(ROOT / "cases/ept-pdpte-load", folder / "mine/some")
    text = (folder / "mine/some/case.toml").read_text().replace("ept-pdpte-load", "some", 1)
    (folder / "mine/some/case.toml").write_text(text)


def _nothing(folder: Path) -> None:
    (folder / "out").mkdir()


def _report(folder: Path) -> None:
    _stored(folder)
    _nothing(folder)


FORMS = ("--html", "out/page.html", "--junit", "out/junit.xml", "--csv", "out/tables")
SCENARIOS = {
    "run": FaultScenario(_command("run", "x.img", "-t", "kvm", "--quiet"), "results", _image),
    "copy an image": FaultScenario(_command("run", "x.img", "-t", "kvm", "--quiet"), "cache", _image),
    "build a case": FaultScenario(_command("show", "some", "--cases", "mine"), "cache", _case),
    "fetch a kernel": FaultScenario(_fetch_a_kernel, "cache", _deb),
    "report": FaultScenario(_command("report", *FORMS), "out", _report),
    "judge": FaultScenario(_command("judge"), "results", _stored),
    "bundle": FaultScenario(_command("bundle", "not-present", "-o", "out"), "out", _report),
    "new": FaultScenario(_command("new", "out/fresh"), "out", _nothing),
}


def _fakes(*_: Any, **__: Any) -> dict[str, Any]:
    from emulators.fake import Fake, observation

    def script(name: str) -> Fake:
        return Fake(name, lambda boot: observation(name, b"hello\n", image_sha256=boot.image_sha256))

    return {name: script(name) for name in ("bochs", "kvm")}


def _attempt(scenario: FaultScenario, error: int, nth: int, folder: Path) -> Attempt:
    """Fork, fail, and wait for what becomes of it."""
    folder.mkdir(parents=True)
    hits, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(SECONDS)
            os.chdir(folder)
            os.environ |= {"XDG_CACHE_HOME": str(folder / "cache")}
            scenario.set_up(folder)
            said = os.open("said", os.O_WRONLY | os.O_CREAT)
            os.dup2(said, 1)
            os.dup2(said, 2)
            os._exit(_run(scenario.act, error, nth, folder / scenario.below, told))
        finally:
            os._exit(99)  # never back into the loop
    os.close(told)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(hits) as pipe:
        return Attempt(nth, code, int(pipe.read() or -1), (folder / "said").read_text())


def _run(act: Callable[[], object], error: int, nth: int, below: Path, told: int) -> int:
    from difftest.cli import code_of
    from difftest.commands.streams import open_streams
    from difftest.reading.screen_reading import ScreenReading

    library = ctypes.CDLL(None)
    open_streams()
    read = mock.patch("difftest.run.boots.read_screen", lambda seen, afresh: ScreenReading(text=[""] * 25))
    with mock.patch("difftest.run.request.targets", _fakes), read:
        library.fault_arm(error, nth, os.fsencode(below))
        code = code_of(act)
    os.write(told, str(library.fault_hits()).encode())
    sys.stdout.flush()
    return code


def _main(name: str, error: int, folder: Path) -> None:
    import difftest.cli
    import difftest.report.bundle
    import difftest.report.html
    import difftest.report.tables
    import difftest.report.terminal
    import difftest.run.request

    difftest.cli.application()
    attempts: list[Attempt] = []
    while not attempts or attempts[-1].hits > 0:
        assert len(attempts) < MOST
        attempts.append(_attempt(SCENARIOS[name], error, len(attempts), folder / f"{error}-{len(attempts)}"))
    json.dump(attempts, sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
