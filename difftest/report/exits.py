"""What L0 handled while each check ran, of a run whose exits were recorded, in Markdown. Offline, like every report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from difftest.reading.exits import CR_ACCESS, Exit, ExitHandling, L0View, Window, exits_of, l0_view
from difftest.report.field_values import EXIT_REASONS, VECTORS
from difftest.report.markdown import cell
from difftest.report.qualification import CONTROL_REGISTER
from difftest.run.store import StoredRun
from emulators.observation import Observation

EXCEPTION = 0  # exit reason of exceptions and NMIs
SHOWN = 8  # kinds of exits of one check in the table
WORDS = {
    ExitHandling.HANDLED: "L0 alone",
    ExitHandling.REFLECTED: "reflected to L1",
    ExitHandling.WRITTEN: "L0 made {} for L1",
}


def exits_report(run: StoredRun) -> str:
    """A table for each case and target that has recorded exits."""
    return "\n".join(_lines(run)) + "\n"


def exits_in_words(view: L0View) -> str:
    """What L0 saw of a check, in words: "MOV to CR0 x1 (in L2 at l2_mov_cr0, L0 alone, #GP injected)"."""
    if view.never:
        mapped = f", L0 mapped memory x{view.mapped}" if view.mapped else ""
        return f"nothing: no instruction of {view.level} exited{mapped}"
    kinds = Counter[tuple[str, str]]()
    for exit in (*view.instructions, *view.accesses):
        kinds[_name(exit), _exit_in_words(exit)] += exit.count
    shown = [f"{name} x{count} ({words})" for (name, words), count in kinds.items()][:SHOWN]
    more = [f"{len(kinds) - SHOWN} more kinds"] if len(kinds) > SHOWN else []
    alone = [f"no instruction of {view.level} exited"] if view.cpu_alone else []
    unknown = [] if view.complete else ["the record is not whole"]
    return "; ".join([*shown, *more, *alone, *unknown])


def _exit_in_words(exit: Exit) -> str:
    """Who ran where, and what L0 made of it."""
    words = [f"in {exit.level}" + (f" at {exit.place}" if exit.place else "")]
    words.append(WORDS[exit.handling].format(_reason(exit.passed, "an exit")))
    words += [f"{VECTORS.get(vector, f'exception {vector}')} injected" for vector in exit.exceptions]
    words += ["the VM entry failed"] if exit.failed else []
    return ", ".join(words)


def _name(exit: Exit) -> str:
    if exit.reason == CR_ACCESS and exit.detail is not None:
        number, kind = CONTROL_REGISTER[0].value(exit.detail), CONTROL_REGISTER[1]
        word = kind.words[kind.value(exit.detail)]
        return f"{word}{number}" if word.endswith("CR") else word
    if exit.reason == EXCEPTION and exit.detail is not None:
        return VECTORS.get(exit.detail, f"exception {exit.detail}")
    return _reason(exit.reason, exit.name)


def _reason(reason: int | None, otherwise: str) -> str:
    return EXIT_REASONS.get(reason, otherwise) if reason is not None else ""


def _lines(run: StoredRun) -> Iterator[str]:
    yield "# What L0 handled"
    yield ""
    yield "The VM exits that KVM got from the CPU under it while a check ran: of the check itself, and all in all. What"
    yield "L0 never saw, the CPU under it did. Two things are L0's work in any case: entering and leaving L2; and,"
    yield "where it mapped memory, the accessed and dirty flags and the log of L1's EPT."
    empty = True
    for snapshot in run.cases():
        for target, boots in run.boots(snapshot.name).items():
            recorded = [
                reading.observation for reading in boots if reading.boot.repeat == 0 and exits_of(reading.observation)
            ]
            if recorded:
                empty = False
                yield from _target(snapshot.name, target, recorded)
    if empty:
        yield ""
        yield "No boot of this run has a record: `difftest run --exits` makes one, on `kvm-hosted`."


def _target(case: str, target: str, boots: Sequence[Observation]) -> Iterator[str]:
    kernel = boots[0].identity.get("kernel", "")
    yield ""
    yield f"## {cell(case)} on {cell(target)}" + (f", Linux {cell(kernel)}" if kernel else "")
    yield ""
    yield "| check | L0 handled of it | exits in all |"
    yield "|---|---|---|"
    windows: dict[str, Window] = {}
    problems: list[str] = []
    for boot in boots:  # the later ones are of the checks after one that killed the guest
        if trace := exits_of(boot):
            windows = {**trace.windows, **windows}
            problems += trace.problems
    for check, window in windows.items():
        yield f"| `{cell(check)}` | {cell(exits_in_words(l0_view(window)), 2000)} | {_counts(window)} |"
    for problem in problems:
        yield f"\nNot whole: {cell(problem)}"


def _counts(window: Window) -> str:
    """How many there were, by who ran and what L0 made of them."""
    counts = Counter[tuple[str, str]]()
    for exit in window.exits:
        counts[exit.level, exit.handling] += exit.count
    l2 = ", ".join(f"{counts['L2', handling]} {handling}" for handling in ExitHandling if counts["L2", handling])
    return f"L1 {counts['L1', ExitHandling.HANDLED]}" + (f"; L2 {l2}" if l2 else "")
