"""A run as one HTML page: one script of ours, nothing loaded from anywhere, guest text escaped twice over.

Every expression of the template goes through the one door for guest text (`finalize`) and then through HTML escaping.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from difftest.judging.result import Result
from difftest.reading.boot_reading import BootReading
from difftest.report.digest import Digest, Pair, SideReport, counts, digest, grouped, headline, notable, standing
from difftest.report.environment import environments
from difftest.report.families import FEW, families, verdicts
from difftest.report.field_values import meaning
from difftest.report.linediff import DiffRow, line_diff
from difftest.report.qualification import decoded
from difftest.report.suites import group_in_words, of_suite
from difftest.report.words import called, command_line, decide, paragraph, reproduce, required, sentence, title, titles
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import MEANINGS, Verdict
from emulators.observation import ORDERLY, Ending, Observation

TEMPLATE = Path(__file__).with_name("page.html.jinja")
SCRIPT = Path(__file__).with_name("filter.js")
SHOWN_ROWS = (20, 21, 22, 23)
LONGEST_TEXT = 100_000
LONGEST_LOG = 30_000  # bytes of the end of a log
LARGEST_PICTURE = 2 << 20
TEXT_MODE = {
    (720, 400),
    (640, 400),
}  # sizes of an 80x25 text screen's picture: there, and only there, rows can be marked
MOST_NAMES = 2000  # of tests with one cause that are listed
MOST_AGREEING = 40  # pairs of one case and subject that agree and still get their evidence on the page
KERNEL_LOG = "kernel.log"
GOOD_ENDS = {*ORDERLY, Ending.SETTLED}


class Screenshot(msgspec.Struct, frozen=True):
    """A screenshot, ready for an img element."""

    source: Markup
    width: int
    height: int
    text_mode: bool


class LogExcerpt(msgspec.Struct, frozen=True):
    """A log, or the end of it."""

    name: str
    text: str
    size: int


def html_report(run: StoredRun) -> str:
    """The page. Raises StoreError for a run that cannot be read."""
    whole = digest(run)
    targets, environment = environments(whole.pairs, whole.meta)
    script = SCRIPT.read_text(encoding="utf-8")
    agreeing = sum(1 for pair in whole.pairs if not pair.findings)
    shown = [pair for pair in whole.pairs if pair.findings or agreeing <= MOST_AGREEING]
    return _template().render(
        script=Markup(script),
        script_hash=Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        meta=whole.meta,
        command=command_line(whole.meta.command),
        tally=whole.tally,
        mood=_mood(whole),
        headline=headline(whole.tally),
        counts=counts(whole.tally),
        pairs=[_pair(pair, index) for index, pair in enumerate(shown)],
        left_out=len(whole.pairs) - len(shown),
        checks=[line for pair in whole.pairs for group in grouped(pair.results) for line in _checks(group)],
        families=_families(whole) if len(whole.results) > FEW else [],
        family_verdicts=verdicts(families(whole.results)),
        targets=targets,
        environment=environment,
        verdicts=[verdict for verdict in Verdict if any(result.verdict == verdict for result in whole.results)],
        meanings=MEANINGS,
        reference=_names(result.reference.implementation for result in whole.results),
        subjects=_names(result.subject.implementation for result in whole.results),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE.name)


def finalize(value: Any) -> Any:
    """The door, for all that the template shows. Markup is only ever made in this file, from base64 and from our own
    script.
    """
    return (
        visible(value, LONGEST_TEXT, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value
    )


def _mood(whole: Digest) -> str:
    """What the page's head looks like: bad for what nobody expected, unsure where a verdict is missing."""
    tally = whole.tally
    if tally.new or tally.gone:
        return "bad"
    if tally.inconclusive or tally.unjudged or not tally.results:
        return "unsure"
    return "known" if tally.divergences else "good"


def _check(result: Result) -> dict[str, Any]:
    """A line of the table of checks, and what a finding's article shows beside it."""
    return {
        "case": result.case,
        "title": title(result),
        "anchor": _anchor(result),
        "verdict": result.verdict.value,
        "label": result.label,
        "standing": standing(result),
        "notable": notable(result),
        "result": result,
        "sides": [(side, called(side)) for side in result.sides],
    }


def _checks(group: Sequence[Result]) -> list[dict[str, Any]]:
    """The lines of a group in the table of checks: one for all tests of an image's own, which are thousands, with their
    names folded.
    """
    first = group[0]
    if first.own and len(group) > 1:
        names = [result.check for result in group[:MOST_NAMES]]
        more = [f"and {len(group) - MOST_NAMES} more"] if len(group) > MOST_NAMES else []
        return [_check(first) | {"title": f"{len(group)} tests", "names": [*names, *more]}]
    return [_check(result) | {"anchor": _anchor(first), "names": []} for result in group]


def _families(whole: Digest) -> list[dict[str, Any]]:
    """What a big run opens with: families with the lines of what diverges, and how many have each verdict."""
    found = families(whole.results)
    # Agreement, of which there is most, has a scale of its own.
    most = {
        agree: max(
            (n for one in found for verdict, n in one.counts.items() if (verdict == Verdict.AGREE) == agree), default=1
        )
        for agree in (True, False)
    }
    return [
        {
            "name": family.name,
            "words": family.words,
            "open": bool(family.unexpected),
            "lines": [line for group in grouped(family.findings) for line in _checks(group)],
            "counts": [
                (
                    verdict,
                    family.counts.get(verdict, 0),
                    round(8 + 32 * family.counts.get(verdict, 0) / most[verdict == Verdict.AGREE]),
                )
                for verdict in verdicts(found)
            ],
            "total": family.total,
        }
        for family in found
    ]


