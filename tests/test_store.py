from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from difftest.atomic import file_name
from difftest.case.manifest import Manifest
from difftest.errors import StoreError
from difftest.history.rejudge import rejudge
from difftest.judging.result import Role
from difftest.reading.boot_reading import BootRecord, read_boot
from difftest.run import schema1
from difftest.run.metadata import SCHEMA, Refusal
from difftest.run.store import StoredRun
from difftest.run.writer import RunWriter, new_run_id
from difftest.verdict import Verdict
from emulators.observation import Observation
from tests import sample_run as sample

# Writes large files for ever, so that a kill at any moment hits one of them half-way.
WRITER = """
import sys
from pathlib import Path
from difftest.reading.screen_reading import ScreenReading
from difftest.reading.boot_reading import BootRecord
from difftest.run.writer import RunWriter
from msgspec.structs import replace
from tests import sample_run as sample
root, long = Path(sys.argv[1]), "x" * 3_000_000
image = root / "disk.img"
image.write_bytes(sample.IMAGE)
writer = RunWriter.create(root, replace(sample.meta(sys.argv[2]), host={"long": long}))
print("ready", flush=True)
for number in range(10_000):
    name = f"case-{number}"
    writer.add_case(replace(sample.snapshot(name), manifest=long), image)
    for observation in (sample.GOOD, sample.BAD):
        long_one = replace(observation, serial=long.encode(), logs={"bochs.log": long.encode()})
        writer.add_observation(name, BootRecord(), long_one)
        writer.add_screen(name, observation.target, 0, ScreenReading(problem=long))
    writer.add_results(name, [sample.result(reason=long)])
    writer.finish("running")
"""

SCHEMA_1 = Path(__file__).parent / "data" / "schema1" / "shared-of-schema-1"
LONG = 3_000_000
KILLED = 9


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    assert run.meta.status == "finished"
    assert run.meta.schema == SCHEMA
    assert run.cases() == [sample.snapshot()]
    boots = run.boots(sample.CASE)
    assert {target: [seen.observation for seen in side] for target, side in boots.items()} == {
        "bochs": [sample.GOOD],
        "host-cpu": [sample.HOST],
        "kvm-hosted": [sample.BAD],
    }
    assert boots["kvm-hosted"] == [read_boot(sample.BAD, sample.screen(sample.SHOWN_BAD))]
    assert [(result.check, result.verdict.value) for result in run.all_results()] == [
        ("mapped", "agree"),
        ("not-present", "subject-wrong"),
    ]
    assert run.image(run.cases()[0]) == sample.IMAGE


