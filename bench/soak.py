"""Hours of a bad week in minutes: hostile images, processes that are killed, disks that are full.

    .venv/bin/python bench/soak.py --minutes 20
    .venv/bin/python bench/soak.py --minutes 600 --each 40       until each kind of process was killed 40 times
    .venv/bin/python bench/soak.py --minutes 1 --target tcg      without KVM inside Bochs

Each round is a run of two images by the command line, and one fault at a random moment of it: a process is killed with
SIGKILL, the folder of runs or the temporary folder is full, or the cache cannot be written to. The run has to end by
itself within its limits, with the verdicts that these images have without a fault, or none; and it leaves no process,
temporary folder or socket. Between the rounds one process does many boots, whose descriptors and memory are counted.

The table at the end has what was tried, and three numbers that must be 0. Exit code 0 when they are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from difftest.case.case import of_image  # noqa: E402
from difftest.image.prepare import prepare  # noqa: E402
from emulators.hosted.appliance.machine import ApplianceMachine  # noqa: E402
from emulators.hosted.remains import SLOWER  # noqa: E402
from emulators.hosted.target import KvmHosted  # noqa: E402
from emulators.observation import Boot, Ending, Limits, Machine  # noqa: E402
from emulators.qemu.target import Tcg  # noqa: E402
from tests.guests import HALT, boot_sector  # noqa: E402
from tests.hostile import HOSTILE  # noqa: E402

TIMEOUT = 3.0  # seconds that a boot may take
ROUND_MARGIN = 90.0  # seconds on top of the deadlines of all boots of a run: starting, looking, judging, a loaded host
MARK = "DIFFTEST_SOAK"  # in the environment of all that a soak starts
GRACE = 5.0  # seconds in which what a run has started must be gone after it
LATEST_KILL = 1.5  # seconds after a process has come
RUN_SECONDS = 5.0  # that a run takes at least: when the tester is killed
BOOTS, WARM_UP = 300, 40  # boots of one process; those before its memory is looked at first
MOST_GROWTH = 4 << 20  # bytes of the tester's memory over all later boots
KEPT_WRONG = 20  # words on what went wrong that are printed
QUIET_VERDICTS = {"agree", "inconclusive", "skipped"}  # those that claim nothing
ORDERLY = {0, 1, 3}  # exit codes of a run that judged
REFUSED = {3, 5}  # of one whose disk refused something
# By kind: the process's name begins so, and its current folder has this word in its name.
PROCESSES = {
    "tester": ("", ""),
    "reference Bochs": ("bochs", "difftest-bochs-"),
    "hosting Bochs": ("bochs", "difftest-hosted-"),
    "QEMU": ("qemu-system", "difftest-qemu-"),
    "Xvfb": ("Xvfb", "difftest-display-"),
}
INNER = "QEMU in the appliance"
FULL = {
    "full folder of runs": "mount -t tmpfs -o size=200k none {results}",
    "full temporary folder": "mount -t tmpfs -o size=40k none {temporary}",
    "cache that is read-only": "mount --bind {cache} {cache} && mount -o remount,ro,bind {cache}",
}
FAULTS = ("none", *PROCESSES, INNER, *FULL)


class Soak:
    def __init__(self, folder: Path, targets: list[str], seed: int) -> None:
        self.folder = folder
        self.targets = targets
        self.random = random.Random(seed)
        self.images = {name: _image(folder, name, one.code) for name, one in HOSTILE.items()}
        self.hello = _image(folder, "hello", HALT)
        self.tried: Counter[str] = Counter()  # faults that took effect
        self.survived: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()  # hangs, false verdicts, leaks
        self.words: list[str] = []
        self.known: dict[tuple[str, str], set[str]] = {}  # the verdicts of an image on a target without a fault
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), MARK: str(folder), "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir()

    def round(self, fault: str) -> None:
        target = self.random.choice(self._targets_of(fault))
        images = [self.hello]
        if self.random.random() < 0.7 or target != "kvm-hosted":
            images.append(self.images[self.random.choice(list(self.images))])
        if fault == INNER:
            self._inner()
            return
        for image in images:
            self._learn(image, target)
        print(f"  {fault}: {target}, {', '.join(image.stem for image in images)}", file=sys.stderr)
        results = self.folder / "results"
        shutil.rmtree(results, ignore_errors=True)
        wrong = sum(self.wrong.values())
        code, struck, seconds = self._run(images, target, results, fault)
        if struck:
            self.tried[fault] += 1
        if code is None:
            self._says(
                "hangs", f"{fault} on {target}, {[image.stem for image in images]}: no end after {seconds:.0f} s"
            )
        elif fault in FULL and fault != "cache that is read-only":
            self._check(code in REFUSED | ORDERLY, f"{fault}: exit code {code}")
        elif struck and fault == "tester":
            self._check(self._reports(results), "what a killed tester has left cannot be reported")
        else:
            self._check(code in ORDERLY, f"{fault} on {target}: exit code {code}")
            self._compare(results, images, target, fault)
        self._count_leaks(fault)
        if struck and sum(self.wrong.values()) == wrong:
            self.survived[fault] += 1

    def boots(self, count: int) -> None:
        """So many boots in this process; what it has more at the end than after the first of them is a leak."""
        asyncio.run(self._boots(count))

    def table(self, seconds: float, rounds: int) -> int:
        print(f"{'fault':28}{'tried':>8}{'survived':>10}")
        for fault in (*FAULTS[1:], "boots of one process"):
            print(f"{fault:28}{self.tried[fault]:8}{self.survived[fault]:10}")
        zeros = {name: self.wrong[name] for name in ("hangs", "false verdicts", "leaks", "wrong exit codes")}
        print(
            f"{seconds / 60:.1f} minutes, {rounds} rounds; "
            + ", ".join(f"{name} {count}" for name, count in zeros.items())
        )
        for words in self.words[:KEPT_WRONG]:
            print(f"  {words}")
        return int(any(zeros.values()))

    def _targets_of(self, fault: str) -> list[str]:
        if fault in ("hosting Bochs", INNER):
            return ["kvm-hosted"]
        return ["tcg"] if fault == "QEMU" else self.targets

    def _learn(self, image: Path, target: str) -> None:
        """The verdicts of an image where nothing disturbs. Twice: an image may end in several ways."""
        if (image.stem, target) in self.known:
            return
        self.known[image.stem, target] = set()
        for _ in range(2):
            results = self.folder / "results"
            shutil.rmtree(results, ignore_errors=True)
            code, _, seconds = self._run([image], target, results, "none")
            if code is None:
                self._says("hangs", f"no fault, {target}, {image.stem}: no end after {seconds:.0f} s")
            self.known[image.stem, target] |= set(_verdicts(results).values())
        self._count_leaks("none")

    def _compare(self, results: Path, images: list[Path], target: str, fault: str) -> None:
        """A verdict that the image has not without a fault is false, unless it is none; and each image has one."""
        found = _verdicts(results)
        for image in images:
            verdict = found.get(image.stem)
            if verdict is None:
                self._says("false verdicts", f"{fault} on {target}: nothing is said of {image.stem}")
            elif verdict not in self.known[image.stem, target] | {"inconclusive", "skipped"}:
                known = sorted(self.known[image.stem, target])
                self._says("false verdicts", f"{fault} on {target}: {image.stem} is {verdict}, not {known}")

    def _run(self, images: list[Path], target: str, results: Path, fault: str) -> tuple[int | None, bool, float]:
        """The exit code, None where it hangs; whether the fault took effect; and how long it took."""
        results.mkdir()
        argv = [sys.executable, "-m", "difftest.cli", "run", *map(str, images), "-t", target, "--confirm", "none"]
        argv += ["-q", "--results", str(results), "--timeout", str(TIMEOUT)]
        if fault in FULL:
            cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
            mount = FULL[fault].format(results=results, temporary=self.folder / "tmp", cache=cache)
            argv = ["unshare", "-m", "sh", "-c", f'{mount} || exit 99; exec "$@"', "sh", *argv]
        begun = time.monotonic()
        factor = SLOWER + 1 if target == "kvm-hosted" else 2
        limit = ROUND_MARGIN + len(images) * factor * TIMEOUT
        with (self.folder / "said").open("wb") as said:
            run = subprocess.Popen(argv, cwd=self.folder, env=self.environment, stdout=said, stderr=said)
        struck = fault in FULL
        if fault in PROCESSES:
            struck = self._kill(run, fault)
        try:
            code: int | None = run.wait(max(1.0, begun + limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
            for process in [*psutil.Process(run.pid).children(recursive=True), psutil.Process(run.pid)]:
                process.kill()
            run.wait()
        words = (self.folder / "said").read_text(errors="replace")
        if code not in (None, *ORDERLY, *REFUSED) and not (struck and fault == "tester"):
            self.words.append(f"{fault}: {words[-300:]}")
        for sign in ("Traceback", "difftest itself failed"):
            if (at := words.find(sign)) >= 0:
                self._says("wrong exit codes", f"{fault}: {words[at : at + 600]}")
        return (None if code == 99 else code, struck and code != 99, time.monotonic() - begun)

    def _kill(self, run: subprocess.Popen[bytes], kind: str) -> bool:
        """Kill a process of a kind some time after it has come; whether it was there."""
        process = psutil.Process(run.pid)
        while kind != "tester" and run.poll() is None:
            if (found := _child(run.pid, *PROCESSES[kind])) is not None:
                process = found
                break
            time.sleep(0.02)
        time.sleep(self.random.uniform(0.0, RUN_SECONDS if kind == "tester" else LATEST_KILL))
        try:
            if run.poll() is not None or not process.is_running():
                return False
            process.kill()
        except psutil.Error:
            return False
        return True

    def _inner(self) -> None:
        """End QEMU in the appliance: by its shell, as no process of this host is one."""
        seen = asyncio.run(_inner_killed(self.hello.parent, self.random.uniform(0.0, 1.5)))
        self.tried[INNER] += 1
        if seen in (Ending.CRASH, Ending.HALTED, Ending.QUIET, Ending.TOTAL):
            self.survived[INNER] += 1
        else:
            self._says("false verdicts", f"{INNER}: the boot ended with {seen}")

    def _reports(self, results: Path) -> bool:
        """Whether what a killed run has left can be read: there may be nothing yet."""
        argv = [sys.executable, "-m", "difftest.cli", "report", "--results", str(results)]
        done = subprocess.run(argv, cwd=self.folder, env=self.environment, capture_output=True, check=False, timeout=60)
        started = any(results.glob("*/run.json"))
        return done.returncode in ORDERLY if started else done.returncode == 2

    def _count_leaks(self, fault: str) -> None:
        deadline = time.monotonic() + GRACE
        while (left := _marked(self.folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in left:
            self._says("leaks", f"{fault}: {process} is left")
        if fault == "tester":  # the next run removes what a killed one leaves
            self._run([self.hello], "tcg", _fresh(self.folder / "swept"), "none")
        if folders := [path.name for path in (self.folder / "tmp").glob("difftest-*")]:
            self._says("leaks", f"{fault}: {folders} are left")
            for name in folders:
                shutil.rmtree(self.folder / "tmp" / name, ignore_errors=True)

    async def _boots(self, count: int) -> None:
        made = prepare(of_image(self.hello), self.folder / "images")
        boot = _boot(made.image, made.sha256)
        target = Tcg()
        first: tuple[int, int] | None = None
        for number in range(count):
            async with target.session([boot], lambda line: None) as session:
                seen = await session.boot(boot)
            self._check(seen.ending == Ending.HALTED, f"boot {number} of one process ended with {seen.ending}")
            if number == min(WARM_UP, count // 2):
                first = _held()
        assert first is not None
        descriptors, memory = (now - then for now, then in zip(_held(), first, strict=True))
        print(f"  {count} boots: {descriptors:+} descriptors, {memory / 1024:+.0f} KiB", file=sys.stderr)
        self.tried["boots of one process"] += count
        if descriptors > 0 or memory > MOST_GROWTH:
            self._says("leaks", f"{count} boots: {descriptors:+} descriptors, {memory / 1024:+.0f} KiB")
        else:
            self.survived["boots of one process"] += count

    def _check(self, holds: bool, words: str) -> None:
        if not holds:
            self._says("wrong exit codes", words)

    def _says(self, kind: str, words: str) -> None:
        self.wrong[kind] += 1
        self.words.append(f"{kind}: {words}")
        print(f"  ! {kind}: {words}", file=sys.stderr)


async def _inner_killed(folder: Path, delay: float) -> Ending:
    """How a boot under hosted KVM ends whose QEMU is killed."""
    made = prepare(of_image(folder / "hello.img"), folder)
    target = KvmHosted()
    await asyncio.to_thread(target.prepare, lambda line: None)
    boot = _boot(made.image, made.sha256)
    machines: list[ApplianceMachine] = []
    init = ApplianceMachine.__init__

    def noted(self: ApplianceMachine, *arguments: object) -> None:
        init(self, *arguments)  # type: ignore[arg-type]
        machines.append(self)

    ApplianceMachine.__init__ = noted  # type: ignore[method-assign, assignment]
    try:
        async with target.session([boot], lambda line: None) as session:
            booting = asyncio.create_task(session.boot(boot))
            while not machines and not booting.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(delay)
            if machines and not booting.done():
                killing = asyncio.create_task(machines[-1].ask("busybox killall -9 qemu-system-x86_64"))
                ending = (await booting).ending
                killing.cancel()
                await asyncio.gather(killing, return_exceptions=True)
                return ending
            return (await booting).ending
    finally:
        ApplianceMachine.__init__ = init  # type: ignore[method-assign]


def _boot(image: Path, digest: str) -> Boot:
    limits = Limits(quiet=TIMEOUT, total=2 * TIMEOUT)
    return Boot(image=image, image_sha256=digest, limits=limits, machine=Machine(memory_mib=64))


def _image(folder: Path, name: str, code: str) -> Path:
    work = folder / "work"
    work.mkdir(exist_ok=True)
    return boot_sector(work, b"said\n", code).rename(folder / f"{name}.img")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _verdicts(results: Path) -> dict[str, str]:
    """By case."""
    found = {}
    for path in results.glob("latest/cases/*/results.json"):
        for result in json.loads(path.read_bytes()):  # of the image, and of what an emulator or a kernel logged
            if result["check"] == "image" or result["verdict"] not in QUIET_VERDICTS:
                found[path.parent.name.removesuffix(".img")] = result["verdict"]
    return found


def _child(pid: int, name: str, word: str) -> psutil.Process | None:
    try:
        for process in psutil.Process(pid).children(recursive=True):
            try:
                if process.name().startswith(name) and word in process.cwd() and "--help" not in process.cmdline():
                    return process
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return None


def _marked(folder: Path) -> list[str]:
    """Processes that this soak has started, but this one."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get(MARK) == str(folder)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.name()} {process.pid}")
        except psutil.Error:
            continue
    return found


