"""Judging runs that were captured from real boots (see tests/capture.py). No emulator runs."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import msgspec
import pytest

from difftest.case.manifest import Manifest
from difftest.history.rejudge import NOT_OBSERVED, rejudge
from difftest.judging.result import Result
from difftest.report.digest import standing
from difftest.run.store import StoredRun
from difftest.verdict import Verdict
from tests.scenarios import SCENARIOS

DATA = Path(__file__).parent / "data"
LARGEST = 2_000_000  # bytes of all that is captured
HOSTED, TCG = "kvm-hosted", "tcg"

# What each scenario shows, written by hand: check, subject, verdict with the sides' names, what each side gave.
EXPECTED: dict[str, list[tuple[str, str, str, str]]] = {
    "agree": [("mapped", HOSTED, "agree", "PASS : PASS")],
    "kvm-wrong": [("not-present", HOSTED, "KVM wrong", "PASS : PASS : FAIL")],
    "shared": [("P-09/wp", HOSTED, "shared with the hardware", "FAIL : FAIL : FAIL")],
    "shared-with-the-reference": [("P-09/wp", HOSTED, "shared with the hardware", "FAIL : FAIL")],
    "exits": [("P-09/wp", HOSTED, "shared with the hardware", "FAIL : FAIL : FAIL")],
    "bochs-wrong": [("L2-19/am", HOSTED, "Bochs wrong", "FAIL : PASS")],
    "both-wrong": [
        *((f"M-06/{check}", HOSTED, "agree", "PASS : PASS : PASS") for check in ("control-pg", "control-pe")),
        *((f"M-06/{check}", HOSTED, "agree", "PASS : PASS : PASS") for check in ("pg-without-pe", "pe-with-pg")),
        ("M-06/pg-in-real-mode", HOSTED, "both wrong", "FAIL : PASS : FAIL"),
        *((f"M-06/{check}", HOSTED, "agree", "PASS : PASS : PASS") for check in ("control-lme", "lme-without-pae")),
    ],
    "kernel-warning": [
        ("L2-12/write", HOSTED, "Bochs wrong", "FAIL : SKIP : PASS"),
        ("L2-12/write-full", HOSTED, "agree", "PASS : SKIP : PASS"),
        ("L2-12/mov-cr3", HOSTED, "agree", "PASS : SKIP : PASS"),
        ("L2-12/mov-cr0", HOSTED, "KVM wrong", "PASS : SKIP : FAIL"),
        ("L2-12/fetch-full", HOSTED, "Bochs wrong", "FAIL : SKIP : PASS"),
        ("L2-12/mov-cr0-full", HOSTED, "both wrong", "FAIL : SKIP : FAIL"),
        ("L2-12/violation-after-full", HOSTED, "agree", "PASS : SKIP : PASS"),
        ("host-kernel", HOSTED, "KVM wrong", "- : -"),
    ],
    "internal-error": [("L1-08", HOSTED, "KVM wrong", "PASS : PASS : DIED")],
    "older-kernel": [("P-08/cd", HOSTED, "KVM wrong", "PASS : PASS : FAIL")],
    "newer-kernel": [("P-08/cd", HOSTED, "agree", "PASS : PASS")],
    "killer": [
        ("before", HOSTED, "agree", "PASS : PASS"),
        ("killer", HOSTED, "shared with the hardware", "DIED : DIED : DIED"),
        ("second-killer", HOSTED, "shared with the hardware", "DIED : DIED : DIED"),
        ("behind", HOSTED, "agree", "PASS : PASS"),
        ("before", TCG, "agree", "PASS : PASS"),
        ("killer", TCG, "inconclusive", "DIED : DIED"),
        ("second-killer", TCG, "inconclusive", "DIED : DIED"),
        ("behind", TCG, "agree", "PASS : PASS"),
    ],
    "hang": [
        ("before", TCG, "agree", "PASS : PASS"),
        ("spins", TCG, "TCG wrong", "PASS : DIED"),
        ("halts", TCG, "TCG wrong", "PASS : DIED"),
        ("spins-anywhere", TCG, "inconclusive", "DIED : DIED"),
        ("behind", TCG, "agree", "PASS : PASS"),
    ],
    "panic": [
        ("before", TCG, "agree", "PASS : PASS"),
        ("interrupt-controller", TCG, "agree", "PASS : PASS"),
        ("lingers", TCG, "agree", "PASS : PASS"),
        ("behind", TCG, "agree", "PASS : PASS"),
        ("emulator", TCG, "inconclusive", "- : -"),
    ],
    "flood": [("image", TCG, "inconclusive", "- : -")],
    "chatter": [("image", TCG, "inconclusive", "- : -")],
    "silence": [("image", TCG, "inconclusive", "- : -")],
    "power-off": [("image", TCG, "agree", "OPEN : OPEN")],
    "shutdown": [("image", TCG, "agree", "OPEN : OPEN")],
    "reset": [("image", TCG, "inconclusive", "DIED : DIED")],
    "triple-fault": [
        ("image", HOSTED, "inconclusive", "DIED : DIED : DIED"),
        ("image", TCG, "inconclusive", "DIED : DIED"),
    ],
    "lost-serial": [("image", TCG, "inconclusive", "OPEN : OPEN")],
    "no-vmx": [("mapped", TCG, "skipped", "- : -"), ("not-present", TCG, "skipped", "- : -")],
    "no-kvm": [("image", "kvm", "inconclusive", "OPEN : -")],
    "no-feature": [("P-13/smap", HOSTED, "skipped", "SKIP : SKIP")],
    "suite": [
        ("first (took 123456 cycles)", TCG, "agree", "PASS : PASS"),
        ("second", TCG, "skipped", "SKIP : SKIP"),
        ("third", TCG, "fails its own check on TCG", "PASS : FAIL"),
    ],
    "lines": [("only", TCG, "fails its own check on TCG", "PASS : FAIL")],
    "prompt": [("image", TCG, "agree", "OPEN : OPEN")],
    "screen": [("image", TCG, "differ", "OPEN : OPEN")],
    "vendor": [("image", TCG, "differ", "OPEN : OPEN")],
    "rows": [("image", HOSTED, "KVM wrong", "PASS : PASS : FAIL"), ("image", TCG, "TCG wrong", "PASS : FAIL")],
    "flaky": [("coin", TCG, "flaky", "PASS : FAIL")],
}
# Runs of schema 1: what they hold in today's words, and what judging them again says: the CPU under KVM is not in them.
SCHEMA_1 = {
    "seed-of-schema-1": [
        ("mapped", HOSTED, "agree", "agree"),
        ("not-present", HOSTED, "KVM wrong", "inconclusive"),
    ],
    "shared-of-schema-1": [
        ("P-03/mov-cr4", HOSTED, "agree", "agree"),
        ("P-09/wp", HOSTED, "shared with the hardware", "inconclusive"),
    ],
}
# Where more is known of a finding than its verdict: a word of its reason or of its hints.
REASONS = {
    "kernel-warning": "nested_vmx_write_pml_buffer",
    "internal-error": "KVM internal error",
    "panic": "panic during lingers or before it: [PIC   ] >>PANIC<< write to port 0x20 = 0x01",
    "flood": "more than 1048576 bytes",
    "chatter": "not over after 6 s",
    "silence": "nothing new on its ports and its screen for 2 s",
    "lost-serial": "the guest wrote 182 bytes to COM1 while the transmitter was busy",
    "no-vmx": "tcg has no ept, unrestricted-guest, vmx",
    "no-feature": "no SMAP",
    "vendor": "not with another CPU model",
    "screen": "screen_line_3",
    "suite": "a known divergence is gone: it was so once",
    "shared": "whether L0 handles the access",
    "exits": "L0 carried out no instruction of L1 in this check",
    "killer": "third exception with no resolution",
}


@cache
def captured(name: str) -> StoredRun:
    return StoredRun.open(DATA / ("schema1" if name in SCHEMA_1 else "captured") / name)


def words(result: Result) -> tuple[str, str, str, str]:
    said = " : ".join(side.status.value for side in result.sides)
    return result.check, result.subject.target, result.label, said


def judged_again(run: StoredRun) -> list[Result]:
    """By the manifests as they were."""
    results: list[Result] = []
    for case in run.cases():
        bare = Manifest(name=case.name, title=case.title)
        manifest = msgspec.toml.decode(case.manifest, type=Manifest) if case.manifest else bare
        results += rejudge(run, case, manifest)
    return results


def test_all_scenarios_are_captured_as_they_say() -> None:
    made = {word: scenario for name, scenario in SCENARIOS.items() for word in scenario.runs or (name,)}
    assert set(EXPECTED) | set(SCHEMA_1) == set(made)
    stored = {path.name for kind in ("captured", "schema1") for path in (DATA / kind).iterdir()}
    assert stored == set(made), "nothing is captured that no scenario makes"
    for name, scenario in made.items():
        meta, words = captured(name).meta, ["difftest", "run", *shlex.split(scenario.arguments)]
        assert meta.command == words or (scenario.runs and set(meta.command) < set(words)), f"{name} is out of date"
        assert meta.status == "finished" and meta.schema == (1 if scenario.commit else 2)
        assert meta.identities["bochs"]["bochs"][0].isdigit() and meta.tool_version
        assert all(meta.identities[result.subject.target] for result in captured(name).all_results())


def test_what_is_captured_is_small_and_of_no_machine() -> None:
    files = [path for kind in ("captured", "schema1") for path in (DATA / kind).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    for path in files:
        if path.suffix in (".json", ".log") or path.parent.name == "logs":
            homes = set(re.findall(rb"(?<![\w-])/(?:home/[\w-]+|root|work)\b", path.read_bytes()))
            assert homes <= {b"/home/user"}, path


@pytest.mark.parametrize("name", list(EXPECTED))
def test_judged_again_it_is_what_was_stored_and_what_it_is_named_after(name: str) -> None:
    run = captured(name)
    assert [words(result) for result in run.all_results()] == EXPECTED[name]
    again = judged_again(run)
    assert [words(result) for result in again] == EXPECTED[name]
    assert [standing(result) for result in again] == [standing(result) for result in run.all_results()]
    if name in REASONS:
        assert REASONS[name] in " ".join(part for result in again for part in (result.reason, *result.hints))


@pytest.mark.parametrize("name", list(SCHEMA_1))
def test_a_run_of_schema_1_is_read_and_judged_as_far_as_it_goes(name: str) -> None:
    run = captured(name)
    assert [(*words(result)[:3], result.expected) for result in run.all_results()] == [
        (check, subject, before, True) for check, subject, before, _ in SCHEMA_1[name]
    ]
    again = judged_again(run)
    assert [words(result)[:3] for result in again] == [
        (check, subject, after) for check, subject, _, after in SCHEMA_1[name]
    ]
    assert all(NOT_OBSERVED in result.reason for result in again if result.verdict == Verdict.INCONCLUSIVE)
