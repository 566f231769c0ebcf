"""KVM inside Bochs for real: the seed case, a hand-made image and guests that misbehave, after cold and after warm
starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from difftest.case.case import BUNDLED, load, of_image
from difftest.image.prepare import prepare
from difftest.image.symbols import with_names
from difftest.reading.exits import ExitHandling, l0_view, parse_exits
from difftest.reading.record import parse
from difftest.reading.screen import read_screen
from emulators.host.files import cache_folder
from emulators.hosted.appliance.machine import KERNEL_LOG
from emulators.hosted.appliance.snapshot import snapshots
from emulators.hosted.remains import SLOWER
from emulators.hosted.session import HostedSession
from emulators.hosted.target import KvmHosted
from emulators.observation import EXITS_LOG, Boot, Ending, Limits, Machine
from emulators.target import Session
from emulators.watch import Watch

from .guests import (
    DEBUG,
    DEBUG_WORDS,
    FLOOD,
    HALT,
    HANG,
    LEAVE_AND_PRINT,
    RESET,
    SHOW,
    SHUT_DOWN,
    TRIPLE_FAULT,
    WAIT_FOR_A_KEY,
    boot_sector,
    cd_case,
    floppy,
    kernel_case,
)

pytestmark = pytest.mark.hosted
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
AT_ONCE = 8.0  # seconds, on a loaded host: without a boot's end by its Bochs it is its deadline, 16 s at least
SHORT = Limits(quiet=4, total=20, serial_bytes=4000)


def private_cache(folder: Path) -> Path:
    """A cache with this user's kernels, appliances and emulators, and no snapshots."""
    folder.mkdir()
    for kind in ("apt", "appliances", "bochs", "kernels"):
        (cache_folder() / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind).symlink_to(cache_folder() / kind)
    return folder


def left_behind() -> set[str]:
    """Temporary folders and emulators of this process that exist now."""
    folders = {str(path) for path in Path(tempfile.gettempdir()).iterdir()}
    emulators = {f"{child.pid} {child.name()}" for child in psutil.Process().children(recursive=True)}
    return folders | emulators


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
async def test_a_large_image_comes_in_whole(tmp_path: Path, cold: bool) -> None:
    """The guest says what stands in its last sector."""
    size, last = 96 << 20, b"the last sector!"
    lba = size // 512 - 1
    read = f"""
        jmp 1f
    packet: .byte 16, 0
        .word 1, 0x8000, 0
        .quad {lba}
    1:  movw $packet, %si
        movb $0x42, %ah
        int $0x13
        movw $0x8000, %si
        movw $message, %di
        movw ${len(last)}, %cx
        rep movsb
    """
    image = boot_sector(tmp_path, b"?" * len(last), HALT, before=read)
    with image.open("ab") as file:
        file.write(os.urandom(size - 1024) + last.ljust(512, b"."))
    made = prepare(of_image(image), tmp_path)
    boot = Boot(image=made.image, image_sha256=made.sha256, limits=SHORT, machine=Machine(memory_mib=64))
    target = KvmHosted(cache=private_cache(tmp_path / "cache"), cold=cold)
    target.prepare(lambda line: None)
    said: list[str] = []
    async with target.session([boot], said.append) as session:
        seen = await session.boot(boot)
    assert ("snapshot" in seen.seconds) is not cold, said
    assert (seen.serial, seen.ending, seen.detail) == (last, Ending.HALTED, "HLT with interrupts off")


