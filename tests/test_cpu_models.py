"""Choosing the CPU model of both Bochs: what there is, what a target says of itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emulators.bochs.models import check_cpu_model, cpu_models
from emulators.bochs.program import installed
from emulators.host.errors import EmulatorError
from emulators.registry import targets

pytestmark = pytest.mark.skipif(shutil.which("bochs-bin") is None, reason="no Bochs")


def test_the_models_are_those_that_bochs_lists() -> None:
    models = cpu_models(installed())
    assert {"corei7_haswell_4770", "broadwell_ult", "tigerlake"} <= set(models)
    assert len(models) == len(set(models)) > 20


def test_an_unknown_model_is_told_with_those_that_there_are() -> None:
    with pytest.raises(EmulatorError, match="no CPU model i386") as error:
        check_cpu_model(installed(), "i386")
    assert "tigerlake" in error.value.hint


@pytest.mark.parametrize(("asked", "model"), [(None, "corei7_haswell_4770"), ("broadwell_ult", "broadwell_ult")])
def test_the_model_stands_in_the_identity_of_both_bochs(tmp_path: Path, asked: str | None, model: str) -> None:
    every = targets({"cpu_model": asked}, tmp_path)
    assert every["bochs"].identity()["cpu model"] == model
    assert every["kvm-hosted"].identity()["hosting cpu model"] == model
