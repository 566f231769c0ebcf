"""Choosing the CPU model of both Bochs: what there is, what a target says of itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emulators.bochs.models import check_cpu_model, cpu_models
from emulators.bochs.program import installed
from emulators.host.errors import EmulatorError
from emulators.registry import needed, targets
from emulators.versions import Versions

pytestmark = pytest.mark.skipif(shutil.which("bochs-bin") is None, reason="no Bochs")


def test_the_models_are_those_that_bochs_lists() -> None:
    models = cpu_models(installed())
    assert {"corei7_haswell_4770", "broadwell_ult", "tigerlake"} <= set(models)
    assert len(models) == len(set(models)) > 20


def test_an_unknown_model_is_told_with_those_that_there_are() -> None:
    with pytest.raises(EmulatorError, match="no CPU model i386") as error:
        check_cpu_model(installed(), "i386")
    assert "tigerlake" in error.value.hint


@pytest.mark.parametrize(
    ("asked", "reference", "hosting"),
    [
        ({}, "corei7_haswell_4770", "corei7_haswell_4770"),
        ({"cpu_model": "broadwell_ult"}, "broadwell_ult", "broadwell_ult"),
        ({"host_cpu_model": "broadwell_ult"}, "corei7_haswell_4770", "broadwell_ult"),
        ({"cpu_model": "tigerlake", "host_cpu_model": "broadwell_ult"}, "tigerlake", "broadwell_ult"),
    ],
)
def test_the_models_stand_in_the_identities_of_both_bochs(
    tmp_path: Path, asked: Versions, reference: str, hosting: str
) -> None:
    every = targets(asked, tmp_path)
    assert every["bochs"].identity()["cpu model"] == reference
    assert every["kvm-hosted"].identity()["hosting cpu model"] == hosting


def test_kvm_takes_part_where_what_hosts_it_is_chosen() -> None:
    assert needed({"host_cpu_model": "broadwell_ult"}) == ("kvm-hosted",)
    assert needed({"cpu_model": "broadwell_ult", "bochs": "3.0"}) == ()