async def test_cold_and_warm_starts_serve_them_all_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def guest(name: str, message: bytes, ending: str, before: str = "") -> Boot:
        folder = tmp_path / name
        folder.mkdir()
        made = prepare(of_image(boot_sector(folder, message, ending, before=before)), folder)
        return Boot(image=made.image, image_sha256=made.sha256, limits=SHORT, machine=Machine(memory_mib=64))

    def added(folder: Path, memory_mib: int = 64) -> Boot:
        boot = prepare(load(folder), folder).boot()
        return msgspec.structs.replace(boot, machine=msgspec.structs.replace(boot.machine, memory_mib=memory_mib))

    prepared = prepare(load(BUNDLED / "ept-pdpte-load"), cache_folder())
    halts = guest("halt", b"hello\r\n\x1b\x00\xff"[:-1], HALT)
    waits = guest("prompt", b"", WAIT_FOR_A_KEY, SHOW)
    every = {
        "flood": (guest("flood", b"a", FLOOD), Ending.FLOOD),
        "hang": (guest("hang", b"b", HANG), Ending.QUIET),
        "halt": (halts, Ending.HALTED),
        "halt before its marker": (msgspec.structs.replace(halts, end="^never$"), Ending.HALTED),
        "reset": (guest("reset", b"c", RESET), Ending.RESET),
        "triple": (guest("triple", b"d", TRIPLE_FAULT), Ending.TRIPLE_FAULT),
        "shutdown": (guest("shutdown", b"e", SHUT_DOWN, DEBUG), Ending.POWER_OFF),
        "leave": (guest("leave", b"left\n", LEAVE_AND_PRINT), Ending.POWER_OFF),
        "prompt": (msgspec.structs.replace(waits, end_screen="^HELLO$"), Ending.SETTLED),
        "other prompt": (msgspec.structs.replace(waits, end_screen="^HELLO WORLD$"), Ending.QUIET),
        "kernel": (added(kernel_case(tmp_path)), Ending.POWER_OFF),
        "cd": (added(cd_case(tmp_path), memory_mib=2048), Ending.HALTED),
        "floppy": (prepare(of_image(floppy(tmp_path, 368_640)), tmp_path).boot(), Ending.HALTED),
        "seed": (prepared.boot(), Ending.FINISHED),
    }
    # Slow, and nothing about them depends on the start; or never started from a snapshot, or from one of their own.
    cold_only = ("flood", "hang", "other prompt", "kernel", "cd", "floppy")
    seeds = {}
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for cold in (True, False):
        chosen = {name: pair for name, pair in every.items() if cold or name not in cold_only}
        boots = {name: boot for name, (boot, _) in chosen.items()}
        target = KvmHosted(cache=private_cache(tmp_path / f"cache-{cold}"), cold=cold)
        target.prepare(print)
        if not cold and not target.warm:
            pytest.skip("no Bochs that saves its state can be had here")
        said: list[str] = []
        async with target.session(list(boots.values()), said.append) as session:
            seen = {name: await session.boot(boot) for name, boot in boots.items()}
            selected = await session.boot(prepared.only([0]))
            if cold:
                await kernels_words_come_out(session)
        if not cold:
            monkeypatch.setattr("emulators.hosted.appliance.start.asks_for_a_file", lambda executable: False)
            async with target.session([halts], said.append) as session:
                copied = await session.boot(halts)
            assert "snapshot" in copied.seconds and copied.serial == seen["halt"].serial, (
                "Bochs may copy its memory, too"
            )
            assert copied.registers == seen["halt"].registers
        assert sum("starting Linux" in line for line in said) == 1, (
            f"Linux was booted once, and no guest broke it: {said}"
        )
        assert {name: boot.ending for name, boot in seen.items()} == {
            name: ending for name, (_, ending) in chosen.items()
        }
        assert seen["halt"].serial == b"hello\r\n\x1b\x00", (
            "not a byte changed on the way through two emulated serial ports"
        )
        assert list(parse(selected.words).records) == ["mapped"], "a selection made later comes into the appliance, too"
        assert b"guest receives #GP" in seen["seed"].serial
        reading = read_screen(seen["seed"])
        assert reading.problem == "" and reading.rows[20].ocr == "BAD" and reading.rows[21].memory == ""
        assert not seen["seed"].kernel_faults
        assert seen["seed"].identity["kernel"]
        assert seen["shutdown"].debug == DEBUG_WORDS and seen["shutdown"].screen
        assert seen["leave"].serial == b"left\n", "what it printed after it had left is none of it"
        if cold:
            assert seen["floppy"].serial == b"0 wxyz\n"
            assert seen["kernel"].serial.startswith(b"told: kernel.elf one two=2\nmodule: env.txt -v\nPASS: first")
            assert seen["kernel"].debug == b"A=1\n" and "code 1" in seen["kernel"].detail and seen["kernel"].screen
            assert seen["cd"].serial == b"wxyz and the rest\n", "the CD was booted, and read the second disk"
        assert read_screen(seen["prompt"]).rows[20].memory == "HELLO"
        assert seen["prompt"].seconds["ended"] < SHORT.quiet * SLOWER
        assert ("snapshot" in seen["seed"].seconds) is not cold
        assert left_behind() == set()
        seeds[cold] = seen["seed"]
    assert len(snapshots(target.cache).keys()) == 1, "all these boots start from one"
    assert seeds[False].serial == seeds[True].serial and seeds[False].ram_log == seeds[True].ram_log != b""
    assert seeds[False].text_memory == seeds[True].text_memory
    assert seeds[False].registers == seeds[True].registers


