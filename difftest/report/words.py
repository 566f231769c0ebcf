"""A result in plain words, and the commands that show it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from difftest.report.digest import Pair, standing
from difftest.report.meaning import spelled
from difftest.result import HOST_KERNEL, IMAGE, Field, Result
from difftest.text import visible
from difftest.verdict import MEANINGS

MOST_FACTS = 4  # differing fields that a paragraph names; the table has all
LONGEST_FACT = 200


def paragraph(result: Result) -> str:
    """What was tested, who was wrong and what was seen, for somebody who has not read the case. Safe to show."""
    names = {"reference": result.reference_name, "subject": result.subject_name}
    meaning = MEANINGS[result.verdict]
    # Where nothing could be decided, what differs proves nothing: the reason alone is told.
    differing = [field for field in result.fields if field.differs and meaning.decided]
    sentences = [
        _sentence(result.summary),
        _sentence(meaning.explanation.format(**names)),
        *[_fact(result, field) for field in differing[:MOST_FACTS]],
    ]
    # The judge's reason often says of one field what the sentences above say of all.
    if not any(field.name in result.reason for field in differing):
        sentences.append(_sentence(result.reason))
    if result.boots:
        sentences.append(f"Seen in {result.boots} boots.")
    if result.known is not None and standing(result) == "known":
        sentences.append(_sentence(f"Known: {result.known.reason}"))
    return visible(" ".join(sentence for sentence in sentences if sentence), 4000)


def title(result: Result) -> str:
    """A check's name as a reader meets it."""
    special = {IMAGE: "the image as a whole", HOST_KERNEL: "the log of the kernel under test"}
    return visible(special.get(result.check, result.check), 200)


def reproduce(pair: Pair, result: Result) -> str:
    """The one line that shows a result again."""
    argv = ["difftest", "run", pair.case.argument]
    if result.check not in (IMAGE, HOST_KERNEL) and pair.case.checks:  # only images of the kit take a selection
        argv += ["-k", result.check]
    argv += ["--target", result.subject]
    argv += pair.choices
    if result.boots:
        argv += ["--repeat", result.boots.partition("/")[2]]
    return command_line(argv)


def command_line(argv: Sequence[str]) -> str:
    """A command as a shell takes it, safe to show."""
    return visible(shlex.join(argv), 8000)


def _fact(result: Result, field: Field) -> str:
    """One differing field as a sentence: what the SDM requires, where the check says so, and what each side gave."""
    sides = [(result.reference_name, field.reference), (result.subject_name, field.subject)]
    if field.required is None:
        gave = ", ".join(f"{name} gave {_value(field, value)}" for name, value in sides)
        return f"For {field.name} {gave}."
    gave = ", ".join(f"{name} gave {'that' if value == field.required else _value(field, value)}" for name, value in sides)
    return f"For {field.name} the SDM requires {_value(field, field.required)}: {gave}."


def _value(field: Field, value: str | None) -> str:
    return "none" if value is None else visible(spelled(field.name, value), LONGEST_FACT) or "(nothing)"


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}" if text else ""
