"""The manifests of kvm-unit-tests: from each entry of its list, and the image that it names, one case."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

import msgspec

from difftest.authoring.kvm_unit_tests.build import TEST_DEVICE, Image
from difftest.authoring.kvm_unit_tests.config import Entry
from difftest.authoring.kvm_unit_tests.cpu import models
from difftest.case.manifest import Manifest

ENVIRONMENT = "environment"  # the module with what an image would ask fw_cfg for
END = r"^difftest exit \d+\r?\n"
MEMORY_MIB = 256
MOST_MIB, MOST_CPUS = 2048, 8
QUIET, TOTAL = 60.0, 120.0  # seconds
QUIET_IN_A_TEST = 30.0  # of an image with many tests, which are short, and others of which come after one that hangs
# What the parameters of KVM's modules are where nobody sets them.
DEFAULTS = {
    "/sys/module/kvm/parameters/enable_pmu": "Y",
    "/sys/module/kvm/parameters/ignore_msrs": "N",
    "/sys/module/kvm/parameters/enable_vmware_backdoor": "N",
    "/sys/module/kvm/parameters/force_emulation_prefix": "N",
    "/sys/module/kvm_intel/parameters/nested": "Y",
    "/sys/module/kvm_intel/parameters/allow_smaller_maxphyaddr": "N",
    "/proc/sys/kernel/nmi_watchdog": "0",
}


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A case to be written: its manifest, its image, and the text of its environment."""

    manifest: Manifest
    image: Image
    environment: str


def cases(entries: Sequence[Entry], images: Mapping[str, Image], arch: str) -> list[Made]:
    """The cases of one architecture, in the order of the list. An entry whose image was not built, or that is of the
    other architecture, is none.
    """
    made: list[Made] = []
    seen: dict[tuple[object, ...], str] = {}
    for entry in entries:
        image = images.get(entry.file)
        if image is None or entry.arch not in ("", arch):
            continue
        one = _case(entry, image, arch)
        manifest = one.manifest
        boot = (entry.file, manifest.command_line, manifest.cpus, manifest.memory_mib, str(manifest.cpu_models))
        if not manifest.skipped and (twin := seen.setdefault(boot, entry.name)) != entry.name:
            manifest = msgspec.structs.replace(manifest, skipped=f"on these targets it is the same boot as {twin}")
        made.append(msgspec.structs.replace(one, manifest=manifest))
    return made


def _case(entry: Entry, image: Image, arch: str) -> Made:
    cpu = models(entry.cpu)
    memory, cpus = entry.memory_mib or MEMORY_MIB, entry.cpus
    measures = "it measures times and tests nothing" if image.only_measures else ""
    waits = f"it waits for interrupts of {TEST_DEVICE}, which no target has" if image.waits else ""
    skipped = measures or waits or cpu.missing or _missing(entry)
    manifest = Manifest(
        name=case_name(entry.name, arch),
        title=f"{entry.name} of kvm-unit-tests, {arch}",
        groups=entry.groups,
        image=entry.file,
        command_line=entry.arguments,
        modules=[ENVIRONMENT] if image.parameters else [],
        parameters=image.parameters,
        tests=_wanted(entry.arguments.split(), image.tests),
        absent_devices=image.absent,
        cpu_models=cpu.models,
        faulting_msrs=image.absent_msrs,
        skipped=skipped,
        needs=["vmx"] if "+vmx" in entry.cpu else [],
        end=END if image.parameters else "",
        memory_mib=min(memory, MOST_MIB),
        cpus=min(cpus, MOST_CPUS),
        quiet_seconds=QUIET_IN_A_TEST if image.tests else QUIET,
        total_seconds=max(TOTAL, entry.timeout or 0),
    )
    return Made(manifest=manifest, image=image, environment=_environment(manifest))


def case_name(entry: str, arch: str) -> str:
    """An entry's name as that of a case: 64-bit images have it as it is."""
    name = "".join(char if char.isalnum() or char in "._-" else "-" for char in entry).lower()
    return name if arch == "x86_64" else f"{name}-32"


def _missing(entry: Entry) -> str:
    """Why an entry cannot run on Bochs and on KVM alike, or ""."""
    if "nodefault" in entry.groups:
        return "the suite runs it on demand alone (group nodefault)"
    if entry.accel not in ("", "kvm"):
        return f"it is for the accelerator {entry.accel}"
    if entry.machine not in ("", "pc"):
        return f"it is for the machine {entry.machine}"
    if entry.disabled_if:
        return f"the suite disables it where {entry.disabled_if}"
    for check in entry.checks:
        path, _, value = check.partition("=")
        if DEFAULTS.get(path) != value:
            name = path.rpartition("/")[2]
            return f"it needs {name}={value} on KVM's host, where it is {DEFAULTS.get(path, 'something else')}"
    if entry.options:
        return f"it needs {entry.options[0]}, which Bochs cannot be given"
    if (entry.memory_mib or 0) > MOST_MIB:
        return f"it needs {entry.memory_mib} MiB of RAM, and machines have {MOST_MIB} at most"
    if entry.cpus > MOST_CPUS:
        return f"it needs {entry.cpus} CPUs, and machines have {MOST_CPUS} at most"
    if "`" in entry.arguments or "$" in entry.arguments:
        return "a shell has to work its arguments out"
    if set(entry.arguments) & set("\"'\\"):
        return "its arguments have quotes or backslashes, which GRUB would change"
    return ""


def _wanted(arguments: Sequence[str], tests: Sequence[str]) -> dict[str, int]:
    """The tests that these arguments leave, as the suite reads them, with their numbers."""
    without = [word[1:] for word in arguments if word.startswith("-")]
    only = [word for word in arguments if not word.startswith("-")]
    return {
        test: number
        for number, test in enumerate(tests)
        if not any(fnmatch.fnmatchcase(test, pattern) for pattern in without)
        and (not only or any(fnmatch.fnmatchcase(test, pattern) for pattern in only))
    }


def _environment(manifest: Manifest) -> str:
    """What the suite's own runner hands to an image in its initrd, and what an image else reads from fw_cfg."""
    return f"NR_CPUS={manifest.cpus}\nMEMSIZE={manifest.memory_mib}\nTEST_DEVICE=0\nACCEL=kvm\n"
