"""A result in plain words, and the commands that show it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from difftest.case.manifest import EMULATOR, HOST_EMULATOR, HOST_KERNEL, IMAGE, OF_LOGS
from difftest.judging.result import BY_L0, Field, Result, Role, Side
from difftest.report.digest import Pair, standing
from difftest.report.field_values import meaning, spelled
from difftest.text import visible
from difftest.verdict import MEANINGS, Verdict, explanation
from emulators.observation import Observation

MOST_FACTS = 4  # differing fields that a paragraph names; the table has all
MOST_FACTS_BESIDE = 2  # the same where what happened has been said
LONGEST_FACT = 200
PLAIN = re.compile(r"(?:~/)?(?:[\w@%+=:,./-]|\$CACHE\b)+", re.ASCII)  # words that need no quotes
MOST_NAMES = 3  # of checks with one cause that are named
NO_CHECKS = (IMAGE, *OF_LOGS)  # ids of results that belong to no check of the image
EVENT_FIELDS = ("exit_reason", "vector", "error_code")  # that say together what happened
TALLY_TURN, TALLY_FIRST, TALLY_WRONG = "first_wrong_turn", "first_wrong", "wrong_turns"  # fields of cases/lib/tally.c
EXPLAINED_BY_REASON = (Verdict.SHARED, Verdict.BY_HOST, Verdict.FLAKY)


def paragraph(result: Result) -> str:
    """What was tested, who was wrong and what was seen, for somebody who has not read the case. Safe to show."""
    names = {"reference": result.reference.implementation, "subject": result.subject.implementation}
    meant = MEANINGS[result.verdict]
    # Where nothing could be decided, what differs proves nothing: only the reason is given.
    notable = [field for field in result.fields if (field.differs or field.broken(_last(result))) and meant.decided]
    effects = {side.target: effect(result, side.target) for side in result.sides} if meant.decided else {}
    clear = len(set(effects.values()) - {""}) > 1 and all(effects.values())
    sentences = [
        sentence(result.summary),
        sentence(explanation(result.verdict, **names, own=result.own)),
        " ".join(f"{called(side)}: {effects[side.target]}." for side in result.sides) if clear else "",
        *[_fact(result, field) for field in notable[: MOST_FACTS_BESIDE if clear else MOST_FACTS]],
    ]
    # The judge's reason often says of one field what the sentences above say of all.
    if not any(field.name in result.reason for field in notable) or result.verdict in EXPLAINED_BY_REASON:
        sentences.append(sentence(result.reason))
    sentences += [sentence(hint) for hint in result.hints]
    if result.boots:
        sentences.append(f"Seen in {result.boots} boots.")
    if result.known is not None and standing(result) == "known":
        sentences.append(sentence(f"Known: {result.known.reason}"))
    return visible(" ".join(sentence for sentence in sentences if sentence), 4000)


def effect(result: Result, target: str) -> str:
    """What happened on one side in a few words, or "" where the record does not say: the first requirement that it
    broke, or else its exception or exit. Of an exception that a nested guest does not expect the kit makes a VMCALL, so
    the exception is what happened there.
    """
    values = {field.name: field.values[target] for field in result.fields if target in field.values}
    broken = next((field for field in result.fields if field.broken(target)), None)
    if broken is not None and broken.name == TALLY_FIRST and target in broken.values:
        return (
            f"turn {values.get(TALLY_TURN, '?')} of a sweep gives {broken.values[target]} instead of "
            f"{broken.required[target]}, the first of {values.get(TALLY_WRONG, '?')} wrong turns"
        )
    if broken is not None and broken.name not in EVENT_FIELDS:
        was = "absent" if target not in broken.values else spelled(broken.name, broken.values[target])
        words = f"{broken.name} is {was} instead of {spelled(broken.name, broken.required[target])}"
        taken = values.get(f"{broken.name.removesuffix('fault')}vector") if broken.name.endswith("fault") else None
        return f"{words} ({meaning('vector', taken).partition(', ')[2] or f'vector {taken}'})" if taken else words
    reason, vector = values.get("exit_reason"), values.get("vector")
    if vector is not None:
        nested = reason is not None or "l2_vector" in values
        code = f", error code {values['error_code']}" if "error_code" in values else ""
        name = meaning("vector", vector).partition(", ")[2] or f"exception {vector}"
        return f"{name} {'in the nested guest' if nested else 'in the guest'}{code}"
    if reason is not None:
        return f"a VM exit ({meaning('exit_reason', reason) or reason})"
    return f"the boot ends with {values['ending']}" if values.keys() == {"ending"} else ""


def called(side: Side) -> str:
    """A side's name where several of one implementation may take part."""
    return f"{side.implementation} under KVM" if side.role == Role.HOST_CPU else side.implementation


def statuses(result: Result) -> str:
    """What the image said of each side: "PASS : FAIL"."""
    return " : ".join(side.status.value for side in result.sides)


def targets(result: Result) -> str:
    """The sides by their targets' names: "bochs : kvm-hosted"."""
    return " : ".join(side.target for side in result.sides)


def title(result: Result) -> str:
    """A check's name as a reader meets it."""
    special = {
        IMAGE: "the image as a whole",
        HOST_KERNEL: "the log of the kernel under test",
        EMULATOR: "panics of the emulator",
        HOST_EMULATOR: "panics of the emulator under KVM",
    }
    return visible(special.get(result.check, result.check), 200)


def titles(results: Sequence[Result]) -> str:
    """The names of checks in a few words: all of a few, the first of many."""
    names = ", ".join(title(result) for result in results[:MOST_NAMES])
    more = len(results) - MOST_NAMES
    return f"{names} and {more} more" if more > 0 else names


