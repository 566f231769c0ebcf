"""Real boots of hand-made images under Bochs and TCG: every ending is told apart, hostile output stays harmless."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from difftest.case.case import BUNDLED, load, of_image
from difftest.case.image_options import ImageOptions
from difftest.image.prepare import prepare
from difftest.reading.screen import read_screen
from emulators.bochs.target import Bochs
from emulators.host.files import cache_folder
from emulators.observation import Boot, Ending, Limits, Observation
from emulators.qemu.target import Tcg
from emulators.target import Target

from .guests import (
    CALL_DEBUGGER,
    DEBUG,
    DEBUG_WORDS,
    FLOOD,
    GEOMETRIES,
    HALT,
    HANG,
    LEAVE,
    LEAVE_AND_PRINT,
    LINGER,
    RESET,
    SECOND_CPU,
    SHOW,
    SHUT_DOWN,
    SHUT_DOWN_AND_PRINT,
    TELETYPE,
    TRIPLE_FAULT,
    UNLIKE,
    UNLIKE_DIGIT,
    WAIT_FOR_A_KEY,
    boot_sector,
    cd_case,
    floppy,
    kernel,
    kernel_case,
)

pytestmark = pytest.mark.boots
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
COMMON = (368_640, 1_474_560)  # of the sizes of floppies; the others take too long for every change
TARGETS = pytest.mark.parametrize("target", [Bochs(), Tcg()], ids=lambda target: target.name)


async def boot(
    target: Target, image: Path, *, end: str = "", end_screen: str = "", limits: Limits | None = None
) -> Observation:
    prepared = prepare(of_image(image), image.parent / "cache").boot()
    limits = limits or Limits(quiet=10, total=30)
    wanted = msgspec.structs.replace(prepared, limits=limits, end=end, end_screen=end_screen)
    async with target.session([wanted], lambda line: None) as session:
        return await session.boot(wanted)


@TARGETS
async def test_serial_bytes_screen_and_registers_are_exact(target: Target, tmp_path: Path) -> None:
    message = bytes(byte for byte in range(1, 255) if byte != 0xFF) + b"\nlast line\r\n"
    seen = await boot(target, boot_sector(tmp_path, message, HALT, before=SHOW))
    assert seen.ending == Ending.HALTED
    assert seen.serial == message
    reading = read_screen(seen)
    assert reading.problem == ""
    assert reading.rows[20].memory == reading.rows[20].ocr == "HELLO"
    assert int(seen.registers["rip"], 16) in range(0x7C00, 0x7E00)
    assert int(seen.registers["cr0"], 16) & 0x80000001 == 0
    assert seen.image_sha256 == seen.image_sha256_after
    assert not seen.alarms


@TARGETS
@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=() if size in COMMON else pytest.mark.proof) for size in GEOMETRIES]
)
async def test_floppies_are_booted_as_floppies_and_read_to_their_end(target: Target, tmp_path: Path, size: int) -> None:
    seen = await boot(target, floppy(tmp_path, size))
    assert seen.serial == b"0 wxyz\n", seen.detail
    assert seen.ending == Ending.HALTED


@pytest.mark.parametrize("ending", [LEAVE_AND_PRINT, SHUT_DOWN_AND_PRINT], ids=["leave", "shutdown"])
async def test_what_follows_the_way_out_is_not_in_the_transcript(tmp_path: Path, ending: str) -> None:
    seen = await boot(Tcg(), boot_sector(tmp_path, b"said\n", ending, before=DEBUG))
    assert (seen.ending, seen.serial, seen.debug) == (Ending.POWER_OFF, b"said\n", DEBUG_WORDS)


@TARGETS
async def test_the_terminal_marker_ends_a_guest_that_would_go_on(target: Target, tmp_path: Path) -> None:
    seen = await boot(target, boot_sector(tmp_path, b"one\ndone: 7\n", HANG), end=r"^done: \d+\n")
    assert seen.ending == Ending.FINISHED
    assert seen.serial == b"one\ndone: 7\n"


@TARGETS
@pytest.mark.parametrize(
    ("ending", "limits", "expected"),
    [
        (HANG, Limits(quiet=1, total=20), Ending.QUIET),
        (FLOOD, Limits(quiet=5, total=1.5, serial_bytes=1 << 30), Ending.TOTAL),
        (FLOOD, Limits(quiet=5, total=30, serial_bytes=5000), Ending.FLOOD),
        (RESET, Limits(quiet=5, total=20), Ending.RESET),
        (TRIPLE_FAULT, Limits(quiet=5, total=20), Ending.TRIPLE_FAULT),
    ],
    ids=["hang", "chatter", "flood", "reset", "triple-fault"],
)
async def test_endings_are_told_apart(
    target: Target, tmp_path: Path, ending: str, limits: Limits, expected: Ending
) -> None:
    begun = time.monotonic()
    seen = await boot(target, boot_sector(tmp_path, b"here\n", ending), limits=limits)
    assert seen.ending == expected, seen.detail
    assert seen.serial.startswith(b"here\n")
    assert len(seen.serial) <= limits.serial_bytes
    assert time.monotonic() - begun < limits.total + 10
    assert not emulators_of_ours()


@TARGETS
@pytest.mark.parametrize(
    ("ending", "expected"),
    [(HALT, {Ending.HALTED}), (SHUT_DOWN, {Ending.POWER_OFF}), (LEAVE, {Ending.HALTED, Ending.POWER_OFF})],
    ids=["halt", "shutdown", "leave"],
)
async def test_the_ways_out_of_a_suite_and_port_e9(
    target: Target, tmp_path: Path, ending: str, expected: set[Ending]
) -> None:
    seen = await boot(target, boot_sector(tmp_path, b"said\n", ending, before=DEBUG))
    assert seen.ending in expected, seen.detail
    gone = (
        target.name == "bochs" and ending == SHUT_DOWN
    )  # Bochs leaves at once, with the byte that its UART is sending
    assert (seen.serial, seen.debug) == (b"said" if gone else b"said\n", DEBUG_WORDS)
    assert (seen.screen is None) == gone


@TARGETS
async def test_a_guest_that_switches_off_behind_its_marker_has_finished(target: Target, tmp_path: Path) -> None:
    seen = await boot(target, boot_sector(tmp_path, b"said\n", SHUT_DOWN), end="^said")
    assert seen.ending == Ending.FINISHED, seen.detail


@TARGETS
async def test_a_guest_that_calls_the_debugger_goes_on(target: Target, tmp_path: Path) -> None:
    image = boot_sector(tmp_path, b"said\n", HALT, before=CALL_DEBUGGER + DEBUG + CALL_DEBUGGER)
    seen = await boot(target, image, limits=Limits(quiet=5, total=20))
    assert seen.ending == Ending.HALTED, seen.detail
    assert (seen.serial, seen.debug) == (b"said\n", DEBUG_WORDS)


@TARGETS
async def test_the_terminal_marker_may_stand_on_port_e9(target: Target, tmp_path: Path) -> None:
    seen = await boot(target, boot_sector(tmp_path, b"said\n", HANG, before=DEBUG), end=r"^last\Z")
    assert seen.ending == Ending.FINISHED and "port 0xE9" in seen.detail


@TARGETS
async def test_a_kernel_and_a_cd_with_a_second_disk(target: Target, tmp_path: Path) -> None:
    async def seen(folder: Path) -> bytes:
        wanted = prepare(load(folder), folder).boot()
        async with target.session([wanted], lambda line: None) as session:
            return (await session.boot(wanted)).serial

    told = await seen(kernel_case(tmp_path))
    assert told.startswith(b"told: kernel.elf one two=2\nmodule: env.txt -v\nPASS: first")
    assert await seen(cd_case(tmp_path)) == b"wxyz and the rest\n"


def test_a_kernel_is_added_and_compared_by_two_commands(tmp_path: Path) -> None:
    """Its third result is FAIL where CPUID tells of a hypervisor: under TCG, not under Bochs."""
    made = difftest(
        tmp_path, "add", str(kernel(tmp_path, UNLIKE)), "mine", "-m", str(kernel_case(tmp_path) / "env.txt")
    )
    assert made.returncode == 0, made.stderr
    assert b"3 of them, which are compared one by one" in made.stdout
    assert difftest(tmp_path, "run", "mine/", "--target", "tcg").returncode == 1
    (path,) = (tmp_path / "results" / "latest").glob("cases/mine/results.json")
    verdicts = {result["check"]: result["verdict"] for result in json.loads(path.read_bytes())}
    assert verdicts == {"first (took 123456 cycles)": "agree", "second": "skipped", "third": "subject-wrong"}


@TARGETS
async def test_a_prompt_on_the_screen_ends_a_guest_that_waits_for_a_key(target: Target, tmp_path: Path) -> None:
    image, limits = boot_sector(tmp_path, b"", WAIT_FOR_A_KEY, before=SHOW), Limits(quiet=20, total=60)
    seen = await boot(target, image, end_screen="^HELLO$", limits=limits)
    assert seen.ending == Ending.SETTLED, seen.detail
    assert seen.seconds["ended"] < limits.quiet
    assert read_screen(seen).rows[20].memory == "HELLO"
    assert not emulators_of_ours()


@TARGETS
async def test_another_screen_ends_it_in_silence(target: Target, tmp_path: Path) -> None:
    image = boot_sector(tmp_path, b"", WAIT_FOR_A_KEY, before=SHOW)
    seen = await boot(target, image, end_screen="^HELLO WORLD$", limits=Limits(quiet=4, total=30))
    assert seen.ending == Ending.QUIET, seen.detail


async def test_reading_the_text_of_a_guest_that_goes_on_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bochs is stopped for it. The guest speaks on port 0xE9, lingers while its screen is read, and speaks again."""
    again = DEBUG.replace("debug", "again").replace("7f", "9f").replace("7:", "9:")
    image = boot_sector(tmp_path, b"", HALT, before=DEBUG + SHOW + LINGER + again)
    monkeypatch.setattr("emulators.bochs.session.LOOK", 0.2)
    seen = await boot(Bochs(), image, end_screen="^never$", limits=Limits(quiet=30, total=60))
    assert seen.ending == Ending.HALTED, seen.detail
    assert seen.debug == DEBUG_WORDS * 2
    assert seen.logs["console.log"].count(b"<bochs:") > 6, "the debugger was also asked before the end"


