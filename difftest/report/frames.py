"""A stored run as pandas frames. Importing this costs half a second, so callers import it where they need it."""

from __future__ import annotations

import pandas as pd

from difftest.judging.result import Role
from difftest.run.store import StoredRun

RESULT_COLUMNS = [
    *["run", "case", "check", "sdm", "summary", "reference", "host_cpu", "subject", "verdict"],
    *["label", "known", "expected", "reference_status", "host_cpu_status", "subject_status", "boots", "reason"],
]
FIELD_COLUMNS = [
    *["run", "case", "check", "subject", "verdict", "field", "role", "target", "required", "value"],
    *["compared", "differs", "broken"],
]
TIMING_COLUMNS = ["run", "case", "target", "boot", "kind", "name", "value"]


def results_frame(run: StoredRun) -> pd.DataFrame:
    """A row per result. `known` is the manifest's reason for a known divergence, or ""; verdicts are the stored
    words.
    """
    rows = [
        (
            *(run.meta.run, result.case, result.check, result.sdm, result.summary),
            *(side.target if (side := result.side(role)) else "" for role in Role),
            *(result.verdict.value, result.label, result.known.reason if result.known else "", result.expected),
            *(side.status.value if (side := result.side(role)) else "" for role in Role),
            *(result.boots, result.reason),
        )
        for result in run.all_results()
    ]
    return pd.DataFrame(rows, columns=RESULT_COLUMNS)


def fields_frame(run: StoredRun) -> pd.DataFrame:
    """A row per side of each field of each result. Values are raw text, None where a side has no such field."""
    rows = [
        (
            *(run.meta.run, result.case, result.check, result.subject.target, result.verdict.value, field.name),
            *(side.role.value, side.target, field.required.get(side.target), field.values.get(side.target)),
            *(field.compared, field.differs, field.broken(side.target)),
        )
        for result in run.all_results()
        for field in result.fields
        for side in result.sides
    ]
    return pd.DataFrame(rows, columns=FIELD_COLUMNS)


def timings_frame(run: StoredRun) -> pd.DataFrame:
    """A row per number of each boot: `kind` is "seconds" (wall time of a phase) or "counter"; `boot` counts from 0."""
    rows = [
        (run.meta.run, case.name, target, boot, kind, name, float(value))
        for case in run.cases()
        for target, boots in run.boots(case.name).items()
        for boot, reading in enumerate(boots)
        for kind, numbers in (("seconds", reading.observation.seconds), ("counter", reading.observation.counters))
        for name, value in numbers.items()
    ]
    return pd.DataFrame(rows, columns=TIMING_COLUMNS)
