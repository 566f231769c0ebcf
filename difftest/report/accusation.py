"""What a bug report is about: one side of a divergence, that breaks the SDM, with all that its report needs to say."""

from __future__ import annotations

from collections.abc import Mapping

from difftest.errors import StoreError
from difftest.judging import result as judged
from difftest.judging.result import Result, Role
from difftest.report.digest import Digest, Pair, SideReport
from difftest.report.lookup import manifest_of
from difftest.report.words import effect, reproduce, reproduce_on_bochs
from difftest.verdict import Status
from emulators.observation import Observation

NESTED = "vmx"  # the need of a case that is a hypervisor itself


class Accusation:
    """`culprit` is the side that a report is about, `siblings` are the check's results in other runs of the command,
    `image` is what was booted, b"" where the run does not have it.
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

    def again(self, target: str = "") -> str:
        """The command that shows it again, or that tries another target."""
        if target or self.is_kvm:
            return reproduce(self.pair, self.result, target, public=True)
        return reproduce_on_bochs(self.pair, self.result, self.culprit.role)

    def said_of_it(self) -> tuple[str, str]:
        """What the manifest says of this side: why it is wrong, and where that was reported. "" where it does not."""
        known = self.result.known
        if known is None or known.verdict != self.result.verdict:
            return "", ""
        return known.cause(of_reference=self.culprit.role == Role.REFERENCE)

    @property
    def name(self) -> str:
        """The culprit's implementation."""
        return self.wrong.names.implementation

    @property
    def observed(self) -> Observation:
        return observed(self.wrong)

    @property
    def identity(self) -> dict[str, str]:
        return self.observed.identity

    def effect(self) -> str:
        """What the culprit did, in a few words."""
        return effect(self.result, self.culprit.target) or self.result.reason


def observed(side: SideReport) -> Observation:
    """The observation that a side's report rests on. Raises StoreError where the side was never booted."""
    if side.observation is None:
        raise StoreError(f"{side.names.target} was never booted", hint="only what was observed can be reported")
    return side.observation
