"""What a kernel for the appliance is made of: its image and the modules of KVM, found in whatever holds them."""

from __future__ import annotations

import hashlib
import lzma
import re
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from emulators.host.errors import ChoiceError, EmulatorError
from emulators.host.tools import ran, tail

# In the order they must be loaded; newer kernels have no separate irqbypass.
MODULES = {
    "irqbypass": "virt/lib",
    "kvm": "arch/x86/kvm",
    "kvm-intel": "arch/x86/kvm",
}  # name -> folder in a build tree
KVM_MODULES = ("kvm", "kvm-intel")
SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
IMAGES = ("arch/x86/boot/bzImage", "bzImage", "vmlinuz*", "boot/vmlinuz-*", "**/lib/modules/*/vmlinuz")
BUILT_IN = "arch/x86/boot/bzImage"  # what makes a folder a build tree
KVM_SETTING = re.compile(r"^CONFIG_KVM_INTEL=y$", re.MULTILINE)
VERMAGIC = re.compile(rb"vermagic=(\S+) ")


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel that can be built into an appliance."""

    release: str  # as uname -r says it
    package: str  # the package's name and version, or the path of what the user built
    vmlinuz: Path
    modules: tuple[Path, ...]  # in the order in which they are loaded; none where KVM is built in
    sha256: str  # of image and modules
    # KVM's modules where they come apart from all else, and may change while that stays; in order, after `modules`.
    kvm: tuple[Path, ...] = ()
    kvm_sha256: str = ""

    def below(self, folder: Path) -> Kernel:
        """The same with its paths below a folder."""
        modules = tuple(folder / path for path in self.modules)
        return msgspec.structs.replace(self, vmlinuz=folder / self.vmlinuz, modules=modules)


def find(tree: Path, name: str, image: Path | None = None) -> Kernel:
    """The kernel in an unpacked package, a build tree or any other folder; `image` is its image where that is known.

    Raises ChoiceError when there is no image, or more than one, no KVM, or modules of another kernel.
    """
    image = image or _image(tree, name)
    release = _release(image)
    modules = tuple(_modules(tree))
    config = next((path for path in (tree / ".config", tree / f"boot/config-{release}") if path.is_file()), None)
    if not any(path.name.startswith("kvm-intel.ko") for path in modules):
        if config is None or not KVM_SETTING.search(config.read_text(errors="replace")):
            raise ChoiceError(
                f"{name} holds no kvm-intel module",
                hint="it takes CONFIG_KVM_INTEL=m with the modules beside the kernel, or =y in a build tree with "
                "its .config",
            )
        modules = ()
    return _together(release, name, image, modules)


def kvm_alone(tree: Path) -> tuple[Path, ...]:
    """The modules of KVM in a folder that holds no kernel image: those of a build of KVM alone. Empty where there is
    an image, or no kvm module.
    """
    if _images(tree):
        return ()
    modules = tuple(_modules(tree))
    return modules if any(module_name(path) in KVM_MODULES for path in modules) else ()


def apart(kernel: Kernel) -> Kernel:
    """The same kernel with KVM's modules apart from the rest, so that a rebuilt one is taken without a new start of
    Linux. The kernel itself where KVM is built in.
    """
    kvm = tuple(path for path in kernel.modules if module_name(path) in KVM_MODULES)
    rest = tuple(path for path in kernel.modules if path not in kvm)
    return msgspec.structs.replace(
        kernel, modules=rest, sha256=_sha256(kernel.vmlinuz, *rest), kvm=kvm, kvm_sha256=_sha256(*kvm)
    )


def _sha256(*files: Path) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(module_bytes(path))
    return digest.hexdigest()


def built_for(module: Path) -> str:
    """The release of the kernel that a module was built for, or "" where it does not say. Raises EmulatorError."""
    magic = VERMAGIC.search(module_bytes(module))
    return "" if magic is None else magic.group(1).decode(errors="replace")


def put_over(kernel: Kernel, modules: Sequence[Path], name: str) -> Kernel:
    """A kernel with these modules in place of its own of their names. Raises ChoiceError when a module is of another
    kernel, or this one has no module of its name.
    """
    own = {module_name(path): path for path in kernel.modules}
    rebuilt = {module_name(path): path for path in modules}
    if unknown := rebuilt.keys() - own.keys():
        raise ChoiceError(f"{kernel.package} has no module {' or '.join(sorted(unknown))} that {name} could replace")
    together = tuple((own | rebuilt).values())
    return _together(kernel.release, f"{kernel.package} with KVM of {name}", kernel.vmlinuz, together)


def module_name(path: Path) -> str:
    """A module's name, without what its file is packed with."""
    return path.name.partition(".ko")[0]