def test_no_blob_is_in_the_json_and_what_was_not_taken_has_no_file(tmp_path: Path) -> None:
    bare = msgspec.structs.replace(sample.GOOD, screen=None, text_memory=None)
    run = sample.write_run(tmp_path, left=bare)
    folder = run.folder / "cases" / sample.CASE / "bochs" / "0"
    names = ["boot.json", "observation.json", "screen.json", "serial.bin"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert b"GOOD" not in (folder / "observation.json").read_bytes()
    assert run.boots(sample.CASE)["bochs"][0].observation == bare


def test_latest_follows_the_newest_run(tmp_path: Path) -> None:
    for name in ("20260101-000000-aaaa", "20260102-000000-aaaa"):
        RunWriter.create(tmp_path, sample.meta(name))
        assert StoredRun.find(tmp_path, "latest").meta.run == name
    assert StoredRun.find(tmp_path, "20260101-000000-aaaa").meta.run == "20260101-000000-aaaa"
    assert StoredRun.find(tmp_path / "other", str(tmp_path / "latest")).meta.run == "20260102-000000-aaaa"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_run_names_sort_by_time_and_differ() -> None:
    assert len({new_run_id() for _ in range(50)}) == 50


def test_verdicts_may_come_before_the_case_is_on_the_disk(tmp_path: Path) -> None:
    """The image is kept while the first boots are under way, and those may all be refused at once."""
    writer = RunWriter.create(tmp_path, sample.meta())
    writer.add_results(sample.CASE, [sample.result(case=sample.CASE)])
    (tmp_path / "disk.img").write_bytes(sample.IMAGE)
    writer.add_case(sample.snapshot(), tmp_path / "disk.img")
    assert len(StoredRun.open(writer.folder).all_results()) == 1


def test_an_observation_is_never_overwritten(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, sample.meta())
    writer.add_observation("case", BootRecord(), sample.GOOD)
    with pytest.raises(StoreError, match="cannot write"):
        writer.add_observation("case", BootRecord(), sample.GOOD)
    folder = writer.folder / "cases" / "case" / "bochs"
    assert [path.name for path in folder.iterdir()] == ["0"]


def test_text_that_is_not_unicode_is_kept_as_escapes(tmp_path: Path) -> None:
    strange = msgspec.structs.replace(sample.GOOD, detail="a\udcffb", identity={"\ud800": "\ud800"})
    (seen,) = sample.write_run(tmp_path, left=strange).boots(sample.CASE)["bochs"]
    assert seen.observation.detail == "a\\udcffb"
    assert seen.observation.identity == {"\\ud800": "\\ud800"}


def test_a_disk_that_refuses_is_told_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        RunWriter.create(tmp_path / "file" / "results", sample.meta())
    assert caught.value.hint


def test_which_boot_it_is_is_kept_and_variants_are_apart(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, sample.meta())
    records = [
        BootRecord(number=0),
        BootRecord(number=1, part=1),
        BootRecord(number=2, repeat=1),
        BootRecord(number=11, variant="another CPU model"),
    ]
    for record in reversed(records):
        writer.add_observation("case", record, sample.GOOD)
    run = StoredRun.open(writer.folder)
    assert [seen.boot for seen in run.every_boot("case")["bochs"]] == records, "in the order of their numbers"
    assert [seen.boot for seen in run.boots("case")["bochs"]] == records[:3]
    (run.folder / "cases/case/bochs/2").rename(run.folder / "cases/case/bochs/7")
    assert [seen.boot.number for seen in run.boots("case")["bochs"]] == [0, 1, 7], "the folder is what counts"


def test_why_a_target_was_not_booted_is_kept(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, sample.meta())
    refusal = Refusal(target="tcg", verdict=Verdict.SKIPPED, reason="tcg has no vmx")
    writer.add_refusals("case", [refusal])
    run = StoredRun.open(writer.folder)
    assert run.refusals("case") == [refusal] and run.refusals("other") == []


def test_runs_of_one_command_know_each_other(tmp_path: Path) -> None:
    names = [f"2026010{number}-000000-aaaa" for number in range(1, 5)]
    for name in names:
        series = "other" if name == names[1] else "one"
        RunWriter.create(tmp_path, msgspec.structs.replace(sample.meta(name), series=series))
    (tmp_path / names[3] / "run.json").write_bytes(b"{")
    assert [run.meta.run for run in StoredRun.open(tmp_path / names[0]).siblings()] == [names[2]]
    RunWriter.create(tmp_path, sample.meta("20260109-000000-aaaa"))
    RunWriter.create(tmp_path, sample.meta("20260109-000001-aaaa"))
    assert StoredRun.open(tmp_path / "20260109-000000-aaaa").siblings() == [], "single runs have none"


class TestARunOfSchema1:
    """A run that difftest 0.1.0 stored: `pdpte -k P-09/wp -k P-03*` with Linux 6.1 in Bochs 3.0, beside Bochs 2.7."""

    @pytest.fixture
    def run(self) -> StoredRun:
        return StoredRun.open(SCHEMA_1)

    def test_its_results_are_read_in_today_s_terms(self, run: StoredRun) -> None:
        assert run.meta.schema == 1
        agreed, shared = run.all_results()
        assert (agreed.check, agreed.verdict, shared.check, shared.verdict) == (
            *("P-03/mov-cr4", Verdict.AGREE),
            *("P-09/wp", Verdict.SHARED),
        )
        sides = [(side.role, side.target, side.implementation, side.status) for side in shared.sides]
        assert sides == [
            (Role.REFERENCE, "bochs", "Bochs", "FAIL"),
            (Role.SUBJECT, "kvm-hosted", "KVM", "FAIL"),
        ]
        fields = {field.name: field for field in shared.fields}
        fault = fields["setting_fault"]
        assert fault.values == {"bochs": "0x1", "kvm-hosted": "0x1"} and not fault.differs
        assert fault.required == {"bochs": "0x0", "kvm-hosted": "0x0"} and fault.broken("kvm-hosted")
        assert fields["setting_vector"].required == {}
        assert shared.known is not None and shared.expected
        assert shared.wrong == [shared.reference], "it is Bochs', whosever it is besides"

    def test_its_boots_are_read(self, run: StoredRun) -> None:
        boots = run.boots("pdpte")
        assert {target: [seen.boot for seen in side] for target, side in boots.items()} == {
            "bochs": [BootRecord()],
            "kvm-hosted": [BootRecord()],
        }
        (seen,) = boots["kvm-hosted"]
        assert seen.transcript.complete and seen.observation.kernel_faults == []
        assert seen.screen.rows and seen.observation.screen is not None
        assert len(run.image(run.cases()[0])) == run.cases()[0].image_bytes

    def test_judged_again_the_cpu_under_kvm_is_missing(self, run: StoredRun) -> None:
        """The reference is another version of it: what failed on both proves nothing of either."""
        (case,) = run.cases()
        agreed, unknown = rejudge(run, case, Manifest(name="pdpte", sources=["x.c"], end="^Halt"))
        assert agreed.verdict == Verdict.AGREE and agreed == run.all_results()[0]
        assert unknown.verdict == Verdict.INCONCLUSIVE
        assert unknown.reason.endswith("was not observed: this run did not boot the image on it directly")

    def test_judged_again_a_reference_of_the_same_version_and_model_is_that_cpu(
        self, run: StoredRun, tmp_path: Path
    ) -> None:
        copy = tmp_path / run.meta.run
        shutil.copytree(run.folder, copy)
        for path in (copy / "run.json", copy / "cases/pdpte/bochs/0/observation.json"):
            path.write_text(path.read_text().replace("2.7+dfsg-4+deb12u1", "3.0+dfsg-1"))
        again = StoredRun.open(copy)
        result = rejudge(again, again.cases()[0], Manifest(name="pdpte", sources=["x.c"], end="^Halt"))[1]
        assert result.verdict == Verdict.SHARED and "in the same way" in result.reason
        assert [side.role for side in result.sides] == [Role.REFERENCE, Role.SUBJECT]

    def test_its_boots_that_were_made_behind_another_or_to_confirm(self) -> None:
        former = schema1.FormerObservation(
            **{name: getattr(sample.BAD, name) for name in Observation.__struct_fields__ if name != "kernel_faults"},
            repeat=1,
            variant="kernel_irqchip=off",
            part=2,
            kernel_faults=["WARNING: at nested.c:1"],
        )
        observation, boot = schema1.observation(former, 7)
        assert boot == BootRecord(number=7, repeat=1, part=2, variant="kernel_irqchip=off")
        assert [(fault.line, fault.in_kvm) for fault in observation.kernel_faults] == [("WARNING: at nested.c:1", True)]
        assert msgspec.structs.replace(observation, kernel_faults=[]) == sample.BAD


@pytest.mark.parametrize(
    "name", ["../../escape", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "x" * 5000, "é" * 200, "-rf", "\ud800"]
)
def test_hostile_names_stay_in_the_run(tmp_path: Path, name: str) -> None:
    assert "/" not in file_name(name)
    assert len(file_name(name).encode()) < 120
    writer = RunWriter.create(tmp_path / "results", sample.meta())
    writer.add_observation(name, BootRecord(), msgspec.structs.replace(sample.GOOD, logs={name: b"log"}))
    boots = StoredRun.open(writer.folder).boots(name)
    assert list(boots["bochs"][0].observation.logs.values()) == [b"log"]
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(writer.folder)]
    assert outside == []


