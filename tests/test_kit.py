"""The kit and the seed case, booted: what the image says comes from what ran, and changes when the code does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from difftest.case.case import load
from difftest.image.build import KIT, BuiltImage, build_case
from difftest.image.parameter_block import select_checks, with_ram_log
from difftest.reading.record import parse
from emulators.bochs.configuration import bochs_config
from emulators.bochs.machine import bochsrc
from emulators.bochs.program import installed
from emulators.bochs.target import Bochs
from emulators.bochs.uart_rom import uart_rom
from emulators.bochs.xvfb import xvfb
from emulators.host.files import sha256
from emulators.observation import TEXT_COLUMNS, Boot, Ending, Limits, Machine, Observation
from emulators.qemu.target import Tcg
from emulators.ram_log import RamLog
from emulators.standalone import IMAGE
from emulators.target import Target

SEED = KIT.parent / "ept-pdpte-load"
SOURCE = "ept-pdpte-load.c"
END = load(SEED).manifest.end
SELFTEST = Path(__file__).parent / "kit"

pytestmark = pytest.mark.boots


async def _boot(image: Path, target: Target | None = None, log: RamLog | None = None) -> Observation:
    boot = Boot(
        image=image,
        image_sha256=sha256(image),
        machine=Machine(memory_mib=64),
        limits=Limits(quiet=30, total=60),
        ram_log=log,
        end=END,
    )
    async with (target or Bochs()).session([boot], lambda line: None) as session:
        observation = await session.boot(boot)
    assert observation.ending == Ending.FINISHED, observation.detail
    assert not observation.alarms
    return observation


def _rows(observation: Observation) -> dict[int, str]:
    """Rows 20 to 23 that hold anything."""
    memory = observation.text_memory
    assert memory is not None
    text = memory[::2].decode("ascii", errors="replace")
    rows = {row: text[row * TEXT_COLUMNS : (row + 1) * TEXT_COLUMNS].rstrip(" \0") for row in range(20, 24)}
    return {row: words for row, words in rows.items() if words}


def _statuses(observation: Observation) -> dict[str, str]:
    transcript = parse(observation.serial)
    assert transcript.complete and not transcript.problems
    return {check: record.status for check, record in transcript.records.items()}


def _changed(folder: Path, *edits: tuple[str, str]) -> BuiltImage:
    """The seed case with its source edited."""
    text = (SEED / SOURCE).read_text()
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    case = folder / "case"
    shutil.copytree(SEED, case)
    (case / SOURCE).write_text(text)
    return build_case("ept-pdpte-load", case, [SOURCE], folder / "cache")


# The disk address packet of INT 13h from its fifth byte: to 1000:0000, from sector 1.
PACKET = bytes.fromhex("0000 0010 01000000 00000000")
MODELS = ["corei5_arrandale_m520", "corei7_sandy_bridge_2600k", "corei7_haswell_4770", "corei7_skylake_x", "tigerlake"]


@pytest.mark.parametrize("model", MODELS)
async def test_the_seed_case_is_good_on_every_cpu_model_that_can_run_it(tmp_path: Path, model: str) -> None:
    observation = await _boot(_changed(tmp_path).image, Bochs(cpu_model=model))
    assert _statuses(observation) == {"mapped": "PASS", "not-present": "PASS"}
    assert _rows(observation) == {21: "GOOD"}
    record = parse(observation.serial).records["not-present"]
    assert record.fields["exit_reason"] == "0x30"
    assert record.fields["guest_physical_address"] == record.fields["cr3"]
    assert b"Halt: condition 'hypervisor receives EPT violation at CR3 (correct)' met" in observation.serial


@pytest.mark.parametrize(
    ("model", "reason"),
    [("core2_penryn_t9600", "no EPT"), ("core_duo_t2400_yonah", "no secondary processor-based controls")]
    + [(model, "no VMX") for model in ("p4_willamette", "pentium", "ryzen")],
)
async def test_a_cpu_that_cannot_run_it_says_skip(tmp_path: Path, model: str, reason: str) -> None:
    _skipped(await _boot(_changed(tmp_path).image, Bochs(cpu_model=model)), reason)


@pytest.mark.skipif(not all(need.met for need in Tcg().requirements()), reason="no QEMU")
async def test_tcg_says_skip(tmp_path: Path) -> None:
    _skipped(await _boot(_changed(tmp_path).image, Tcg()), "no VMX")


def _skipped(observation: Observation, reason: str) -> None:
    assert _statuses(observation) == {"mapped": "SKIP", "not-present": "SKIP"}
    assert parse(observation.serial).records["mapped"].reason == reason
    assert _rows(observation) == {}
    assert f"Halt: condition 'skip: {reason}' met".encode() in observation.serial


UNMAPPED = "load = set_pg_with(EPT_NOTHING)"
CONTROL = "control = set_pg_with(EPT_ALL)"
SPOIL = [
    ("static struct pae_tables tables;", "static struct pae_tables tables;\nstatic u64 spoil;"),
    ("    ept_protect(tables.pdpt, rights);", "    tables.pdpt[0] |= spoil;\n    ept_protect(tables.pdpt, rights);"),
]
RESERVED = ("    ept_protect(tables.pdpt, rights);", "    tables.pdpt[0] |= 2;\n    ept_protect(tables.pdpt, rights);")
UD2 = ("l2_mov_to_cr0: movl %eax, %cr0", "l2_mov_to_cr0: ud2; movl %eax, %cr0")
HLT = ("l2_mov_to_cr0: movl %eax, %cr0", "l2_mov_to_cr0: hlt; movl %eax, %cr0")


@pytest.mark.parametrize(
    ("edits", "statuses", "rows", "words"),
    [
        # The page is there after all: L2 reaches its end.
        ([(UNMAPPED, "load = set_pg_with(EPT_ALL)")], ("PASS", "FAIL"), {22: "???"}, "another VM exit"),
        # Mapped, with a reserved bit set, and only for the second check: L2 gets #GP, as KVM makes it.
        (
            [*SPOIL, (UNMAPPED, "load = (spoil = 2, set_pg_with(EPT_ALL))")],
            ("PASS", "FAIL"),
            {20: "BAD"},
            "guest receives #GP",
        ),
        # The control fails: GOOD must not show although the second check passes.
        ([(CONTROL, "control = set_pg_with(EPT_NOTHING)")], ("FAIL", "PASS"), {22: "???"}, "control check failed"),
        ([RESERVED], ("FAIL", "PASS"), {23: "????"}, "control check failed"),
        ([UD2], ("FAIL", "FAIL"), {23: "????"}, "control check failed"),
        ([HLT], ("FAIL", "FAIL"), {22: "???"}, "control check failed"),
        # The hypervisor itself breaks.
        ([(CONTROL, f'{CONTROL};\n    asm volatile("ud2")')], ("FAIL",), {23: "????"}, "unexpected exception in L1"),
    ],
)
async def test_another_code_gives_another_verdict(
    tmp_path: Path, edits: list[tuple[str, str]], statuses: tuple[str, ...], rows: dict[int, str], words: str
) -> None:
    observation = await _boot(_changed(tmp_path, *edits).image)
    assert tuple(_statuses(observation).values()) == statuses
    assert _rows(observation) == rows
    assert words in observation.serial.decode().splitlines()[-1]


@pytest.mark.parametrize(
    ("indices", "statuses", "rows", "words"),
    [
        ([0], {"mapped": "PASS"}, {}, "not-present was not selected"),
        ([1], {"not-present": "PASS"}, {21: "GOOD"}, "hypervisor receives"),
        ([], {}, {}, "not-present was not selected"),
    ],
)
async def test_only_selected_checks_run(
    tmp_path: Path, indices: list[int], statuses: dict[str, str], rows: dict[int, str], words: str
) -> None:
    image = tmp_path / "selected.img"
    image.write_bytes(select_checks(_changed(tmp_path).image.read_bytes(), indices))
    observation = await _boot(image)
    assert _statuses(observation) == statuses
    assert parse(observation.serial).started == list(statuses)
    assert _rows(observation) == rows
    assert words in observation.serial.decode().splitlines()[-1]


@pytest.mark.parametrize("target", [Bochs(), Tcg()])
async def test_lines_left_in_ram_are_those_that_com1_gets_otherwise(tmp_path: Path, target: Target) -> None:
    """On an image that gives up: the log is there however the image ends."""
    if not all(need.met for need in target.requirements()):
        pytest.skip("no QEMU")
    built = build_case("selftest", SELFTEST, ["selftest.c"], tmp_path)
    path, _, log = with_ram_log(built.image)
    aloud, logged = await _boot(built.image, target), await _boot(path, target, log)
    assert aloud.ram_log == b"" and aloud.words == aloud.serial
    assert logged.ram_log.decode().splitlines() == aloud.serial.decode().replace("\r", "").splitlines()
    dots, last = logged.serial.decode().splitlines()
    assert dots == "." * -(-len(parse(logged.words).records) // 16)
    assert last == aloud.serial.decode().splitlines()[-1]
    unasked = await _boot(path, target)
    assert parse(unasked.words).records == {}, "what nobody reads is not made up"


async def test_a_ram_log_that_is_full_loses_records_and_vouches_for_none(tmp_path: Path) -> None:
    names = ", ".join(f'"f{number:02}{"x" * 50}"' for number in range(48))
    check = (
        'CHECK(c{0}, "c{0}", NEEDS_NOTHING, "1.2", "says much")\n'
        "{{ for (u32 at = 0; at < 48; at++) saw(names[at], ~(u64)0); }}\n"
    )
    source = f'#include "check.h"\nstatic const char *const names[] = {{ {names} }};\n' + "".join(
        map(check.format, range(160))
    )
    (tmp_path / "much.c").write_text(source)
    path, _, log = with_ram_log(build_case("much", tmp_path, ["much.c"], tmp_path / "cache").image)
    observation = await _boot(path, log=log)
    assert len(observation.ram_log) == log.most
    transcript = parse(observation.words)
    assert 100 < len(transcript.records) < 160 and not transcript.complete


@pytest.mark.parametrize("model", ["corei7_haswell_4770", "corei5_arrandale_m520"])
async def test_the_kit_keeps_its_promises(tmp_path: Path, model: str) -> None:
    built = build_case("selftest", SELFTEST, ["selftest.c"], tmp_path)
    observation = await _boot(built.image, Bochs(cpu_model=model))
    records = parse(observation.serial).records
    assert [about.check for about in built.checks] == list(records)
    told = {check: (record.status, record.reason, record.broken()) for check, record in records.items()}
    assert told.pop("pass/hlt-monitor-trap") == ("SKIP", "no monitor trap flag", []), "Bochs has it from 2.8 on"
    assert [check for check, (status, _, _) in told.items() if not check.startswith(status.lower() + "/")] == [], told
    assert told["fail/requirement"] == ("FAIL", "", ["one"])
    assert told["skip/lacking"] == ("SKIP", "no such thing", []) and "after" not in records["skip/lacking"].required
    assert records["fail/in-a-loop"].fields["one"] == "0x7"
    assert records["fail/unexpected-exception"].fields["unexpected_vector"] == "0x6"
    assert _rows(observation) == {23: "????"}


async def test_the_kit_keeps_its_promises_to_a_hypervisor(tmp_path: Path) -> None:
    records = parse((await _boot(build_case("hypervisor", SELFTEST, ["hypervisor.c"], tmp_path).image)).serial).records
    told = {check: record.status for check, record in records.items()}
    assert [check for check, status in told.items() if not check.startswith(status.lower() + "/")] == [], told
    wrong = {"wrong_turns": "0x48", "first_wrong_turn": "0x40", "first_wrong": "0x0"}
    assert records["fail/tally"].fields == wrong


async def test_what_a_check_does_wrong_is_no_verdict_on_the_emulator(tmp_path: Path) -> None:
    observation = await _boot(build_case("problems", SELFTEST, ["problems.c"], tmp_path).image)
    transcript = parse(observation.serial)
    assert transcript.complete
    assert "FAIL" not in {record.status for record in transcript.records.values()}
    assert transcript.records["sound"].status == "PASS"
    words = [problem.partition(": ")[2] for problem in transcript.problems]
    assert words == [
        "a field has two values",
        "more fields than a record holds",
        "the check left L1 in another mode",
        "ept_entry: this address is mapped by a large entry",
    ]
    assert _rows(observation) == {23: "????"}


async def test_the_examples_of_the_kits_page_work(tmp_path: Path) -> None:
    examples = re.findall(r"```c\n(.*?)```", (KIT.parent / "README.md").read_text(), re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        (tmp_path / f"{number}.c").write_text(example)
        built = build_case("example", tmp_path, [f"{number}.c"], tmp_path / "cache")
        assert set(_statuses(await _boot(built.image)).values()) == {"PASS"}, example


@pytest.mark.skipif(not all(need.met for need in Tcg().requirements()), reason="no QEMU")
async def test_the_kit_runs_without_vmx(tmp_path: Path) -> None:
    """Another BIOS, another CPU: the checks that need no VMX, and the image read in more than one piece."""
    observation = await _boot(build_case("selftest", SELFTEST, ["selftest.c"], tmp_path).image, Tcg())
    records = parse(observation.serial).records
    for check in ("image-whole", "trap", "long-mode", "user-mode"):
        assert records[f"pass/{check}"].status == "PASS"
    assert records["pass/resume"].reason == "no VMX"


async def test_a_disk_that_ends_early_is_told_on_the_screen(tmp_path: Path) -> None:
    built = build_case("selftest", SELFTEST, ["selftest.c"], tmp_path)
    image = bytearray(built.image.read_bytes())
    packet = image.index(PACKET, 0, 512) - 4
    image[packet + 8 : packet + 12] = (1 << 24).to_bytes(
        4, "little"
    )  # the first sector to read: far behind the disk's end
    broken = tmp_path / "broken.img"
    broken.write_bytes(image)
    boot = Boot(
        image=broken, image_sha256=sha256(broken), machine=Machine(memory_mib=64), limits=Limits(quiet=20, total=30)
    )
    async with Bochs().session([boot], lambda line: None) as session:
        observation = await session.boot(boot)
    assert observation.ending == Ending.HALTED
    assert observation.text_memory is not None
    assert b"cannot read the disk, INT 13h status 01" in observation.text_memory[::2]


async def test_cpuid_marks_the_start_and_the_report_of_each_check(tmp_path: Path) -> None:
    """Seen by the debugger of Bochs, stopped at each CPUID of the kit's record."""
    built = _changed(tmp_path)
    code = _tool("objdump", "-d", "--no-show-raw-insn", str(built.image.parent / "case.elf"))
    functions = re.findall(r"^\w+ <(?:mark|record_start|record_report)>:\n(.*?)\n\n", code, re.MULTILINE | re.DOTALL)
    stops = [int(address, 16) for body in functions for address in re.findall(r"(\w+):\tcpuid", body)]
    assert stops
    boot = Boot(image=tmp_path / IMAGE, image_sha256="", machine=Machine(memory_mib=64))
    (tmp_path / IMAGE).write_bytes(built.image.read_bytes())
    (tmp_path / "uart.rom").write_bytes(uart_rom())
    bochs = installed()
    surroundings = ["display_library: x", f"log: {tmp_path}/bochs.log"]
    config = [*bochs_config(boot, "corei7_haswell_4770", f"{tmp_path}/"), "com1: enabled=1, mode=null"]
    lines = bochsrc(surroundings, config, bochs.bios, bochs.vga_bios, warns=False)
    (tmp_path / "bochsrc").write_text("\n".join(lines) + "\n")
    commands = [*(f"lb {address:#x}" for address in stops), *["c", "r"] * 2 * len(built.checks), "quit"]
    (tmp_path / "rc").write_text("\n".join(commands) + "\n")
    async with xvfb() as display:
        argv = [*bochs.argv, "-q", "-f", f"{tmp_path}/bochsrc", *(bochs.debugger or []), "-rc", f"{tmp_path}/rc"]
        said = _tool(*argv, env={**os.environ, "DISPLAY": display.name}, cwd=tmp_path)
    marks = re.findall(r"rax: 00000000_(\w{8})(?:.|\n)*?rcx: 00000000_(\w{8})", said)
    assert marks == [(f"{0x44540000 + number:08x}", f"{moment:08x}") for number in range(2) for moment in (1, 2)]


def _tool(*argv: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """A program's output."""
    done = subprocess.run(
        argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, cwd=cwd, timeout=60, errors="replace"
    )
    return done.stdout