def test_a_prompt_is_added_and_compared_by_two_commands(tmp_path: Path) -> None:
    image = boot_sector(tmp_path, b"", WAIT_FOR_A_KEY, before=SHOW.replace("HELLO", "HELLO, press any key"))
    made = difftest(tmp_path, "add", str(image), "mine", "--quiet-seconds", "4")
    assert b"proposed end_screen: ^ *HELLO" in made.stdout, made.stderr
    done = difftest(tmp_path, "run", "mine/", "--target", "tcg")
    assert done.returncode == 0 and b"agree" in done.stdout, done.stdout + done.stderr
    cases = tmp_path / "results" / "latest" / "cases" / "mine"
    seen = [json.loads((cases / target / "0" / "observation.json").read_bytes()) for target in ("bochs", "tcg")]
    assert [one["ending"] for one in seen] == ["settled", "settled"]
    manifest = tmp_path / "mine" / "case.toml"
    manifest.write_text(manifest.read_text().replace("^ *HELLO", "^ *WORLD"))
    done = difftest(tmp_path, "run", "mine/", "--target", "tcg")
    assert done.returncode == 3 and b"inconclusive" in done.stdout, "no end that it never shows"


async def test_a_screen_that_changes_is_a_sign_of_life(tmp_path: Path) -> None:
    """A guest that says nothing on its ports and draws for some seconds outlives a shorter deadline for silence."""
    drawing = "movw $0xB800, %ax; movw %ax, %es; 4: incw %es:0; movl $400000, %ecx; 5: decl %ecx; jnz 5b; jmp 4b"
    seen = await boot(Tcg(), boot_sector(tmp_path, b"", drawing), limits=Limits(quiet=3, total=8))
    assert seen.ending == Ending.TOTAL, seen.detail