def _held() -> tuple[int, int]:
    """Descriptors and bytes of memory of this process."""
    import gc

    gc.collect()
    me = psutil.Process()
    return me.num_fds(), me.memory_info().rss


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=20.0)
    options.add_argument("--rounds", type=int, default=1, help="at least so many, however long they take")
    options.add_argument("--each", type=int, default=0, help="end when each process was killed so often")
    options.add_argument("--target", action="append", default=[], help="tcg or kvm-hosted; default: both; repeatable")
    options.add_argument("--fault", action="append", default=[], help="only these faults; repeatable")
    options.add_argument("--boots", type=int, default=-1, help=f"boots of one process; default: {BOOTS}, or fewer")
    options.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    asked = options.parse_args()
    targets = asked.target or ["tcg", "kvm-hosted"]
    faults = asked.fault or [
        fault
        for fault in FAULTS
        if ("kvm-hosted" in targets or fault not in ("hosting Bochs", INNER))
        and ("tcg" in targets or fault != "QEMU")
        and (fault not in FULL or os.getuid() == 0)
    ]
    print(f"seed {asked.seed}, faults: {', '.join(faults)}", file=sys.stderr)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        soak = Soak(Path(name), targets, asked.seed)
        count = asked.boots if asked.boots >= 0 else min(BOOTS, int(asked.minutes * 15))
        if count:
            soak.boots(count)
        number = 0
        while number < asked.rounds or _goes_on(soak, faults, asked, begun):
            soak.round(faults[number % len(faults)])
            number += 1
        return soak.table(time.monotonic() - begun, number)


def _goes_on(soak: Soak, faults: list[str], asked: argparse.Namespace, begun: float) -> bool:
    if time.monotonic() - begun > asked.minutes * 60:
        return False
    killed: Callable[[str], bool] = lambda fault: fault == "none" or soak.tried[fault] >= asked.each  # noqa: E731
    return not asked.each or not all(killed(fault) for fault in faults)


if __name__ == "__main__":
    sys.exit(main())