@pytest.mark.parametrize("how", ["empty", "half", "flipped"])
async def test_a_damaged_snapshot_is_told_and_made_again(tmp_path: Path, how: str) -> None:
    made = prepare(of_image(boot_sector(tmp_path, b"hello\r\n", HALT)), tmp_path)
    boot = Boot(image=made.image, image_sha256=made.sha256, limits=SHORT, machine=Machine(memory_mib=64))
    target = KvmHosted(cache=private_cache(tmp_path / "cache"))
    target.prepare(lambda line: None)
    said: list[str] = []
    async with target.session([boot], said.append) as session:
        await session.boot(boot)
        (key,) = snapshots(target.cache).keys()
        ram = target.cache / "snapshots" / key / "memory.ram"
        size = ram.stat().st_size
        if how == "flipped":
            with ram.open("r+b") as file:
                for place in range(0, size, size // 2000):
                    byte = os.pread(file.fileno(), 1, place)[0]
                    os.pwrite(file.fileno(), bytes([byte ^ 1]), place)
        else:
            os.truncate(ram, 0 if how == "empty" else size // 2)
        said.clear()
        begun = time.monotonic()
        seen = await session.boot(boot)
    assert any("is damaged: it is made again" in line for line in said) and not any("no warm" in line for line in said)
    assert (seen.serial, seen.ending) == (b"hello\r\n", Ending.HALTED) and "snapshot" in seen.seconds
    assert time.monotonic() - begun < 60, "no longer than a cold boot takes"


async def test_the_end_of_the_bochs_under_kvm_ends_the_boot_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = asyncio.Event()
    mark = Watch.mark

    def noting(watch: Watch, phase: str) -> None:
        mark(watch, phase)
        if phase.startswith("first byte"):
            spoken.set()

    monkeypatch.setattr(Watch, "mark", noting)
    made = prepare(of_image(boot_sector(tmp_path, b"hello\r\n", HANG)), tmp_path)
    boot = Boot(image=made.image, image_sha256=made.sha256, limits=SHORT, machine=Machine(memory_mib=64))
    target = KvmHosted()
    target.prepare(lambda line: None)
    for moment in ("at the start", "in the restore or soon after", "while its guest runs"):
        said: list[str] = []
        spoken.clear()
        async with target.session([boot], said.append) as session:
            booting = asyncio.create_task(session.boot(boot))
            bochs = await asyncio.to_thread(hosting_bochs)
            if moment == "while its guest runs":
                await asyncio.wait_for(spoken.wait(), 60)
            elif moment != "at the start":
                await asyncio.sleep(0.7)
            bochs.kill()
            begun = time.monotonic()
            seen = await booting
        if any("no warm start" in line for line in said):  # it was being restored: then Linux is booted
            assert seen.ending == Ending.QUIET
        else:
            assert seen.ending == Ending.CRASH and time.monotonic() - begun < AT_ONCE, seen.detail
    assert seen.ending == Ending.CRASH and seen.serial, "killed while its guest ran"
    assert b"hello\r\n".startswith(seen.serial), "what it had said by then is kept"


def hosting_bochs() -> psutil.Process:
    """Waits for it. One that is only asked what it is has no configuration and no state to restore."""
    while True:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.name().startswith("bochs") and {"-f", "-r"} & set(child.cmdline()):  # none: it has ended
                    return child
        time.sleep(0.01)


async def kernels_words_come_out(session: Session) -> None:
    """Once, and as its log shows them: a KVM that complains is told by the lines of it."""
    assert isinstance(session, HostedSession) and session._machine is not None
    await session._machine.ask("echo '<4>some: words' >/dev/kmsg; echo '<6>are <5>more' >/dev/kmsg")
    lines = (await session._machine.collect())[KERNEL_LOG].decode().splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["some: words", "are <5>more"]
    assert all(line.startswith("[") for line in lines)
    assert (await session._machine.collect())[KERNEL_LOG] == b""


def test_the_main_job_shows_the_bug_that_started_the_project(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "difftest.cli",
        "run",
        "ept-pdpte-load",
        "--target",
        "kvm-hosted",
        "--html",
        "page.html",
    ]
    done = subprocess.run(argv, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    (results,) = (tmp_path / "results" / "latest").glob("cases/ept-pdpte-load/results.json")
    mapped, absent = json.loads(results.read_bytes())
    assert (mapped["check"], mapped["verdict"]) == ("mapped", "agree")
    assert (absent["check"], absent["verdict"], absent["known"] is not None) == ("not-present", "subject-wrong", True)
    fields = {field["name"]: field for field in absent["fields"]}
    assert [side["target"] for side in absent["sides"]] == ["bochs", "host-cpu", "kvm-hosted"]
    for right in ("bochs", "host-cpu"):
        assert fields["exit_reason"]["values"][right] == fields["exit_reason"]["required"][right] == "0x30"
        cr3 = int(fields["cr3"]["values"][right], 16)
        assert int(fields["guest_physical_address"]["values"][right], 16) == cr3
    assert fields["vector"]["values"]["kvm-hosted"] == "0xd"
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert "KVM wrong" in page
    show_it_again_without_difftest(tmp_path)


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
async def test_exits_are_recorded_for_each_boot_alone(tmp_path: Path, cold: bool) -> None:
    """L0 carries out the MOV to CR0 of the seed's L2, and injects #GP where CR3's page is absent from EPT."""
    prepared = prepare(load(BUNDLED / "ept-pdpte-load"), tmp_path)
    target = KvmHosted(cache=private_cache(tmp_path / "cache"), cold=cold, exits=True)
    target.prepare(print)
    boots = [prepared.boot(), prepared.only([1])]
    async with target.session(boots[:1], print) as session:
        both, second = [await session.boot(boot) for boot in boots]
    traces = []
    for seen in (both, second):
        assert seen.ending is Ending.FINISHED and ("snapshot" in seen.seconds) is not cold
        trace = parse_exits(with_names(seen.logs[EXITS_LOG], prepared))
        assert not trace.problems
        traces.append({check: l0_view(window) for check, window in trace.windows.items()})
    assert [list(trace) for trace in traces] == [["mapped", "not-present"], ["not-present"]]
    assert all(view.complete for trace in traces for view in trace.values())
    for trace in traces:
        (exit,) = trace["not-present"].instructions
        assert (exit.level, exit.name, exit.handling, exit.exceptions) == (
            "L2",
            "CR_ACCESS",
            ExitHandling.HANDLED,
            (13,),
        )
        assert exit.place.endswith("l2_mov_to_cr0") and exit.count == 1
    (exit,) = traces[0]["mapped"].instructions
    assert (exit.name, exit.exceptions) == ("CR_ACCESS", ())


def show_it_again_without_difftest(folder: Path) -> None:
    """The bundle of the run in `folder`, with hosted KVM in it: its script needs Bochs and a shell."""
    argv = [sys.executable, "-m", "difftest.cli", "bundle", "not-present", "--carry"]
    subprocess.run(argv, cwd=folder, env=ENVIRONMENT, capture_output=True, check=True, timeout=120)
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    script = folder / packed.name.removesuffix(".tar.gz") / "rerun.sh"
    clean = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([script], env=clean, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bochs: as in the report" in done.stdout and "kvm-hosted: as in the report" in done.stdout
    assert "check not-present FAIL" in done.stdout and "guest receives #GP" in done.stdout


def test_another_kernel_inside_another_bochs(tmp_path: Path) -> None:
    """Both out of other suites of the mirror: their packages, their libraries, compressed modules, and the debugger of
    3.x.
    """
    versions = ["--kernel", "6.12", "--bochs", "3.0", "--host-bochs", "3.0"]
    argv = [
        sys.executable,
        "-m",
        "difftest.cli",
        "run",
        "ept-pdpte-load",
        "-k",
        "not-present",
        "-t",
        "kvm-hosted",
        *versions,
    ]
    done = subprocess.run(argv, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr + done.stdout
    run = json.loads((tmp_path / "results/latest/run.json").read_bytes())
    hosted = run["identities"]["kvm-hosted"]
    assert hosted["kernel"].startswith("6.12.") and hosted["kernel package"].startswith("linux-image-6.12.")
    assert hosted["hosting bochs"].startswith("3.0") and run["identities"]["bochs"]["bochs"].startswith("3.0")
    (results,) = (tmp_path / "results/latest").glob("cases/ept-pdpte-load/results.json")
    (absent,) = json.loads(results.read_bytes())
    assert (absent["check"], absent["verdict"]) == ("not-present", "subject-wrong")
    said = [(side["role"], side["status"]) for side in absent["sides"]]
    assert said == [("reference", "PASS"), ("subject", "FAIL")], "the reference is the very CPU under KVM"
    (reference,) = (tmp_path / "results/latest/cases/ept-pdpte-load/bochs").glob("*/observation.json")
    assert json.loads(reference.read_bytes())["registers"]["rflags"], "the debugger of 3.x was understood"


async def test_the_seed_case_on_another_host(tmp_path: Path) -> None:
    """The same KVM on another CPU model: what it gets wrong does not depend on what is under it."""
    target = KvmHosted().other_host()
    target.prepare(lambda line: None)
    boot = prepare(load(BUNDLED / "ept-pdpte-load"), tmp_path).boot()
    async with target.session([boot], lambda line: None) as session:
        seen = await session.boot(boot)
    assert seen.ending == Ending.FINISHED, seen.detail
    assert seen.identity["hosting cpu model"] == "broadwell_ult"
    assert {check: record.status for check, record in parse(seen.words).records.items()} == {
        "mapped": "PASS",
        "not-present": "FAIL",
    }
