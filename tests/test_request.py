"""`difftest run` from the command line to the exit code, on targets without an emulator."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from difftest.case.manifest import Manifest
from difftest.cli import application
from difftest.errors import CaseError
from difftest.reading.screen_reading import RowReading, ScreenReading
from difftest.report.digest import digest
from difftest.report.words import reproduce
from difftest.run.store import StoredRun
from difftest.verdict import ExitCode
from emulators.fake import Fake
from emulators.observation import Boot, Medium, Observation
from tests import sample_run as sample
from tests.test_plan import host


def scripted(target: Fake, boot: Boot) -> Observation:
    digest = boot.image_sha256
    seen = sample.observation(target.name, b"hello\n", {})
    return msgspec.structs.replace(seen, image_sha256=digest, image_sha256_after=digest)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run an image on a host whose KVM has no nesting."""
    every = host(nested=False)
    for target in every.values():
        assert isinstance(target, Fake)
        monkeypatch.setattr(target, "_script", lambda asked, target=target: scripted(target, asked))
    rows = {row: RowReading(memory="", ocr="", agree=True) for row in range(20, 24)}
    monkeypatch.setattr("difftest.run.request.targets", lambda versions, **options: every)
    monkeypatch.setattr("difftest.run.boots.read_screen", lambda seen, afresh: ScreenReading(rows=rows, text=[""] * 25))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def invoke(needs: list[str], *arguments: str) -> Result:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "x.img").write_bytes(bytes(510) + b"\x55\xaa")
        (folder / "case.toml").write_text(f'name = "mine"\nimage = "x.img"\nneeds = {needs}\nright = "hello"\n')
        argv = ["run", "mine/", *arguments]
        return CliRunner().invoke(application(argv), argv, catch_exceptions=False)

    return invoke


def test_a_run_that_compared_nothing_exits_3_unless_that_is_allowed(run) -> None:  # type: ignore[no-untyped-def]
    assert run([], "-t", "tcg").exit_code == ExitCode.EXPECTED
    refused = run(["vmx"], "-t", "tcg")
    assert refused.exit_code == ExitCode.NO_VERDICT
    assert "exit code 3: tcg has no vmx (--allow-skips allows that)" in refused.stderr
    allowed = run(["vmx"], "-t", "tcg", "--allow-skips")
    assert allowed.exit_code == ExitCode.EXPECTED and "exit code" not in allowed.stderr


def test_one_target_that_lacks_what_a_case_needs_is_enough(run) -> None:  # type: ignore[no-untyped-def]
    assert run(["vmx"], "-t", "kvm-hosted").exit_code == ExitCode.EXPECTED
    assert run(["vmx"], "-t", "kvm-hosted,tcg").exit_code == ExitCode.NO_VERDICT
    assert run(["vmx"], "-t", "kvm-hosted,tcg", "--allow-skips").exit_code == ExitCode.EXPECTED


def test_a_fall_back_is_reported_in_one_line_and_no_verdict_less(run) -> None:  # type: ignore[no-untyped-def]
    line = "kvm has no vmx here (is nesting off?): kvm-hosted boots mine"
    for arguments in ([], ["--quiet"]):
        done = run(["vmx"], *arguments)
        assert done.exit_code == ExitCode.EXPECTED and done.stderr.count(line) == 1, done.output
    assert "kvm has no" not in run([]).stderr
    assert "kvm has no" not in run(["vmx"], "-t", "kvm-hosted").stderr


def test_an_image_is_held_against_the_best_kvm_alone(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert run([]).exit_code == ExitCode.EXPECTED
    (folder,) = (tmp_path / "results").glob("2*/cases/mine")
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"bochs", "kvm"}


def test_the_options_of_an_image_make_its_machine_and_are_in_the_line_that_shows_it_again(  # type: ignore[no-untyped-def]
    run, tmp_path: Path
) -> None:
    with pytest.raises(CaseError, match="--cpus is for an image"):
        run([], "--cpus", "2")
    (tmp_path / "data.bin").write_bytes(b"data")
    argv = ["run", "mine/x.img", "--cpus", "2", "--memory", "64", "--medium", "floppy", "--second-disk", "data.bin"]
    done = CliRunner().invoke(application(argv), argv, catch_exceptions=False)
    assert "booted as a floppy, because --medium" in done.stderr
    stored = StoredRun.find(tmp_path / "results")
    (case,) = stored.cases()
    assert case.boots_from == Medium.FLOPPY and case.second_sha256
    manifest = msgspec.toml.decode(case.manifest, type=Manifest)
    assert (manifest.cpus, manifest.memory_mib) == (2, 64)
    assert " ".join(case.options) == "--second-disk data.bin --medium floppy --memory 64 --cpus 2"
    (pair,) = digest(stored).pairs
    assert f"x.img {' '.join(case.options)}" in reproduce(pair, pair.results[0])
