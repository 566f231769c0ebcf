"""A check whose right outcome is the end of the machine: one end is a PASS, and the checks after it are judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftest.image.build import build_case
from difftest.judging.result import Result
from difftest.reading.boot_reading import BootReading
from difftest.reading.record import parse
from difftest.verdict import Status, Verdict
from emulators.bochs.target import Bochs
from emulators.host.files import sha256
from emulators.observation import Boot, Ending, Limits, Machine, Observation
from tests.sides import boot, judged

DECLARED = b"difftest 1 case=x\ndifftest 1 start a\ndifftest 1 ends a shutdown\n"
REST = b"difftest 1 case=x\ndifftest 1 start b\ndifftest 1 check b PASS\ndifftest 1 end checks=1\n"


def parts(target: str, ending: Ending, words: bytes = DECLARED) -> list[BootReading]:
    return [boot(target, words, ending), boot(target, REST, Ending.FINISHED, part=1)]


def result(left: Ending, right: Ending, check: str = "a", words: bytes = DECLARED) -> Result:
    results = judged(parts("bochs", left, words), parts("kvm", right, words))
    (found,) = [result for result in results if result.check == check]
    return found


def test_shutdown_where_it_is_required_is_a_pass_and_the_rest_is_judged() -> None:
    shutdown = Ending.TRIPLE_FAULT
    found = result(shutdown, shutdown)
    assert (found.verdict, found.reference.status, found.subject.status) == (Verdict.AGREE, Status.PASS, Status.PASS)
    assert result(shutdown, shutdown, "b").verdict == Verdict.AGREE
    every = judged(parts("bochs", shutdown), parts("kvm", shutdown))
    assert [one.check for one in every] == ["a", "b"], "the image as a whole ended in order"


@pytest.mark.parametrize("ending", [Ending.RESET, Ending.HALTED, Ending.QUIET, Ending.INTERNAL_ERROR])
def test_another_end_is_wrong(ending: Ending) -> None:
    found = result(Ending.TRIPLE_FAULT, ending)
    assert (found.verdict, found.subject.status) == (Verdict.SUBJECT_WRONG, Status.DIED)


def test_a_shutdown_that_nothing_required_is_no_pass() -> None:
    words = DECLARED.replace(b"difftest 1 ends a shutdown\n", b"")
    assert result(Ending.TRIPLE_FAULT, Ending.TRIPLE_FAULT, words=words).verdict == Verdict.INCONCLUSIVE


def test_only_checks_that_are_running_end() -> None:
    transcript = parse(DECLARED + b"difftest 1 check a FAIL\ndifftest 1 start b\n")
    assert transcript.died_in() == "b" and not transcript.must_end()
    assert parse(b"difftest 1 ends a explosion\n").problems


KIT_CHECKS = """
#include "check.h"
#include "cpu.h"
#include "entry.h"
#include "l1_mode.h"
#include "paging.h"
static struct pae_tables tables;
CHECK(goes_on, "goes-on", NEEDS_NOTHING, "none", "The machine must end and does not")
{
    must_end_in(END_SHUTDOWN);
}
CHECK(failed, "failed", NEEDS_NOTHING, "none", "A requirement was broken before")
{
    must("one", 2, 1);
    must_end_in(END_SHUTDOWN);
}
CHECK(ends, "ends", NEEDS_L2, "none", "A VMX abort")
{
    pae_identity(&tables);
    entry_prepare();
    l1_in_pae_paging(address_of(tables.pdpt));
    tables.pdpt[3] |= 2;
    must_end_in(END_SHUTDOWN);
    entry_try();
}
"""


async def _booted(image: Path) -> Observation:
    boot = Boot(
        image=image,
        image_sha256=sha256(image),
        machine=Machine(memory_mib=64),
        limits=Limits(quiet=30, total=60),
        end="^Halt: ",
    )
    async with Bochs().session([boot], lambda line: None) as session:
        return await session.boot(boot)


@pytest.mark.boots
async def test_the_kit_says_so_and_bochs_is_seen_to_end(tmp_path: Path) -> None:
    (tmp_path / "ends.c").write_text(KIT_CHECKS)
    observation = await _booted(build_case("ends", tmp_path, ["ends.c"], tmp_path / "cache").image)
    assert (observation.ending, observation.detail) == (
        Ending.TRIPLE_FAULT,
        "the CPU entered shutdown: VMX abort",
    )
    transcript = parse(observation.serial)
    assert transcript.records["goes-on"].reason == "the machine did not end"
    assert transcript.records["failed"].status == Status.FAIL
    assert transcript.ends == ["goes-on", "ends"], "a requirement that is broken is not lost with the machine"
    assert transcript.must_end()
