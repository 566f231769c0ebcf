"""Which targets a case is booted on, and what is said when it is not the best."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.case.case import Case
from difftest.case.manifest import Manifest
from difftest.errors import CaseError, HostError
from difftest.image.prepare import PreparedCase
from difftest.run.plan import Job, fall_back, subjects_for
from emulators.fake import Fake, observation
from emulators.observation import Limits
from emulators.target import NESTED, Requirement, Target

NEEDS = sorted(NESTED)


class Some(Fake):
    """A target with these capabilities, whose requirements are met or not."""

    def __init__(self, name: str, capabilities: frozenset[str], met: bool = True) -> None:
        super().__init__(name, lambda boot: observation(name, b""))
        self._capabilities = capabilities
        self._met = met

    @property
    def capabilities(self) -> frozenset[str]:
        return self._capabilities

    def requirements(self) -> list[Requirement]:
        return [Requirement("a device", self._met)]


def host(*, kvm: bool = True, nested: bool = True, hosted: bool = True) -> dict[str, Target]:
    nothing: frozenset[str] = frozenset()
    every = [
        Some("bochs", NESTED),
        Some("kvm", NESTED if nested else nothing, kvm),
        Some("kvm-hosted", NESTED, hosted),
        Some("tcg", nothing),
    ]
    return {target.name: target for target in every}


def case(name: str = "c", **manifest: object) -> Case:
    return Case(manifest=Manifest(name=name, **manifest), folder=Path())  # type: ignore[arg-type]


KIT = case(sources=["a.c"])
NESTED_KIT = case(sources=["a.c"], needs=NEEDS)
IMAGE = case(image="a.img")


@pytest.mark.parametrize(
    ("asked_for", "targets", "subjects"),
    [
        (IMAGE, host(), ("kvm",)),
        (IMAGE, host(kvm=False), ("kvm-hosted",)),
        (IMAGE, host(nested=False), ("kvm",)),
        (KIT, host(), ("kvm", "tcg")),
        (NESTED_KIT, host(), ("kvm",)),
        (NESTED_KIT, host(nested=False), ("kvm-hosted",)),
    ],
)
def test_a_case_is_held_against_the_best_kvm(
    asked_for: Case, targets: dict[str, Target], subjects: tuple[str, ...]
) -> None:
    assert subjects_for(asked_for, targets, []) == subjects


def test_the_targets_that_are_asked_for_are_taken() -> None:
    assert subjects_for(IMAGE, host(), ["tcg", "kvm"]) == ("tcg", "kvm")
    for name in ("xen", "bochs"):
        with pytest.raises(CaseError, match=name) as caught:
            subjects_for(IMAGE, host(), ["kvm", name])
        assert "kvm, kvm-hosted, tcg" in caught.value.hint
    with pytest.raises(HostError, match="no KVM target can run here"):
        subjects_for(NESTED_KIT, host(kvm=False, hosted=False), [])


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        (host(), ""),
        (host(kvm=False), ""),
        (
            host(nested=False),
            "kvm has no ept, unrestricted-guest, vmx here (is nesting off?): kvm-hosted boots one, two",
        ),
    ],
)
def test_a_fall_back_is_told_in_one_line(targets: dict[str, Target], line: str) -> None:
    jobs = [
        Job(
            prepared=PreparedCase(case=one, image=Path(), sha256="", limits=Limits()),
            subjects=subjects_for(one, targets, []),
        )
        for one in (
            case("one", image="a", needs=NEEDS),
            case("plain", image="a"),
            case("two", image="a", needs=["ept"]),
        )
    ]
    assert fall_back(jobs, targets) == line
