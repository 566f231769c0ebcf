"""Building appliances, and keeping them in the user's cache under the hash of all that went in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from emulators.host.cache import Cache
from emulators.host.disk import whole_cylinders
from emulators.host.errors import Progress
from emulators.host.files import sha256_cached, writing_below
from emulators.host.scratch import scratch
from emulators.hosted.appliance import initramfs
from emulators.hosted.appliance.assembler import BOOT_ADDRESS, BOOT_SOURCE, LIBRARY, MEMORY_SOURCE, assembled, compiled
from emulators.hosted.appliance.cpio import REGULAR, ArchiveEntry, archive
from emulators.hosted.appliance.kernel_files import Kernel
from emulators.hosted.appliance.linuxboot import (
    BOOT_PARAMS,
    FIRST_DISK,
    SCRIPT_SECTORS,
    SECOND_DISK,
    SECTOR,
    FlatKernel,
    Load,
    boot_block,
    flat_kernel,
    load_script,
    whole_sectors,
)

MOST_BYTES = 4 << 30  # of all appliances, some 120 MB each; the longest unused go first
VERSION = 4  # of what the functions here make; a change that the hashed inputs do not show must raise it


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """layout.msgpack: how the first disk is laid out. `kernel.image` is empty here."""

    kernel: FlatKernel
    kernel_sectors: int
    initramfs: int  # the physical address it is read to
    initramfs_sectors: int

    @property
    def initramfs_bytes(self) -> int:
        return self.initramfs_sectors * SECTOR


class Appliance(msgspec.Struct, frozen=True, kw_only=True):
    """A built appliance in the cache."""

    folder: Path
    key: str
    kernel: Kernel

    layout: Layout

    @property
    def disk(self) -> Path:
        """The first disk: boot sector, kernel, initramfs."""
        return self.folder / "boot.img"

    @property
    def memory_library(self) -> Path:
        """See memory.c."""
        return self.folder / "memory.so"

    def second_disk(self, cases: Mapping[str, bytes], command_line: str) -> bytes:
        """The second disk, made for each boot of the appliance: what to read, the boot parameters, and the images under
        test as an archive that lands right after the initramfs and so under /cases. `cases` maps file names to
        contents.
        """
        layout = self.layout
        handed_in = whole_sectors(
            archive(ArchiveEntry(f"cases/{name}", data, REGULAR | 0o644) for name, data in cases.items())
        )
        flat = layout.kernel
        block = whole_sectors(boot_block(flat, command_line, layout.initramfs, layout.initramfs_bytes + len(handed_in)))
        block_sectors = len(block) // SECTOR
        loads = [
            Load(FIRST_DISK, 1, layout.kernel_sectors, flat.address),
            Load(FIRST_DISK, 1 + layout.kernel_sectors, layout.initramfs_sectors, layout.initramfs),
            Load(SECOND_DISK, SCRIPT_SECTORS, block_sectors, BOOT_PARAMS),
            Load(
                SECOND_DISK,
                SCRIPT_SECTORS + block_sectors,
                len(handed_in) // SECTOR,
                layout.initramfs + layout.initramfs_bytes,
            ),
        ]
        return _cylinders(load_script(loads) + block + handed_in)

    def least_memory(self, cases: Mapping[str, bytes]) -> int:
        """Bytes of memory below which the appliance cannot even hold what is handed in."""
        return self.layout.initramfs + 2 * (self.layout.initramfs_bytes + sum(map(len, cases.values())))


def appliances(cache: Path) -> Cache:
    return Cache(cache / "appliances", MOST_BYTES)


def ensure(kernel: Kernel, qemu: Path, cache: Path, say: Progress) -> Appliance:
    """The appliance of a kernel and a QEMU, built when the cache has none made of exactly these files. Raises
    EmulatorError.
    """
    key = _key(kernel, qemu)

    def make(folder: Path) -> None:
        say(f"building the appliance for Linux {kernel.release}")
        _build_into(kernel, qemu, folder)

    folder = appliances(cache).hold(key, make, say)
    layout = msgspec.msgpack.decode((folder / "layout.msgpack").read_bytes(), type=Layout)
    return Appliance(folder=folder, key=key, kernel=kernel, layout=layout)


def _build_into(kernel: Kernel, qemu: Path, built: Path) -> None:
    with (
        writing_below(built.parent, "the appliance"),
        scratch("build") as work,
    ):
        flat = flat_kernel(kernel.vmlinuz.read_bytes())
        image, root = whole_sectors(flat.image), whole_sectors(initramfs.build(kernel, qemu))
        (built / "boot.img").write_bytes(_cylinders(assembled(BOOT_SOURCE, BOOT_ADDRESS, work) + image + root))
        (built / "memory.so").write_bytes(compiled(MEMORY_SOURCE, work, LIBRARY))
        layout = Layout(
            kernel=msgspec.structs.replace(flat, image=b""),
            kernel_sectors=len(image) // SECTOR,
            initramfs=flat.end,
            initramfs_sectors=len(root) // SECTOR,
        )
        (built / "layout.msgpack").write_bytes(msgspec.msgpack.encode(layout))


def _cylinders(data: bytes) -> bytes:
    return data.ljust(whole_cylinders(len(data)), b"\0")


def _key(kernel: Kernel, qemu: Path) -> str:
    digest = hashlib.sha256(f"{VERSION} {kernel.sha256}".encode())
    for path in [*initramfs.inputs(qemu), BOOT_SOURCE, MEMORY_SOURCE]:
        digest.update(f"{path} {sha256_cached(path)}\n".encode())
    return digest.hexdigest()[:32]
