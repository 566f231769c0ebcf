"""A stored run as pandas frames. Importing this costs half a second, so callers import it where they need it."""

from __future__ import annotations

import pandas as pd

from difftest.run.store import StoredRun

RESULT_COLUMNS = [
    *["run", "case", "check", "sdm", "summary", "reference", "subject", "reference_name", "subject_name", "verdict"],
    *["label", "known", "expected", "reference_status", "subject_status", "boots", "reason"],
]
FIELD_COLUMNS = [
    *[
        "run",
        "case",
        "check",
        "reference",
        "subject",
        "verdict",
        "field",
        "required",
        "reference_value",
        "subject_value",
    ],
    *["compared", "differs"],
]
TIMING_COLUMNS = ["run", "case", "target", "boot", "kind", "name", "value"]


def results_frame(run: StoredRun) -> pd.DataFrame:
    """A row per result. `known` is the manifest's reason for a known divergence, or ""; verdicts are the stored
    words.
    """
    rows = [
        (
            *(run.meta.run, result.case, result.check, result.sdm, result.summary, result.reference, result.subject),
            *(result.reference_name, result.subject_name, result.verdict.value, result.label),
            *(result.known.reason if result.known else "", result.expected),
            *(result.reference_status, result.subject_status, result.boots, result.reason),
        )
        for result in run.all_results()
    ]
    return pd.DataFrame(rows, columns=RESULT_COLUMNS)


def fields_frame(run: StoredRun) -> pd.DataFrame:
    """A row per field of each result. Values are raw text, None where a side has no such field."""
    rows = [
        (
            *(run.meta.run, result.case, result.check, result.reference, result.subject, result.verdict.value),
            *(field.name, field.required, field.reference, field.subject, field.compared, field.differs),
        )
        for result in run.all_results()
        for field in result.fields
    ]
    return pd.DataFrame(rows, columns=FIELD_COLUMNS)


def timings_frame(run: StoredRun) -> pd.DataFrame:
    """A row per number of each boot: `kind` is "seconds" (wall time of a phase) or "counter"; `boot` counts from 0."""
    rows = [
        (run.meta.run, case.name, target, boot, kind, name, float(value))
        for case in run.cases()
        for target, boots in run.observations(case.name).items()
        for boot, (observation, _) in enumerate(boots)
        for kind, numbers in (("seconds", observation.seconds), ("counter", observation.counters))
        for name, value in numbers.items()
    ]
    return pd.DataFrame(rows, columns=TIMING_COLUMNS)
