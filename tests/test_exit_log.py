"""KVM's trace of a boot made a log of exits: traces of real boots, and pages made here byte by byte."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.bochs.program import BochsProgram
from emulators.host.errors import EmulatorError
from emulators.hosted import exit_log as module
from emulators.hosted.appliance import build, snapshot, start, tracing
from emulators.hosted.appliance.kernel_files import Kernel
from emulators.hosted.appliance.linuxboot import FlatKernel
from emulators.hosted.appliance.machine import ApplianceMachine
from emulators.hosted.exit_log import CPUID, EVENTS, EXCEPTION, EXIT, INJECT, NESTED, exit_log
from emulators.hosted.ring_buffer import PAGE, Format, events, format_of

DATA = Path(__file__).parent / "data" / "exits"
COMMON = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
)
NUMBERS = {name: number for number, name in enumerate(EVENTS, 100)}
# The fields of the events that are made here: all behind each other, eight bytes each.
FIELDS = {
    EXIT: ("exit_reason", "guest_rip", "info1", "intr_info"),
    NESTED: ("exit_reason",),
    INJECT: ("exit_code",),
    EXCEPTION: ("exception", "reinjected"),
    CPUID: ("function", "index"),
}


def formats() -> dict[str, bytes]:
    files = {}
    for name, fields in FIELDS.items():
        places = "".join(f"\tfield:u64 {field};\toffset:{8 + 8 * at};\tsize:8;\n" for at, field in enumerate(fields))
        names = 'print fmt: { 28, "CR_ACCESS" }, { 18, "VMCALL" }' if name == EXIT else ""
        files[f"{name}.format"] = f"name: {name}\nID: {NUMBERS[name]}\nformat:\n{COMMON}\n{places}\n{names}\n".encode()
    return files


def data(name: str, *values: int, thread: int = 7) -> bytes:
    padded = [*values, *[0] * (len(FIELDS[name]) - len(values))]
    return struct.pack(f"<HHI{len(padded)}Q", NUMBERS[name], 0, thread, *padded)


def small(content: bytes) -> bytes:
    """An event of up to 112 bytes as it stands on a page."""
    return struct.pack("<I", len(content) // 4 | 5 << 5) + content


def page(*parts: bytes, flags: int = 0) -> bytes:
    content = b"".join(parts)
    return (struct.pack("<QQ", 1, len(content) | flags) + content).ljust(PAGE, b"\0")


def logged(*parts: bytes, stats: str = "", **more: bytes) -> list[str]:
    files = formats() | {"pages": page(*parts), "stats": stats.encode()} | more
    return exit_log(files).decode("ascii").splitlines()


def mark(number: int, which: int, thread: int = 7) -> bytes:
    exit = data(EXIT, 10, 0x1000, thread=thread)
    return small(exit) + small(data(CPUID, 0x44540000 + number, which, thread=thread))


@pytest.mark.parametrize("kernel", ["5.10", "7.3"])
def test_the_trace_of_a_real_boot(kernel: str) -> None:
    """MOV to CR0 in L2 that sets PG: L0 carries it out, fails, injects #GP, and reflects L2's VMCALL."""
    files = {path.name: path.read_bytes() for path in (DATA / f"trace-{kernel}").iterdir()}
    lines = exit_log(files).decode("ascii").splitlines()
    begin, end = lines.index("1 start"), lines.index("1 report")
    nested = [line for line in lines[begin:end] if " L2 " in line and "PREEMPTION_TIMER" not in line]
    assert nested == [
        "1 L2 48 EPT_VIOLATION 0x13502 0x184",
        "1 L2 28 CR_ACCESS 0x13502 0x0 exception=13",
        "1 L2 48 EPT_VIOLATION 0x13502 0x181 x2",
        "1 L2 48 EPT_VIOLATION 0x13502 0x182",
        "1 L2 48 EPT_VIOLATION 0x10400 0x184",
        "1 L2 18 VMCALL 0x10405 0x0 exit=18",
    ]
    assert "1 L1 25 VMWRITE - - x47" in lines and "1 L1 20 VMLAUNCH - -" in lines
    assert not any(" 10 CPUID " in line for line in lines[begin:end]), "the marks are no exits of the check"
    assert lines[-1] == "end cut=0 lost=0"