def test_names_that_differ_never_share_a_file() -> None:
    names = ["a/b", "a_b", "a b", "A_b", "../a_b", "a_b/", "é", "ë", "_"]
    assert len({file_name(name) for name in names}) == len(names)


def _case(run: StoredRun) -> Path:
    return run.folder / "cases" / sample.CASE


def _other_schema(run: StoredRun) -> None:
    (run.folder / "run.json").write_bytes(b'{"schema": 99}')


def _truncated_meta(run: StoredRun) -> None:
    (run.folder / "run.json").write_bytes((run.folder / "run.json").read_bytes()[:-40])


def _truncated_results(run: StoredRun) -> None:
    (_case(run) / "results.json").write_bytes(b'[{"case": "x"')


def _wrong_type(run: StoredRun) -> None:
    (_case(run) / "case.json").write_bytes(b'{"name": 7, "image_sha256": "", "image_bytes": 0, "argument": ""}')


def _deep(run: StoredRun) -> None:
    (run.folder / "run.json").write_bytes(b'{"schema": ' + b"[" * 200_000)


def _link_out(run: StoredRun) -> None:
    secret = run.folder.parent / "secret"
    secret.write_bytes(b"secret")
    (_case(run) / "bochs" / "0" / "serial.bin").unlink()
    (_case(run) / "bochs" / "0" / "serial.bin").symlink_to(secret)


def _folder_link_out(run: StoredRun) -> None:
    outside = run.folder.parent / "outside"
    (_case(run) / "bochs").rename(outside)
    (_case(run) / "bochs").symlink_to(outside)


def _link_loop(run: StoredRun) -> None:
    path = _case(run) / "case.json"
    path.unlink()
    (run.folder / "run.json").unlink()
    (run.folder / "run.json").symlink_to("run.json")


def _pipe(run: StoredRun) -> None:
    path = _case(run) / "bochs" / "0" / "serial.bin"
    path.unlink()
    os.mkfifo(path)


def _huge(run: StoredRun) -> None:
    os.truncate(_case(run) / "bochs" / "0" / "serial.bin", 1 << 40)


def _folder_for_a_file(run: StoredRun) -> None:
    (_case(run) / "results.json").unlink()
    (_case(run) / "results.json").mkdir()