def _shows_nothing(pair: Pair) -> bool:
    """Whether the screens say nothing: the image reports in records alone, and rows 20 to 23 are blank on all sides."""
    booted = [side for side in pair.sides if side.observation]
    rows = [side.screen.rows[row] for side in booted for row in SHOWN_ROWS if row in side.screen.rows]
    blank = rows and not any(row.memory.strip() or (row.ocr or "").strip() for row in rows)
    records = all(side.reading and side.reading.transcript.records for side in booted)
    return bool(blank and records and not any(side.screen.problem for side in booted))


def _pair(pair: Pair, number: int) -> dict[str, Any]:
    findings = [_finding(pair, group) for group in grouped(pair.findings)]
    left, right = (side.observation.words if side.observation else b"" for side in (pair.reference, pair.subject))
    rows = line_diff(left, right)
    blank = _shows_nothing(pair)
    return {
        "anchor": f"case-{number}",
        "case": pair.case,
        "findings": findings,
        "many": of_suite(pair),  # tests of its own, whose lines say all: no pictures are shown, and the rest is folded
        "blank": blank,
        "sides": [_side(side, pictured=not of_suite(pair) and not blank) for side in pair.sides],
        "rows": [(row, [_reading(side, row) for side in pair.sides]) for row in SHOWN_ROWS],
        "in_ram": any(side.observation.ram_log for side in pair.sides if side.observation),
        "serial": rows,
        "serial_differs": sum(_is_line(row) for row in rows if row.differs),
        "serial_sizes": [len(left), len(right)],
        "variants": [_boot(reading) for reading in pair.variants],
    }


def _finding(pair: Pair, group: Sequence[Result]) -> dict[str, Any]:
    """An article: one result, or those that have no verdict for one and the same reason."""
    result = group[0]
    alone = len(group) == 1
    confirmation = pair.confirmation(result)
    return _check(result) | {
        "title": title(result) if alone else f"{len(group)} {'tests' if result.own else 'checks'}: {titles(group)}",
        "paragraph": group_in_words(group) if result.own else paragraph(result) if alone else sentence(result.reason),
        "names": [one.check for one in group[:MOST_NAMES]] if result.own and not alone else [],
        "fields": [(field, required(result, field)) for field in result.fields] if alone else [],
        "meaning": meaning,
        "bits": decoded(result) if alone else [],
        "stages": confirmation.stages if confirmation else [],
        "reproduce": reproduce(pair, result),
        "decide": decide(pair, result),
        "link": _link(result),
    }


def _side(side: SideReport, *, pictured: bool) -> dict[str, Any]:
    observation = side.observation
    return {
        "name": side.names.implementation,
        "target": side.names.target,
        "observation": observation,
        "picture": picture(observation.screen) if observation and pictured else None,
        "text": "\n".join(side.screen.text).rstrip() if pictured else "",
        "problem": side.screen.problem,
        "boots": [_boot(reading) for reading in side.boots],
        "faults": [fault.line for fault in observation.kernel_faults] if observation else [],
        "panics": observation.panics if observation else [],
        "commands": [command_line(argv) for argv in observation.commands] if observation else [],
        "logs": _logs(observation) if observation else [],
    }


def _boot(reading: BootReading) -> dict[str, Any]:
    """One boot among several, in a line."""
    observation = reading.observation
    return {
        "target": observation.target,
        "variant": reading.boot.variant,
        "ending": observation.ending.value,
        "detail": observation.detail,
        "line": reading.transcript.terminal_line,
        "seconds": observation.seconds.get("whole", 0.0),
    }


def _reading(side: SideReport, row: int) -> dict[str, Any] | None:
    """Both readings of a row; None where the row was not read."""
    reading = side.screen.rows.get(row)
    return None if reading is None else {"memory": reading.memory.rstrip(), "ocr": reading.ocr, "agree": reading.agree}


def picture(png: bytes | None) -> Screenshot | None:
    """A PNG of a sensible size, or None: what else is in the file is not put on the page."""
    if (
        png is None
        or len(png) > LARGEST_PICTURE
        or png[:8] != b"\x89PNG\r\n\x1a\n"
        or png[12:16] != b"IHDR"
        or len(png) < 33
    ):
        return None
    width, height = struct.unpack(">II", png[16:24])
    if not (0 < width <= 4096 and 0 < height <= 4096):
        return None
    source = Markup("data:image/png;base64,") + Markup(base64.b64encode(png).decode())
    return Screenshot(source, width, height, (width, height) in TEXT_MODE)


def _logs(observation: Observation) -> list[LogExcerpt]:
    """Port 0xE9, the kernel's log and an emulator's configuration always; other logs where the boot went wrong."""
    wrong = observation.ending not in GOOD_ENDS or observation.alarms
    logs = {**observation.logs, **({"port 0xE9": observation.debug} if observation.debug else {})}
    names = [name for name in logs if name == KERNEL_LOG or not name.endswith(".log") or (wrong and logs[name])]
    return [
        LogExcerpt(name, visible(logs[name][-LONGEST_LOG:], LONGEST_LOG, lines=True), len(logs[name]))
        for name in sorted(names, key=lambda name: (name != KERNEL_LOG, name))
    ]


def _link(result: Result) -> str:
    """The bug's address, when it is one that a browser can be sent to."""
    link = result.known.link if result.known else ""
    return link if link.startswith(("https://", "http://")) else ""


def _names(names: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(names))


def _anchor(result: Result) -> str:
    return f"finding-{result.case}-{result.check}-{result.subject.target}"


def _is_line(row: DiffRow) -> bool:
    return not row.note
