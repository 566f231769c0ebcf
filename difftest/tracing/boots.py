"""Both sides of a check once more, with tracing."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from difftest.errors import CaseError
from difftest.image.check_code import body_of
from difftest.image.parameter_block import speaking
from difftest.image.prepare import PreparedCase
from difftest.image.symbols import ELF, address_of
from difftest.reading.record import Record, parse, transcript_of
from difftest.tracing.of_bochs import story_of_bochs
from difftest.tracing.of_l0 import story_of_l0
from difftest.tracing.story import Story
from emulators.bochs.target import Bochs
from emulators.bochs.tracing import traced_boot
from emulators.host.errors import Progress
from emulators.host.scratch import scratch
from emulators.hosted.target import KvmHosted
from emulators.observation import Boot, Observation


class Traced(NamedTuple):
    """What a side did, and the record that it left of the check."""

    story: Story
    record: Record | None


def one_check(prepared: PreparedCase) -> PreparedCase:
    """The case with its only check, on the emulated CPU that this needs. Raises CaseError where it is none."""
    if not prepared.case.manifest.sources:
        raise CaseError(f"{prepared.case.name} is not built with the kit: where its checks begin is not known")
    if len(prepared.abouts) != 1:
        names = ", ".join(about.check for about in prepared.abouts[:5])
        raise CaseError("one check at a time", hint=f"one of {names}{', ...' * (len(prepared.abouts) > 5)}")
    return prepared.split()[0]


def beginning(prepared: PreparedCase) -> int:
    """The address at which the code of the only check begins. Raises CaseError."""
    body = body_of(prepared.image.read_bytes(), prepared.abouts[0].check)
    if body is None:
        raise CaseError(f"{prepared.case.name}: the image does not show where its checks begin")
    return body


async def traced_on_bochs(target: Bochs, prepared: PreparedCase, progress: Progress) -> Traced:
    """Raises EmulatorError when Bochs does not start."""
    elf = prepared.image.with_name(ELF)
    stop, end = address_of(elf, "outcome_report"), address_of(elf, "halt_for_good")
    progress("tracing under Bochs")
    with scratch("traced") as folder:
        image = folder / "disk.img"
        image.write_bytes(speaking(prepared.image.read_bytes()))
        boot = msgspec.structs.replace(prepared.boot(), image=image, ram_log=None)
        model = target.cpu_model(boot)
        traced = await traced_boot(target.program(progress), boot, model, (beginning(prepared), stop, end))
    return Traced(story_of_bochs(traced), _record(prepared, parse(traced.serial).records))


async def traced_on_kvm(target: KvmHosted, prepared: PreparedCase, progress: Progress) -> tuple[Traced, Observation]:
    """Raises EmulatorError when the appliance does not come up."""
    boot: Boot = prepared.boot()
    async with target.session([boot], progress) as session:
        observation = await session.boot(boot)
    return Traced(story_of_l0(observation), _record(prepared, transcript_of(observation).records)), observation


def _record(prepared: PreparedCase, records: dict[str, Record]) -> Record | None:
    return records.get(prepared.abouts[0].check)