async def test_a_guest_that_does_not_wait_for_the_uart_is_told_so(tmp_path: Path) -> None:
    careless = "xorw %ax, %ax; movw %ax, %ds; movw $message, %si; movw $0x3F8, %dx; movw $99, %cx; rep outsb; jmp 3f\n"
    seen = await boot(Bochs(), boot_sector(tmp_path, b"0123456789" * 10, HALT, before=careless))
    assert len(seen.serial) < 99
    assert "serial output lost" in seen.alarms[0]


async def test_what_bochs_gives_up_on_ends_no_boot(tmp_path: Path) -> None:
    """Bochs reports a panic and goes on: the words that came before it are counted, and those after it are kept."""
    panicking = "movb $1, %al; outb %al, $0x20\n"  # a command that the interrupt controller lacks
    seen = await boot(Bochs(), boot_sector(tmp_path, b"said\n", f"{LINGER} {HALT}", before=panicking))
    assert (seen.ending, seen.serial) == (Ending.HALTED, b"said\n"), seen.detail
    assert len(seen.panics) == 1 and "write to port 0x20 = 0x01" in seen.panics[0]
    assert seen.said_before_panic is not None and seen.said_before_panic <= len(seen.serial)


async def test_a_case_that_the_emulator_cannot_start_is_a_crash(tmp_path: Path) -> None:
    image = boot_sector(tmp_path, b"x", HALT)
    prepared = prepare(of_image(image), tmp_path / "cache")
    wrong = Bochs(cpu_model="no_such_cpu")
    wanted = Boot(image=prepared.image, image_sha256=prepared.sha256)
    async with wrong.session([wanted], lambda line: None) as session:
        seen = await session.boot(wanted)
    assert seen.ending == Ending.CRASH
    assert not emulators_of_ours()


