"""The head of a bug report: what it is about, on which machine it was seen, and what else it was tried with."""

from __future__ import annotations

from difftest.case.manifest import EMULATOR, HOST_KERNEL
from difftest.judging.confirmation import OTHER_HOST, Stage, StageOutcome
from difftest.report.accusation import Accusation
from difftest.report.words import command_line

PROGRAMS = (("QEMU", "qemu"), ("Bochs", "bochs"))  # and their keys in an identity
OF_KVM = ("kernel_irqchip=off", OTHER_HOST)  # stages that mean nothing to somebody who maintains an emulator
EXPECTED = {
    HOST_KERNEL: "The kernel's log has no warning while the image runs.",
    EMULATOR: "The emulator runs the image without a panic.",
}
WHERE = {
    "KVM": "bugzilla.kernel.org, product Virtualization, component kvm; or a mail to kvm@vger.kernel.org",
    "Bochs": "github.com/bochs-emu/Bochs/issues",
}


def head(it: Accusation) -> list[str]:
    name = it.name
    identity = it.identity
    head = [f"Summary: {_summary(it)}"]
    if name in WHERE:
        head += [f"(for {WHERE[name]})"]
    kernel = identity.get("kernel", "")
    host = it.whole.meta.host
    head += ["", *_cpu(it, identity)]
    if kernel:
        package = f" (package {identity['kernel package']})" if identity.get("kernel package") else ""
        head += [
            f"Host kernel version: {kernel}{package}",
            f"Host kernel arch: {identity.get('kernel arch', 'not recorded')}",
        ]
    else:
        head += [
            f"Host kernel: {host.get('kernel', 'not recorded')}",
            f"Host arch: {host.get('arch', 'not recorded')}",
        ]
    head += [f"{program} version: {identity[key]}" for program, key in PROGRAMS if key in identity]
    head += [f"Guest: {_guest(it)}"]
    # The last one started: what runs around it (an emulator that plays the host) is reported as the CPU.
    observed = it.observed
    *_, last = [[], *observed.commands]
    program = next((program for program, key in PROGRAMS if key in identity), "Emulator")
    if observed.by_hand:
        files = "" if it.is_kvm else " (its files are in the attached bundle)"
        head += [f"{program} command line: {observed.by_hand}{files}", f"  (as it was run: {command_line(last)})"]
    else:
        head += [f"{program} command line: {command_line(last)}"]
    return head + _tried(it)


def _cpu(it: Accusation, identity: dict[str, str]) -> list[str]:
    hosting = identity.get("hosting cpu model")
    if hosting:
        lines = [
            f"CPU model: {hosting}, as emulated by Bochs {identity.get('hosting bochs', '')}: Linux with KVM "
            f"ran inside it"
        ]
    else:
        lines = [f"CPU model: {identity.get('host cpu') or it.whole.meta.host.get('cpu', 'not recorded')}"]
    return [*lines, f"CPU model that the guest was given: {identity.get('cpu model', 'not recorded')}"]


def _summary(it: Accusation) -> str:
    broken = it.effect()
    what = (it.result.summary or it.manifest.title or it.result.check).rstrip(".")
    name = it.name
    if it.result.check in EXPECTED:
        return f"{name}: {broken}, while running {it.pair.case.name}"
    return f"{name}: {broken}. Required: {what}"


def _guest(it: Accusation) -> str:
    kind = "a hypervisor with a nested guest of its own, " if it.nested else ""
    needs = f"; needs {', '.join(it.manifest.needs)}" if it.manifest.needs else ""
    title = f" ({it.manifest.title})" if it.manifest.title else ""
    return f"{kind}a BIOS disk image of {it.pair.case.image_bytes} bytes, {it.pair.case.name}{title}{needs}"


def _tried(it: Accusation) -> list[str]:
    """What else it was tried with: the variants of the confirmation, the targets that need neither KVM nor Bochs,
    and the other versions of the same command.
    """
    confirmation = it.pair.confirmation(it.result)
    stages = {stage.name: stage for stage in confirmation.stages} if confirmation else {}
    lines = [_stage(it, stage) for stage in stages.values() if it.is_kvm or stage.name not in OF_KVM]
    if not stages:
        again = f"{it.again()} --confirm all"
        what = "With kernel_irqchip=off, with another CPU model" if it.is_kvm else "With another CPU model"
        lines = [f"{what}: not tried ({again})"]
    for target, capabilities in it.whole.meta.idle.items():
        if lacking := sorted(set(it.manifest.needs) - set(capabilities)):
            lines += [f"With {target}: cannot be tested, it has no {', '.join(lacking)}, which the guest requires"]
        else:
            lines += [f"With {target}: not tried ({it.again(target)})"]
    return lines + [
        f"With {one.subject.target}: {one.label}"
        for one in it.whole.results
        if (one.case, one.check) == (it.result.case, it.result.check) and one.subject.target != it.result.subject.target
    ]


def _stage(it: Accusation, stage: Stage) -> str:
    if stage.name in ("re-run", "second reading of the screen"):
        words = {StageOutcome.SAME: "the same", StageOutcome.DIFFERENT: "not the same"}.get(stage.outcome, "no result")
        return f"{stage.name[:1].upper()}{stage.name[1:]}: {words}" + (
            f" ({stage.detail})" if stage.outcome != StageOutcome.SAME else ""
        )
    words = {
        StageOutcome.SAME: "this bug still exists",
        StageOutcome.DIFFERENT: f"this bug does not show ({stage.detail})",
        StageOutcome.UNKNOWN: f"tried, without a result ({stage.detail})",
    }[stage.outcome]
    wanted = it.wrong.names.target, stage.name
    boots = [one.observation for one in it.pair.variants if (one.observation.target, one.boot.variant) == wanted]
    given = f" ({boots[0].identity['cpu model']})" if boots and "cpu model" in boots[0].identity else ""
    return f"With {stage.name}{given}: {words}"
