"""A run for programs: as one JSON document, or as JSON Lines, an object a line.

    schema        int, the version of this document (2)
    run           name, tool_version, command, started, ended, status, host, reference target
    answer        the headline, in words
    tally         results, agree, divergences, known, new, gone, inconclusive, skipped, unjudged: numbers;
                  blame: label -> number
    targets       name -> implementation, identity (name -> value)
    results       a list: case, check, sdm, summary, sides: a list of role ("reference", "host-cpu", "subject"), target,
                  implementation, status, reason; verdict, label, diverges, standing ("known", "new", "gone" or ""),
                  expected, reason, hints, explanation (a paragraph), boots, reproduce (a shell line), decide (the same
                  or ""), known (null, or reason and link), fields: a list of name, values and required (target ->
                  value), compared, differs
    confirmations a list: case, check, subject, stages: a list of name, outcome ("same", "different" or "unknown"),
                  detail
    observations  a list: case, target, boot (from 0), repeat, part, variant ("" for the plain machine), folder (in the
                  run's folder; the raw bytes are there), ending, detail, image_sha256, serial_bytes, serial_sha256,
                  serial (text, capped), terminal_line, rows (row -> memory, ocr, agree), screen_problem, registers,
                  alarms, panics, kernel_faults, seconds, counters, commands (shell lines)

All text is harmless: control characters are there as escapes such as \\x1b, long text is cut and says so.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from difftest.atomic import file_name
from difftest.judging.result import Result
from difftest.reading.boot_reading import BootReading
from difftest.report.digest import Digest, Pair, digest, headline, standing
from difftest.report.words import command_line, decide, paragraph, reproduce
from difftest.run.store import StoredRun
from difftest.text import visible
from difftest.verdict import MEANINGS

SCHEMA = 2
LONGEST_TEXT = 16_384  # characters of one string
LONGEST_SERIAL = 65_536


def json_report(run: StoredRun) -> bytes:
    """The document, in UTF-8. Raises StoreError for a run that cannot be read."""
    return msgspec.json.format(msgspec.json.encode(_harmless(_document(run))), indent=1)


def json_lines(run: StoredRun) -> bytes:
    """The same facts, one object a line, each with `schema` and its `kind`: run (first, with answer and tally), target,
    result, confirmation, observation, end (last; it has the number of lines before it, so that a cut file shows).
    """
    document = _document(run)
    lines = [{"kind": "run", **document["run"], "answer": document["answer"], "tally": document["tally"]}]
    lines += [{"kind": "target", "name": name, **facts} for name, facts in document["targets"].items()]
    for kind in ("result", "confirmation", "observation"):
        lines += [{"kind": kind, **facts} for facts in document[f"{kind}s"]]
    lines.append({"kind": "end", "lines": len(lines)})
    return b"".join(msgspec.json.encode(_harmless({"schema": SCHEMA, **line})) + b"\n" for line in lines)


def _document(run: StoredRun) -> dict[str, Any]:
    whole = digest(run)
    return {
        "schema": SCHEMA,
        "run": _run(whole),
        "answer": headline(whole.tally),
        "tally": msgspec.to_builtins(whole.tally),
        "targets": {
            name: {
                "implementation": names.implementation,
                "identity": run.meta.identities.get(name, {}),
            }
            for name, names in run.meta.targets.items()
        },
        "results": [_result(pair, result) for pair in whole.pairs for result in pair.results],
        "observations": [
            _observation(case.name, target, reading)
            for case in run.cases()
            for target, boots in run.every_boot(case.name).items()
            for reading in boots
        ],
        "confirmations": [
            {"case": case.name, **msgspec.to_builtins(one)}
            for case in run.cases()
            for one in run.confirmations(case.name)
        ],
    }


def _run(whole: Digest) -> dict[str, Any]:
    meta = whole.meta
    return {
        "name": meta.run,
        "tool_version": meta.tool_version,
        "command": command_line(meta.command),
        "started": meta.started,
        "ended": meta.ended,
        "status": meta.status,
        "host": meta.host,
        "reference": meta.reference,
    }


def _result(pair: Pair, result: Result) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(result)
    return document | {
        "label": result.label,
        "diverges": MEANINGS[result.verdict].diverges,
        "standing": standing(result),
        "explanation": paragraph(result),
        "reproduce": reproduce(pair, result),
        "decide": decide(pair, result),
        "known": {"reason": result.known.reason, "link": result.known.link} if result.known else None,
    }


def _observation(case: str, target: str, reading: BootReading) -> dict[str, Any]:
    observation, boot, screen = reading.observation, reading.boot, reading.screen
    return {
        "case": case,
        "target": target,
        "boot": boot.number,
        "repeat": boot.repeat,
        "part": boot.part,
        "variant": boot.variant,
        "folder": f"cases/{file_name(case)}/{file_name(target)}/{boot.number}",
        "ending": observation.ending.value,
        "detail": observation.detail,
        "image_sha256": observation.image_sha256,
        "serial_bytes": len(observation.serial),
        "serial_sha256": hashlib.sha256(observation.serial).hexdigest(),
        "serial": _Lines(visible(observation.serial, LONGEST_SERIAL, lines=True)),
        "ram_log": _Lines(visible(observation.ram_log, LONGEST_SERIAL, lines=True)),
        "terminal_line": reading.transcript.terminal_line,
        "rows": {str(row): msgspec.to_builtins(reading) for row, reading in screen.rows.items()},
        "screen_problem": screen.problem,
        "registers": observation.registers,
        "alarms": observation.alarms,
        "panics": observation.panics,
        "kernel_faults": [msgspec.to_builtins(fault) for fault in observation.kernel_faults],
        "seconds": observation.seconds,
        "counters": observation.counters,
        "commands": [command_line(argv) for argv in observation.commands],
    }


class _Lines(str):
    """Text that went through the door already and keeps its newlines."""


def _harmless(value: Any) -> Any:
    """Every string of the document, keys too, through the one door."""
    if isinstance(value, _Lines):
        return str(value)
    if isinstance(value, str):
        return visible(value, LONGEST_TEXT)
    if isinstance(value, dict):
        return {visible(str(key), LONGEST_TEXT): _harmless(one) for key, one in value.items()}
    return [_harmless(one) for one in value] if isinstance(value, list) else value
