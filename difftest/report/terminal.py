"""A run in the terminal: the table of checks, then for each finding what was seen and how to see it again.

Guest text goes through `difftest.text` and into rich as Text objects: no markup of it is ever interpreted.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from typing import IO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from difftest.judging.result import Field, Result
from difftest.report.digest import Digest, Pair, SideReport, counts, digest, grouped, headline, notable, standing
from difftest.report.families import FEW, families, in_order, verdicts
from difftest.report.field_values import spelled
from difftest.report.suites import counts_of, group_in_words, left_out, of_suite
from difftest.report.words import (
    called,
    command_line,
    decide,
    decide_known,
    faults,
    paragraph,
    reproduce,
    required,
    sentence,
    statuses,
    targets,
    title,
    titles,
)
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import MEANINGS, Verdict

PIPED_WIDTH = 120  # columns where nobody says how wide the other end is
LONGEST_TEXT = 8000
MARKED_ROWS = (20, 21)
FEW_NAMES = 3  # of images that one line names
STANDING_STYLES = {"new": "bold red", "gone": "bold yellow", "known": "dim"}


def show(run: StoredRun, file: IO[str], *, width: int | None = None, full: bool = True) -> None:
    """Print a run's report: in colour on a terminal, plain where `file` is a pipe or a file. One that is not `full`
    shows of a run of many checks what nobody expected, and names the checks of what is known.

    Raises StoreError for a run that cannot be read; nothing is printed then.
    """
    whole = digest(run)
    console = console_for(file, width)
    for part in render(whole, full=full or len(whole.results) <= FEW):
        console.print(part)


def console_for(file: IO[str], width: int | None = None) -> Console:
    """Where a report is printed: in colour on a terminal, plain where `file` is a pipe or a file."""
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 gets escapes, not a traceback
    terminal = file.isatty()
    return Console(
        file=file,
        width=width or (shutil.get_terminal_size().columns if terminal else PIPED_WIDTH),
        color_system="auto" if terminal else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )


def render(whole: Digest, *, full: bool = True) -> Iterator[RenderableType]:
    """The report in parts, in the order in which they are read. Images with many tests of their own are counted, and
    listed by cause.
    """
    yield _head(whole)
    suites = [pair for pair in whole.pairs if of_suite(pair)]
    others = [pair for pair in whole.pairs if not of_suite(pair)]
    if suites:
        yield from _suites(suites)
    yield from _cases(others, full=full)
    yield _closing(whole)
    if not full and others:
        yield _text(
            f"in full, with what agrees and the fields of what is known: difftest report {whole.meta.run}", "dim"
        )


def _cases(pairs: Sequence[Pair], *, full: bool) -> Iterator[RenderableType]:
    """The results of cases one by one, and what was seen in their boots."""
    counted = (Verdict.AGREE, Verdict.SKIPPED)
    results = [result for pair in pairs for result in pair.results]
    listed = [result for result in results if full or result.verdict not in counted or not result.expected]
    if known := [result for result in listed if not full and standing(result) == "known"]:
        yield _known(known)
    rows = [result for result in listed if full or standing(result) != "known"]
    if len(results) > FEW:
        first = in_order(result for result in rows if notable(result))
        if first:
            yield _table(first)
        yield _families(results)
        rows = [result for result in rows if not notable(result)]
    if rows:
        yield _table(rows)
    yield from _skipped(results)
    for pair in pairs:
        if not full and (command := decide_known(pair)):
            yield _text("see whether KVM or the CPU under it does what they share:", "dim")
            yield Padding(_text(command, "dim"), (0, 0, 0, 2))
        reported = [result for result in pair.findings if full or not result.expected]
        for group in grouped(reported):
            yield Group(*(_finding(pair, group[0]) if len(group) == 1 else _alike(pair, group)))
        if reported:
            yield Group(*_evidence(pair))


def _skipped(results: Sequence[Result]) -> Iterator[Text]:
    """Why checks were skipped: a line for each reason."""
    reasons: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.verdict == Verdict.SKIPPED:
            reasons.setdefault((result.case, result.reason), []).append(result)
    for (case, reason), skipped in reasons.items():
        yield _text(f"{case}: skipped: {reason} ({titles(skipped)})", "dim")


def _head(whole: Digest) -> Text:
    meta = whole.meta
    state = {"running": "not finished: still running, or killed", "interrupted": "interrupted"}.get(
        meta.status, meta.status
    )
    return _text(f"run {meta.run}  difftest {meta.tool_version}  {meta.started}  {state}", "dim")


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("case", "check", "verdict", "", "sides", "said"):
        table.add_column(name, overflow="fold")
    for group in grouped(results):
        result = group[0]
        boots = f" {result.boots}" if result.boots else ""
        table.add_row(
            _text(result.case),
            _text(titles(group)),
            _text(result.label + boots, MEANINGS[result.verdict].style),
            _text(standing(result), STANDING_STYLES.get(standing(result), "")),
            _text(targets(result)),
            _text(statuses(result)),
        )
    return table


def _families(results: Sequence[Result]) -> Table:
    """How many checks of each case have each verdict."""
    found = families(results)
    columns = verdicts(found)
    names = {"reference": results[0].reference.implementation, "subject": results[0].subject.implementation}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("case", *(MEANINGS[verdict].words.format(**names) for verdict in columns)):
        table.add_column(_text(name), overflow="fold", justify="left" if name == "case" else "right")
    for family in found:
        numbers = [(family.counts.get(verdict, 0), MEANINGS[verdict].style) for verdict in columns]
        table.add_row(_text(family.name), *(_text(str(many or ""), style) for many, style in numbers))
    return table


def _known(results: Sequence[Result]) -> Table:
    """Known divergences, of many a row: the checks of a case that have one verdict on one pair of targets."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        key = (result.case, result.label, targets(result))
        groups.setdefault(key, []).append(title(result))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("case", "known", "sides", "checks"):
        table.add_column(name, overflow="fold")
    for (case, label, sides), checks in groups.items():
        table.add_row(_text(case), _text(label, STANDING_STYLES["known"]), _text(sides), _text(", ".join(checks)))
    return table


