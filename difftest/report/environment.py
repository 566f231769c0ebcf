"""What the targets of a run are, line by line: their identities, and what the images saw of their CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from difftest.reading.boot_reading import BootReading
from difftest.report.capabilities import only_here
from difftest.report.digest import Pair
from difftest.run.metadata import Meta

CPU_KEY = "CPU: "  # what begins the lines that the image has from the CPU itself


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the targets' identities. A value is "" where a target has no such thing."""

    key: str
    values: list[str]
    differs: bool
    notes: list[str] = []  # beside the values, what they mean; empty where nothing is to be said


def environments(pairs: Sequence[Pair], meta: Meta) -> tuple[list[str], list[Environment]]:
    """The targets' names, and line by line what they are. What a boot saw goes before what was known when the run
    began.
    """
    seen: dict[str, dict[str, list[str]]] = {
        name: {key: [value] for key, value in identity.items()} for name, identity in meta.identities.items()
    }
    booted: set[tuple[str, str]] = set()
    for side in (side for pair in pairs for side in pair.sides):
        for observation in (seen.observation for seen in side.boots):
            for key, value in observation.identity.items():
                values = seen.setdefault(observation.target, {}).setdefault(key, [])
                if (observation.target, key) not in booted:
                    values.clear()
                    booted.add((observation.target, key))
                if value not in values:  # two identities of one target: both are shown
                    values.append(value)
        _cpu_lines(side.boots, seen)
    targets = sorted(seen, key=lambda name: (name != meta.reference, name))
    lines = []
    for key in dict.fromkeys(key for name in targets for key in seen[name]):
        values_of = [" / ".join(seen[name].get(key, [])) for name in targets]
        notes = [only_here(key.removeprefix(CPU_KEY).lower(), values_of, index) for index in range(len(targets))]
        lines.append(Environment(key=key, values=values_of, differs=len(set(values_of) - {""}) > 1, notes=notes))
    return targets, lines


def _cpu_lines(boots: Sequence[BootReading], seen: dict[str, dict[str, list[str]]]) -> None:
    """Add what the CPU said of itself to the images that ask it."""
    for boot in boots:
        for name, value in boot.transcript.cpu.items():
            values = seen.setdefault(boot.observation.target, {}).setdefault(f"{CPU_KEY}{name.upper()}", [])
            if value not in values:
                values.append(value)
