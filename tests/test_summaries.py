"""Each check's summary is a sentence that can be understood alone: it heads bug reports and rows of the catalogue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from difftest.case.case import load
from difftest.case.manifest import About
from difftest.image.build import KIT, build_case

CASES = sorted(path.parent for path in KIT.parent.glob("*/case.toml"))
VERBS = {
    *["causes", "cause", "executes", "exits", "exit", "loads", "leaves", "reads", "read", "sets", "clears", "keeps"],
    *["reports", "accepts", "stores", "succeeds", "fails", "invalidates", "maps", "translates", "runs", "faults"],
    *[
        "activates",
        "includes",
        "lacks",
        "writes",
        "returns",
        "adds",
        "change",
        "makes",
        "turns",
        "enters",
        "is",
        "check",
        "ends",
        "saves",
        "blocks",
        "unblocks",
        "stays",
        "waits",
        "delivers",
        "delivered",
        "holds",
        "takes",
        "has",
        "access",
        "changes",
        "gives",
        "require",
    ],
}
# What refers to something that stands elsewhere, or says things in riddles.
ELSEWHERE = re.compile(
    r"\bthe same\b|\bsuch an?\b|\bas above\b|\bas before\b|\bsee\b|\b(?:M|L1|L2|P)-\d\d\b|^and\b", re.I
)


def faults_of(summary: str) -> list[str]:
    """What is wrong with a summary."""
    faults = []
    sentence = summary.removeprefix("Control: ")
    if not re.match(r"[A-Z]", summary):
        faults.append("does not start with a capital or an instruction")
    if summary.lower().startswith("control") and sentence == summary:
        faults.append("a control starts with 'Control: '")
    if found := ELSEWHERE.search(summary):
        faults.append(f"refers to something else: {found.group()}")
    if not VERBS & set(re.findall(r"[a-z]+", sentence)):
        faults.append("has no verb")
    if summary.endswith("."):
        faults.append("ends with a full stop")
    if not 20 <= len(summary) <= 140:
        faults.append(f"has {len(summary)} characters")
    return faults


@pytest.mark.parametrize("folder", CASES, ids=lambda path: path.name)
def test_summaries_are_sentences_of_their_own(folder: Path, tmp_path: Path) -> None:
    case = load(folder)
    checks: tuple[About, ...] = build_case(case.name, folder, case.manifest.sources, tmp_path).checks
    assert {about.check: faults for about in checks if (faults := faults_of(about.summary))} == {}
    summaries = [about.summary for about in checks]
    assert sorted(summaries) == sorted(set(summaries))


@pytest.mark.parametrize(
    "summary",
    [
        "the same with MOV to CR4 that toggles PSE",
        "MOV to CR4 that toggles PSE causes the same",
        "VMXON with NE=0: #GP(0)",
        "control: MOV to CR0 sets PG with PE=1",
        "MOV to CR0 causes what M-03 has.",
        "and an EPT violation that comes later is still one",
    ],
)
def test_others_are_found(summary: str) -> None:
    assert faults_of(summary)
