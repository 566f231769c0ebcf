"""What a run cost is counted whole: the sides' boots together are all boots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import baseline
from difftest.run.store import StoredRun

CAPTURED = Path(__file__).with_name("data") / "captured" / "kvm-wrong"


def stored(run: Path, target: str, number: int, **counters: float) -> None:
    folder = run / "cases" / "case" / target / str(number)
    folder.mkdir(parents=True)
    named = {name.replace("_", " "): value for name, value in counters.items()}
    (folder / "observation.json").write_text(json.dumps({"counters": named}))


def test_every_boot_counts_on_its_side(tmp_path: Path) -> None:
    stored(tmp_path, "bochs", 0, emulated_instructions=4e6, cpu_seconds=1, cpu_seconds_of_the_whole_emulator=2)
    stored(tmp_path, "bochs", 1, emulated_instructions=8e6, cpu_seconds_of_the_whole_emulator=4)
    stored(tmp_path, "host-cpu", 0, emulated_instructions=16e6, cpu_seconds_of_the_whole_emulator=8)
    cold = {"emulated_instructions": 32e6, "emulated_instructions_to_ready": 64e6}
    stored(tmp_path, "kvm-hosted", 0, **cold, cpu_seconds=16, cpu_seconds_to_ready=32)
    assert baseline.by_side(tmp_path) == {
        "reference: million emulated instructions": 12,
        "host CPU: million emulated instructions": 16,
        "hosted: million emulated instructions": 96,
        "reference: CPU s": 6,
        "host CPU: CPU s": 8,
        "hosted: CPU s": 48,
    }


def test_a_side_that_nobody_counts_is_an_error(tmp_path: Path) -> None:
    stored(tmp_path, "another", 0, emulated_instructions=1)
    with pytest.raises(KeyError):
        baseline.by_side(tmp_path)


def test_the_sides_of_a_real_run_are_its_boots() -> None:
    boots = [
        boot.observation
        for side in StoredRun.find(CAPTURED.parent, CAPTURED.name).every_boot("ept-pdpte-load").values()
        for boot in side
    ]
    counted = sum(one.counters.get(name, 0) for one in boots for name in baseline.INSTRUCTIONS)
    figures = baseline.by_side(CAPTURED)
    assert sum(figures[f"{side}: {baseline.MILLION}"] for side in baseline.SIDES.values()) == pytest.approx(
        counted / 1e6
    )
    assert all(figures.values()), "each side was booted"