HOSTILE = b"\x1b[2J\x1b]0;title\x07\x00<script>alert(1)</script>[/red]]]>\xc3\x28\xe2\x80\xae\n"


def difftest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "difftest.cli", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, check=False, timeout=120, env=ENVIRONMENT)


def test_a_hand_made_image_agrees_and_hostile_output_stays_harmless(tmp_path: Path) -> None:
    image = boot_sector(tmp_path, HOSTILE, HALT)
    done = difftest(tmp_path, "run", str(image), "--target", "tcg", "--html", "report.html")
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout + done.stderr and b"\x00" not in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page and "\x1b" not in page
    again = difftest(tmp_path, "report", "--json")
    assert again.returncode == 0 and b"\\u0000" not in again.stdout


def test_lines_printed_by_the_bios_are_compared_wherever_they_stand(tmp_path: Path) -> None:
    """Under Bochs the firmware says more before them, so that they stand further down."""
    alike = boot_sector(tmp_path, b"", HALT, before=TELETYPE.replace("DIGIT", ""))
    done = difftest(tmp_path, "run", str(alike), "--target", "tcg")
    assert done.returncode == 0 and b"1 agree" in done.stdout, done.stdout + done.stderr
    unlike = boot_sector(tmp_path, b"", HALT, before=TELETYPE.replace("DIGIT", UNLIKE_DIGIT))
    done = difftest(tmp_path, "run", str(unlike), "--target", "tcg", "--confirm", "none")
    assert done.returncode == 1 and b"screen_line_3 Bochs gave three: 0, TCG gave three: 1" in b" ".join(
        done.stdout.split()
    )


HANGS = {
    "loop": "4: jmp 4b",
    "loop-without-interrupts": HANG,
    "waits-for-a-key": WAIT_FOR_A_KEY,
    "sleeps": "sti; 4: hlt; jmp 4b",
    "polls": "movw $0x3FD, %dx; 4: inb %dx, %al; jmp 4b",
    "counts": "4: incl %eax; cpuid; jmp 4b",
    "pauses": "cli; 4: pause; jmp 4b",
}


def test_images_that_hang_on_both_sides_never_agree(tmp_path: Path) -> None:
    """In six ways and one, with last words that an end could have."""
    for name, code in HANGS.items():
        (tmp_path / name).mkdir()
        boot_sector(tmp_path / name, b"PASS\nall tests done\n", code).replace(tmp_path / f"{name}.img")
    images = [f"{name}.img" for name in HANGS]
    done = difftest(tmp_path, "run", *images, "--target", "tcg", "--timeout", "2", "-j", "7", "-q")
    assert done.returncode == 3, done.stdout + done.stderr
    for name in HANGS:
        (path,) = (tmp_path / "results" / "latest").glob(f"cases/{name}.img/results.json")
        (result,) = json.loads(path.read_bytes())
        assert result["verdict"] == "inconclusive", (name, result)
        assert any("if that is its end, say so: --end '^ *all tests done'" in hint for hint in result["hints"]), result


