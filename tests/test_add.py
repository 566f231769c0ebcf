"""Files of all kinds made cases: what they are, what is refused and why, and that nothing is left behind then."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from difftest.authoring.add import AddRequest, add, case_name
from difftest.authoring.propose import propose
from difftest.case.case import load, of_image
from difftest.case.image_options import ImageOptions
from difftest.case.manifest import Manifest
from difftest.errors import CaseError, Failure
from difftest.image import unpack as unpack_module
from difftest.image.kind import Kind, look
from difftest.image.prepare import bootable, prepare, unpacked
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.verdict import ExitCode
from emulators.bochs.target import Bochs
from emulators.fake import Fake, observation
from emulators.host.files import sha256
from emulators.observation import FLOPPIES, TEXT_BYTES, Boot, Ending, Medium, Observation
from emulators.qemu.target import Tcg

from .guests import HALT, boot_sector, cd, kernel

BLANK = ScreenReading(rows={row: RowReading(memory="", ocr="", agree=True) for row in range(20, 24)}, text=[""] * 25)


def disk(folder: Path) -> Path:
    path = folder / "disk.img"
    path.write_bytes(b"\xf4".ljust(510, b"\0") + b"\x55\xaa" + b"data" * 300)
    return path


def converted(image: Path, kind: str, *options: str) -> Path:
    target = image.with_suffix(f".{kind}")
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", kind, *options, image, target], check=True)
    return target


def test_kinds_are_told_by_their_content(tmp_path: Path) -> None:
    sector = boot_sector(tmp_path, b"x", HALT)
    assert look(disk(tmp_path)).kind == look(sector).kind == Kind.DISK
    assert look(cd(tmp_path, sector)).kind == Kind.CDROM
    assert look(kernel(tmp_path)).kind == Kind.KERNEL
    for packed in (Kind.VMDK, Kind.QCOW2, Kind.VDI, Kind.VHDX):
        assert look(converted(disk(tmp_path), packed)).kind == packed


def fat(sectors: int, media: int = 0xF0) -> bytes:
    """A FAT boot sector whose parameter block describes so many sectors."""
    block = struct.pack("<HBHBHHB", 512, 1, 1, 2, 224, sectors, media)
    return (b"\xeb\x3c\x90" + b"MSDOS5.0" + block).ljust(510, b"\xf4") + b"\x55\xaa"


def partitioned(first: int, count: int, kind: int = 0x83, code: bytes = b"\xf4") -> bytes:
    """A boot sector with one partition."""
    entry = struct.pack("<B3xB3xII", 0x80, kind, first, count)
    return code.ljust(446, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa"


@pytest.mark.parametrize(
    ("content", "medium", "expected", "words"),
    [
        (b"\xf4".ljust(510, b"\0") + b"\x55\xaa" + bytes(1_474_048), "", Kind.FLOPPY, "the size of one of 1.44M"),
        (b"\xf4".ljust(510, b"\0") + b"\x55\xaa" + bytes(1_474_048), "disk", Kind.DISK, "55 AA"),
        (b"\xf4".ljust(510, b"\0") + b"\x55\xaa" + bytes(368_128), "", Kind.FLOPPY, "one of 360K"),
        (partitioned(1, 2000) + bytes(1_474_048), "", Kind.DISK, "55 AA"),
        (fat(2880), "", Kind.FLOPPY, "describes one of 1.44M"),
        (fat(1440) + bytes(7000), "", Kind.FLOPPY, "describes one of 720K"),
        (fat(1440) + bytes(1 << 20), "", Kind.DISK, "55 AA"),
        (fat(2880, 0xF8), "", Kind.DISK, "55 AA"),
        (fat(65000), "", Kind.DISK, "55 AA"),
        (b"\xf4".ljust(510, b"\0") + b"\x55\xaa", "floppy", Kind.FLOPPY, "--medium"),
        (partitioned(2048, 1 << 20) + bytes(1 << 20), "", Kind.DISK, "the file is cut short"),
    ],
)
def test_the_medium_is_told_with_the_reason(
    tmp_path: Path, content: bytes, medium: str, expected: Kind, words: str
) -> None:
    (tmp_path / "x.img").write_bytes(content)
    seen = look(tmp_path / "x.img", medium)
    assert seen.kind == expected and words in " ".join(seen.sentences)
    made = bootable(tmp_path / "x.img", tmp_path / "cache", medium)
    assert made.medium == (Medium.FLOPPY if expected == Kind.FLOPPY else Medium.DISK)
    if expected == Kind.FLOPPY:
        assert made.path.stat().st_size in FLOPPIES and made.path.stat().st_size >= len(content)


@pytest.mark.parametrize(
    ("platform", "emulated", "words"), [(0, 0, ""), (0, 2, "a 1.44M floppy"), (0, 4, "a hard disk"), (0xEF, 0, None)]
)
def test_what_a_cd_boots_is_told(tmp_path: Path, platform: int, emulated: int, words: str | None) -> None:
    image = cd(tmp_path, boot_sector(tmp_path, b"x", HALT))
    data = bytearray(image.read_bytes())
    data[18 * 2048 + 1], data[18 * 2048 + 33] = platform, emulated
    image.write_bytes(data)
    if words is None:
        with pytest.raises(CaseError, match="UEFI alone"):
            look(image)
        return
    assert words in " ".join(look(image).remarks) and bool(look(image).remarks) == bool(words)
    data[510:512], data[0] = b"\x55\xaa", 0xF4
    image.write_bytes(data)
    assert "boots as a disk, too" in " ".join(look(image).remarks)
    assert look(image, "disk").kind == Kind.DISK


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, zstd], ids=["gz", "xz", "bz2", "zst"])
def test_packed_images_are_unpacked(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    image = disk(tmp_path)
    packed = tmp_path / "packed"
    packed.write_bytes(pack(image.read_bytes()))
    assert bootable(packed, tmp_path / "cache") == bootable(image, tmp_path / "cache")
    for kind in ("vmdk", "qcow2"):
        path = converted(image, kind)
        again, _ = unpacked(path, tmp_path / "raw")
        assert again.read_bytes()[:1712] == image.read_bytes()
        packed.write_bytes(pack(path.read_bytes()))
        assert bootable(packed, tmp_path / "cache").medium == Medium.DISK, "a compressed VMDK"


def boots(serial: bytes) -> Fake:
    def script(boot: Boot) -> Observation:
        return observation("bochs", serial, Ending.HALTED, image_sha256=boot.image_sha256)

    return Fake("bochs", script)


def refused(tmp_path: Path, file: Path, **wish: object) -> Failure:
    """The error that adding a file gives; the folder for cases is empty afterwards, and so is the cache."""
    cases, cache = tmp_path / "cases", tmp_path / "cache"
    cases.mkdir(exist_ok=True)
    with pytest.raises(Failure) as caught:
        add(AddRequest(file=file, folder=cases / "mine", **wish), boots(b""), cache, lambda line: None)  # type: ignore[arg-type]
    assert not list(cases.iterdir())
    assert not [path for path in cache.glob("images/*") if not path.name.startswith(".lock-")]
    return caught.value


def test_bad_files_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    image = disk(tmp_path)
    bad = {
        "truncated.xz": (lzma.compress(bytes(image.read_bytes() * 50))[:-40], "cannot be unpacked"),
        "truncated.gz": (gzip.compress(image.read_bytes())[:-9], "cannot be unpacked"),
        "text.img": (b"hello\n" * 1000, "no boot signature"),
        "empty.img": (b"", "0 bytes is no disk image"),
        "zero.img": (bytes(1 << 20), "are zero"),
        "book.pdf": (b"%PDF-1.4\n" * 100, "a PDF document"),
        "rom.bin": (b"\x90" * ((1 << 20) - 16) + b"\xea\x5b\xe0\0\xf0".ljust(16, b"\0"), "a firmware's ROM"),
        "loader.efi": (b"MZ".ljust(4096, b"\1"), "a program for UEFI"),
        "gpt.img": (partitioned(1, 2000, 0xEE, b"") + bytes(1 << 20), "it boots by UEFI"),
        "plain.elf": (
            kernel(tmp_path).read_bytes().replace(b"\x02\xb0\xad\x1b", b"\x03\xb0\xad\x1b"),
            "without a multiboot header",
        ),
        "no-boot.iso": (bytes(16 * 2048) + b"\x01CD001\x01".ljust(4096, b"\0"), "a CD that does not boot"),
        "text.xz": (lzma.compress(b"hello"), "no boot signature"),
        "thrice.xz": (lzma.compress(lzma.compress(lzma.compress(image.read_bytes()))), "packed more than twice"),
        "broken.vmdk": (b"KDMV" + bytes(4000), "cannot be unpacked"),
    }
    for name, (content, words) in bad.items():
        (tmp_path / name).write_bytes(content)
        error = refused(tmp_path, tmp_path / name)
        assert words in str(error), (name, error)
        assert name in str(error) and str(tmp_path / "c") not in str(error), "the user's file is named, not a copy"
    assert "no such image" in str(refused(tmp_path, tmp_path / "none.img"))
    elf = kernel(tmp_path)
    assert "only a kernel" in str(refused(tmp_path, image, image=ImageOptions(command_line="x")))
    assert "no such module" in str(refused(tmp_path, elf, image=ImageOptions(modules=["none"])))
    assert "cannot pass" in str(refused(tmp_path, elf, image=ImageOptions(command_line='say "hi"')))
    assert "memory_mib" in str(refused(tmp_path, image, image=ImageOptions(memory_mib=4000)))


def test_a_decompression_bomb_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_module, "LARGEST_UNPACKED", 10 << 20)
    bomb = tmp_path / "bomb.xz"
    bomb.write_bytes(lzma.compress(bytes(64 << 20)))
    assert "unpacks to more than" in str(refused(tmp_path, bomb))
    image = disk(tmp_path)
    with image.open("ab") as file:
        file.truncate(64 << 20)
    assert "unpacks to more than" in str(refused(tmp_path, converted(image, "qcow2")))


def test_an_image_cannot_have_other_files_copied_in(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(disk(tmp_path).read_bytes().ljust(1 << 16, b"\0"))
    (tmp_path / "ours").mkdir()
    overlay = tmp_path / "ours" / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", overlay], check=True)
    assert "refers to other files" in str(refused(tmp_path, overlay))
    descriptor = tmp_path / "ours" / "descriptor.vmdk"
    descriptor.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        f'RW {secret.stat().st_size // 512} FLAT "{secret}" 0\n'
    )
    assert "refers to other files" in str(refused(tmp_path, descriptor))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("difftest.authoring.add.private_copy", full)
    error = refused(tmp_path, disk(tmp_path))
    assert "No space left on device" in str(error) and error.code == ExitCode.HOST


def test_a_reference_that_cannot_start_it_leaves_nothing(tmp_path: Path) -> None:
    def crash(boot: Boot) -> Observation:
        return observation("bochs", b"", Ending.CRASH)

    (tmp_path / "cases").mkdir()
    with pytest.raises(CaseError, match="does not start on bochs"):
        add(
            AddRequest(file=disk(tmp_path), folder=tmp_path / "cases" / "x"),
            Fake("bochs", crash),
            tmp_path / "cache",
            lambda line: None,
        )
    assert not list((tmp_path / "cases").iterdir())


def test_the_manifest_that_is_written_says_what_was_wished(tmp_path: Path) -> None:
    (tmp_path / "env.txt").write_bytes(b"A=1\n")
    wish = AddRequest(
        file=kernel(tmp_path),
        folder=tmp_path / "cases" / "mine",
        image=ImageOptions(
            command_line="one two=2",
            modules=[f"{tmp_path}/env.txt -v"],
            second=disk(tmp_path),
            memory_mib=512,
            cpus=2,
        ),
        cpu_model="corei7_skylake_x",
    )
    made = add(
        wish,
        boots(b'noise\nFatal: Halting! Condition "\x1b]0;x" (correct) met\n'),
        tmp_path / "cache",
        lambda line: None,
    )
    case = load(made.folder)
    manifest = case.manifest
    assert (manifest.name, manifest.command_line, manifest.modules) == ("mine", "one two=2", ["env.txt -v"])
    assert (manifest.memory_mib, manifest.cpus) == (512, 2)
    assert manifest.cpu_models == {"bochs": "corei7_skylake_x"}
    first_boot = made.folder / "first-boot"
    assert (first_boot / "serial.bin").read_bytes().startswith(b"noise\nFatal")
    assert (
        manifest.image.startswith("kernel-") and (case.folder / manifest.image).read_bytes() == wish.file.read_bytes()
    )
    assert "\x1b" not in case.text
    prepared = prepare(case, tmp_path / "cache")
    assert prepared.second is not None and prepared.second_sha256 == sha256(prepared.second)
    assert prepare(case, tmp_path / "other").sha256 == prepared.sha256, "the same files give the same disk"


def test_an_image_whose_end_the_screen_shows_is_waited_for_longer(tmp_path: Path) -> None:
    memory = b"".join(bytes([byte, 7]) for byte in b"menu>").ljust(TEXT_BYTES, b"\0")
    picture = io.BytesIO()
    Image.new("RGB", (720, 400)).save(picture, "PNG")

    def manifest(name: str, shown: bytes, **deadlines: float) -> Manifest:
        def script(boot: Boot) -> Observation:
            return observation("bochs", b"", Ending.QUIET, screen=picture.getvalue(), text_memory=shown)

        wish = AddRequest(file=disk(tmp_path), folder=tmp_path / name, **deadlines)  # type: ignore[arg-type]
        return load(add(wish, Fake("bochs", script), tmp_path / "cache", lambda line: None).folder).manifest

    shows = manifest("shows", memory)
    assert (shows.end_screen, shows.quiet_seconds, shows.total_seconds) == ("^ *menu>", 60, 300)
    asked = manifest("asked", memory, quiet=5, total=50)
    assert (asked.end_screen, asked.quiet_seconds, asked.total_seconds) == ("^ *menu>", 5, 50)
    blank = manifest("blank", bytes(TEXT_BYTES))
    assert (blank.end_screen, blank.quiet_seconds, blank.total_seconds) == ("", 20, 120)


def test_a_case_is_named_after_its_file() -> None:
    names = {"lhv.img.xz": "lhv", "My Disk.VMDK": "my-disk", "vmx.flat": "vmx", ".gz": "gz", "???": "image"}
    assert {name: case_name(Path(name)) for name in names} == names


SEED = (
    b"LHV starts\nFatal: Halting! Condition '0 && \"hypervisor receives CR3 EPT (correct behavior)\"' failed, line 37\n"
)


def test_marker_and_verdict_words_are_proposed_from_what_was_seen() -> None:
    seen = propose(observation("bochs", SEED, Ending.HALTED, registers={"cr4": "0x2010"}), BLANK)
    assert seen.end == r"^ *Fatal: Halting! Condition .*\n"
    assert (seen.right, seen.wrong, seen.needs) == (r"\bcorrect\b", r"\bincorrect\b", ["vmx"])
    assert propose(observation("bochs", SEED, Ending.HALTED, vmx=True), BLANK).needs == ["vmx"], "it has left VMX"
    assert propose(observation("bochs", SEED, Ending.HALTED), BLANK).needs == []
    assert not propose(observation("bochs", b"test 1\nall done\n", Ending.HALTED), BLANK).end, (
        "another outcome may end otherwise"
    )
    assert propose(observation("bochs", b"test 1\nall done\n", Ending.QUIET), BLANK).end == r"^ *all\ done.*\n".replace(
        "\\ ", " "
    )
    silent = propose(observation("bochs", b"test 1: PASSED\n", Ending.QUIET), BLANK)
    assert (silent.end, silent.right, silent.wrong) == ("^ *test .*\\n", r"\bPASS(?:ED)?\b", r"\bFAIL(?:ED|URE)?\b")
    alone = propose(observation("bochs", b"PASS\n", Ending.QUIET), BLANK)
    assert alone.end and all(re.search(alone.end, f"{word}\n") for word in ("PASS", "FAILED: 7")), (
        "either verdict ends it"
    )
    assert not propose(observation("bochs", b"Halting now", Ending.POWER_OFF), BLANK).end
    twice = propose(observation("bochs", b"Fatal: 1\nFatal: 2\n", Ending.HALTED), BLANK)
    assert not twice.end, "it would end the boot too early"
    suite = propose(observation("bochs", b"PASS: a (correct)\nSUMMARY: 1 tests\n", Ending.POWER_OFF), BLANK)
    assert (suite.end, suite.right) == ("", "")


HUNG = ["enabling apic", "Loading modules", "cpu 1 up", "done", "step 3", "Checking memory:", "CPU type 3"]
PROMPTS = ["boot: ", "A:\\>", "root@host:~# ", "Enter your choice: ", "Hit any key", "Insert a system disk", "login:"]


@pytest.mark.parametrize("line", [*HUNG, "enter long mode", "boot disk: ata0", "--- phase #"])
@pytest.mark.parametrize("ending", [Ending.QUIET, Ending.TOTAL])
def test_the_line_that_a_boot_hung_after_is_no_end(line: str, ending: Ending) -> None:
    hung = propose(observation("bochs", f"start\n{line}\n".encode(), ending), BLANK)
    assert hung.end == hung.end_screen == ""
    assert line in hung.no_end and ending.value in hung.no_end
    shown = ScreenReading(rows=BLANK.rows, text=["SeaBIOS (version 1)", line, *[""] * 23])
    drawn = propose(observation("bochs", b"", ending), shown)
    assert drawn.end == drawn.end_screen == "" and line in drawn.no_end
    assert not propose(observation("bochs", f"{line}\n".encode(), Ending.HALTED), BLANK).no_end


def test_a_line_that_breaks_off_is_said() -> None:
    words = "breaks off"
    assert any(words in one for one in propose(observation("bochs", b"one\nCPU 0: APIC I", Ending.QUIET), BLANK).seen)
    assert not any(words in one for one in propose(observation("bochs", b"one\ntwo\n", Ending.QUIET), BLANK).seen)


def test_a_silent_image_is_known_by_its_screen() -> None:
    prompt = ScreenReading(rows=BLANK.rows, text=["SeaBIOS (version 1)", "  grub> ", *[""] * 23])
    assert propose(observation("bochs", b"", Ending.QUIET), prompt).end_screen == "^ *grub>"
    firmware = ScreenReading(rows=BLANK.rows, text=["SeaBIOS (version 1)", "Welcome to GRUB!", *[""] * 23])
    assert propose(observation("bochs", b"", Ending.QUIET), firmware).end_screen == ""
    drawn = ScreenReading(rows=BLANK.rows, text=["title", "|_____|-->", *[""] * 23])
    assert propose(observation("bochs", b"", Ending.QUIET), drawn).end_screen == "", "those are no words"
    asks = ScreenReading(rows=BLANK.rows, text=["Press any key to reboot...", *[""] * 24])
    assert propose(observation("bochs", b"", Ending.QUIET), asks).end_screen == r"^ *Press any key to reboot\.\.\."
    for prompt in PROMPTS:
        shown = ScreenReading(rows=BLANK.rows, text=[prompt.rstrip(), *[""] * 24])
        end_screen = propose(observation("bochs", b"", Ending.QUIET), shown).end_screen
        assert end_screen and re.search(end_screen, prompt.rstrip()), prompt
    for going_on in ("Loading the test......", "Please wait ..."):
        waits = propose(
            observation("bochs", b"", Ending.QUIET), ScreenReading(rows=BLANK.rows, text=[going_on, *[""] * 24])
        )
        assert waits.end_screen == "" and any("--quiet-seconds" in line for line in waits.seen)
    rows = {**BLANK.rows, 21: RowReading(memory="GOOD GOOD", ocr="GOOD GOOD", agree=True)}
    seen = propose(observation("bochs", b"", Ending.HALTED), ScreenReading(rows=rows, text=[""] * 25))
    assert (seen.right, seen.wrong, seen.end_screen) == (r"\bGOOD\b", r"\bBAD\b", "")


@pytest.mark.parametrize(
    ("name", "bochs", "qemu"),
    [
        ("cd", ["ata0-master: type=cdrom", "boot: cdrom"], ["media=cdrom", "order=d"]),
        ("1440", ['floppya: type=1_44, 1_44="disk.img"', "boot: floppy"], ["if=floppy", "order=a"]),
        ("360", ['floppya: type=1_2, 360k="disk.img"', "boot: floppy"], ["if=floppy", "order=a"]),
        ("disk", ["ata0-master: type=disk", "boot: disk"], ["if=ide", "order=c"]),
    ],
)
def test_a_boot_without_the_tester_has_the_drive_of_the_medium(
    tmp_path: Path, name: str, bochs: list[str], qemu: list[str]
) -> None:
    image = disk(tmp_path) if name != "cd" else cd(tmp_path, boot_sector(tmp_path, b"x", HALT))
    if name.isdigit():
        image.write_bytes(image.read_bytes()[:512].ljust(int(name) * 1024, b"\0"))
    boot = prepare(of_image(image), tmp_path / "cache").boot()
    config = Bochs().standalone_boot(boot, [], carry=False).files["bochsrc"].decode()
    assert all(line in config for line in bochs), config
    command = Tcg().standalone_boot(boot, [], carry=False).command
    assert all(words in command for words in qemu), command
