"""A divergence as the text of a bug report, with what was observed and nothing else. All from a stored run, offline.

The lines and their order are those that KVM's maintainers know from reports of this kind. Where something was not
tried, the text says so and names the command that tries it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from difftest.case.manifest import EMULATOR, HOST_KERNEL
from difftest.errors import StoreError
from difftest.image.parameter_block import speaking
from difftest.judging import result as judged
from difftest.judging.confirmation import OTHER_HOST, Stage, StageOutcome
from difftest.judging.result import Result, Role
from difftest.report.digest import Digest, Pair, SideReport, digest
from difftest.report.field_values import spelled
from difftest.report.lookup import found, manifest_of
from difftest.report.words import NO_CHECKS, command_line, effect, reproduce, reproduce_on_bochs, sentence
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import Status, Verdict
from emulators.observation import Observation

IMAGE_NAME = "disk.img.gz"
PROGRAMS = (("QEMU", "qemu"), ("Bochs", "bochs"))  # and their keys in an identity
OF_KVM = ("kernel_irqchip=off", OTHER_HOST)  # stages that mean nothing to somebody who maintains an emulator
SECTION = re.compile(r" \(Vol\. [^)]*\)")  # the number of a section, after its title
EXPECTED = {
    HOST_KERNEL: "The kernel's log has no warning while the image runs.",
    EMULATOR: "The emulator runs the image without a panic.",
}
VMCALL = "0x12"  # the reason of its VM exit
NESTED = "vmx"  # the need of a case that is a hypervisor itself
WHERE = {
    "KVM": "bugzilla.kernel.org, product Virtualization, component kvm; or a mail to kvm@vger.kernel.org",
    "Bochs": "github.com/bochs-emu/Bochs/issues",
}


def bug_report(run: StoredRun, check: str) -> str:
    """The text for a check's divergence: one report, or one for each side where both are wrong.

    Raises StoreError when the run has no such check, or nobody is wrong in it.
    """
    whole = digest(run)
    pair, result = found(whole, check)
    if not result.wrong:
        raise StoreError(
            f"{visible(check, 200)}: {result.label}: {result.reason}",
            hint="a bug can be reported where one side breaks the SDM",
        )
    siblings = {
        other.meta.identities.get(result.subject.target, {}).get("kernel", ""): one
        for other in run.siblings()
        for one in other.all_results()
        if _same(one, result)
    }
    try:
        image = run.image(pair.case)
    except StoreError:  # one that is too large is not kept
        image = b""
    forms = [_BugReport(whole, pair, result, side, siblings, image).text() for side in result.wrong]
    return "\n\n".join(forms)


class _BugReport:
    """One report; `culprit` is the side that it is about, `siblings` are the check's results in other runs of the
    command, `image` is what was booted, b"" where the run does not have it.
    """

    def __init__(
        self,
        whole: Digest,
        pair: Pair,
        result: Result,
        culprit: judged.Side,
        siblings: Mapping[str, Result],
        image: bytes,
    ) -> None:
        self.image = image
        self.whole = whole
        self.pair = pair
        self.result = result
        self.culprit = culprit
        self.siblings = siblings
        self.wrong = pair.side(culprit.target).of(result)
        # The side that did right, if there is one: the other that was judged, or the CPU under the subject.
        others = [side for side in result.sides if side.target != culprit.target]
        self.other = next((side for side in others if side.status == Status.PASS), others[0])
        self.manifest = manifest_of(pair.case)
        self.nested = NESTED in self.manifest.needs
        self.is_kvm = culprit.role == Role.SUBJECT

    def text(self) -> str:
        parts = [
            self._reported(),
            self._head(),
            self._steps(),
            self._expected(),
            self._actual(),
            self._explanation(),
            self._cause(),
            self._files(),
        ]
        return "\n\n".join("\n".join(visible(line, 4000, lines=True) for line in part) for part in parts if part) + "\n"

    def _reported(self) -> list[str]:
        """What comes before all else: a reader may stop there."""
        _, link = self._said_of_it()
        return (
            [f"Already reported: {link} (as the case's manifest says; see there before this is filed)"] if link else []
        )

    def _head(self) -> list[str]:
        name = self.wrong.names.implementation
        identity = _identity(self.wrong)
        head = [f"Summary: {self._summary()}"]
        if name in WHERE:
            head += [f"(for {WHERE[name]})"]
        kernel = identity.get("kernel", "")
        host = self.whole.meta.host
        head += ["", *self._cpu(identity)]
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
        head += [f"Guest: {self._guest()}"]
        # The last one started: what runs around it (an emulator that plays the host) is reported as the CPU.
        observed = _observed(self.wrong)
        *_, last = [[], *observed.commands]
        program = next((program for program, key in PROGRAMS if key in identity), "Emulator")
        if observed.by_hand:
            files = "" if self.is_kvm else " (its files are in the attached bundle)"
            head += [f"{program} command line: {observed.by_hand}{files}", f"  (as it was run: {command_line(last)})"]
        else:
            head += [f"{program} command line: {command_line(last)}"]
        return head + self._tried()

    def _cpu(self, identity: dict[str, str]) -> list[str]:
        hosting = identity.get("hosting cpu model")
        if hosting:
            lines = [
                f"CPU model: {hosting}, as emulated by Bochs {identity.get('hosting bochs', '')}: Linux with KVM "
                f"ran inside it"
            ]
        else:
            lines = [f"CPU model: {identity.get('host cpu') or self.whole.meta.host.get('cpu', 'not recorded')}"]
        return [*lines, f"CPU model that the guest was given: {identity.get('cpu model', 'not recorded')}"]

    def _summary(self) -> str:
        broken = effect(self.result, self.culprit.target) or self.result.reason
        what = (self.result.summary or self.manifest.title or self.result.check).rstrip(".")
        name = self.wrong.names.implementation
        if self.result.check in EXPECTED:
            return f"{name}: {broken}, while running {self.pair.case.name}"
        return f"{name}: {broken}. Required: {what}"

    def _guest(self) -> str:
        kind = "a hypervisor with a nested guest of its own, " if self.nested else ""
        needs = f"; needs {', '.join(self.manifest.needs)}" if self.manifest.needs else ""
        title = f" ({self.manifest.title})" if self.manifest.title else ""
        return f"{kind}a BIOS disk image of {self.pair.case.image_bytes} bytes, {self.pair.case.name}{title}{needs}"

    def _tried(self) -> list[str]:
        """What else it was tried with: the variants of the confirmation, the targets that need neither KVM nor Bochs,
        and the other versions of the same command.
        """
        confirmation = self.pair.confirmation(self.result)
        stages = {stage.name: stage for stage in confirmation.stages} if confirmation else {}
        lines = [self._stage(stage) for stage in stages.values() if self.is_kvm or stage.name not in OF_KVM]
        if not stages:
            again = f"{self._again()} --confirm all"
            what = "With kernel_irqchip=off, with another CPU model" if self.is_kvm else "With another CPU model"
            lines = [f"{what}: not tried ({again})"]
        for target, capabilities in self.whole.meta.idle.items():
            if lacking := sorted(set(self.manifest.needs) - set(capabilities)):
                lines += [f"With {target}: cannot be tested, it has no {', '.join(lacking)}, which the guest requires"]
            else:
                lines += [f"With {target}: not tried ({self._again(target)})"]
        return lines + [
            f"With {one.subject.target}: {one.label}"
            for one in self.whole.results
            if (one.case, one.check) == (self.result.case, self.result.check)
            and one.subject.target != self.result.subject.target
        ]

    def _again(self, target: str = "") -> str:
        if target or self.is_kvm:
            return reproduce(self.pair, self.result, target, public=True)
        return reproduce_on_bochs(self.pair, self.result, self.culprit.role)

    def _stage(self, stage: Stage) -> str:
        if stage.name in ("re-run", "second reading of the screen"):
            words = {StageOutcome.SAME: "the same", StageOutcome.DIFFERENT: "not the same"}.get(
                stage.outcome, "no result"
            )
            return f"{stage.name[:1].upper()}{stage.name[1:]}: {words}" + (
                f" ({stage.detail})" if stage.outcome != StageOutcome.SAME else ""
            )
        words = {
            StageOutcome.SAME: "this bug still exists",
            StageOutcome.DIFFERENT: f"this bug does not show ({stage.detail})",
            StageOutcome.UNKNOWN: f"tried, without a result ({stage.detail})",
        }[stage.outcome]
        wanted = self.wrong.names.target, stage.name
        boots = [one.observation for one in self.pair.variants if (one.observation.target, one.boot.variant) == wanted]
        given = f" ({boots[0].identity['cpu model']})" if boots and "cpu model" in boots[0].identity else ""
        return f"With {stage.name}{given}: {words}"

    def _steps(self) -> list[str]:
        sources = (
            f"{', '.join(self.manifest.sources)} of the case {self.manifest.name}, difftest "
            f"{self.whole.meta.tool_version}"
        )
        source = f"; built from {sources}" if self.manifest.sources else ""
        lines = [
            "How to reproduce:",
            "",
            f"1. gunzip {IMAGE_NAME} (attached; {self._images()}{source})",
            "2. Run the command line above, or rerun.sh of the attached bundle, or with difftest:",
            f"   {self._again()}",
        ]
        return [*lines, f"3. {_shown(self.wrong, self.result, self.culprit.status)}"]

    def _images(self) -> str:
        """The hash of the image that was booted, and of the attached one, which has its lines on COM1."""
        booted = self.pair.case.image_sha256
        attached = hashlib.sha256(speaking(self.image)).hexdigest() if self.image else booted
        if attached == booted:
            return f"sha256 of the image {booted}"
        return (
            f"sha256 of the image {attached}: it sends its lines to COM1; the one that was booted here, {booted}, "
            f"is the same but for the switch by which it leaves them in its memory"
        )

    def _expected(self) -> list[str]:
        right = self.other.status == Status.PASS
        lines = [
            f"Expected behavior ({self._who()} shows it; not tried on real hardware):"
            if right
            else "Expected behavior:"
        ]
        if self.result.check in EXPECTED:
            return [*lines, "", EXPECTED[self.result.check]]
        lines += ["", *(f"  {name} = {spelled(name, value)}" for name, value in self._required())]
        return (
            [*lines, "", _shown(self.pair.side(self.other.target).of(self.result), self.result, self.other.status)]
            if right
            else lines
        )

    def _required(self) -> list[tuple[str, str]]:
        """Fields and what the SDM requires of them: what the culprit's record says, and of what it does not speak, as
        it took another exit, the record of the side that does right, or else of any.
        """
        order = [self.culprit.target, self.other.target, *(side.target for side in self.result.sides)]
        wanted = [(field, next(filter(field.required.get, order), "")) for field in self.result.fields]
        return [(field.name, field.required[target]) for field, target in wanted if target]

    def _who(self) -> str:
        side = self.pair.side(self.other.target)
        identity, name = _identity(side), side.names.implementation
        versions = [
            f"{program} {identity[key]}" for program, key in (*PROGRAMS, ("kernel", "kernel")) if key in identity
        ]
        return f"{name} ({', '.join(versions).removeprefix(f'{name} ')})" if versions else name

    def _actual(self) -> list[str]:
        target = self.culprit.target
        lines = [f"Actual behavior: {effect(self.result, target) or self.result.reason}", ""]
        other_exit = any(field.name == "exit_reason" and field.differs for field in self.result.fields)
        for field in self.result.fields:
            value, wanted = field.values.get(target), field.required.get(target)
            if value is not None and field.compared:
                wrong = (
                    f"    instead of {spelled(field.name, wanted)}" if wanted is not None and wanted != value else ""
                )
                lines.append(f"  {field.name} = {spelled(field.name, value)}{wrong}")
            elif wanted is not None and not other_exit:
                lines.append(f"  {field.name} absent    instead of {spelled(field.name, wanted)}")
        if self.culprit.status == Status.DIED and self.culprit.reason:
            lines += ["", sentence(self.culprit.reason)]
        if self.nested and self._by_vmcall():
            lines += ["", "The VMCALL is the nested guest's own: its handler of the exception reports by it."]
        faults = _observed(self.wrong).kernel_faults if self.is_kvm else []
        if faults and self.result.check != HOST_KERNEL:
            lines += ["", "In the kernel's log of the same boot, which ran other checks, too:"]
        for fault in faults:
            lines.append(f"  kernel log: {fault.line}")
            lines += [f"    {function}" for function in fault.trace]
        return lines

    def _by_vmcall(self) -> bool:
        """Whether the exit is that of the VMCALL which a handler of the kit makes of an exception in L2."""
        values = {field.name: field.values.get(self.culprit.target, "") for field in self.result.fields}
        return bool(values.get("vector")) and values.get("exit_reason") == VMCALL

    def _explanation(self) -> list[str]:
        lines = ["Explanation:", ""]
        if self.nested:
            l0 = "L0 is KVM, L1 the image" if self.is_kvm else "L1 is the image, which runs directly on this CPU"
            lines += [f"{l0}, L2 the nested guest that the image runs.", ""]
        if self.manifest.description:
            lines += [" ".join(self.manifest.description.split()), ""]
        if self.result.summary:
            lines += [f"Required: {sentence(self.result.summary)}"]
        if self.result.sdm:
            # KVM's maintainers cite sections by their titles: the numbers move from edition to edition.
            lines += [f"Intel SDM: {SECTION.sub('', self.result.sdm) if self.is_kvm else self.result.sdm}"]
        if self.result.verdict == Verdict.SHARED:
            above = self.result.subject.implementation
            lines += [f"The same was seen under {above}, which ran on this CPU: that says nothing about {above}."]
        return lines

    def _cause(self) -> list[str]:
        """What somebody read in the source is in the manifest. It is not an observation and does not pass for
        one.
        """
        reason, _ = self._said_of_it()
        if not reason:
            return []
        return ["Likely cause (from the case's manifest; not observed in this run):", "", sentence(reason)]

    def _said_of_it(self) -> tuple[str, str]:
        """What the manifest says of this side: why it is wrong, and where that was reported. "" where it does not."""
        known = self.result.known
        if known is None or known.verdict != self.result.verdict:
            return "", ""
        return known.cause(of_reference=self.culprit.role == Role.REFERENCE)

    def _files(self) -> list[str]:
        meta = self.whole.meta
        made = f"Made by difftest {meta.tool_version} from run {meta.run} ({meta.started})."
        return [*self._regression(), made]

    def _regression(self) -> list[str]:
        """What the other kernels that the same command ran say of it."""
        kernel = _identity(self.wrong).get("kernel", "")
        if not kernel or not self.is_kvm:
            return []
        others = {version: one for version, one in self.siblings.items() if version != kernel}
        if not others:
            return [f"Whether it is a regression is not known: this run had only kernel {kernel}."]
        lines = [f"  Linux {version}: KVM {self._of_kvm(one)}" for version, one in others.items()]
        return ["Other kernels, run by the same command:", *lines]

    def _of_kvm(self, one: Result) -> str:
        """What a result says of KVM's side alone."""
        if not one.subject.status.bad:
            return f"does what is required ({one.subject.status.value})"
        return f"{one.subject.status.value}: {effect(one, one.subject.target) or one.reason}"


