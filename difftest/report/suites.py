"""Images with many tests of their own, counted: what a page can say of thousands of lines, and the table of a suite as
Markdown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from difftest.atomic import write, writing
from difftest.errors import StoreError
from difftest.judging.result import Result
from difftest.report.digest import Digest, Pair, digest, grouped, standing
from difftest.report.markdown import cell
from difftest.report.words import sentence, statuses, titles
from difftest.run.store import StoredRun
from difftest.verdict import IMAGE_SKIPPED, MEANINGS, Verdict

START, END = "<!-- suite: written by `difftest report --suite`, do not edit -->", "<!-- end of suite -->"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The tests of one image on one pair of targets."""

    agree: int = 0
    new: int = 0  # divergences that nobody knows, or known ones that are gone
    known: int = 0
    inconclusive: int = 0
    skipped: int = 0
    left_out: str = ""  # why the whole image was not booted, or skipped itself

    @property
    def judged(self) -> int:
        return self.agree + self.new + self.known

    @property
    def clean(self) -> bool:
        return not (self.new or self.known or self.inconclusive)


def of_suite(pair: Pair) -> bool:
    """Whether the image has tests of its own."""
    return any(result.own for result in pair.results)


def counts_of(pair: Pair) -> Counts:
    standings = Counter(standing(result) for result in pair.results)
    verdicts = Counter(result.verdict for result in pair.results)
    skipped = [result for result in pair.results if result.verdict == Verdict.SKIPPED]
    whole = skipped and len(skipped) == len(pair.results)
    why = skipped[0].reason if whole else ""
    return Counts(
        agree=verdicts[Verdict.AGREE] - standings["gone"],
        new=standings["new"] + standings["gone"],
        known=standings["known"],
        inconclusive=verdicts[Verdict.INCONCLUSIVE],
        skipped=len(skipped),
        left_out=f"{why}: {skipped[0].check}" if why.endswith(IMAGE_SKIPPED) else why,
    )


def outcome(result: Result) -> str:
    """What the sides of one test said, where they printed it otherwise."""
    lines = {field.name: field.values for field in result.fields}.get("line", {})
    if len(set(lines.values())) > 1:
        return "; ".join(f"{target}: {line}" for target, line in lines.items())
    return ""


def group_in_words(group: Sequence[Result]) -> str:
    """One paragraph for tests with one cause."""
    first = group[0]
    said = f"{statuses(first)}. " if first.verdict != Verdict.INCONCLUSIVE else ""
    how = outcome(first) if len(group) == 1 else ""
    parts = [f"{titles(group)}.", said.strip(), sentence(first.reason), sentence(how), *map(sentence, first.hints)]
    return " ".join(part for part in parts if part)


def left_out(pairs: Sequence[Pair]) -> list[tuple[str, list[str]]]:
    """The images that were not booted or skipped themselves, by reason, most first."""
    reasons: dict[str, list[str]] = {}
    for pair in pairs:
        if why := counts_of(pair).left_out:
            reasons.setdefault(_general(why, pair), []).append(pair.case.name)
    return sorted(reasons.items(), key=lambda one: -len(one[1]))


def _general(reason: str, pair: Pair) -> str:
    """A reason without the name of the side that gave it: many images skip for one reason on either."""
    targets = "|".join(re.escape(side.names.target) for side in pair.sides)
    return re.sub(rf"^(?:{targets}): ", "", reason)


def table(whole: Digest) -> Iterator[str]:
    """The table of a suite in Markdown: each image, what was skipped, and a sentence for each divergence."""
    pairs = [pair for pair in whole.pairs if of_suite(pair)]
    counted = [(pair, counts_of(pair)) for pair in pairs]
    booted = [(pair, one) for pair, one in counted if not one.left_out]
    lines = sum(one.judged for _, one in booted)
    differ = sum(one.new + one.known for _, one in booted)
    skipped = len(pairs) - len(booted)
    yield f"{len(booted)} images judged, {lines} tests, {differ} differ; {skipped} images skipped."
    yield ""
    yield "| image | agree | differ | without a verdict | skipped |"
    yield "|---|---|---|---|---|"
    for pair, one in booted:
        yield f"| `{pair.case.name}` | {one.agree} | {one.new + one.known} | {one.inconclusive} | {one.skipped} |"
    if reasons := left_out(pairs):
        yield ""
        yield "| skipped images | why |"
        yield "|---|---|"
        for why, names in reasons:
            yield f"| {', '.join(f'`{name}`' for name in names)} | {cell(sentence(why))} |"
    findings = [
        (pair, group)
        for pair, _ in booted
        for group in grouped(pair.findings)
        if MEANINGS[group[0].verdict].diverges or group[0].verdict == Verdict.INCONCLUSIVE
    ]
    if findings:
        yield ""
        yield "| image | tests | verdict | explanation |"
        yield "|---|---|---|---|"
        for pair, group in findings:
            first = group[0]
            why = first.known.reason if first.known else group_in_words(group)
            tests = titles(group) if first.known else str(len(group))
            yield f"| `{pair.case.name}` | {cell(tests)} | {cell(first.label)} | {cell(sentence(why))} |"


def put_suite(run: StoredRun, path: Path) -> list[Path]:
    """Put the table of a run of a suite into a document, between its marks. Raises StoreError."""
    with writing(path):
        text = path.read_text(encoding="utf-8")
        head, start, rest = text.partition(START)
        _, end, tail = rest.partition(END)
        if not start or not end:
            raise StoreError(f"{path}: no marks {START} and {END}", hint="put them where the table is to be")
        rows = "\n".join(table(digest(run)))
        write(path, f"{head}{START}\n{rows}\n{END}{tail}".encode())
    return [path]
