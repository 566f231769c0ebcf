"""Choosing the CPU model of both Bochs: what there is, what a target says of itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emulators.bochs.cpu_models import check_cpu_model, cpu_models
from emulators.bochs.program import installed
from emulators.host.errors import ChoiceError, EmulatorError
from emulators.observation import Machine
from emulators.qemu import cpu_models as qemu_models
from emulators.qemu.program import qemu_program
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


def test_qemu_names_the_models_that_are_near() -> None:
    program = qemu_program(None)
    assert {"qemu64", "Haswell", "host", "max"} <= set(qemu_models.cpu_models(program))
    qemu_models.check_cpu_model(program, "host,vmx=on,-pku")
    with pytest.raises(ChoiceError, match=r"no CPU model Haswel$") as error:
        qemu_models.check_cpu_model(program, "Haswel,+vmx")
    assert "Haswell" in error.value.hint


@pytest.mark.parametrize("target", ["bochs", "kvm", "kvm-hosted", "tcg"])
def test_each_target_refuses_a_model_that_it_does_not_have(tmp_path: Path, target: str) -> None:
    every = targets({}, tmp_path)
    every[target].check(Machine(cpu_models={"other": "nosuch"}))
    with pytest.raises(ChoiceError, match="no CPU model nosuch"):
        every[target].check(Machine(cpu_models={target: "nosuch"}))