def test_who_ran_and_what_came_of_it() -> None:
    lines = logged(
        mark(3, 1),
        small(data(EXIT, 28, 0x2000, 0x4)),
        small(data(EXIT, 28, 0x2000, 0x4)),
        small(data(EXIT, 28, 0x3000)),
        small(data(NESTED, 28)),
        small(data(EXCEPTION, 13)),
        small(data(EXIT, 0, 0x3001, 0, 0x80000306)),
        small(data(NESTED, 0)),
        small(data(EXCEPTION, 13, 1)),
        small(data(INJECT, 0)),
        small(data(EXIT, 25, 0x3003, 0x8)),
        small(data(NESTED, 25)),
        small(data(EXIT, 25, 0x3004, 0x8)),
        small(data(EXIT, 33 | 1 << 31, 0x3002)),
        mark(3, 2),
        small(data(EXIT, 18, 0x4000)),
    )
    assert lines == [
        "difftest exits 1",
        "3 start",
        "3 L1 28 CR_ACCESS 0x2000 0x4 x2",
        "3 L2 28 CR_ACCESS 0x3000 0x0 exception=13",
        "3 L2 0 ? 0x3001 0x6 exit=0",
        "3 L2 25 ? 0x3003 0x8",
        "3 L1 25 ? - -",
        "3 L1 33 ? 0x3002 0x0 failed",
        "3 report",
        "- L1 18 VMCALL 0x4000 0x0",
        "end cut=0 lost=0",
    ]


def test_cpuid_that_is_no_mark_is_an_exit_like_others() -> None:
    other = small(data(EXIT, 10, 0x1000)) + small(data(CPUID, 0x80000000, 1))
    above = small(data(EXIT, 10, 0x1000)) + small(data(CPUID, 0x44550000, 1))
    third = small(data(EXIT, 10, 0x1000)) + small(data(CPUID, 0x44540000, 3))
    assert logged(small(data(EXIT, 30, 0x1000)) + small(data(CPUID, 0x44540000, 1)))[1] == "- L1 30 ? 0x1000 0x0"
    assert logged(other, above, third) == ["difftest exits 1", "- L1 10 ? 0x1000 0x0 x3", "end cut=0 lost=0"]


def test_what_two_cpus_do_is_kept_apart() -> None:
    lines = logged(
        small(data(EXIT, 28, 0x1, thread=1)),
        small(data(EXIT, 28, 0x2, thread=2)),
        small(data(NESTED, 28, thread=1)),
        small(data(INJECT, 28, thread=1)),
    )
    assert lines[1:3] == ["- L2 28 CR_ACCESS 0x1 0x0 exit=28", "- L1 28 CR_ACCESS 0x2 0x0"]


def test_an_event_is_found_behind_all_that_may_lie_between() -> None:
    content = data(EXIT, 18, 0x5000)
    long = struct.pack("<II", 0, len(content) + 4) + content
    discarded = data(EXIT, 28)
    time, padding = (
        struct.pack("<II", 30 | 9 << 5, 9),
        struct.pack("<II", 29 | 1 << 5, len(discarded) + 4) + discarded,
    )
    unknown = small(struct.pack("<HHI", 9, 0, 7))
    assert logged(time, padding, unknown, long)[1] == "- L1 18 VMCALL 0x5000 0x0"
    rest = struct.pack("<I", 29) + bytes(40)
    assert logged(long, rest)[1:] == ["- L1 18 VMCALL 0x5000 0x0", "end cut=0 lost=0"]


def test_what_is_missing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    event = small(data(EXIT, 18))
    stats = "entries: 1\noverrun: 2\ncommit overrun: 3\ndropped events: 40\n"
    assert logged(event, stats=stats)[-1] == "end cut=40 lost=5"
    assert logged(event, pages=page(event, flags=1 << 31))[-1] == "end cut=0 lost=1"
    monkeypatch.setattr(module, "MOST_LINES", 2)
    many = [small(data(EXIT, 18, place)) for place in range(5)]
    lines = logged(*many)
    assert len(lines) == 4 and lines[-1] == "end cut=3 lost=0"


@pytest.mark.parametrize(
    "pages",
    [
        b"x" * 100,
        page(struct.pack("<I", 12)),
        page(struct.pack("<II", 0, 0)),
        page(struct.pack("<II", 0, 0) + small(data(EXIT, 18))),
        page(struct.pack("<II", 0, 1 << 31)),
        page(struct.pack("<I", 0)),
        struct.pack("<QQ", 0, PAGE).ljust(PAGE, b"\0"),
    ],
)
def test_pages_that_are_none_are_a_problem(pages: bytes) -> None:
    lines = logged(pages=pages)
    assert len(lines) == 2 and lines[1].startswith("problem the trace of KVM's exits cannot be read (")


