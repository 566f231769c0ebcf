"""A small stored run like one of the seed case: two checks, one divergence, pictures and text memory of all three
sides.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from PIL import Image, ImageDraw

from difftest.case.manifest import About, KnownDivergence, Manifest
from difftest.judging.confirmation import RERUN, SCREEN, Confirmation, Stage, StageOutcome
from difftest.judging.judge import judge
from difftest.judging.pairing import Pairing, SideBoots
from difftest.judging.result import Result, Role, Side
from difftest.reading.boot_reading import BootRecord, read_boot
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.run.metadata import CaseSnapshot, HostCpuTarget, Meta
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from difftest.verdict import Status, Verdict
from emulators.observation import TEXT_COLUMNS, TEXT_ROWS, Ending, Observation
from emulators.target import Names

RUN = "20260102-030405-beef"
CASE = "ept-pdpte-load"
IMAGE = b"\xfa\xf4" + bytes(508) + b"\x55\xaa"
SHA256 = hashlib.sha256(IMAGE).hexdigest()
REFERENCE = Names(target="bochs", implementation="Bochs")
HOST_CPU = Names(target="host-cpu", implementation="Bochs")
SUBJECT = Names(target="kvm-hosted", implementation="KVM")
KVM = Names(target="kvm", implementation="KVM")
ABOUTS = [
    About(check="mapped", sdm="PDPTE Registers (Vol. 3, 4.4.1)", summary="control: CR3's page is mapped by EPT"),
    About(
        check="not-present",
        sdm="PDPTE Registers (Vol. 3, 4.4.1); EPT Violations (Vol. 3, 29.3.3.2)",
        summary="CR3's page is absent from EPT: MOV to CR0 that sets PG with PAE causes an EPT violation at CR3",
    ),
]
MANIFEST = Manifest(
    name=CASE,
    title="MOV to CR0 that loads PDPTEs from a page that EPT does not map",
    sources=["ept-pdpte-load.c"],
    end="^Halt: .*",
    known=[
        KnownDivergence(
            check="not-present",
            verdict=Verdict.SUBJECT_WRONG,
            reason="load_pdptrs() fails where it should cause a nested EPT violation",
            link="https://bugzilla.example/1",
            match={"exit_reason": "0x0"},
        )
    ],
)
MAPPED = (
    "difftest 1 start mapped\n"
    "difftest 1 check mapped PASS exit_reason=0x12 must.exit_reason=0x12 cr0=0x80000031 must.cr0=0x80000031\n"
)
RIGHT = (
    "difftest 1 check not-present PASS exit_reason=0x30 must.exit_reason=0x30 guest_physical_address=0x13000 "
    "must.guest_physical_address=0x13000 free.exit_qualification=0x1 cr0=0x31 must.cr0=0x31 rip_offset=0x0 "
    "must.rip_offset=0x0\n"
)
WRONG = (
    "difftest 1 check not-present FAIL exit_reason=0x0 must.exit_reason=0x30 free.exit_qualification=0x0 cr0=0x31 "
    "must.cr0=0x31 "
    "rip_offset=0x0 must.rip_offset=0x0 vector=0xd error_code=0x0\n"
)


def serial(not_present: str, words: str) -> bytes:
    halt = f"Halt: condition '{words}' met, line 86, file ept-pdpte-load.c\n"
    lines = (
        f"difftest 1 case={CASE}\n{MAPPED}difftest 1 start not-present\n{not_present}difftest 1 end checks=2\n{halt}"
    )
    return lines.encode()


def text_memory(words: dict[int, str]) -> bytes:
    rows = [words.get(row, "").ljust(TEXT_COLUMNS)[:TEXT_COLUMNS] for row in range(TEXT_ROWS)]
    return b"".join(bytes([ord(character), 7]) for character in "".join(rows))


def picture(words: dict[int, str], size: tuple[int, int] = (720, 400)) -> bytes:
    """A PNG of the size of a VGA text screen with these rows on it."""
    image = Image.new("P", size, 0)
    image.putpalette([0, 0, 0, 170, 170, 170])
    draw = ImageDraw.Draw(image)
    for row, text in words.items():
        draw.text((1, row * 16 + 2), text, fill=1)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def screen(words: dict[int, str]) -> ScreenReading:
    rows = {
        row: RowReading(memory=words.get(row, ""), ocr=words.get(row, "") if row < 22 else None, agree=True)
        for row in (20, 21, 22, 23)
    }
    return ScreenReading(rows=rows, text=[words.get(row, "") for row in range(TEXT_ROWS)])


def observation(target: str, transcript: bytes, words: dict[int, str], **other: Any) -> Observation:
    defaults: dict[str, Any] = {
        "identity": {"bochs": "2.7+dfsg-4", "cpu model": "corei7_haswell_4770"},
        "ending": Ending.FINISHED,
        "detail": "terminal marker",
        "screen": picture(words),
        "text_memory": text_memory(words),
        "registers": {"cr0": "0x00000031", "eip": "0x00007c42"},
        "logs": {},
        "seconds": {"start": 0.4, "whole": 2.25},
        "counters": {"cpu seconds": 2.0, "emulated instructions": 71_000_000.0},
        "commands": [["bochs-bin", "-q", "-f", "bochsrc", "-rc", "commands of difftest"]],
    }
    return Observation(
        target=target, image_sha256=SHA256, image_sha256_after=SHA256, serial=transcript, **(defaults | other)
    )


SHOWN_GOOD = {0: "Bochs BIOS", 21: "GOOD"}
SHOWN_BAD = {0: "SeaBIOS", 20: "BAD"}
SAID_GOOD = serial(RIGHT, "hypervisor receives EPT violation at CR3 (correct)")
GOOD = observation("bochs", SAID_GOOD, SHOWN_GOOD)
HOST = observation(
    "host-cpu", SAID_GOOD, SHOWN_GOOD, identity={"bochs": "3.0+dfsg-1", "cpu model": "corei7_haswell_4770"}
)
BAD = observation(
    "kvm-hosted",
    serial(WRONG, "guest receives #GP (incorrect)"),
    SHOWN_BAD,
    identity={
        "hosting bochs": "3.0+dfsg-1",
        "hosting cpu model": "corei7_haswell_4770",
        "cpu model": "host",
        "kernel": "6.1.176-1",
        "qemu": "1:7.2+dfsg-7",
    },
    logs={"kernel.log": b"kvm: VMX enabled\n"},
)
SIDES = (GOOD, BAD, HOST)  # as write_run() takes them


def meta(run: str = RUN) -> Meta:
    return Meta(
        run=run,
        tool_version="0.1",
        command=["difftest", "run", CASE],
        started="2026-01-02T03:04:05+00:00",
        host={"kernel": "6.1.0", "cpu": "some CPU"},
        reference="bochs",
        targets={"bochs": REFERENCE, "kvm-hosted": SUBJECT, "host-cpu": HOST_CPU},
        identities={one.target: one.identity for one in (GOOD, BAD, HOST)},
        hosts={"kvm-hosted": HostCpuTarget(target="host-cpu")},
    )


def snapshot(name: str = CASE) -> CaseSnapshot:
    return CaseSnapshot(
        name=name,
        title=MANIFEST.title,
        manifest='name = "ept-pdpte-load"\n',
        image_sha256=SHA256,
        image_bytes=len(IMAGE),
        argument=name,
        checks=ABOUTS,
    )


def result(
    verdict: Verdict = Verdict.AGREE,
    *,
    statuses: str = "PASS PASS",
    subject: Names = KVM,
    **other: Any,
) -> Result:
    """A result of no real check, for what only counts or stores results. `statuses` are those of the reference and the
    subject, or of the reference, the CPU under the subject and the subject.
    """
    names = [REFERENCE, HOST_CPU, subject] if statuses.count(" ") == 2 else [REFERENCE, subject]
    roles = [Role.REFERENCE, Role.HOST_CPU, Role.SUBJECT] if len(names) == 3 else [Role.REFERENCE, Role.SUBJECT]
    sides = [
        Side(role=role, target=one.target, implementation=one.implementation, status=Status(status))
        for role, one, status in zip(roles, names, statuses.split(), strict=True)
    ]
    return Result(verdict=verdict, **({"case": "c", "check": "k", "reason": "", "sides": sides} | other))


CONFIRMED = [
    Confirmation(
        check="not-present",
        subject="kvm-hosted",
        stages=[
            Stage(name=SCREEN, outcome=StageOutcome.SAME),
            Stage(name=RERUN, outcome=StageOutcome.SAME, detail="exit_reason is 0x0, the SDM requires 0x30"),
            Stage(name="another CPU model", outcome=StageOutcome.DIFFERENT, detail="agree: same on both sides"),
            Stage(name="kernel_irqchip=off", outcome=StageOutcome.UNKNOWN, detail="kvm-hosted: not reported"),
        ],
    )
]


def write_run(
    root: Path,
    left: Observation = GOOD,
    right: Observation = BAD,
    host: Observation | None = HOST,
    *,
    abouts: list[About] = ABOUTS,
    manifest: Manifest = MANIFEST,
    case: CaseSnapshot | None = None,
    words: tuple[dict[int, str], dict[int, str]] = (SHOWN_GOOD, SHOWN_BAD),
) -> StoredRun:
    """Store these observations as a run, judged by the judge itself, and open it. `host` is what the CPU under the
    subject gave, None where the subject runs on none that can be observed; `words` are what the two other sides show.
    """
    image = root / "disk.img"
    root.mkdir(parents=True, exist_ok=True)
    image.write_bytes(IMAGE)
    writer = RunWriter.create(root, meta() if host else msgspec.structs.replace(meta(), hosts={}))
    case = case or snapshot()
    writer.add_case(case, image)
    sides = []
    shown = (words[0], SHOWN_GOOD, words[1])
    for role, names, one, rows in zip(Role, (REFERENCE, HOST_CPU, SUBJECT), (left, host, right), shown, strict=True):
        if one is not None:
            writer.add_observation(case.name, BootRecord(), one)
            writer.add_screen(case.name, one.target, 0, screen(rows))
            sides.append(SideBoots(role=role, names=names, boots=[read_boot(one, screen(rows))]))
    writer.add_results(case.name, judge(Pairing(manifest=manifest, abouts=abouts, sides=sides)))
    with mock.patch("difftest.run.writer.now", return_value="2026-01-02T03:04:15+00:00"):
        writer.finish("finished")
    return StoredRun.find(root)
