"""A divergence as the text of a bug report, with what was observed and nothing else. All from a stored run, offline.

The lines and their order are those that KVM's maintainers know from reports of this kind. Where something was not
tried, the text says so and names the command that tries it.
"""

from __future__ import annotations

from difftest.case.manifest import HOST_KERNEL, IMAGE
from difftest.errors import StoreError
from difftest.judging.confirmation import Outcome, Stage
from difftest.judging.result import Result
from difftest.reading.record import transcript_of
from difftest.report.digest import Digest, Pair, Side, digest
from difftest.report.find import CULPRITS, found, manifest_of
from difftest.report.meaning import spelled
from difftest.report.words import command_line, effect, reproduce, sentence
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import Verdict
from emulators.observation import Observation

IMAGE_NAME = "disk.img.gz"
PROGRAMS = (("QEMU", "qemu"), ("Bochs", "bochs"))  # and their keys in an identity
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
    if result.verdict not in CULPRITS:
        raise StoreError(
            f"{visible(check, 200)}: {result.label}: {result.reason}",
            hint="a bug can be reported where one side breaks the SDM",
        )
    forms = [_Form(whole, pair, result, culprit).text() for culprit in CULPRITS[result.verdict]]
    return "\n\n".join(forms)


class _Form:
    """One report; `culprit` is the place in (reference, subject) of the side that it is about."""

    def __init__(self, whole: Digest, pair: Pair, result: Result, culprit: int) -> None:
        self.whole = whole
        self.pair = pair
        self.result = result
        self.culprit = culprit
        self.wrong = pair.sides[culprit]
        self.other = pair.sides[1 - culprit]
        self.manifest = manifest_of(pair)
        self.nested = NESTED in self.manifest.needs

    def text(self) -> str:
        parts = [
            self._head(),
            self._steps(),
            self._expected(),
            self._actual(),
            self._explanation(),
            self._cause(),
            self._files(),
        ]
        return "\n\n".join("\n".join(visible(line, 4000, lines=True) for line in part) for part in parts if part) + "\n"

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
        # The last one started: what runs around it (an emulator that plays the host) is told as the CPU.
        observed = _observed(self.wrong)
        *_, last = [[], *observed.commands]
        program = next((program for program, key in PROGRAMS if key in identity), "Emulator")
        if observed.by_hand:
            head += [f"{program} command line: {observed.by_hand}", f"  (as it was run: {command_line(last)})"]
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
        broken = effect(self.result, self.culprit)
        what = self.result.summary or self.manifest.title or self.result.check
        name = self.wrong.names.implementation
        return (
            f"{name} gives {broken}, where the SDM requires: {what}"
            if broken
            else f"{name}: not as the SDM requires: {what}"
        )

    def _guest(self) -> str:
        kind = "a hypervisor with a nested guest of its own, " if self.nested else ""
        needs = f"; needs {', '.join(self.manifest.needs)}" if self.manifest.needs else ""
        title = f" ({self.manifest.title})" if self.manifest.title else ""
        return f"{kind}a BIOS disk image of {self.pair.case.image_bytes} bytes, {self.pair.case.name}{title}{needs}"

    def _tried(self) -> list[str]:
        """What else it was tried with: the variants of the confirmation, and the targets that KVM or Bochs is not
        needed for.
        """
        confirmation = self.pair.confirmation(self.result)
        stages = {stage.name: stage for stage in confirmation.stages} if confirmation else {}
        lines = [self._stage(stage) for stage in stages.values()]
        if not stages:
            again = f"{reproduce(self.pair, self.result)} --confirm all"
            lines = [f"With kernel_irqchip=off, with another CPU model: not tried ({again})"]
        for target, capabilities in self.whole.meta.idle.items():
            if lacking := sorted(set(self.manifest.needs) - set(capabilities)):
                lines += [f"With {target}: cannot be tested, it has no {', '.join(lacking)}, which the guest requires"]
            else:
                lines += [f"With {target}: not tried ({reproduce(self.pair, self.result)},{target})"]
        return lines + [
            f"With {one.subject}: {one.label}"
            for one in self.whole.results
            if (one.case, one.check) == (self.result.case, self.result.check) and one.subject != self.result.subject
        ]

    def _stage(self, stage: Stage) -> str:
        if stage.name in ("re-run", "second reading of the screen"):
            words = {Outcome.SAME: "the same", Outcome.DIFFERENT: "not the same"}.get(stage.outcome, "no result")
            return f"{stage.name[:1].upper()}{stage.name[1:]}: {words}" + (
                f" ({stage.detail})" if stage.outcome != Outcome.SAME else ""
            )
        words = {
            Outcome.SAME: "this bug still exists",
            Outcome.DIFFERENT: f"this bug does not show ({stage.detail})",
            Outcome.UNKNOWN: f"tried, without a result ({stage.detail})",
        }[stage.outcome]
        variants = [
            boot
            for boot, _ in self.pair.variants
            if (boot.target, boot.variant) == (self.wrong.names.target, stage.name)
        ]
        given = f" ({variants[0].identity['cpu model']})" if variants and "cpu model" in variants[0].identity else ""
        return f"With {stage.name}{given}: {words}"

    def _steps(self) -> list[str]:
        sha = self.pair.case.image_sha256
        sources = (
            f"{', '.join(self.manifest.sources)} of the case {self.manifest.name}, difftest "
            f"{self.whole.meta.tool_version}"
        )
        source = f"; built from {sources}" if self.manifest.sources else ""
        lines = [
            "How to reproduce:",
            "",
            f"1. gunzip {IMAGE_NAME} (attached; sha256 of the image {sha}{source})",
            "2. Run the command line above, or rerun.sh of the attached bundle, or with difftest:",
            f"   {reproduce(self.pair, self.result)}",
        ]
        return [*lines, f"3. {_shown(self.wrong, self.result, self.culprit)}"]

    def _expected(self) -> list[str]:
        status = (self.result.reference_status, self.result.subject_status)[1 - self.culprit]
        right = self.result.verdict in (Verdict.SUBJECT_WRONG, Verdict.REFERENCE_WRONG) and status == "PASS"
        lines = [
            f"Expected behavior ({self._who()} shows it; not tried on real hardware):"
            if right
            else "Expected behavior:"
        ]
        required = [field for field in self.result.fields if field.required is not None]
        lines += ["", *(f"  {field.name} = {spelled(field.name, field.required or '')}" for field in required)]
        return [*lines, "", _shown(self.other, self.result, 1 - self.culprit)] if right else lines

    def _who(self) -> str:
        identity = _identity(self.other)
        name = self.other.names.implementation
        versions = [
            f"{program} {identity[key]}" for program, key in (*PROGRAMS, ("kernel", "kernel")) if key in identity
        ]
        return f"{name} ({', '.join(versions).removeprefix(f'{name} ')})" if versions else name

    def _actual(self) -> list[str]:
        lines = [f"Actual behavior: {effect(self.result, self.culprit) or self.result.reason}", ""]
        other_exit = any(field.name == "exit_reason" and field.differs for field in self.result.fields)
        for field in self.result.fields:
            value = (field.reference, field.subject)[self.culprit]
            if value is not None and field.compared:
                wrong = (
                    f"    instead of {spelled(field.name, field.required)}"
                    if field.required not in (None, value)
                    else ""
                )
                lines.append(f"  {field.name} = {spelled(field.name, value)}{wrong}")
            elif field.required is not None and not other_exit:
                lines.append(f"  {field.name} absent    instead of {spelled(field.name, field.required)}")
        for fault in _observed(self.wrong).kernel_faults:
            lines.append(f"  kernel log: {fault}")
        return lines

    def _explanation(self) -> list[str]:
        lines = ["Explanation:", ""]
        if self.nested:
            lines += [
                f"L0 is {self.wrong.names.implementation}, L1 the image, L2 the nested guest that the image runs.",
                "",
            ]
        if self.manifest.description:
            lines += [" ".join(self.manifest.description.split()), ""]
        if self.result.summary:
            lines += [sentence(self.result.summary)]
        if self.result.sdm:
            lines += [f"Intel SDM: {self.result.sdm}"]
        if self.result.verdict == Verdict.INHERITED:
            lines += [f"{self.other.names.implementation} ran on top of it and showed the same."]
        return lines

    def _cause(self) -> list[str]:
        """What somebody read in the source stands in the manifest. It is not an observation and does not pass for
        one.
        """
        known = self.result.known
        if known is None or known.verdict != self.result.verdict:
            return []
        link = [f"See also: {known.link}"] if known.link else []
        return ["Likely cause (from the case's manifest; not observed in this run):", "", sentence(known.reason), *link]

    def _files(self) -> list[str]:
        kernels = {_identity(self.wrong).get("kernel", "")} - {""}
        regression = (
            f"Whether it is a regression is not known: this run had only kernel {kernels.pop()}." if kernels else ""
        )
        made = (
            f"Made by difftest {self.whole.meta.tool_version} from run {self.whole.meta.run} "
            f"({self.whole.meta.started})."
        )
        return [*([regression] if regression else []), made]


