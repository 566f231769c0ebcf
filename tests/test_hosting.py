"""CPU models of Bochs that cannot host KVM: said at once, with KVM's words, and remembered."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from difftest.case.case import of_image
from difftest.image.prepare import prepare
from emulators.host.errors import EmulatorError, HostingError
from emulators.hosted.appliance.snapshot import cannot_host
from emulators.hosted.session import LARGEST_IMAGE, HostedSession, HostedSettings
from tests.foreign import ENVIRONMENT
from tests.guests import HALT, boot_sector

LOG = b"KVM: entry failed, hardware error 0x7\nEAX=00000000\n"


def session(folder: Path, unfit: dict[str, HostingError]) -> HostedSession:
    hosting: Any = SimpleNamespace(model="some_model")
    settings = HostedSettings(target="kvm-hosted", identity={}, cpu="host", cache=folder, warm=True, unfit=unfit)
    return HostedSession(settings, hosting, [], lambda line: None)


async def test_what_is_known_of_a_model_is_said_before_anything_starts(tmp_path: Path) -> None:
    error = cannot_host(LOG)
    assert "KVM: entry failed, hardware error 0x7" in str(error) and "--host-cpu-model" in error.hint
    boot = prepare(of_image(boot_sector(tmp_path, b"x", HALT)), tmp_path).boot()
    with pytest.raises(HostingError, match="hardware error 0x7"):
        await session(tmp_path, {"some_model": error}).boot(boot)


async def test_an_image_that_does_not_fit_in_memory_is_refused(tmp_path: Path) -> None:
    boot = prepare(of_image(boot_sector(tmp_path, b"x", HALT)), tmp_path).boot()
    with boot.image.open("r+b") as file:
        file.truncate(LARGEST_IMAGE + 1)
    with pytest.raises(EmulatorError, match="too large for kvm-hosted") as caught:
        await session(tmp_path, {}).boot(boot)
    assert "--target kvm" in caught.value.hint


@pytest.mark.hosted
@pytest.mark.proof
def test_two_cases_on_a_model_that_runs_no_guest_take_seconds(tmp_path: Path) -> None:
    """Bochs 3.0's Skylake-X: KVM enters no guest there, by its posted-interrupt descriptor."""
    argv = [sys.executable, "-m", "difftest.cli", "run", "pdpte", "cr-masks", "-k", "P-01", "-k", "M-01", "-q"]
    argv += ["--cpu-model", "corei7_skylake_x", "--host-bochs", "3.0", "-t", "kvm-hosted", "--confirm", "none"]
    begun = time.monotonic()
    done = subprocess.run(argv, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert time.monotonic() - begun < 100, "the firmware was waited for"
    for path in (tmp_path / "results" / "latest").glob("cases/*/results.json"):
        for result in json.loads(path.read_bytes()):
            assert result["verdict"] == "inconclusive" and "KVM: entry failed, hardware error 0x7" in result["reason"]
