"""Two stories in two columns, up to where they part, and what lies there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from difftest.reading.record import Record
from difftest.report.field_values import meaning, spelled
from difftest.text import visible
from difftest.tracing.parting import Parting
from difftest.tracing.story import MEMORY, StepKind, Story, StoryStep

MOST_INSTRUCTIONS = 12  # of a stretch of L2 that are shown: the last ones
MOST_ROWS = 24  # in front of where they part
AFTER = 6  # events after it
MOST_FIELDS = 12

Place = Callable[[int], str]
Row = tuple[StoryStep | None, StoryStep | None]


def rows(bochs: Story, kvm: Story, found: Parting) -> tuple[list[Row], list[Row]]:
    """The rows up to where they part, and those from there on."""
    before: list[Row] = []
    left = right = 0
    for one, other in found.pairs:
        before += _stretch(bochs.steps[left:one], kvm.steps[right:other])
        before.append((bochs.steps[one], kvm.steps[other]))
        left, right = one + 1, other + 1
    before += _stretch(bochs.steps[left : found.left], kvm.steps[right : found.right])
    after = [list(_events(story.steps[at:]))[:AFTER] for story, at in ((bochs, found.left), (kvm, found.right))]
    longest = max(map(len, after))
    padded = [[*steps, *[None] * (longest - len(steps))] for steps in after]
    return before, list(zip(*padded, strict=True))


def table(bochs: Story, kvm: Story, found: Parting, names: tuple[str, str], place: Place, *, whole: bool) -> Table:
    before, after = rows(bochs, kvm, found)
    shown = before if whole else [row for row in before if not _prepares(row, kvm)][-MOST_ROWS:]
    drawn = Table(*names, box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
    if len(shown) < len(before):
        drawn.add_row(f"... {len(before) - len(shown)} rows before", "")
    for one, other in shown:
        again = one is not None and other is not None and one.rip == other.rip
        drawn.add_row(Text(in_words(one, place)), Text(in_words(other, (lambda rip: "") if again else place)))
    if found.differs:
        drawn.add_row(Text("--- here they part ---", "bold"), Text("--- here they part ---", "bold"))
        for one, other in after:
            drawn.add_row(*(Text(in_words(step, place)) for step in (one, other)))
        ends = [f"(ends: {story.end})" if story.end else "" for story in (bochs, kvm)]
        if any(ends):
            drawn.add_row(*map(Text, ends))
    return drawn


def _prepares(row: Row, kvm: Story) -> bool:
    """Whether a row is of what the kit does in L1 to prepare a check in L2."""
    nested = any(step.kind in (StepKind.ENTRY, StepKind.REFUSED, StepKind.EXIT) for step in kvm.steps)
    return nested and all(
        step is None or (step.level == "L1" and step.kind in (StepKind.HANDLED, StepKind.INSTRUCTION)) for step in row
    )


def in_words(step: StoryStep | None, place: Place) -> str:
    """One step in a line."""
    if step is None:
        return ""
    where = _where(step.rip, place)
    reason = meaning("exit_reason", f"{step.number:#x}") or str(step.number)
    match step.kind:
        case StepKind.INSTRUCTION:
            return f"{step.level}  {where}: {step.words}"
        case StepKind.HANDLED:
            if step.number in MEMORY:
                return f"{step.level}  {where}: L0 looks at memory ({reason}, {step.detail:#x})"
            what = _vector(step.detail) if step.number == 0 else f"{reason}, {step.detail:#x}"
            return f"{step.level}  {where}: L0 handles {what}"
        case StepKind.ENTRY:
            return f"L1  {where}: VM entry, L2 runs"
        case StepKind.REFUSED:
            return f"L1  {where}: VM entry refused, VMfail" + (f" ({step.words})" if step.words else "")
        case StepKind.EXIT:
            words = f" ({step.words})" if step.words else ""
            if step.had not in (None, step.number):
                had = meaning("exit_reason", f"{step.had:#x}") or str(step.had)
                words = f" (L0 had {had})"
            return f"VM exit to L1: {reason}{' at VM entry' if step.failed else ''}, qualification {step.detail:#x}" + (
                f", at {where}{words}"
            )
        case StepKind.EXCEPTION:
            words = f", {step.words}" if step.words else ""
            return f"{step.level}  {where}: {_vector(step.number)}, error code {step.detail:#x}{words}"


def fields_apart(one: Record | None, other: Record | None) -> list[str]:
    """The fields of the check's record that differ, in words."""
    if one is None or other is None:
        return []
    names = [name for name in {**one.fields, **other.fields} if one.fields.get(name) != other.fields.get(name)]
    return [
        f"{name}: Bochs {_value(name, one)}, KVM {_value(name, other)}"
        + (f"; required {spelled(name, needed)}" if (needed := one.required.get(name)) is not None else "")
        for name in names[:MOST_FIELDS]
    ]


def _value(name: str, record: Record) -> str:
    value = record.fields.get(name)
    return "none" if value is None else visible(spelled(name, value), 100)


def _vector(number: int) -> str:
    return meaning("vector", f"{number:#x}").partition(", ")[2] or f"exception {number}"


def _where(rip: int | None, place: Place) -> str:
    if rip is None:
        return "?"
    name = place(rip)
    return f"{rip:#x}" + (f" {name}" if name else "")


def _events(steps: Sequence[StoryStep]) -> Iterator[StoryStep]:
    return (step for step in steps if step.kind is not StepKind.INSTRUCTION or step.level == "L2")


def _stretch(left: Sequence[StoryStep], right: Sequence[StoryStep]) -> list[Row]:
    """What happened between two events: the instructions of L2, or those of L1 that L0 handled, and exceptions; beside
    them what L0 handled there.
    """
    rips = {step.rip for step in right}
    kept = [step for step in left if step.kind is not StepKind.INSTRUCTION or step.level == "L2" or step.rip in rips]
    kept = kept[-MOST_INSTRUCTIONS:]
    waiting = list(right)
    found: list[Row] = []
    for step in kept:
        at = next((at for at, other in enumerate(waiting) if (other.level, other.rip) == (step.level, step.rip)), None)
        if at is None or step.kind is not StepKind.INSTRUCTION:
            found.append((step, None))
            continue
        found += [(None, other) for other in waiting[:at]]
        found.append((step, waiting[at]))
        del waiting[: at + 1]
    return [*found, *((None, other) for other in waiting)]