def _together(release: str, name: str, image: Path, modules: tuple[Path, ...]) -> Kernel:
    """A kernel of these files. Raises ChoiceError when a module is of another kernel."""
    digest = hashlib.sha256(image.read_bytes())
    for path in modules:
        digest.update(module_bytes(path))
        if (built := built_for(path)) and built != release:
            raise ChoiceError(
                f"{path.name} was built for {built}, the kernel is {release}",
                hint="build image and modules together: make bzImage modules",
            )
    return Kernel(release=release, package=name, vmlinuz=image, modules=modules, sha256=digest.hexdigest())


def kept_in(kernel: Kernel, folder: Path) -> Kernel:
    """Copy a kernel's files into a folder. The answer's paths are relative to it."""
    shutil.copy(kernel.vmlinuz, folder / "vmlinuz")
    for path in kernel.modules:
        shutil.copy(path, folder)
    return msgspec.structs.replace(
        kernel, vmlinuz=Path("vmlinuz"), modules=tuple(Path(path.name) for path in kernel.modules)
    )


def module_bytes(path: Path) -> bytes:
    """A module, decompressed. Raises EmulatorError."""
    try:
        if path.suffix == ".xz":
            return lzma.decompress(path.read_bytes())
        if path.suffix in (".zst", ".gz"):
            tool = {".zst": "zstd", ".gz": "gzip"}[path.suffix]
            done = ran([tool, "-dc", path], hint="apt-get install zstd")
            if done.returncode:
                raise EmulatorError(f"{path} cannot be unpacked", evidence=tail(done.stderr))
            return done.stdout
        return path.read_bytes()
    except (OSError, lzma.LZMAError) as error:
        raise EmulatorError(f"{path} cannot be unpacked: {error}", hint="apt-get install zstd") from error


def _release(path: Path) -> str:
    """What `uname -r` will say, out of a bzImage's setup header. Raises ChoiceError when it is none."""
    image = path.read_bytes()
    if image[0x202:0x206] != b"HdrS":
        raise ChoiceError(f"{path} is no bzImage: its setup header is missing")
    (offset,) = struct.unpack_from("<H", image, 0x20E)
    text = image[0x200 + offset : 0x200 + offset + 256].split(b"\0")[0].decode(errors="replace")
    return text.split(" ")[0]


def _image(tree: Path, name: str) -> Path:
    hits = _images(tree)
    if len(hits) > 1:
        raise ChoiceError(f"{name} holds more than one kernel image: {', '.join(path.name for path in hits)}")
    if hits:
        return hits[0]
    hint = (
        "linux-image packages of the newer layout hold none: put linux-binary and linux-modules into one folder "
        "and name that"
    )
    raise ChoiceError(f"{name} holds no kernel image", hint=hint)


def _images(tree: Path) -> list[Path]:
    """The kernel images of a folder, at the first kind of place that has any."""
    for pattern in IMAGES:
        if hits := sorted({path.resolve() for path in tree.glob(pattern) if path.is_file()}):
            return hits
    return []


def _modules(tree: Path) -> Iterator[Path]:
    for name, place in MODULES.items():
        places = [tree / place / f"{name}{suffix}" for suffix in SUFFIXES]
        if not (tree / BUILT_IN).exists():
            places += [path for suffix in SUFFIXES for path in sorted(tree.glob(f"**/{name}{suffix}"))]
        found = next((path for path in places if path.is_file()), None)
        if found is not None:
            yield found
