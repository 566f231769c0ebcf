"""Boots of fake targets, put side by side for the judge."""

from __future__ import annotations

from collections.abc import Sequence

from difftest.case.manifest import About, Manifest
from difftest.judging.judge import judge
from difftest.judging.pairing import Pairing, SideBoots
from difftest.judging.result import Result, Role
from difftest.reading.boot_reading import BootReading, BootRecord, read_boot
from difftest.reading.screen_reading import RowReading, ScreenReading
from emulators.fake import observation
from emulators.observation import Ending
from emulators.target import Names

BOCHS = Names(target="bochs", implementation="Bochs")
HOST_CPU = Names(target="host-cpu", implementation="Bochs")
KVM = Names(target="kvm", implementation="KVM")
MANIFEST = Manifest(name="x", sources=["x.c"], end="^Halt")
FREE = Manifest(name="x", image="x.img")
PASS = "PASS exit_reason=0x30 must.exit_reason=0x30"
FAIL = "FAIL exit_reason=0x0 must.exit_reason=0x30"
SKIP = 'SKIP reason="no VMX"'
BLANK = ScreenReading(rows={row: RowReading(memory="", ocr="", agree=True) for row in range(20, 24)}, text=[""] * 25)


def serial(*checks: str) -> bytes:
    """A whole transcript: checks c0, c1 ... with these statuses and fields."""
    lines = ["difftest 1 case=x"]
    for number, check in enumerate(checks):
        lines += [f"difftest 1 start c{number}", f"difftest 1 check c{number} {check}"]
    return "\n".join([*lines, f"difftest 1 end checks={len(checks)}", "Halt: done", ""]).encode()


def broken_off(*checks: str) -> bytes:
    """A transcript that ends in the check after these."""
    whole = serial(*checks, PASS)
    return whole[: whole.index(b"difftest 1 check c%d " % len(checks))]


def boot(
    target: str,
    said: bytes,
    ending: Ending = Ending.FINISHED,
    *,
    repeat: int = 0,
    part: int = 0,
    screen: ScreenReading = BLANK,
    picture: bytes | None = None,
    **fields: object,
) -> BootReading:
    """One boot; `fields` are those of the observation, `screen` is what was read and `picture` what it was read of."""
    seen = observation(target, said, ending, screen=picture, **fields)
    return read_boot(seen, screen, BootRecord(repeat=repeat, part=part))


def judged(
    reference: Sequence[BootReading],
    subject: Sequence[BootReading],
    host: Sequence[BootReading] | str | None = None,
    *,
    manifest: Manifest = MANIFEST,
    abouts: Sequence[About] = (),
    whole: bool = True,
    subject_names: Names = KVM,
    host_names: Names = HOST_CPU,
) -> list[Result]:
    """The results of these boots. `host` are those of the CPU under the subject, or why there are none; None where
    the subject runs on no emulated CPU.
    """
    sides = [
        SideBoots(role=Role.REFERENCE, names=BOCHS, boots=reference),
        SideBoots(role=Role.SUBJECT, names=subject_names, boots=subject),
    ]
    if host is not None:
        missing, boots = (host, ()) if isinstance(host, str) else ("", host)
        sides.insert(1, SideBoots(role=Role.HOST_CPU, names=host_names, boots=boots, missing=missing))
    return judge(Pairing(manifest=manifest, abouts=abouts, whole=whole, sides=sides))