def _shown(side: Side, result: Result, place: int) -> str:
    """What a person sees at the end of a boot: the words on the screen, and the serial port's last line."""
    observation = _observed(side)
    words = [
        f'See "{visible(reading.memory.strip(), 80)}" on the VGA screen at row {row} column {_columns(reading.memory)}.'
        for row, reading in sorted(side.screen.rows.items())
        if reading.memory.strip()
    ]
    line = transcript_of(observation).terminal_line
    if line:
        words.append(f"The last line of serial output is:\n\n{line}\n\n")
    if result.check in (IMAGE, HOST_KERNEL) or not line:
        words.append(f"The boot ended with {observation.ending.value} ({observation.detail}).")
    status = (result.reference_status, result.subject_status)[place]
    if result.check not in (IMAGE, HOST_KERNEL) and status not in ("-", "DIED"):
        words.append(f'The line that begins with "difftest 1 check {result.check}" says {status}.')
    return " ".join(words).replace("\n ", "\n")


def _columns(text: str) -> str:
    return f"{len(text) - len(text.lstrip())}-{len(text.rstrip()) - 1}"


def _identity(side: Side) -> dict[str, str]:
    return _observed(side).identity


def _observed(side: Side) -> Observation:
    if side.observation is None:
        raise StoreError(f"{side.names.target} was never booted", hint="only what was observed can be reported")
    return side.observation
