"""Boots small images under one version of Bochs while the CPUs are busy, and counts the observations that get lost.

    .venv/bin/python bench/lost.py --bochs 3.1 --times 200

The images print a line and halt, hang, triple-fault or switch the machine off, with a terminal marker and without. Two
loops compete with Bochs. Exit code 1 when a boot ended as no boot of its image may.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from difftest.case.case import of_image  # noqa: E402
from difftest.image.prepare import prepare  # noqa: E402
from emulators.bochs.target import Bochs  # noqa: E402
from emulators.observation import Boot, Ending, Limits, Observation  # noqa: E402
from tests.guests import DEBUG, HALT, HANG, SHOW, SHUT_DOWN, TRIPLE_FAULT, boot_sector  # noqa: E402

LIMITS = Limits(quiet=20, total=60)
KINDS = {  # by name: how the image ends, what it does before, its terminal marker, how its boot ends
    "halts": (HALT, "", "", Ending.HALTED),
    "hangs after its marker": (HANG, SHOW, "^said", Ending.FINISHED),
    "switches off": (SHUT_DOWN, "", "", Ending.POWER_OFF),
    "switches off after its marker": (SHUT_DOWN, DEBUG, "^said", Ending.FINISHED),
    "triple fault": (TRIPLE_FAULT, "", "", Ending.TRIPLE_FAULT),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bochs", help="its version; default: the distribution's")
    options.add_argument("--times", type=int, default=200)
    options.add_argument("--loops", type=int, default=2, help="busy loops beside it")
    options.add_argument("--jobs", type=int, default=2, help="boots side by side")
    asked = options.parse_args()
    loops = [multiprocessing.Process(target=busy, daemon=True) for _ in range(asked.loops)]
    for loop in loops:
        loop.start()
    try:
        lost = asyncio.run(count(Bochs(asked.bochs), asked.times, asked.jobs))
    finally:
        for loop in loops:
            loop.kill()
    sys.exit(bool(lost))


def busy() -> None:
    while True:
        pass


async def count(target: Bochs, times: int, jobs: int) -> int:
    """Boot so many images; prints how they ended, and returns how many ended as they may not."""
    target.prepare(print)
    slots = asyncio.Semaphore(jobs)
    ends: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="difftest-bench-") as name:
        boots = {kind: made(Path(name), kind) for kind in KINDS}

        async def one(kind: str) -> Observation:
            async with slots, target.session([boots[kind]], lambda line: None) as session:
                seen = await session.boot(boots[kind])
            right = seen.ending == KINDS[kind][3] and seen.serial.startswith(b"said")
            ends[kind, "as it should" if right else "LOST", f"{seen.ending}: {seen.detail}"] += 1
            return seen

        async with target.sharing():
            await asyncio.gather(*(one(list(KINDS)[number % len(KINDS)]) for number in range(times)))
    for (kind, right, end), often in sorted(ends.items()):
        print(f"{often:4} {kind:32} {right:13} {end}")
    lost = sum(often for (_, right, _), often in ends.items() if right == "LOST")
    print(f"{lost} of {times} boots lost")
    return lost


def made(folder: Path, kind: str) -> Boot:
    ending, before, end, _ = KINDS[kind]
    folder = folder / kind.replace(" ", "-")
    folder.mkdir()
    prepared = prepare(of_image(boot_sector(folder, b"said\n", ending, before=before)), folder)
    return Boot(image=prepared.image, image_sha256=prepared.sha256, limits=LIMITS, end=end)


if __name__ == "__main__":
    main()
