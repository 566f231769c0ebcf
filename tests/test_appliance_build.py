"""Building the appliance: archives, flat kernels, the loader's script. No emulator is started here."""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.host.disk import CYLINDER
from emulators.host.errors import EmulatorError
from emulators.hosted.appliance import build, initramfs, linuxboot, start
from emulators.hosted.appliance.assembler import BOOT_ADDRESS, BOOT_SOURCE, assembled
from emulators.hosted.appliance.cpio import CHARACTER, REGULAR, SYMLINK, ArchiveEntry, archive
from emulators.hosted.appliance.kernel import Kernel
from emulators.hosted.appliance.linuxboot import SCRIPT, SCRIPT_SECTORS, SECTOR, FlatKernel, Load

needs_assembler = pytest.mark.skipif(not shutil.which("gcc") or not shutil.which("ld"), reason="no gcc or ld")


def elf(segments: list[tuple[int, bytes]], entry: int) -> bytes:
    """A 64-bit ELF file with these loadable segments (physical address, content) and one note."""
    header_bytes, entry_bytes = 64, 56
    offset = header_bytes + entry_bytes * (len(segments) + 1)
    table = struct.pack("<IIQQQQQQ", 4, 0, 0, 0, 0, 0, 0, 0)
    body = b""
    for address, data in segments:
        table += struct.pack("<IIQQQQQQ", 1, 5, offset + len(body), 0, address, len(data), len(data), 4096)
        body += data
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    numbers = struct.pack("<HHIQQQIHHH", 2, 62, 1, entry, header_bytes, 0, 0, 64, entry_bytes, len(segments) + 1)
    return (ident + numbers).ljust(header_bytes, b"\0") + table + body


def bzimage(payload: bytes) -> bytes:
    setup_sectors = 1
    head = bytearray((setup_sectors + 1) * 512)
    head[0x1F1] = setup_sectors
    head[0x201] = 0x66
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload


VMLINUX = elf([(0x100_0000, b"text"), (0x100_2000, b"data")], entry=0x100_0000)
SIZE = struct.pack("<I", len(VMLINUX))


@pytest.mark.parametrize(
    "payload",
    [VMLINUX, gzip.compress(VMLINUX) + SIZE, lzma.compress(VMLINUX) + SIZE],
    ids=["plain", "gzip", "xz"],
)
def test_kernel_is_laid_out_at_its_physical_addresses(payload: bytes) -> None:
    flat = linuxboot.flat_kernel(bzimage(payload))
    assert (flat.address, flat.entry) == (0x100_0000, 0x100_0000)
    assert flat.image == b"text".ljust(0x2000, b"\0") + b"data"
    assert flat.setup_header[0x202 - 0x1F1 :][:4] == b"HdrS"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (bytes(4096), "no bzImage"),
        (bzimage(b"\xde\xad\xbe\xef" * 4), "unknown way"),
        (bzimage(gzip.compress(VMLINUX)[:40] + SIZE), "does not unpack"),
        (bzimage(gzip.compress(b"not ELF") + SIZE), "no 64-bit ELF"),
    ],
)
def test_what_is_no_kernel_is_refused(image: bytes, words: str) -> None:
    with pytest.raises(EmulatorError, match=words):
        linuxboot.flat_kernel(image)


def played(script: bytes) -> list[tuple[int, int, int, int]]:
    """What boot.S and the IDE controller do with a script: (device, first sector, address, bytes) in order."""
    assert len(script) == SCRIPT_SECTORS * SECTOR
    done = []
    for index in range(0, len(script), 16):
        table, device, sector, sectors = struct.unpack_from("<4I", script, index)
        if not table:
            break
        assert 0 < sectors <= 0xFFFF
        at, moved, last = table - SCRIPT, 0, False
        while not last:
            address, word = struct.unpack_from("<II", script, at)
            last, size = bool(word >> 31), (word & 0xFFFF) or 0x10000
            assert not word & 0x7FFF_0000
            assert address // 0x10000 == (address + size - 1) // 0x10000, "a region crosses a 64 KiB boundary"
            done.append((device, sector * SECTOR + moved, address, size))
            at, moved = at + 8, moved + size
        assert moved == sectors * SECTOR
    return done


@given(
    sectors=st.integers(1, 200_000),
    first=st.integers(0, 1 << 20),
    page=st.integers(0x100, 0x8_0000),
    device=st.sampled_from([linuxboot.FIRST_DISK, linuxboot.SECOND_DISK]),
)
def test_script_moves_every_sector_to_its_place(sectors: int, first: int, page: int, device: int) -> None:
    address = page * 4096
    moved = 0
    for disk, offset, target, size in played(linuxboot.load_script([Load(device, first, sectors, address)])):
        assert (disk, offset, target) == (device, first * SECTOR + moved, address + moved)
        moved += size
    assert moved == sectors * SECTOR


def test_script_that_has_no_room_is_an_error() -> None:
    gibibyte = (1 << 30) // SECTOR
    with pytest.raises(EmulatorError, match="1024 MiB are too much"):
        linuxboot.load_script([Load(linuxboot.FIRST_DISK, 0, gibibyte, 0x100_0000)])