def _no_observation(run: StoredRun) -> None:
    (_case(run) / "bochs" / "0" / "observation.json").unlink()


def _no_boot_record(run: StoredRun) -> None:
    (_case(run) / "bochs" / "0" / "boot.json").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        _other_schema,
        _truncated_meta,
        _truncated_results,
        _wrong_type,
        _deep,
        _link_out,
        _folder_link_out,
        _link_loop,
        _pipe,
        _huge,
        _folder_for_a_file,
        _no_observation,
        _no_boot_record,
    ],
)
def test_a_damaged_run_is_told_with_file_and_hint(tmp_path: Path, damage: object) -> None:
    run = sample.write_run(tmp_path)
    assert callable(damage)
    damage(run)
    with pytest.raises(StoreError, match=str(tmp_path)) as caught:
        again = StoredRun.open(run.folder)
        for case in again.cases():
            again.results(case.name)
            again.every_boot(case.name)
    assert caught.value.hint
    assert "secret" not in str(caught.value).removeprefix(str(tmp_path))


def test_an_image_that_was_changed_is_refused(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    path = next((run.folder / "images").iterdir())
    for data in (
        b"",
        b"no gzip",
        path.read_bytes()[:20],
        gzip.compress(b"other"),
        gzip.compress(bytes(len(sample.IMAGE))),
    ):
        path.write_bytes(data)
        with pytest.raises(StoreError):
            run.image(run.cases()[0])


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run latest"):
        StoredRun.find(tmp_path, "latest")


def test_loading_imports_no_pandas() -> None:
    code = "import sys, difftest.run.store; sys.exit('pandas' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_killed_writer_leaves_nothing_half_written(tmp_path: Path) -> None:
    """kill -9 at random moments: whatever is there is whole, and every case that was judged is there as a whole."""
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    judged = 0
    for turn in range(15):
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        argv = [sys.executable, "-c", WRITER, str(tmp_path), f"run-{turn}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0.0, 0.4))
            writer.send_signal(signal.SIGKILL)
        run = StoredRun.find(tmp_path)
        assert run.meta.run == f"run-{turn}", seed
        assert len(run.meta.host["long"]) == LONG, seed
        assert run.meta.status == "running"
        for case in run.cases():
            assert run.image(case) == sample.IMAGE
            booted = run.boots(case.name)
            for boots in booted.values():
                sizes = [
                    (len(seen.observation.serial), len(seen.observation.logs["bochs.log"]), len(seen.screen.problem))
                    for seen in boots
                ]
                assert sizes in ([(LONG, LONG, LONG)], [(LONG, LONG, len("never read"))]), seed
            assert len(case.manifest) == LONG, seed
            if results := run.results(case.name):
                assert set(booted) == {"bochs", "kvm-hosted"}, seed
                assert len(results[0].reason) == LONG, seed
                judged += 1
    assert judged > 0


@pytest.mark.parametrize("step", ["fsync", "replace", "replaced"])
def test_a_writer_killed_at_any_step_leaves_whole_files(tmp_path: Path, step: str) -> None:
    """The same at each sync and each rename in turn, so that no moment is left to chance."""
    for moment in range(1, 100):
        child = os.fork()
        if child == 0:
            try:
                _die_at(step, moment)
                sample.write_run(tmp_path / str(moment))
                os._exit(0)
            finally:
                os._exit(1)  # never back into pytest
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, KILLED)
        runs = list((tmp_path / str(moment)).glob("*/run.json"))
        if runs:
            run = StoredRun.open(runs[0].parent)
            for case in run.cases():
                assert run.image(case) == sample.IMAGE
                seen = {name: boots[0].observation for name, boots in run.boots(case.name).items()}
                written = {"bochs": sample.GOOD, "host-cpu": sample.HOST, "kvm-hosted": sample.BAD}
                assert list(seen.items()) == list(written.items())[: len(seen)]
                assert len(run.results(case.name)) in (0, 2)
        if code == 0:
            assert moment > 10
            assert run.meta.status == "finished"
            return
    raise AssertionError("the writer never came to its end")


def _die_at(step: str, moment: int) -> None:
    """Have this process end without any cleaning up at the given sync, or right before or after the given rename."""
    left = moment
    fsync, replace = os.fsync, Path.replace

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(KILLED)

    def dying_fsync(handle: int) -> None:
        if step == "fsync":
            tick()
        fsync(handle)

    def dying_replace(path: Path, target: Path) -> Path:
        if step == "replace":
            tick()
        done = replace(path, target)
        if step == "replaced":
            tick()
        return done

    os.fsync = dying_fsync  # type: ignore[assignment]
    Path.replace = dying_replace  # type: ignore[assignment, method-assign]