def _finding(pair: Pair, result: Result) -> Iterator[RenderableType]:
    yield Rule(
        _text(f"{result.case} / {title(result)}: {result.label}", MEANINGS[result.verdict].style),
        align="left",
        style="dim",
    )
    yield _text(paragraph(result))
    if result.sdm:
        yield _text(f"SDM: {result.sdm}", "italic")
    if result.known is not None and result.known.link:
        yield _text(f"bug: {result.known.link}")
    if result.fields:
        yield Padding(_fields(result), (0, 0, 0, 2))
    if (confirmation := pair.confirmation(result)) is not None:
        stages = ", ".join(f"{stage.name}: {stage.outcome}" for stage in confirmation.stages)
        yield _text(f"looked at again: {stages}", "dim")
    yield _text("see it again:")
    yield Padding(_text(reproduce(pair, result), "bold"), (0, 0, 0, 2))
    if command := decide(pair, result):
        yield _text("see whether KVM or the CPU under it does it:")
        yield Padding(_text(command, "bold"), (0, 0, 0, 2))


def _alike(pair: Pair, results: Sequence[Result]) -> Iterator[RenderableType]:
    """Checks of one case that have no verdict for one and the same reason."""
    first = results[0]
    head = f"{first.case}: {len(results)} checks: {first.label}"
    yield Rule(_text(head, MEANINGS[first.verdict].style), align="left", style="dim")
    yield _text(f"{sentence(first.reason)} It concerns {titles(results)}.")
    yield _text("see it again:")
    yield Padding(_text(reproduce(pair, first), "bold"), (0, 0, 0, 2))


def _suites(pairs: Sequence[Pair]) -> Iterator[RenderableType]:
    """A page for however many images: those that are to be looked at, why, and the others by name."""
    counted = [(pair, counts_of(pair)) for pair in pairs]
    if unclean := [(pair, one) for pair, one in counted if not one.clean]:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("image", "agree", "differ", "known", "no verdict", "skipped"):
            table.add_column(name, overflow="fold", justify="left" if name == "image" else "right")
        for pair, one in unclean:
            numbers = (one.agree, one.new, one.known, one.inconclusive, one.skipped)
            table.add_row(_text(pair.case.name), *(_text(str(number or "")) for number in numbers))
        yield table
    for pair, _ in unclean:
        for group in grouped([result for result in pair.findings if standing(result) != "known"]):
            first = group[0]
            head = f"{pair.case.name}: {_tests(len(group))}: {first.label}"
            yield _text(head, MEANINGS[first.verdict].style)
            yield Padding(_text(group_in_words(group)), (0, 0, 0, 2))
    if known := [group for pair, _ in unclean for group in grouped(pair.findings) if standing(group[0]) == "known"]:
        yield _text("known:", STANDING_STYLES["known"])
        for group in known:
            reason = group[0].known.reason if group[0].known else ""
            words = f"{group[0].case}: {_tests(len(group))}: {group[0].label}: {reason}"
            yield Padding(_text(words, "dim"), (0, 0, 0, 2))
    if clean := [(pair, one) for pair, one in counted if one.clean and not one.left_out]:
        total = sum(one.agree for _, one in clean)
        names = ", ".join(pair.case.name for pair, _ in clean)
        yield _text(f"{len(clean)} images agree in all their {_tests(total)}: {names}", "green")
    for why, names_of in left_out(pairs):
        more = f" and {len(names_of) - FEW_NAMES} more" if len(names_of) > FEW_NAMES else ""
        yield _text(f"skipped: {', '.join(names_of[:FEW_NAMES])}{more}: {why}", "dim")
    yield _text(f"one image again: difftest run {pairs[0].case.argument.rpartition('/')[0] or '.'}/IMAGE", "dim")