def reproduce(pair: Pair, result: Result, target: str = "", *, public: bool = False) -> str:
    """The one line that shows a result again, on its own or on another target. A Bochs that is wrong by itself needs no
    other target than the one that the tool takes. A `public` line has no path of this machine.
    """
    words = [] if not target and result.verdict == Verdict.REFERENCE_WRONG else _target(target or result.subject.target)
    return _run(pair, result, [*words, *([] if target else pair.choices)], public=public)


def decide(pair: Pair, result: Result) -> str:
    """The command that decides, or narrows down, whose a shared failure is; "" where the run has what it would show."""
    return f"{reproduce(pair, result)} --exits" if _undecided(result) else ""


def decide_known(pair: Pair) -> str:
    """The same, in one command, of all known shared failures of a case."""
    shared = [result for result in pair.results if result.expected and _undecided(result)]
    checks = [word for result in shared for word in ("-k", result.check)]
    target = _target(pair.subject.names.target)
    argv = ["difftest", "run", pair.case.argument, *_options(pair, public=False), *checks, *target, *pair.choices]
    return command_line([*argv, "--exits"]) if shared else ""


def _undecided(result: Result) -> bool:
    """Whether a failure is shared, and nothing was recorded of who does it."""
    return result.verdict == Verdict.SHARED and not any(hint.startswith(BY_L0) for hint in result.hints)


def reproduce_on_bochs(pair: Pair, result: Result, role: Role) -> str:
    """The same as a public line for somebody who maintains Bochs: the reference, or the CPU under the subject, which is
    then the reference. Neither the subject nor its kernel matters.
    """
    chosen = dict(zip(pair.choices[::2], pair.choices[1::2], strict=True))
    side = next(side for side in pair.sides if side.role == role)
    bochs, model = chosen.get("--bochs"), chosen.get("--cpu-model")
    if role == Role.HOST_CPU:
        version = re.match(r"[\d.]+", side.observation.identity.get("bochs", "")) if side.observation else None
        bochs = chosen.get("--host-bochs") or (version[0] if version else None)
        model = chosen.get("--host-cpu-model") or model
    options = {"--bochs": bochs, "--cpu-model": model}
    return _run(pair, result, [word for flag, value in options.items() if value for word in (flag, value)], public=True)


def _run(pair: Pair, result: Result, choices: Sequence[str], *, public: bool) -> str:
    argument = pair.case.argument
    argv = ["difftest", "run", argument.rpartition("/")[2] if public else argument, *_options(pair, public=public)]
    if result.check not in NO_CHECKS and pair.case.checks:  # only images of the kit take a selection
        argv += ["-k", result.check]
    argv += [word.rpartition("/")[2] or word for word in choices] if public else choices
    times, _, of = result.boots.partition("/")
    if times != of:
        argv += ["--repeat", of]
    return command_line(argv)


def _target(name: str) -> list[str]:
    return ["--target", name]


def _options(pair: Pair, *, public: bool) -> list[str]:
    """What of its image the user said; in a public line without the folders of files."""
    words = pair.case.options
    files = [number for number, word in enumerate(words, 1) if word in ("--module", "--second-disk")]
    return [word.rpartition("/")[2] if public and number in files else word for number, word in enumerate(words)]


def command_line(argv: Sequence[str]) -> str:
    """A command as a shell takes it, safe to show. Where a run has $CACHE or ~ for a path they stay as they are."""
    return visible(" ".join(word if PLAIN.fullmatch(word) else shlex.quote(word) for word in argv), 8000)


def required(result: Result, field: Field) -> list[str]:
    """What the SDM requires of a field: one line, or where it depends on the CPU one for each side."""
    wanted = {side.target: field.required[side.target] for side in result.sides if side.target in field.required}
    if len(set(wanted.values())) <= 1:
        return [spelled(field.name, value) for value in list(wanted.values())[:1]]
    return [f"{target}: {spelled(field.name, value)}" for target, value in wanted.items()]


def faults(observation: Observation | None) -> str:
    """What the kernel's log has of faults, in one line."""
    lines = [fault.line for fault in observation.kernel_faults] if observation else []
    return "; ".join(lines)


def _last(result: Result) -> str:
    return result.subject.target


def _fact(result: Result, field: Field) -> str:
    """One differing field as a sentence: what the SDM requires, where the check says so, and what each side gave."""
    required = {field.required[side.target] for side in result.sides if side.target in field.required}
    if len(required) == 1:
        one = required.pop()
        gave = ", ".join(
            f"{called(side)} gave {'that' if field.values.get(side.target) == one else _value(field, side.target)}"
            for side in result.sides
        )
        return f"For {field.name} the SDM requires {_spelled(field, one)}: {gave}."
    parts = []
    for side in result.sides:
        wanted = field.required.get(side.target)
        of = f" (required there: {_spelled(field, wanted)})" if wanted is not None else ""
        parts.append(f"{called(side)} gave {_value(field, side.target)}{of}")
    return f"For {field.name} {', '.join(parts)}."


def _value(field: Field, target: str) -> str:
    value = field.values.get(target)
    return "none" if value is None else _spelled(field, value)


def _spelled(field: Field, value: str) -> str:
    return visible(spelled(field.name, value), LONGEST_FACT) or "(nothing)"


def sentence(text: str) -> str:
    """Some words as a sentence: a capital letter (but for the name of a function), a full stop."""
    text = text.strip()
    if not re.match(r"[\w.]*[_(]", text):
        text = text[:1].upper() + text[1:]
    return f"{text}{'' if text.endswith(('.', '?', '!')) else '.'}" if text else ""
