"""The CPU under hosted KVM as a target of its own: the same Bochs and the same CPU model, with the image in it. And
hosted KVM on another CPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.case.case import load
from difftest.image.build import KIT
from difftest.image.prepare import prepare
from difftest.reading.record import parse
from difftest.reading.screen import read_screen
from emulators.bochs.target import Bochs
from emulators.host.errors import EmulatorError
from emulators.hosted.host_cpu import HostCpu
from emulators.hosted.target import KvmHosted
from emulators.observation import Boot, Ending, Machine
from emulators.qemu.target import Kvm, Tcg

DEBUGGED = "-rc filename     execute debugger commands stored in file"
MODEL = "broadwell_ult"


def silent(line: str) -> None:
    del line


def bochs_of(folder: Path, help_text: str = DEBUGGED) -> str:
    """The path of a program that says of itself that it is Bochs 3.0 and has these options, and this CPU model."""
    folder.mkdir()
    path = folder / "bochs"
    said = ["Bochs x86 Emulator 3.0", help_text, "Supported CPU models:", "", MODEL]
    path.write_text("#!/bin/sh\ncat <<END\n" + "\n".join(said) + "\nEND\n")
    path.chmod(0o755)
    return str(path)


def host_of(bochs: str, cache: Path, model: str | None = None) -> HostCpu:
    host = KvmHosted(host_bochs=bochs, host_cpu_model=model, cache=cache).host_cpu()
    host.prepare(silent)
    return host


@pytest.mark.parametrize("model", [None, MODEL])
def test_the_reference_is_the_host_cpu_where_program_and_model_are_the_same(tmp_path: Path, model: str | None) -> None:
    """Then what the reference gave is what the host CPU gives: identities are all that a caller compares."""
    bochs, other = bochs_of(tmp_path / "one"), bochs_of(tmp_path / "other", f"{DEBUGGED}\n-another option")
    reference = Bochs(bochs, model, tmp_path)
    reference.prepare(silent)
    assert host_of(bochs, tmp_path, model).identity() == reference.identity()
    assert host_of(other, tmp_path, model).identity() != reference.identity()
    unlike = None if model else MODEL
    assert host_of(bochs, tmp_path, unlike).identity() != reference.identity()


def test_it_keeps_the_hosting_model_whatever_a_case_asks_for(tmp_path: Path) -> None:
    host = host_of(bochs_of(tmp_path / "one"), tmp_path, MODEL)
    models = {"bochs": "corei7_skylake_x", "kvm-hosted": "host", "host-cpu": "tigerlake"}
    boot = Boot(image=tmp_path, image_sha256="", machine=Machine(cpu_models=models))
    assert host.cpu_model(boot) == MODEL
    assert b"model=broadwell_ult" in host.standalone_boot(boot, [], carry=False).files["host-cpu.bochsrc"]
    assert host.variants(boot.machine) == {}


def test_a_hosting_bochs_without_a_debugger_cannot_be_observed(tmp_path: Path) -> None:
    hosted = KvmHosted(host_bochs=bochs_of(tmp_path / "one", "-q  quick start"), cache=tmp_path)
    assert hosted.program(silent).debugger is None, "it hosts KVM all the same"
    with pytest.raises(EmulatorError, match="has no debugger") as error:
        hosted.host_cpu().prepare(silent)
    assert "--enable-debugger" in error.value.hint


@pytest.mark.parametrize(("model", "other"), [(None, MODEL), ("tigerlake", MODEL), (MODEL, "corei7_haswell_4770")])
def test_another_host_has_another_model_on_the_same_bochs_and_starts_cold(
    tmp_path: Path, model: str | None, other: str
) -> None:
    hosted = KvmHosted(host_bochs=bochs_of(tmp_path / "one"), host_cpu_model=model, cache=tmp_path)
    hosted.program(silent)
    another = hosted.other_host()
    here, there = hosted.identity(), another.identity()
    assert {key: value for key, value in there.items() if here[key] != value} == {"hosting cpu model": other}
    assert another.name == hosted.name and another.shares_start and another.thorough() is None
    assert (another.host_cpu().model, hosted.host_cpu().model) == (other, hosted.model)


def test_no_other_target_has_an_emulator_under_it() -> None:
    every = (Bochs(), Kvm(), Tcg())
    assert [(target.host_cpu(), target.other_host()) for target in every] == [(None, None)] * 3


@pytest.mark.boots
async def test_the_seed_case_is_good_on_the_cpu_that_hosts_kvm(tmp_path: Path) -> None:
    host = KvmHosted().host_cpu()
    host.prepare(silent)
    boot = prepare(load(KIT.parent / "ept-pdpte-load"), tmp_path).boot()
    async with host.session([boot], silent) as session:
        seen = await session.boot(boot)
    assert seen.ending == Ending.FINISHED, seen.detail
    assert (seen.target, seen.identity) == ("host-cpu", host.identity())
    assert {check: record.status for check, record in parse(seen.words).records.items()} == {
        "mapped": "PASS",
        "not-present": "PASS",
    }
    reading = read_screen(seen)
    assert not reading.problem
    assert (reading.rows[20].memory, reading.rows[21].memory, reading.rows[21].ocr) == ("", "GOOD", "GOOD")
