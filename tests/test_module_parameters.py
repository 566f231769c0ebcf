"""Parameters of KVM's modules: what is asked for, what KVM says, and what known entries say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.case.case import load
from difftest.case.manifest import KnownDivergence
from difftest.errors import CaseError
from difftest.judging.known import applying, runs_with
from difftest.verdict import Verdict
from emulators.host.errors import ChoiceError, EmulatorError
from emulators.hosted import module_parameters

READY = (
    "ready 6.1.0 nested=Y uptime=3.10 params=kvm.halt_poll_ns=200000,kvm_intel.ept=N,"
    "kvm_intel.vmentry_l1d_flush=EPT-disabled vmx=vnmi,ept,vpid"
)


def test_what_is_asked_for() -> None:
    assert module_parameters.asked(None) == module_parameters.asked("") == ()
    assert module_parameters.asked("unrestricted_guest=0, ept=0") == (
        "kvm_intel.ept=0",
        "kvm_intel.unrestricted_guest=0",
    )
    assert module_parameters.asked("kvm.halt_poll_ns=0") == ("kvm.halt_poll_ns=0",)


@pytest.mark.parametrize(
    "text", ["ept", "ept=", "=0", "ept=0 nokaslr", "x.ept=0", "ept=0;reboot", "ept=$(x)", "ept=0,"]
)
def test_what_is_no_parameter(text: str) -> None:
    with pytest.raises(ChoiceError, match="is no module parameter"):
        module_parameters.asked(text)


def test_what_kvm_runs_with() -> None:
    module_parameters.check(["kvm_intel.ept=0", "kvm.halt_poll_ns=200000"], READY)
    with pytest.raises(ChoiceError, match=r"kvm_intel has no parameter kvm_intel\.pml") as unknown:
        module_parameters.check(["kvm_intel.pml=1"], READY)
    assert "ept, vmentry_l1d_flush" in unknown.value.hint
    with pytest.raises(EmulatorError, match=r"kvm_intel\.ept=1 was asked for, and KVM runs with kvm_intel\.ept=N"):
        module_parameters.check(["kvm_intel.ept=1"], READY)
    identity = module_parameters.identity(READY)
    assert (
        "kvm_intel.ept=N" in identity[module_parameters.ALL] and identity[module_parameters.FEATURES] == "vnmi ept vpid"
    )
    assert module_parameters.identity("ready 6.1.0 nested=Y uptime=3.10") == {}


def test_what_an_entry_holds_for() -> None:
    there = module_parameters.identity(READY)[module_parameters.ALL]
    assert runs_with([], "") and runs_with(["ept=0"], there) and runs_with(["kvm_intel.ept=N"], there)
    assert not runs_with(["ept=1"], there) and not runs_with(["ept=0"], "") and not runs_with(["ept=0", "pml=0"], there)
    entry = KnownDivergence(check="x", verdict=Verdict.SUBJECT_WRONG, reason="y", died=True, kvm_param=["ept=0"])
    assert applying([entry], "x", "kvm-hosted", {"kvm_param": there}) == [entry]
    assert applying([entry], "x", "kvm-hosted", {"kvm_param": ""}) == []


def test_an_entry_with_what_is_no_parameter(tmp_path: Path) -> None:
    (tmp_path / "a.c").touch()
    entry = '[[known]]\ncheck = "x"\nverdict = "subject-wrong"\nreason = "y"\ndied = true\nkvm_param = ["ept"]\n'
    (tmp_path / "case.toml").write_text(f'name = "a"\nsources = ["a.c"]\n{entry}')
    with pytest.raises(CaseError, match="'ept' is no module parameter"):
        load(tmp_path)