def _same(one: Result, other: Result) -> bool:
    return (one.case, one.check, one.subject.target) == (other.case, other.check, other.subject.target)


def _shown(side: SideReport, result: Result, status: Status) -> str:
    """What a person sees at the end of a boot: the words on the screen, and the serial port's last line."""
    observation = _observed(side)
    words = [
        f'See "{visible(reading.memory.strip(), 80)}" on the VGA screen at row {row} column {_columns(reading.memory)}.'
        for row, reading in sorted(side.screen.rows.items())
        if reading.memory.strip()
    ]
    line = side.terminal_line
    if line:
        words.append(f"The last line of serial output is:\n\n{line}\n\n")
    if result.check in NO_CHECKS or not line or status == Status.DIED:
        words.append(f"The boot ended with {observation.ending.value} ({observation.detail}).")
    if result.check not in NO_CHECKS and status not in (Status.NOT_REPORTED, Status.DIED):
        words.append(f'The line that begins with "difftest 1 check {result.check}" says {status.value}.')
    return " ".join(words).replace("\n ", "\n")


def _columns(text: str) -> str:
    return f"{len(text) - len(text.lstrip())}-{len(text.rstrip()) - 1}"


def _identity(side: SideReport) -> dict[str, str]:
    return _observed(side).identity


def _observed(side: SideReport) -> Observation:
    if side.observation is None:
        raise StoreError(f"{side.names.target} was never booted", hint="only what was observed can be reported")
    return side.observation
