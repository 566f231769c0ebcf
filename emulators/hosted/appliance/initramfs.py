"""The appliance's root file system: busybox, our own programs, the KVM modules, QEMU with its libraries and
firmware.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emulators.host.errors import EmulatorError
from emulators.host.libraries import libraries_of
from emulators.host.scratch import scratch
from emulators.host.tools import ran
from emulators.hosted.appliance.assembler import DIGEST_SOURCE, HEADERS, PACK_SOURCE, TAKE_SOURCE, compiled
from emulators.hosted.appliance.cpio import CHARACTER, DIRECTORY, REGULAR, ArchiveEntry, archive
from emulators.hosted.appliance.kernel_files import Kernel, module_bytes
from emulators.qemu.vcpus import DIGEST

INIT = Path(__file__).with_name("init.sh")
BUSYBOX = Path("/bin/busybox")
PACK, TAKE = "/bin/pack", "/bin/take"
QEMU = "/usr/bin/qemu-system-x86_64"  # in the appliance; the distribution's lies there on the host too
FIRMWARE = {
    "usr/share/seabios/bios-256k.bin": Path("/usr/share/seabios/bios-256k.bin"),
    "usr/share/seabios/vgabios-stdvga.bin": Path("/usr/share/seabios/vgabios-stdvga.bin"),
    "usr/share/qemu/kvmvapic.bin": Path("/usr/share/qemu/kvmvapic.bin"),
}
FIRMWARE_FOLDERS = ("/usr/share/seabios", "/usr/share/qemu")
_UNREAD = ("--remove-section=__mcount_loc", "--remove-section=.BTF")
INSTALL = "apt-get install qemu-system-x86 seabios busybox-static"


def firmware_options() -> list[str]:
    """For QEMU: where its firmware lies in the appliance. One of the user's looks for it elsewhere."""
    return [word for folder in FIRMWARE_FOLDERS for word in ("-L", folder)]


def inputs(qemu: Path) -> list[Path]:
    """The files that it is made of, this QEMU and its libraries included.

    Raises EmulatorError for one that is missing.
    """
    files = [INIT, PACK_SOURCE, TAKE_SOURCE, DIGEST_SOURCE, *HEADERS, BUSYBOX, qemu, *FIRMWARE.values()]
    for path in files:
        if not path.exists():
            raise EmulatorError(f"the appliance needs {path}", hint=INSTALL)
    return files + libraries_of(qemu)


def build(kernel: Kernel, qemu: Path) -> bytes:
    """The initramfs as a cpio archive."""
    return archive(_entries(kernel, qemu))


def _entries(kernel: Kernel, qemu: Path) -> Iterator[ArchiveEntry]:
    yield ArchiveEntry("init", INIT.read_bytes())
    for folder in ("dev", "proc", "sys", "tmp", "var/tmp", "cases"):
        yield ArchiveEntry(folder, mode=DIRECTORY | 0o755)
    yield ArchiveEntry("dev/console", mode=CHARACTER | 0o600, device=(5, 1))
    yield ArchiveEntry("bin/busybox", BUSYBOX.read_bytes())
    with scratch("pack") as work:
        for program, source in ((PACK, PACK_SOURCE), (TAKE, TAKE_SOURCE), (DIGEST, DIGEST_SOURCE)):
            yield ArchiveEntry(program.lstrip("/"), compiled(source, work))
    yield ArchiveEntry(QEMU.lstrip("/"), qemu.read_bytes())
    for library in libraries_of(qemu):
        yield ArchiveEntry(str(library).lstrip("/"), library.read_bytes())
    for name, path in FIRMWARE.items():
        yield ArchiveEntry(name, path.read_bytes(), REGULAR | 0o644)
    names = [path.name.partition(".ko")[0] + ".ko" for path in kernel.modules]
    yield ArchiveEntry("modules/order", ("\n".join(names) + "\n").encode())
    for name, path in zip(names, kernel.modules, strict=True):
        yield ArchiveEntry(f"modules/{name}", stripped(module_bytes(path)))


def stripped(module: bytes) -> bytes:
    """A kernel module without what only debuggers and tracers read. Its code and its symbols (for a WARN's call trace)
    stay.

    Two tables cost the emulated CPU much: ftrace looks up the symbol of each entry of __mcount_loc by a linear search
    (two seconds for kvm.ko), and .BTF makes the kernel parse its own BTF first.
    """
    with scratch("strip") as folder:
        path = folder / "module.ko"
        path.write_bytes(module)
        done = ran(["strip", "--strip-debug", *_UNREAD, path], hint="apt-get install binutils")
        return path.read_bytes() if done.returncode == 0 else module
