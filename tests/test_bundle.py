"""A bundle unpacked on a machine that has none of this: only a shell and what stock programs leave behind."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from difftest.errors import StoreError
from difftest.report.bundle import bundle
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter
from emulators.fake import Fake
from emulators.observation import Boot
from emulators.standalone import StandaloneBoot
from emulators.target import Target
from tests import sample_run as sample

EVIL = "'; touch pwned; echo '$(touch pwned)`touch pwned`"


class ByHandSays(Fake):
    """A target whose stock program says these bytes."""

    def __init__(self, name: str, serial: bytes, needs: list[tuple[str, str]] | None = None) -> None:
        super().__init__(name, lambda boot: sample.GOOD)
        self.says = serial
        self.needs = needs or []

    def standalone_boot(self, boot: Boot, needs: Sequence[str], *, carry: bool) -> StandaloneBoot:
        assert boot.image.read_bytes() == sample.IMAGE
        command = f"cat said/{self.name} > {self.name}.serial"
        return StandaloneBoot(
            command=command, serial=f"{self.name}.serial", needs=self.needs, files={f"said/{self.name}": self.says}
        )


def unpacked(run: StoredRun, folder: Path, *targets: Target) -> Path:
    name, data = bundle(run, "not-present", {target.name: target for target in targets}, carry=False)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(folder, filter="data")
    return folder / name


def rerun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script with nothing of ours in reach."""
    environment = {"PATH": "/usr/bin:/bin"}
    argv = ["/bin/sh", "rerun.sh", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_it_holds_the_image_the_evidence_and_the_text(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path / "run")
    folder = unpacked(run, tmp_path, ByHandSays("bochs", b""), ByHandSays("kvm-hosted", b""))
    assert gzip.decompress((folder / "disk.img.gz").read_bytes()) == sample.IMAGE
    assert (folder / "bochs" / "serial.bin").read_bytes() == sample.GOOD.serial
    assert (folder / "host-cpu" / "serial.bin").read_bytes() == sample.HOST.serial
    assert (folder / "kvm-hosted" / "screen.png").read_bytes() == sample.BAD.screen
    assert "Summary: KVM" in (folder / "report.txt").read_text()
    assert "kernel: 6.1.176-1" in (folder / "environment.txt").read_text().replace("\n    kvm-hosted", "")
    assert (folder / "kvm-hosted" / "logs" / "kernel.log").exists()
    assert msgspec.json.decode((folder / "result.json").read_bytes())["check"] == "not-present"
    assert bundle(run, "not-present", {}, carry=False) == bundle(run, "not-present", {}, carry=False), (
        "the same bytes each time"
    )


def test_the_script_shows_the_divergence_again(tmp_path: Path) -> None:
    said = {"bochs": sample.GOOD, "host-cpu": sample.HOST, "kvm-hosted": sample.BAD}
    sides = [ByHandSays(name, seen.serial) for name, seen in said.items()]
    done = rerun(unpacked(sample.write_run(tmp_path / "run"), tmp_path, *sides))
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"{name}: as in the report" in done.stdout for name in said)
    assert "difftest 1 check not-present FAIL" in done.stdout


def test_the_script_says_when_it_is_another_result(tmp_path: Path) -> None:
    sides = ByHandSays("bochs", sample.GOOD.serial), ByHandSays("kvm-hosted", sample.GOOD.serial)
    folder = unpacked(sample.write_run(tmp_path / "run"), tmp_path, *sides)
    done = rerun(folder)
    assert done.returncode == 1
    assert "kvm-hosted: NOT as in the report" in done.stdout
    assert rerun(folder, "bochs").returncode == 0, "one side alone"


def test_the_script_says_what_a_side_needs(tmp_path: Path) -> None:
    needs = [("test -e /no/such/device", "a device that is not there")]
    sides = ByHandSays("bochs", sample.GOOD.serial), ByHandSays("kvm-hosted", sample.BAD.serial, needs)
    done = rerun(unpacked(sample.write_run(tmp_path / "run"), tmp_path, *sides))
    assert done.returncode == 2
    assert "kvm-hosted: cannot be run here, it takes a device that is not there" in done.stdout
    assert "bochs: as in the report" in done.stdout


def test_no_word_of_a_guest_is_run(tmp_path: Path) -> None:
    evil = EVIL.encode() + b"\x1b[31m\n"
    left, right = (msgspec.structs.replace(side, serial=side.serial + evil) for side in (sample.GOOD, sample.BAD))
    abouts = [msgspec.structs.replace(about, summary=f"{EVIL}\n{EVIL}") for about in sample.ABOUTS]
    run = sample.write_run(tmp_path / "run", left, right, abouts=abouts)
    folder = unpacked(run, tmp_path, ByHandSays("bochs", left.serial), ByHandSays("kvm-hosted", right.serial))
    done = rerun(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "pwned").exists()
    assert "\x1b" not in done.stdout


def test_no_name_of_a_stored_run_is_run(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path / "run")
    (named,) = [msgspec.structs.replace(result, check=EVIL) for result in run.results(sample.CASE)[1:]]
    RunWriter(run.folder, run.meta).add_results(sample.CASE, [named])
    name, data = bundle(run, EVIL, {"bochs": ByHandSays("bochs", sample.GOOD.serial)}, carry=False)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(tmp_path, filter="data")
    rerun(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("pwned")] == []


def test_a_check_that_the_run_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no check called"):
        bundle(sample.write_run(tmp_path), "none", {}, carry=False)
