"""Who carried out what a check does, L0 or the CPU under it: by the exits that stored runs have recorded. It tells a
kernel that does a thing rightly by itself from one that leaves it to its CPU.
"""

from __future__ import annotations

from collections.abc import Mapping

from difftest.reading.exits import exits_of, l0_view
from difftest.run.store import StoredRun

OPTION = "--exits"


def by_l0(run: StoredRun, case: str, check: str, subject: str) -> bool | None:
    """Whether L0 carried out an instruction of a check; None where the run has no whole record of that.

    Raises StoreError for a run that cannot be read.
    """
    if OPTION not in run.meta.command:
        return None
    for reading in run.boots(case).get(subject, ()):
        trace = exits_of(reading.observation)
        window = trace.windows.get(check) if trace is not None else None
        view = l0_view(window) if window is not None else None
        if view is not None and view.complete:
            return not view.cpu_alone
    return None


def hint(who: Mapping[str, bool | None]) -> str:
    """What follows for versions, by their names, of which L0 carried it out on one and not on another; "" where they do
    not differ in that.
    """
    did, left = ([name for name, one in who.items() if one is wanted] for wanted in (True, False))
    if not did or not left:
        return ""
    return (
        f"L0 carried out instructions of this check on {', '.join(did)}, and left them to the CPU under it on "
        f"{', '.join(left)}: what changed may be who does it, and not what KVM does"
    )
