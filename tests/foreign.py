"""Images that nobody here made, out of Debian's packages, and what `difftest run FILE` says of each.

`python -m tests.foreign docs/images.md` runs them all and writes the table between the marks there. With a folder, and
titles after it, it runs those alone, keeps what they gave in the folder, and writes the table of all that it has.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

BEGIN, END = "<!-- foreign images: written by `make foreign`, do not edit -->", "<!-- end of foreign images -->"
ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SECONDS = 900


class Packages:
    """Debian's packages, downloaded and unpacked below a folder; nothing is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @functools.cache  # noqa: B019
    def get(self, package: str) -> Path:
        """The folder in which a package is unpacked."""
        unpacked = self.folder / package
        unpacked.mkdir(parents=True)
        subprocess.run(["apt-get", "download", "-q", package], cwd=unpacked, check=True, capture_output=True)
        (archive,) = unpacked.glob("*.deb")
        subprocess.run(["dpkg", "-x", archive, unpacked], check=True)
        return unpacked

    def run(self, packages: Sequence[str], *argv: str | Path) -> None:
        """Run a program out of these packages."""
        places = [self.get(package) / part for package in packages for part in ("bin", "sbin", "usr/bin", "usr/sbin")]
        path = ":".join([*map(str, places), os.environ["PATH"]])
        program = shutil.which(str(argv[0]), path=path)
        assert program is not None, argv[0]
        subprocess.run([program, *argv[1:]], check=True, capture_output=True, env={**os.environ, "PATH": path})


class Foreign(NamedTuple):
    """One image: where it comes from, how it is run, and what may be said of it."""

    package: str
    file: Callable[[Packages], Path]
    kind: str
    options: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ("inconclusive",)
    says: str = ""  # regular expression that the output contains


def part(package: str, path: str) -> Callable[[Packages], Path]:
    """A file of a package; the path may be a pattern."""
    return lambda packages: next(packages.get(package).glob(path))


def syslinux_floppy(packages: Packages) -> Path:
    image, tools = packages.folder / "syslinux.img", ("mtools", "dosfstools", "syslinux")
    image.unlink(missing_ok=True)
    packages.run(tools, "mkfs.fat", "-C", image, "1440")
    packages.run(tools, "syslinux", "--install", image)
    return image


def isolinux_cd(packages: Packages) -> Path:
    tree, image = packages.folder / "iso", packages.folder / "isolinux.iso"
    tree.mkdir(exist_ok=True)
    shutil.copy(packages.get("isolinux") / "usr/lib/ISOLINUX/isolinux.bin", tree)
    shutil.copy(packages.get("syslinux-common") / "usr/lib/syslinux/modules/bios/ldlinux.c32", tree)
    boot = ("-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table")
    packages.run(["genisoimage"], "genisoimage", "-quiet", "-o", image, *boot, tree)
    return image