def _tests(count: int) -> str:
    return f"{count} test{'s' * (count != 1)}"


def _fields(result: Result) -> Table:
    """Side by side; what differs is marked with a letter too, for a pipe and for eyes that see no colour."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "field", "SDM requires", *(visible(called(side), 40) for side in result.sides)):
        table.add_column(_text(name), overflow="fold")
    for field in result.fields:
        free = not field.compared
        broken = any(field.broken(side.target) for side in result.sides)
        table.add_row(
            _text("free" if free else "!=" if field.differs or broken else "", "dim" if free else "bold yellow"),
            _text(field.name, "dim" if free else ""),
            _text("\n".join(required(result, field))),
            *(_value(field, side.target) for side in result.sides),
        )
    return table


def _value(field: Field, target: str) -> Text:
    value = field.values.get(target)
    style = "dim" if not field.compared else "bold red" if field.broken(target) else "yellow" if field.differs else ""
    return _text(spelled(field.name, value) if value is not None else "-", style)


def _evidence(pair: Pair) -> Iterator[RenderableType]:
    """What both sides showed in the boots that the findings above rest on."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", *(f"{side.names.implementation} ({side.names.target})" for side in pair.sides)):
        table.add_column(_text(name), overflow="fold")
    table.add_row(_text("ended"), *(_text(_ending(side)) for side in pair.sides))
    table.add_row(_text("last serial line"), *(_text(side.terminal_line) for side in pair.sides))
    for row in MARKED_ROWS:
        table.add_row(_text(f"row {row}"), *(_text(_row(side, row)) for side in pair.sides))
    for name, values in (
        ("screen", [side.screen.problem for side in pair.sides]),
        ("alarms", ["; ".join(side.observation.alarms) if side.observation else "" for side in pair.sides]),
        ("kernel log", [faults(side.observation) for side in pair.sides]),
        ("panics", ["; ".join(side.observation.panics) if side.observation else "" for side in pair.sides]),
    ):
        if any(values):
            table.add_row(_text(name), *(_text(value, "bold yellow") for value in values))
    yield Padding(table, (1, 0, 0, 0))
    for side in pair.sides:
        for argv in side.observation.commands if side.observation else []:
            yield _text(f"{side.names.target} was started with:", "dim")
            yield Padding(_text(command_line(argv), "dim"), (0, 0, 0, 2))


def _ending(side: SideReport) -> str:
    if side.observation is None:
        return "never booted"
    more = f" (first of {len(side.boots)} boots)" if len(side.boots) > 1 else ""
    seconds = side.observation.seconds.get("whole")
    after = f" after {seconds:.1f} s" if seconds is not None else ""
    return f"{side.observation.ending}{after}: {side.observation.detail}{more}"


def _row(side: SideReport, row: int) -> str:
    """A row of the screen as both readings have it; one of them where they say the same."""
    reading = side.screen.rows.get(row)
    if reading is None:
        return "not read"
    memory = visible(reading.memory, 80) or "(blank)"
    if reading.ocr is None:
        return f"{memory}  (text memory only)"
    return memory if reading.agree else f"{memory}  (OCR reads: {visible(reading.ocr, 80) or '(blank)'})"


def _closing(whole: Digest) -> Group:
    tally = whole.tally
    style = (
        "bold red"
        if tally.new or tally.gone
        else "bold yellow"
        if tally.inconclusive or tally.unjudged
        else "bold green"
    )
    return Group(Rule(style="dim"), _text(headline(tally), style), _text(", ".join(counts(tally))))


def _text(words: str, style: str = "") -> Text:
    return Text(visible(words, LONGEST_TEXT), style)