@pytest.mark.parametrize("target", [Bochs(), pytest.param(Tcg(), marks=pytest.mark.proof)], ids=["bochs", "tcg"])
@pytest.mark.parametrize(
    ("second", "expected"), [("14: hlt; jmp 14b", Ending.HALTED), ("14: jmp 14b", Ending.QUIET)], ids=["halts", "loops"]
)
async def test_two_cpus_have_halted_when_both_have(
    target: Target, tmp_path: Path, second: str, expected: Ending
) -> None:
    image = boot_sector(tmp_path, b"1\n", HALT, before=SECOND_CPU.replace("SECOND", second))
    wanted = prepare(of_image(image, ImageOptions(cpus=2)), tmp_path / "cache").boot()
    wanted = msgspec.structs.replace(wanted, limits=Limits(quiet=2, total=30))
    async with target.session([wanted], lambda line: None) as session:
        seen = await session.boot(wanted)
    assert (seen.serial, seen.ending) == (b"21\n", expected), seen.detail
    assert seen.debug == b"", "the debugger's words on the second CPU are not the guest's"


async def test_that_vm_exits_happen_is_seen_where_it_is_asked_for(tmp_path: Path) -> None:
    """Once: the simulation stops for the first of them, and what the guest says is what it would say otherwise."""
    nested = prepare(load(BUNDLED / "ept-pdpte-load"), cache_folder()).boot()
    plain = prepare(of_image(boot_sector(tmp_path, b"said\n", HALT, before=DEBUG)), tmp_path).boot()
    target = Bochs()
    for wanted, uses in ((nested, True), (plain, False)):
        watched = msgspec.structs.replace(wanted, watches_vmx=True)
        async with target.session([wanted], lambda line: None) as session:
            seen, before = await session.boot(watched), await session.boot(wanted)
        assert (seen.vmx, before.vmx) == (uses, False)
        assert (seen.ending, seen.serial, seen.ram_log, seen.debug) == (
            before.ending,
            before.serial,
            before.ram_log,
            before.debug,
        )


def test_an_image_that_never_ends_gives_no_verdict(tmp_path: Path) -> None:
    done = difftest(tmp_path, "run", str(boot_sector(tmp_path, b"a", FLOOD)), "--target", "tcg", "--timeout", "2")
    assert done.returncode == 3, done.stdout
    assert b"inconclusive" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_process_and_a_readable_run(tmp_path: Path, number: signal.Signals) -> None:
    image = boot_sector(tmp_path, b"a", HANG)
    argv = [sys.executable, "-m", "difftest.cli", "run", str(image), "--target", "tcg"]
    process = subprocess.Popen(
        argv,
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A signal that was ignored when the tests were started, as under nohup, would be ignored here, too.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not emulators_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert b"interrupted" in errors
    assert not emulators_of_ours()
    assert difftest(tmp_path, "report").returncode == 0


def test_killing_the_tester_ends_its_emulators(tmp_path: Path) -> None:
    image = boot_sector(tmp_path, b"a", HANG)
    argv = [sys.executable, "-m", "difftest.cli", "run", str(image), "--target", "tcg"]
    process = subprocess.Popen(
        argv, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    left: list[psutil.Process] = []
    # Bochs is also asked what it is, before there is a run.
    while not ((tmp_path / "results").exists() and (left := emulators_of(process.pid))) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    gone, alive = psutil.wait_procs(left, timeout=10)
    assert gone and not alive
    assert difftest(tmp_path, "report").returncode == 0


def emulators_of(pid: int) -> list[psutil.Process]:
    try:
        return [child for child in psutil.Process(pid).children(recursive=True) if is_emulator(child)]
    except psutil.Error:
        return []


def emulators_of_ours() -> list[psutil.Process]:
    return emulators_of(os.getpid())


def is_emulator(process: psutil.Process) -> bool:
    try:
        # One that is only asked for its options boots nothing.
        asked = "--help" in process.cmdline()
        return (
            process.name().startswith(("bochs", "qemu", "Xvfb"))
            and process.status() != psutil.STATUS_ZOMBIE
            and not asked
        )
    except psutil.Error:
        return False


def test_a_check_that_kills_the_guest_loses_no_other(tmp_path: Path) -> None:
    done = difftest(tmp_path, "run", str(Path(__file__).parent / "killer"), "--target", "tcg")
    assert done.returncode == 3, done.stdout + done.stderr
    (path,) = (tmp_path / "results" / "latest").glob("cases/killer/results.json")
    verdicts = {result["check"]: result["verdict"] for result in json.loads(path.read_bytes())}
    assert verdicts == {"before": "agree", "killer": "inconclusive", "second-killer": "inconclusive", "behind": "agree"}
    boots = sorted(path.parent.glob("bochs/*/boot.json"))
    assert [json.loads(path.read_bytes())["part"] for path in boots] == [0, 1, 2], "one more boot for each killer"
