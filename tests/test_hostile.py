"""Guests that misbehave: each boot ends within its limits, on every target, and never as a fault of an emulator's."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from difftest.case.case import of_image
from difftest.image.prepare import prepare
from emulators.bochs.target import Bochs
from emulators.hosted.remains import SLOWER
from emulators.hosted.target import KvmHosted
from emulators.observation import Boot, Limits, Machine
from emulators.qemu.target import Tcg
from emulators.target import Target

from .guests import boot_sector
from .hostile import HOSTILE

LIMITS = Limits(quiet=1.5, total=4, serial_bytes=100_000)
MARGIN = 10.0  # seconds that a boot may take on top of its limits: the rest of `--timeout`'s promise
START = 15.0  # and until its guest runs


def made(folder: Path, name: str) -> Boot:
    prepared = prepare(of_image(boot_sector(folder, b"said\n", HOSTILE[name].code)), folder)
    machine = Machine(memory_mib=64)
    return Boot(image=prepared.image, image_sha256=prepared.sha256, limits=LIMITS, machine=machine)


async def ends_as_it_may(target: Target, name: str, folder: Path) -> None:
    boot = made(folder, name)
    begun = time.monotonic()
    async with target.session([boot], lambda line: None) as session:
        seen = await session.boot(boot)
    took = time.monotonic() - begun
    factor = SLOWER if target.name == "kvm-hosted" else 1
    assert seen.ending in HOSTILE[name].ends, seen.detail
    assert took < LIMITS.total * factor + MARGIN + START, f"{took:.1f} s: {seen.seconds}"
    assert seen.image_sha256 == seen.image_sha256_after
    assert seen.serial[:4] == b"said" or seen.ending in ("flood", "reset"), seen.serial[:100]
    assert not [child for child in psutil.Process(os.getpid()).children(recursive=True) if child.is_running()]


def sampled(step: int) -> list[object]:
    """All of them for `make proof`; every so many of them for `make test`."""
    return [
        pytest.param(name, marks=[pytest.mark.proof] if number % step else []) for number, name in enumerate(HOSTILE)
    ]


@pytest.mark.boots
@pytest.mark.parametrize("name", sampled(3))
@pytest.mark.parametrize("target", [Bochs(), Tcg()], ids=lambda target: target.name)
async def test_it_ends_within_its_limits(target: Target, name: str, tmp_path: Path) -> None:
    await ends_as_it_may(target, name, tmp_path)


@pytest.mark.hosted
@pytest.mark.parametrize("name", sampled(8))
async def test_it_ends_within_its_limits_under_hosted_kvm(name: str, tmp_path: Path) -> None:
    target = KvmHosted()
    target.prepare(lambda line: None)
    await ends_as_it_may(target, name, tmp_path)


def test_there_are_many() -> None:
    assert len(HOSTILE) >= 40