MEMTEST, IPXE, XEN = "memtest86+", "ipxe", "xen-hypervisor-4.17-amd64"
GNUMACH, RESCUE, INSTALLER = "gnumach-image-1.8-486", "grub-rescue-pc", "debian-installer-12-netboot-i386"
BOTH = ("agree", "inconclusive")
PROMPT = ("--end-screen", "^boot: *$")
SERIAL = ("-c", "console=com1 com1=115200 noreboot")
LINUX = "usr/lib/debian-installer/images/12/i386/text/debian-installer/i386/linux"
SAYS_END = r"say so: --end|two hangs look the same"
IMAGES = {
    "memtest86+ia32.iso": Foreign(MEMTEST, part(MEMTEST, "usr/lib/*/*ia32.iso"), "hybrid CD, never ends"),
    "memtest86+x64.iso": Foreign(MEMTEST, part(MEMTEST, "usr/lib/*/*x64.iso"), "64-bit, SMP", ("--cpus", "2")),
    "memtest86+ia32.bin": Foreign(MEMTEST, part(MEMTEST, "boot/*ia32.bin"), "Linux' boot protocol"),
    "ipxe.iso": Foreign(IPXE, part(IPXE, "usr/lib/ipxe/ipxe.iso"), "hybrid CD", says="--end-screen"),
    "ipxe.lkrn": Foreign(IPXE, part(IPXE, "boot/ipxe.lkrn"), "Linux' boot protocol", says="--end-screen"),
    "gnumach-1.8-486.gz": Foreign(
        "gnumach-image-1.8-486",
        part("gnumach-image-1.8-486", "boot/*.gz"),
        "multiboot kernel",
        says="another version may",
    ),
    "xen-4.17-amd64.gz": Foreign(XEN, part(XEN, "boot/*.gz"), "64-bit multiboot kernel", SERIAL, ("agree",)),
    "xen-4.17-amd64.gz, 2 CPUs": Foreign(
        XEN,
        part(XEN, "boot/*.gz"),
        "SMP, 512 MiB",
        ("--memory", "512", "--cpus", "2", *SERIAL),
        ("agree", "inconclusive"),
    ),
    "grub-rescue-cdrom.iso": Foreign(RESCUE, part(RESCUE, "usr/lib/*/*cdrom.iso"), "CD with a menu", says=SAYS_END),
    "grub-rescue-floppy.img": Foreign(
        "grub-rescue-pc",
        part("grub-rescue-pc", "usr/lib/*/*floppy.img"),
        "a CD, by its content",
        says=SAYS_END,
    ),
    "syslinux.img": Foreign("syslinux", syslinux_floppy, "floppy with a prompt", says="--end-screen '.*boot"),
    "syslinux.img, its prompt": Foreign("syslinux", syslinux_floppy, "floppy with a prompt", PROMPT, ("agree",)),
    "isolinux.iso": Foreign("isolinux", isolinux_cd, "CD with a prompt", says="--end-screen '.*boot"),
    "isolinux.iso, its prompt": Foreign("isolinux", isolinux_cd, "CD with a prompt", PROMPT, ("agree",)),
    "linux": Foreign(
        INSTALLER,
        part(INSTALLER, LINUX),
        "Linux without a root file system, 512 MiB",
        ("--memory", "512", "--timeout", "300", "--end", "end Kernel panic", "-c", "console=ttyS0"),
        BOTH,
    ),
    "u-boot.bin": Foreign(
        "u-boot-qemu", part("u-boot-qemu", "usr/lib/u-boot/qemu-x86/u-boot.bin"), "multiboot kernel that hangs"
    ),
    "grub.bin": Foreign(
        "grub-firmware-qemu",
        part("grub-firmware-qemu", "usr/share/qemu/grub.bin"),
        "firmware",
        (),
        ("refused",),
        "no boot signature",
    ),
}


class Outcome(NamedTuple):
    verdict: str
    reason: str
    output: str
    seconds: float


def outcome(image: Foreign, packages: Packages, folder: Path, *more: str) -> Outcome:
    """Run one image as a user would, in `folder`, with its options and `more`, and read what was stored."""
    begun = time.monotonic()
    argv = [sys.executable, "-m", "difftest.cli", "run", str(image.file(packages)), "-q", "--confirm", "none"]
    done = subprocess.run(
        [*argv, *image.options],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    output, seconds = done.stdout + done.stderr, time.monotonic() - begun
    if done.returncode == 2:
        return Outcome("refused", done.stderr.splitlines()[0].rpartition(": ")[2], output, seconds)
    (path,) = (folder / "results" / "latest").glob("cases/*/results.json")
    results = json.loads(path.read_bytes())
    first = min(results, key=lambda one: one["check"] != "image")
    hints = [hint for result in results for hint in result.get("hints", [])]
    return Outcome(first["verdict"], (hints or [first["reason"]])[0], f"{output}\n{' '.join(hints)}", seconds)


def table(rows: Sequence[tuple[str, Foreign, Outcome]]) -> str:
    lines = ["| image | package | is | options | verdict | said | s |", "|---|---|---|---|---|---|---|"]
    for name, image, found in rows:
        said = re.sub(r"([|`<>*_])", r"\\\1", found.reason if len(found.reason) < 160 else f"{found.reason[:157]}...")
        options = f"`{' '.join(image.options)}`" if image.options else ""
        cells = (name.partition(",")[0], f"`{image.package}`", image.kind, options, found.verdict, said)
        lines.append(f"| {' | '.join(cells)} | {found.seconds:.0f} |")
    return "\n".join(lines)


def main(page: Path, kept: Path, titles: Sequence[str]) -> None:
    """Run these images, keep their outcomes in the folder `kept`, and write the table of all that are there."""
    kept.mkdir(parents=True, exist_ok=True)
    places = {title: kept / f"{re.sub(r'[^a-z0-9]+', '-', title.lower())}.json" for title in IMAGES}
    with tempfile.TemporaryDirectory() as name:
        packages = Packages(Path(name) / "packages")
        for number, title in enumerate(titles):
            folder = Path(name) / str(number)
            folder.mkdir()
            found = outcome(IMAGES[title], packages, folder)
            print(f"{title}: {found.verdict} after {found.seconds:.0f} s: {found.reason}", flush=True)
            places[title].write_text(json.dumps(found._asdict()))
    rows = [
        (title, image, Outcome(**json.loads(places[title].read_text())))
        for title, image in IMAGES.items()
        if places[title].exists()
    ]
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(sys.argv[1]), Path(sys.argv[2] if sys.argv[2:] else folder), sys.argv[3:] or list(IMAGES))
