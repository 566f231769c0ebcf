"""What a run costs: cold and warm starts, one core and two, phase by phase, and the ratios that count.

    make bench                                  (some minutes; the machine should be otherwise quiet)
    .venv/bin/python bench/bench.py --quick     (without the run of all bundled cases)

Everything is read from the stored runs that `difftest run` left, so the figures are those of a user's run. Ratios are
what to trust: seconds vary with the machine, and CPU seconds with what else its cores do. A line per bench goes to
history.jsonl.

The time of a run is the emulators' while at least one of them runs, which is looked at from outside, and the tester's
own where none does. Of CPU time the emulators' is what the kernel says they took when they ended, and so is that of the
X servers that they draw on; all else is the tester's own: Python, OCR, apt, compilers, and emulators that are only
asked what they are.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from difftest.run.store import StoredRun  # noqa: E402
from emulators.observation import WHOLE_CPU, X_SERVER_CPU, Observation  # noqa: E402

HISTORY = Path(__file__).with_name("history.jsonl")
SEED, MORE = "ept-pdpte-load", 10
TIMES = 3
LOOK_SECONDS = 0.01
EMULATORS = {"bochs-bin", "bochs-ld.so", "bochs", "qemu-system-x86"}  # as the kernel names processes
IMAGE_BYTES = 516096  # of the kit's images; others of this size start from the same snapshot


class Done(NamedTuple):
    """A command that was run: its stored run, and what it took, all its children included."""

    run: StoredRun
    wall: float
    cpu: float
    emulating: float  # seconds of `wall` in which an emulator ran

    def seen(self, case: str, target: str) -> Observation:
        return self.run.boots(case)[target][0].observation

    def all_seen(self, target: str) -> list[Observation]:
        """The first boot of each case that was booted on the target."""
        every = [self.run.boots(case.name).get(target) for case in self.run.cases()]
        return [boots[0].observation for boots in every if boots]

    def own(self, label: str) -> dict[str, float]:
        """What the tester itself took of the run."""
        boots = [
            seen.observation
            for case in self.run.cases()
            for target in self.run.every_boot(case.name).values()
            for seen in target
        ]
        drawing = sum(seen.counters.get(X_SERVER_CPU, 0.0) for seen in boots)
        own = self.cpu - sum(spent(boots)) - drawing
        return {
            f"{label}: whole, s": self.wall,
            f"{label}: emulators, s": self.emulating,
            f"{label}: tester alone, s": self.wall - self.emulating,
            f"ratio: {label}: tester alone / whole (under 0.05)": 1 - self.emulating / self.wall,
            f"{label}: tester, CPU s": own,
            f"{label}: X servers, CPU s": drawing,
            f"ratio: {label}: tester, CPU / all CPU (under 0.05)": own / self.cpu,
            f"ratio: {label}: tester and X servers, CPU / all CPU": (own + drawing) / self.cpu,
        }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="difftest-bench-") as name:
        folder = Path(name)
        images = further_images(folder)
        say("fetching, building and saving what is kept between runs")
        difftest(folder, SEED, *images[:1])
        figures: dict[str, float] = {}

        def show(measured: dict[str, float]) -> None:
            figures.update(measured)
            for key, value in measured.items():
                print(f"{key:74} {value:8.3f}", flush=True)

        say("cold starts")
        # In turn: what else the machine does meanwhile meets both.
        pairs = [
            [difftest(folder, SEED, "--cold", *host) for host in ((), ("--host-bochs", "2.7"))] for _ in range(TIMES)
        ]
        newer, older = zip(*pairs, strict=True)
        show(cold_starts(newer, older) | quickest(newer).own("cold seed"))
        boot = figures["cold boot to ready, host Bochs 3.0: s"]
        say("warm starts")
        show(warm_starts(best(folder, SEED), best(folder, SEED, *images[:1], "-j", "1"), Path(images[0]).name, boot))
        say(f"{MORE} cases on one core and on two")
        show(side_by_side(best(folder, *images, "-j", "1"), best(folder, *images, "-j", "2")))
        if "--quick" not in sys.argv:
            say("all bundled cases")
            show(families(best(folder, "--all", expected=(0, 1, 3))))
    with HISTORY.open("a") as history:
        history.write(json.dumps({"when": datetime.now(UTC).isoformat(timespec="seconds"), **figures}) + "\n")


def cold_starts(newer: Sequence[Done], older: Sequence[Done]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for version, runs in (("3.0", newer), ("2.7", older)):
        boots = [done.seen(SEED, "kvm-hosted") for done in runs]
        seen = min(boots, key=lambda boot: boot.counters["cpu seconds to ready"])
        label = f"cold boot to ready, host Bochs {version}"
        instructions, cpu = seen.counters["emulated instructions to ready"], seen.counters["cpu seconds to ready"]
        figures |= {f"{label}: s": seen.seconds["appliance ready"], f"{label}: CPU s": cpu}
        figures |= {
            f"{label}: million emulated instructions": instructions / 1e6,
            f"{label}: MIPS": instructions / cpu / 1e6,
        }
        figures[f"cold, host Bochs {version}: command to the seed's verdict, s"] = quickest(runs).wall
    spent_on = (figures[f"cold boot to ready, host Bochs {version}: CPU s"] for version in ("3.0", "2.7"))
    return {**figures, "ratio: cold boot, CPU s, host Bochs 3.0 / 2.7 (at most 0.65)": next(spent_on) / next(spent_on)}


def warm_starts(seed: Done, both: Done, image: str, boot: float) -> dict[str, float]:
    """`boot` is the cold boot to ready of the same Bochs, in seconds."""
    reference, hosted = seed.seen(SEED, "bochs"), seed.seen(SEED, "kvm-hosted")
    further = both.seen(image, "kvm-hosted")
    checks = len(seed.run.results(SEED))
    talking = hosted.seconds["terminal marker"] - hosted.seconds["first byte on the serial port"]
    phases = {f"warm seed: {phase}, s": taken for phase, taken in hosted.seconds.items()}
    return {
        "Bochs side of the seed case, s (at most 3)": reference.seconds["whole"],
        "Bochs side: MIPS": reference.counters["emulated instructions"] / reference.counters["cpu seconds"] / 1e6,
        **phases,
        "warm seed: restore, CPU s": hosted.counters["cpu seconds to ready"],
        "warm seed: boot and observation, CPU s": hosted.counters["cpu seconds"],
        "warm: command to the seed's verdict, s": seed.wall,
        "ratio: warm command to verdict / cold boot (at most 0.5)": seed.wall / boot,
        "ratio: warm further image / cold boot (at most 0.35)": further.seconds["whole"] / boot,
        "ratio: further check in the same image / cold boot (under 0.01)": talking / checks / boot,
        **seed.own("warm seed"),
    }


def side_by_side(one: Done, two: Done) -> dict[str, float]:
    return {
        f"{MORE} cases, -j 1, s": one.wall,
        f"ratio: {MORE} cases, -j 1 / -j 2 (at least 1.8)": one.wall / two.wall,
        **two.own(f"{MORE} cases, -j 2"),
    }


def families(done: Done) -> dict[str, float]:
    reference, hosted, under = (done.all_seen(target) for target in ("bochs", "kvm-hosted", "host-cpu"))
    restoring = sum(seen.counters["cpu seconds to ready"] for seen in hosted)
    checks = len(done.run.all_results())
    drawing = sum(seen.counters.get(X_SERVER_CPU, 0.0) for seen in reference)
    figures = {}
    for label, seens, start in (("under Bochs", reference, "start"), ("hosted", hosted, "appliance ready")):
        whole = sum(seen.seconds["whole"] for seen in seens)
        booting = sum(seen.seconds[start] + seen.seconds["first byte on the serial port"] for seen in seens)
        figures[f"bundled cases: {label}, checks a second"] = checks / whole
        figures[f"ratio: bundled cases, {label}, booting / whole (at most 0.7)"] = booting / whole
    return {
        **figures,
        "bundled cases: under Bochs, CPU s": sum(spent(reference)),
        "bundled cases: hosted, CPU s": sum(spent(hosted)),
        "bundled cases: hosted, of that restoring, CPU s": restoring,
        "bundled cases: the CPU under KVM, CPU s": sum(spent(under)),
        "ratio: bundled cases, hosted / under Bochs alone": sum(spent(hosted)) / sum(spent(reference)),
        "ratio: bundled cases, hosted / under Bochs and its X server (at most 4)": sum(spent(hosted))
        / (sum(spent(reference)) + drawing),
        **done.own("bundled cases"),
    }


def spent(observations: Iterable[Observation]) -> list[float]:
    """CPU seconds of the emulators of each."""
    return [
        seen.counters.get(WHOLE_CPU) or seen.counters["cpu seconds"] + seen.counters.get("cpu seconds to ready", 0.0)
        for seen in observations
    ]


def further_images(folder: Path) -> list[str]:
    """Raw images that print a line and halt, each another one."""
    from tests.guests import HALT, boot_sector

    images = []
    for number in range(MORE):
        path = boot_sector(folder, b"image %d\r\n" % number, HALT).rename(folder / f"further{number}.img")
        os.truncate(path, IMAGE_BYTES)
        images.append(str(path))
    return images


def best(folder: Path, *arguments: str, expected: tuple[int, ...] = (0,)) -> Done:
    """The quickest of some runs of the same."""
    return quickest([difftest(folder, *arguments, expected=expected) for _ in range(TIMES)])


def quickest(runs: Sequence[Done]) -> Done:
    """Whatever else the machine does makes a run slower, never quicker."""
    return min(runs, key=lambda done: done.wall)


def difftest(folder: Path, *arguments: str, expected: tuple[int, ...] = (0,)) -> Done:
    """Run cases on Bochs and the hosted KVM."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    argv = [sys.executable, "-m", "difftest.cli", "run", *arguments, "-t", "kvm-hosted", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as output:
        tester = subprocess.Popen(argv, cwd=folder, env=environment, stdout=output, stderr=output)
        emulating, looked = 0.0, begun
        while tester.poll() is None:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            emulating += now - looked if emulates(tester.pid) else 0.0
            looked = now
        wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if tester.returncode not in expected:
            output.seek(0)
            sys.exit(
                f"difftest {' '.join(arguments)} ended with "
                f"{tester.returncode}:\n{output.read().decode(errors='replace')}"
            )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(StoredRun.find(folder / "results", "latest"), wall, cpu, emulating)


def emulates(tester: int) -> bool:
    """Whether one of the tester's processes is an emulator that runs. They are all started by its first thread."""
    try:
        children = Path(f"/proc/{tester}/task/{tester}/children").read_text().split()
    except OSError:
        return False
    return any(runs_emulator(child) for child in children)


def runs_emulator(process: str) -> bool:
    try:
        name, _, rest = Path(f"/proc/{process}/stat").read_text(errors="replace").partition("(")[2].rpartition(")")
    except OSError:
        return False
    return name in EMULATORS and rest.split()[0] != "Z"


def say(line: str) -> None:
    print(f"{line} ...", file=sys.stderr)


if __name__ == "__main__":
    main()
