"""A result in plain words, and the commands that show it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from difftest.case.manifest import HOST_KERNEL, IMAGE
from difftest.judging.result import Field, Result
from difftest.report.digest import Pair, standing
from difftest.report.meaning import meaning, spelled
from difftest.text import visible
from difftest.verdict import MEANINGS

MOST_FACTS = 4  # differing fields that a paragraph names; the table has all
MOST_FACTS_BESIDE = 2  # the same where it was told already what happened
LONGEST_FACT = 200


def paragraph(result: Result) -> str:
    """What was tested, who was wrong and what was seen, for somebody who has not read the case. Safe to show."""
    names = {"reference": result.reference_name, "subject": result.subject_name}
    meant = MEANINGS[result.verdict]
    # Where nothing could be decided, what differs proves nothing: the reason alone is told.
    differing = [field for field in result.fields if field.differs and meant.decided]
    effects = [effect(result, place) if meant.decided else "" for place in (0, 1)]
    told = all(effects) and effects[0] != effects[1]
    sentences = [
        sentence(result.summary),
        sentence(meant.explanation.format(**names)),
        f"{names['reference']}: {effects[0]}. {names['subject']}: {effects[1]}." if told else "",
        *[_fact(result, field) for field in differing[: MOST_FACTS_BESIDE if told else MOST_FACTS]],
    ]
    # The judge's reason often says of one field what the sentences above say of all.
    if not any(field.name in result.reason for field in differing):
        sentences.append(sentence(result.reason))
    if result.boots:
        sentences.append(f"Seen in {result.boots} boots.")
    if result.known is not None and standing(result) == "known":
        sentences.append(sentence(f"Known: {result.known.reason}"))
    return visible(" ".join(sentence for sentence in sentences if sentence), 4000)


def effect(result: Result, place: int) -> str:
    """What happened on one side (0 the reference, 1 the subject) in a few words, or "" where the record does not tell.

    The kit's nested guests end an exception that they do not expect in a VMCALL, so the exception is what happened
    there.
    """
    sides = ((field.name, (field.reference, field.subject)[place]) for field in result.fields)
    values = {name: value for name, value in sides if value is not None}
    reason, vector = values.get("exit_reason"), values.get("vector")
    if vector is not None:
        where = "in the nested guest" if reason is not None else "in the guest"
        code = f", error code {values['error_code']}" if "error_code" in values else ""
        return f"{meaning('vector', vector).partition(', ')[2] or f'exception {vector}'} {where}{code}"
    if reason is not None:
        return f"a VM exit ({meaning('exit_reason', reason) or reason})"
    return f"the boot ends with {values['ending']}" if values.keys() == {"ending"} else ""


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
    times, _, of = result.boots.partition("/")
    if times != of:
        argv += ["--repeat", of]
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
    gave = ", ".join(
        f"{name} gave {'that' if value == field.required else _value(field, value)}" for name, value in sides
    )
    return f"For {field.name} the SDM requires {_value(field, field.required)}: {gave}."


def _value(field: Field, value: str | None) -> str:
    return "none" if value is None else visible(spelled(field.name, value), LONGEST_FACT) or "(nothing)"


def sentence(text: str) -> str:
    """Some words as a sentence: a capital letter (but for the name of a function), a full stop."""
    text = text.strip()
    if not re.match(r"\w*[_(]", text):
        text = text[:1].upper() + text[1:]
    return f"{text}{'' if text.endswith(('.', '?', '!')) else '.'}" if text else ""
