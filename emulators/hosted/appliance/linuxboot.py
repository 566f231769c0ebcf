"""Starting Linux in Bochs without a boot loader, with as few emulated instructions as can be.

The kernel is unpacked here and not by the emulated CPU, and boot.S reads it and the initramfs to their places by
bus-master DMA, following a script that is made here: 100 MB cost 0.2 CPU seconds (2 by programmed I/O). The kernel is
entered by the 64-bit boot protocol.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable, Sequence

import msgspec

from emulators.host.errors import EmulatorError
from emulators.host.tools import ran, tail

# Physical addresses, also in boot.S.
SCRIPT = 0x10000
SCRIPT_SECTORS = 120  # in one 64 KiB segment, and no more than the firmware reads at a time
BOOT_PARAMS = 0x100000
COMMAND_LINE = 0x101000
KERNEL_ENTRY = 0x101FF8
PAGE_TABLES = 0x102000
PAGE = 4096
COMMAND_LINE_BYTES = KERNEL_ENTRY - COMMAND_LINE - 1

SETUP_HEADER, INIT_SIZE = 0x1F1, 0x260  # offsets in a bzImage
LARGE_PAGE = 2 << 20
SECTOR = 512
FIRST_DISK, SECOND_DISK = 0xE0, 0xF0  # device select bytes, with LBA addressing

COMMAND_BYTES = 2048
MOST_SECTORS = 32768  # of one READ DMA EXT
BOUNDARY, LAST_REGION = 1 << 16, 1 << 31

LOADER_UNDEFINED = 0xFF
ELF_LOAD = 1


class FlatKernel(msgspec.Struct, frozen=True, kw_only=True):
    """An uncompressed kernel laid out as it is in memory."""

    image: bytes
    address: int  # physical, of the first byte
    entry: int  # physical
    setup_header: bytes  # of the bzImage, from offset 0x1F1 on

    @property
    def end(self) -> int:
        """The physical address after all that the kernel uses before it looks at the memory map, on a 2 MiB
        boundary.
        """
        needed: int = struct.unpack_from("<I", self.setup_header, INIT_SIZE - SETUP_HEADER)[0]
        return -(-(self.address + max(needed, len(self.image))) // LARGE_PAGE) * LARGE_PAGE


def flat_kernel(bzimage: bytes) -> FlatKernel:
    """Unpack a bzImage. Raises EmulatorError when it is none, or is compressed in a way that is not known."""
    if bzimage[0x202:0x206] != b"HdrS":
        raise EmulatorError("the kernel is no bzImage: its setup header is missing")
    setup_sectors = bzimage[SETUP_HEADER] or 4
    header_end = 0x202 + bzimage[0x201]
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    elf = _unpacked(bzimage[start : start + length])
    image, address, entry = _laid_out(elf)
    return FlatKernel(image=image, address=address, entry=entry, setup_header=bzimage[SETUP_HEADER:header_end])


def boot_block(kernel: FlatKernel, command_line: str, initramfs: int, initramfs_bytes: int) -> bytes:
    """What is at BOOT_PARAMS: the zero page (without the memory map, which boot.S asks for), the command line, the
    kernel's entry point, and page tables that map the first GiB onto itself.
    """
    line = command_line.encode("ascii")
    if len(line) > COMMAND_LINE_BYTES:
        raise EmulatorError(f"the kernel's command line is longer than {COMMAND_LINE_BYTES} bytes")
    zero_page = bytearray(PAGE)
    zero_page[SETUP_HEADER : SETUP_HEADER + len(kernel.setup_header)] = kernel.setup_header
    zero_page[0x210] = LOADER_UNDEFINED
    struct.pack_into("<II", zero_page, 0x218, initramfs, initramfs_bytes)
    struct.pack_into("<I", zero_page, 0x228, COMMAND_LINE)
    page = line.ljust(KERNEL_ENTRY - COMMAND_LINE, b"\0") + struct.pack("<Q", kernel.entry)
    return bytes(zero_page) + page + _identity_map()


class Load(msgspec.Struct, frozen=True):
    """One piece that boot.S is to read: where it lies on which disk, and where in memory it belongs."""

    device: int
    first_sector: int
    sectors: int
    address: int


def load_script(loads: Sequence[Load]) -> bytes:
    """The first SCRIPT_SECTORS of the second disk: commands that boot.S follows, and the tables of memory regions that
    the IDE controller does. Raises EmulatorError when there is more to read than the script has room for.
    """
    commands, regions = b"", b""
    for load in loads:
        for done in range(0, load.sectors, MOST_SECTORS):
            count = min(load.sectors - done, MOST_SECTORS)
            commands += struct.pack(
                "<4I", SCRIPT + COMMAND_BYTES + len(regions), load.device, load.first_sector + done, count
            )
            regions += _regions(load.address + done * SECTOR, count * SECTOR)
    if len(commands) >= COMMAND_BYTES or COMMAND_BYTES + len(regions) > SCRIPT_SECTORS * SECTOR:
        raise EmulatorError(
            f"{sum(load.sectors for load in loads) * SECTOR >> 20} MiB are too much to hand to the appliance",
            hint="run fewer or smaller images at a time",
        )
    return (commands.ljust(COMMAND_BYTES, b"\0") + regions).ljust(SCRIPT_SECTORS * SECTOR, b"\0")


def _regions(address: int, length: int) -> bytes:
    """A bus-master IDE region table: none crosses a 64 KiB boundary, the last one is marked; a length of 0 means 64
    KiB.
    """
    table = []
    while length:
        size = min(length, BOUNDARY - address % BOUNDARY)
        address, length = address + size, length - size
        table.append(struct.pack("<II", address - size, size % BOUNDARY | (0 if length else LAST_REGION)))
    return b"".join(table)


def whole_sectors(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % SECTOR)


def _identity_map() -> bytes:
    """PML4, page-directory-pointer table and one page directory of 2 MiB pages, at PAGE_TABLES."""
    present_writable, large = 3, 0x80
    pml4 = struct.pack("<Q", PAGE_TABLES + PAGE | present_writable).ljust(PAGE, b"\0")
    pdpt = struct.pack("<Q", PAGE_TABLES + 2 * PAGE | present_writable).ljust(PAGE, b"\0")
    directory = struct.pack("<512Q", *(index << 21 | present_writable | large for index in range(512)))
    return pml4 + pdpt + directory


def _laid_out(elf: bytes) -> tuple[bytes, int, int]:
    """The loadable segments of vmlinux at their physical addresses: bytes, address of the first, physical entry."""
    if elf[:5] != b"\x7fELF\x02":
        raise EmulatorError("the kernel's payload is no 64-bit ELF file")
    entry, table = struct.unpack_from("<QQ", elf, 24)
    size, count = struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQQQ", elf, table + index * size) for index in range(count)]
    loads = [
        (physical, elf[offset : offset + filed])
        for kind, _, offset, _, physical, filed, _, _ in segments
        if kind == ELF_LOAD
    ]
    if not loads:
        raise EmulatorError("the kernel's payload has nothing to load")
    start = min(physical for physical, _ in loads)
    image = bytearray(max(physical + len(data) for physical, data in loads) - start)
    for physical, data in loads:
        image[physical - start : physical - start + len(data)] = data
    return bytes(image), start, entry


def _unpacked(payload: bytes) -> bytes:
    """The ELF file in a bzImage's payload, by the magic number of its compression. The last four bytes are its size."""
    readers: dict[bytes, Callable[[bytes], bytes]] = {
        b"\x1f\x8b": lambda data: gzip.decompress(data),
        b"\xfd7zXZ": lambda data: lzma.decompress(data),
        b"BZh": lambda data: bz2.decompress(data),
        b"\x5d\0\0": lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data),
        b"\x02\x21\x4c\x18": lambda data: _piped(["lz4", "-dc"], data, "lz4"),
        b"\x28\xb5\x2f\xfd": lambda data: _piped(["zstd", "-dc"], data, "zstd"),
        b"\x7fELF": lambda data: data,
    }
    for magic, reader in readers.items():
        if payload.startswith(magic):
            try:
                return reader(payload[:-4] if magic != b"\x7fELF" else payload)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                raise EmulatorError(f"the kernel's payload does not unpack: {error}") from error
    raise EmulatorError(f"the kernel is compressed in an unknown way (it starts with {payload[:6].hex()})")


def _piped(argv: list[str], data: bytes, package: str) -> bytes:
    done = ran(argv, data=data, hint=f"apt-get install {package}")
    if not done.stdout:
        raise EmulatorError(f"{argv[0]} failed", evidence=tail(done.stderr))
    return done.stdout