def test_a_kernel_that_cannot_trace_is_told() -> None:
    assert logged(problem=b"this kernel cannot trace kvm_exit\n\x1b[31m") == [
        "difftest exits 1",
        "problem this kernel cannot trace kvm_exit??[31m",
    ]
    assert logged(**{f"{NESTED}.format": b"ID: none"})[1] == f"problem tracefs does not describe the event {NESTED}"
    assert exit_log({}).startswith(b"difftest exits 1\nproblem ")


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=200), max_size=6), st.binary(max_size=300), st.binary(max_size=100))
def test_no_bytes_make_anything_but_lines(parts: Sequence[bytes], text: bytes, problem: bytes) -> None:
    content = b"".join(parts)[: PAGE - 16]
    for files in (
        formats() | {"pages": page(content)},
        formats() | {"pages": content},
        formats() | {f"{EXIT}.format": text, "pages": page(content)},
        {"problem": problem},
    ):
        log = exit_log(files)
        assert log.startswith(module.HEAD) and log.endswith(b"\n")
        assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in log)


def test_a_format_is_read_whatever_its_types_are_called() -> None:
    text = (
        "name: x\nID: 12\nformat:\n\tfield:unsigned long rip;\toffset:8;\tsize:8;\tsigned:0;\n"
        "\tfield:char name[16];\toffset:16;\tsize:16;\n"
    )
    assert format_of("x", text) == (12, Format(name="x", fields={"rip": (8, 8)}))
    with pytest.raises(EmulatorError, match="does not describe"):
        format_of("x", "format:\n")
    assert list(events(b"", {})) == []


def test_without_it_linux_and_its_snapshots_are_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "tracer_init_tracefs" in start.COMMAND_LINE
    assert "tracer_init_tracefs" not in start.TRACED_COMMAND_LINE
    assert len(start.TRACED_COMMAND_LINE) == len(start.COMMAND_LINE) - len("tracer_init_tracefs,")
    shape = snapshot.Shape(argv=("qemu",), disk_bytes=512, guest_mib=64)

    def key(**other: bool) -> str:
        return snapshot._key(start.Hosting(appliance=appliance, program=program, model="m", **other), shape)

    kernel = Kernel(release="6.1", package="p 1", vmlinuz=tmp_path, modules=(), sha256="00")
    flat = FlatKernel(image=b"", address=0, entry=0, setup_header=b"")
    layout = build.Layout(kernel=flat, kernel_sectors=1, initramfs=0, initramfs_sectors=1)
    appliance = build.Appliance(folder=tmp_path, key="k", kernel=kernel, layout=layout)
    program = BochsProgram(version="3.0", argv=("bochs",), bios=tmp_path / "none", vga_bios=tmp_path / "none")
    plain, traced = key(), key(traced=True)
    assert plain == key(traced=False) != traced
    monkeypatch.setattr(tracing, "identity", lambda: ["another way to record"])
    assert (key() == plain, key(traced=True) == traced) == (True, False)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_program_that_takes_the_trace_writes_what_there_is(tmp_path: Path) -> None:
    program = tmp_path / "drain-program"
    program.write_bytes(tracing.handed_in(tmp_path)[tracing.DRAIN])
    program.chmod(0o755)
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # a pipe that nobody has closed: to read on would wait for ever
    os.write(held, b"a page" * 1000)
    out.write_bytes(b"an older trace" * 1000)
    done = subprocess.run([program, pipe, out], capture_output=True, timeout=10, check=False)
    assert (done.returncode, out.read_bytes()) == (0, b"a page" * 1000)
    os.close(held)
    failed = subprocess.run([program, tmp_path / "none", out], capture_output=True, timeout=10, check=False)
    assert failed.returncode == 1 and b"no such pipe" in failed.stderr


async def test_a_trace_that_does_not_come_costs_the_boot_nothing() -> None:
    class Deaf:
        async def ask(self, command: str) -> tuple[int, bytes]:
            raise EmulatorError("the appliance does not answer", evidence="Kernel panic")

    files = await tracing.traced(cast("ApplianceMachine", Deaf()))
    assert exit_log(files) == b"difftest exits 1\nproblem the appliance does not answer Kernel panic\n"
