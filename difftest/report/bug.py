"""A divergence as the text of a bug report, with what was observed and nothing else. All from a stored run, offline.

The lines and their order are those that KVM's maintainers know from reports of this kind. Where something was not
tried, the text says so and names the command that tries it.
"""

from __future__ import annotations

import hashlib
import re

from difftest.errors import StoreError
from difftest.image.parameter_block import speaking
from difftest.judging.result import Result
from difftest.report.accusation import Accusation
from difftest.report.bug_behaviour import actual, expected, shown
from difftest.report.bug_head import head
from difftest.report.digest import digest
from difftest.report.lookup import found
from difftest.report.words import effect, sentence
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import Verdict

IMAGE_NAME = "disk.img.gz"
SECTION = re.compile(r" \(Vol\. [^)]*\)")  # the number of a section, after its title


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
    forms = [_text(Accusation(whole, pair, result, side, siblings, image)) for side in result.wrong]
    return "\n\n".join(forms)


def _text(it: Accusation) -> str:
    parts = [
        _reported(it),
        head(it),
        _steps(it),
        expected(it),
        actual(it),
        _explanation(it),
        _cause(it),
        _files(it),
    ]
    return "\n\n".join("\n".join(visible(line, 4000, lines=True) for line in part) for part in parts if part) + "\n"


def _reported(it: Accusation) -> list[str]:
    """What comes before all else: a reader may stop there."""
    _, link = it.said_of_it()
    return [f"Already reported: {link} (as the case's manifest says; see there before this is filed)"] if link else []


def _steps(it: Accusation) -> list[str]:
    sources = f"{', '.join(it.manifest.sources)} of the case {it.manifest.name}, difftest {it.whole.meta.tool_version}"
    source = f"; built from {sources}" if it.manifest.sources else ""
    lines = [
        "How to reproduce:",
        "",
        f"1. gunzip {IMAGE_NAME} (attached; {_images(it)}{source})",
        "2. Run the command line above, or rerun.sh of the attached bundle, or with difftest:",
        f"   {it.again()}",
    ]
    return [*lines, f"3. {shown(it.wrong, it.result, it.culprit.status)}"]


def _images(it: Accusation) -> str:
    """The hash of the image that was booted, and of the attached one, which has its lines on COM1."""
    booted = it.pair.case.image_sha256
    attached = hashlib.sha256(speaking(it.image)).hexdigest() if it.image else booted
    if attached == booted:
        return f"sha256 of the image {booted}"
    return (
        f"sha256 of the image {attached}: it sends its lines to COM1; the one that was booted here, {booted}, "
        f"is the same but for the switch by which it leaves them in its memory"
    )


def _explanation(it: Accusation) -> list[str]:
    lines = ["Explanation:", ""]
    if it.nested:
        l0 = "L0 is KVM, L1 the image" if it.is_kvm else "L1 is the image, which runs directly on this CPU"
        lines += [f"{l0}, L2 the nested guest that the image runs.", ""]
    if it.manifest.description:
        lines += [" ".join(it.manifest.description.split()), ""]
    if it.result.summary:
        lines += [f"Required: {sentence(it.result.summary)}"]
    if it.result.sdm:
        # KVM's maintainers cite sections by their titles: the numbers move from edition to edition.
        lines += [f"Intel SDM: {SECTION.sub('', it.result.sdm) if it.is_kvm else it.result.sdm}"]
    if it.result.verdict == Verdict.SHARED:
        above = it.result.subject.implementation
        lines += [f"The same was seen under {above}, which ran on this CPU: that says nothing about {above}."]
    return lines


def _cause(it: Accusation) -> list[str]:
    """What somebody read in the source is in the manifest. It is not an observation and does not pass for
    one.
    """
    reason, _ = it.said_of_it()
    if not reason:
        return []
    return ["Likely cause (from the case's manifest; not observed in this run):", "", sentence(reason)]


def _files(it: Accusation) -> list[str]:
    meta = it.whole.meta
    made = f"Made by difftest {meta.tool_version} from run {meta.run} ({meta.started})."
    return [*_regression(it), made]


def _regression(it: Accusation) -> list[str]:
    """What the other kernels that the same command ran say of it."""
    kernel = it.identity.get("kernel", "")
    if not kernel or not it.is_kvm:
        return []
    others = {version: one for version, one in it.siblings.items() if version != kernel}
    if not others:
        return [f"Whether it is a regression is not known: this run had only kernel {kernel}."]
    lines = [f"  Linux {version}: KVM {_of_kvm(it, one)}" for version, one in others.items()]
    return ["Other kernels, run by the same command:", *lines]


def _of_kvm(it: Accusation, one: Result) -> str:
    """What a result says of KVM's side alone."""
    if not one.subject.status.bad:
        return f"does what is required ({one.subject.status.value})"
    return f"{one.subject.status.value}: {effect(one, one.subject.target) or one.reason}"


def _same(one: Result, other: Result) -> bool:
    return (one.case, one.check, one.subject.target) == (other.case, other.check, other.subject.target)
