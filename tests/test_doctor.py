"""What `doctor` finds on a host that lacks something."""

from __future__ import annotations

import pytest

from difftest.doctor import examine, packages


def test_what_a_warm_start_takes_is_told_and_keeps_no_target_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {diagnosis.name: diagnosis for diagnosis in examine({})}
    monkeypatch.setenv("PATH", "/nowhere")
    after = {diagnosis.name: diagnosis for diagnosis in examine({})}
    assert before.keys() == after.keys() == {"difftest", "images", "warm starts"}
    assert not after["warm starts"].usable
    assert packages([after["warm starts"]]) == ["xdotool"]
