"""Which of two neighbouring kernels changed what a check shows: the search, and what it keeps between two calls.

Every answer is a stored run. A kernel that gives no verdict is set aside and reported, and no pair is named unless both
ends showed what was said of them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from difftest.atomic import encode, file_name, read_json, write, writing
from difftest.case.manifest import HOST_KERNEL
from difftest.judging.result import Result
from difftest.verdict import MEANINGS, GitExitCode, Status, Verdict


class CheckState(enum.StrEnum):
    """What one kernel shows of the check."""

    GOOD = "good"
    BAD = "bad"
    NOTHING = "no verdict"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One kernel that was run."""

    shows: CheckState
    said: str  # the verdict and what the image said, or why there is no verdict
    run: str  # "" when the kernel could not be had


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The state file: all that was tried on these bytes with these emulators."""

    case: str
    check: str
    image_sha256: str
    others: dict[str, str | None]  # what else the runs were done with: --bochs and the like, by option
    repeat: int = 1
    tried: dict[str, Trial] = {}  # by the kernel's version


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """How far a search is: `next` is the kernel to try, or else it is over.

    Over, `trouble` says why no pair can be named; without, `good` and `bad` are the pair, and nothing between them was
    left but what gave no verdict (`between`).
    """

    good: str
    bad: str
    next: str = ""
    left: int = 0  # kernels that may still hold the change
    between: list[str] = []
    trouble: str = ""


def check_state(results: Sequence[Result], check: str) -> tuple[CheckState, str]:
    """What a run's results on the case say of the check, for the subject under test."""
    found = next((result for result in results if result.check == check), None)
    if found is None:
        if check == HOST_KERNEL and results and all(MEANINGS[result.verdict].decided for result in results):
            return CheckState.GOOD, "nothing in the kernel's log"
        return CheckState.NOTHING, f"the run has no result on {check}"
    status = found.subject.status
    if found.verdict == Verdict.FLAKY or not MEANINGS[found.verdict].decided:
        return CheckState.NOTHING, f"{found.label}: {found.reason}"
    # What the image itself says of its side counts first: Bochs may be wrong, or skip, beside a KVM that is right.
    if status.bad or status == Status.PASS:
        return CheckState.BAD if status.bad else CheckState.GOOD, f"{found.label} ({status.value})"
    if found.verdict == Verdict.SKIPPED or status == Status.SKIP:
        return CheckState.NOTHING, f"{found.label}: {found.reason}"
    bad = found.diverges and found.verdict != Verdict.REFERENCE_WRONG
    return CheckState.BAD if bad else CheckState.GOOD, f"{found.label} ({status.value})"


def git_exit_code(results: Sequence[Result]) -> GitExitCode:
    """What a run says to `git bisect run` of the subject in all these checks, whatever is known: bad when one check is,
    good when all are, else it shows nothing.
    """
    states = {check_state([result], result.check)[0] for result in results}
    if CheckState.BAD in states:
        return GitExitCode.BAD
    return GitExitCode.GOOD if states == {CheckState.GOOD} else GitExitCode.SKIP


def search(kernels: Sequence[str], good: str, bad: str, tried: Mapping[str, CheckState]) -> Search:
    """The next step between two kernels of the list (either may be the newer), given what was tried so far.

    It depends on nothing else, so that a search that was broken off goes on where it was.
    """
    for end, said in ((good, CheckState.GOOD), (bad, CheckState.BAD)):
        if end not in tried:
            return Search(good=good, bad=bad, next=end, left=abs(kernels.index(good) - kernels.index(bad)))
        if tried[end] != said:
            trouble = f"{end} was said to be {said} and shows {tried[end]}: no pair can be named"
            return Search(good=good, bad=bad, trouble=trouble)
    while True:
        first, last = sorted((kernels.index(good), kernels.index(bad)))
        inside = list(kernels[first + 1 : last])
        open_ones = [kernel for kernel in inside if tried.get(kernel) != CheckState.NOTHING]
        if not open_ones:
            return Search(good=good, bad=bad, between=inside)
        middle = (first + last) / 2
        kernel = min(open_ones, key=lambda one: abs(kernels.index(one) - middle))
        if kernel not in tried:
            return Search(good=good, bad=bad, next=kernel, left=len(open_ones))
        good, bad = (kernel, bad) if tried[kernel] == CheckState.GOOD else (good, kernel)


def state_file(results: Path, case: str, check: str) -> Path:
    return results / "bisect" / f"{file_name(f'{case}-{check}')}.json"


def load(path: Path, fresh: State) -> State:
    """What is stored at `path`, or `fresh` when nothing is, or when it speaks of other bytes or other emulators.
    Kernels that could not be had then are tried again.

    Raises StoreError for a file that is no such state.
    """
    if not path.exists():
        return fresh
    found = read_json(path.parent.resolve(), path, State)
    if msgspec.structs.replace(found, tried={}) != fresh:
        return fresh
    booted = {version: tried for version, tried in found.tried.items() if tried.run}
    return msgspec.structs.replace(found, tried=booted)


def save(path: Path, state: State) -> None:
    """Raises StoreError when the disk does not take it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, encode(state))