def test_second_disk_puts_the_images_behind_the_initramfs(tmp_path: Path) -> None:
    flat = FlatKernel(image=b"", address=0x100_0000, entry=0x100_0040, setup_header=bytes(0x80))
    initramfs_address = 0x400_0000
    layout = build.Layout(kernel=flat, kernel_sectors=5, initramfs=initramfs_address, initramfs_sectors=9)
    kernel = Kernel(release="6.1", package="p 1", vmlinuz=tmp_path, modules=(), sha256="00")
    appliance = build.Appliance(folder=tmp_path, key="k", kernel=kernel, layout=layout)
    disk = appliance.second_disk({"x.img": b"the image"}, "quiet")
    assert len(disk) % CYLINDER == 0
    moves = {
        address: (device, offset, size) for device, offset, address, size in played(disk[: SCRIPT_SECTORS * SECTOR])
    }
    assert moves[0x100_0000] == (linuxboot.FIRST_DISK, SECTOR, 5 * SECTOR)
    assert moves[initramfs_address] == (linuxboot.FIRST_DISK, 6 * SECTOR, 9 * SECTOR)
    device, offset, size = moves[initramfs_address + 9 * SECTOR]
    assert device == linuxboot.SECOND_DISK
    assert b"cases/x.img\0" in disk[offset : offset + size]
    assert b"the image" in disk[offset : offset + size]
    _, block, _ = moves[linuxboot.BOOT_PARAMS]
    assert struct.unpack_from("<II", disk, block + 0x218) == (initramfs_address, 9 * SECTOR + size)
    assert struct.unpack_from("<Q", disk, block + linuxboot.KERNEL_ENTRY - linuxboot.BOOT_PARAMS) == (flat.entry,)


def test_command_line_fits() -> None:
    flat = FlatKernel(image=b"", address=0, entry=0, setup_header=b"")
    linuxboot.boot_block(flat, start.COMMAND_LINE, 0, 0)
    with pytest.raises(EmulatorError, match="longer than"):
        linuxboot.boot_block(flat, "x" * 4096, 0, 0)


@pytest.mark.skipif(not shutil.which("cpio"), reason="no cpio to read the archive with")
def test_archive_is_read_by_cpio() -> None:
    entries = [ArchiveEntry("a/b/file", b"content", REGULAR | 0o644), ArchiveEntry("link", b"a", SYMLINK | 0o777)]
    listing = subprocess.run(["cpio", "-t"], input=archive(entries), capture_output=True, check=True).stdout
    assert listing.split() == [b"a", b"a/b", b"a/b/file", b"link"]


def test_archive_is_aligned_and_ends_with_its_trailer() -> None:
    entries = [ArchiveEntry("odd", b"123"), ArchiveEntry("dev/null", mode=CHARACTER | 0o666, device=(1, 3))]
    data = archive(entries)
    assert len(data) % 4 == 0
    assert data == archive(
        [ArchiveEntry("odd", b"123"), ArchiveEntry("dev/null", mode=CHARACTER | 0o666, device=(1, 3))]
    )
    assert b"TRAILER!!!" in data[-16:]


@needs_assembler
def test_boot_sector_is_bootable(tmp_path: Path) -> None:
    sector = assembled(BOOT_SOURCE, BOOT_ADDRESS, tmp_path)
    assert len(sector) == SECTOR
    assert sector[-2:] == b"\x55\xaa"


def test_another_program_in_it_makes_another_appliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACK_SOURCE", "BUSYBOX"):
        (tmp_path / name).write_text("one")
        monkeypatch.setattr(initramfs, name, tmp_path / name)
    (tmp_path / "qemu").write_text("a QEMU")
    monkeypatch.setattr(initramfs, "FIRMWARE", {})
    monkeypatch.setattr(initramfs, "libraries_of", lambda program: [])
    kernel = Kernel(release="6.1", package="p 1", vmlinuz=tmp_path, modules=(), sha256="00")
    keys = [build._key(kernel, tmp_path / "qemu")]
    for name in ("PACK_SOURCE", "BUSYBOX"):
        (tmp_path / name).write_text("another")
        keys.append(build._key(kernel, tmp_path / "qemu"))
    assert len(set(keys)) == 3


@needs_assembler
@pytest.mark.skipif(not shutil.which("strip"), reason="no strip")
def test_stripping_a_module_keeps_code_and_symbols(tmp_path: Path) -> None:
    source = tmp_path / "module.c"
    source.write_text(
        'static int traced[1] __attribute__((section("__mcount_loc"), used));\n'
        'static int types[1] __attribute__((section(".BTF"), used));\n'
        "int kvm_function(int number) { return number + 1; }\n"
    )
    module = tmp_path / "module.ko"
    subprocess.run(["gcc", "-g", "-c", str(source), "-o", str(module)], check=True)
    stripped = tmp_path / "stripped.ko"
    stripped.write_bytes(initramfs.stripped(module.read_bytes()))

    def told(tool: str, option: str, path: Path) -> str:
        return subprocess.run([tool, option, str(path)], capture_output=True, text=True, check=True).stdout

    before, after = told("objdump", "-h", module), told("objdump", "-h", stripped)
    for section in ("__mcount_loc", ".BTF", ".debug_info"):
        assert section in before
        assert section not in after
    assert "kvm_function" in told("nm", "-a", stripped)
    code = [told("objdump", "-d", path).partition("<kvm_function>")[2] for path in (module, stripped)]
    assert code[0] == code[1] != ""
