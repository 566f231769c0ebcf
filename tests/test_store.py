from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import sample_run as sample

from difftest.store import SCHEMA, RunWriter, StoredRun, StoreError, file_name, new_run_id

WRITER = """
import sys
from pathlib import Path
import sample_run as sample
from difftest.store import RunWriter
from msgspec.structs import replace
root = Path(sys.argv[1])
(root / "disk.img").write_bytes(sample.IMAGE)
writer = RunWriter.create(root, sample.meta(sys.argv[2]))
print("ready", flush=True)
for case in range(10_000):
    writer.add_case(sample.snapshot(f"case-{case}"), root / "disk.img")
    for observation in (sample.GOOD, sample.BAD):
        log = {"bochs.log": b"x" * 300_000}
        writer.add_observation(f"case-{case}", 0, replace(observation, serial=b"s" * 300_000, logs=log))
        writer.add_screen(f"case-{case}", observation.target, 0, sample.screen({}))
    writer.add_results(f"case-{case}", [])
"""


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    assert run.meta.status == "finished"
    assert run.meta.schema == SCHEMA
    assert run.cases() == [sample.snapshot()]
    seen = run.observations(sample.CASE)
    assert [observation for observation, _ in seen["bochs"]] == [sample.GOOD]
    assert seen["kvm-hosted"] == [(sample.BAD, sample.screen({0: "SeaBIOS", 20: "BAD"}))]
    assert [(result.check, result.verdict.value) for result in run.all_results()] == [
        ("mapped", "agree"),
        ("not-present", "subject-wrong"),
    ]
    assert run.image(run.cases()[0]) == sample.IMAGE


def test_no_blob_is_in_the_json_and_what_was_not_taken_has_no_file(tmp_path: Path) -> None:
    bare = msgspec.structs.replace(sample.GOOD, screen=None, text_memory=None)
    run = sample.write_run(tmp_path, left=bare)
    folder = run.folder / "cases" / sample.CASE / "bochs" / "0"
    assert sorted(path.name for path in folder.iterdir()) == ["observation.json", "screen.json", "serial.bin"]
    assert b"GOOD" not in (folder / "observation.json").read_bytes()
    assert run.observations(sample.CASE)["bochs"][0][0] == bare


def test_latest_follows_the_newest_run(tmp_path: Path) -> None:
    for name in ("20260101-000000-aaaa", "20260102-000000-aaaa"):
        RunWriter.create(tmp_path, sample.meta(name))
        assert StoredRun.find(tmp_path, "latest").meta.run == name
    assert StoredRun.find(tmp_path, "20260101-000000-aaaa").meta.run == "20260101-000000-aaaa"
    assert StoredRun.find(tmp_path / "other", str(tmp_path / "latest")).meta.run == "20260102-000000-aaaa"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_run_names_sort_by_time_and_differ() -> None:
    assert len({new_run_id() for _ in range(50)}) == 50


def test_an_observation_is_never_overwritten(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, sample.meta())
    writer.add_observation("case", 0, sample.GOOD)
    with pytest.raises(StoreError, match="cannot write"):
        writer.add_observation("case", 0, sample.GOOD)
    folder = writer.folder / "cases" / "case" / "bochs"
    assert [path.name for path in folder.iterdir()] == ["0"]


def test_a_disk_that_refuses_is_told_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        RunWriter.create(tmp_path / "file" / "results", sample.meta())
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["../../escape", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "x" * 5000, "é" * 200, "-rf", "\ud800"]
)
def test_hostile_names_stay_in_the_run(tmp_path: Path, name: str) -> None:
    assert "/" not in file_name(name)
    assert len(file_name(name).encode()) < 120
    writer = RunWriter.create(tmp_path / "results", sample.meta())
    writer.add_observation(name, 0, msgspec.structs.replace(sample.GOOD, logs={name: b"log"}))
    seen = StoredRun.open(writer.folder).observations(name)
    assert list(seen["bochs"][0][0].logs.values()) == [b"log"]
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
            again.observations(case.name)
    assert caught.value.hint
    assert "secret" not in str(caught.value).removeprefix(str(tmp_path))


def test_an_image_that_was_changed_is_refused(tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    path = next((run.folder / "images").iterdir())
    for data in (b"", b"no gzip", path.read_bytes()[:20], gzip.compress(b"other"), gzip.compress(bytes(len(sample.IMAGE)))):
        path.write_bytes(data)
        with pytest.raises(StoreError):
            run.image(run.cases()[0])


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run latest"):
        StoredRun.find(tmp_path, "latest")


def test_loading_imports_no_pandas() -> None:
    code = "import sys, difftest.store; sys.exit('pandas' in sys.modules or 'pytesseract' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_killed_writer_leaves_nothing_half_written(tmp_path: Path) -> None:
    """kill -9 at random moments: whatever is there is whole, and every case that was judged is there as a whole."""
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    judged = 0
    for turn in range(12):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        argv = [sys.executable, "-c", WRITER, str(tmp_path), f"run-{turn}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0.0, 0.25))
            writer.send_signal(signal.SIGKILL)
        run = StoredRun.find(tmp_path)
        assert run.meta.run == f"run-{turn}", seed
        assert run.meta.status == "running"
        for case in run.cases():
            assert run.image(case) == sample.IMAGE
            seen = run.observations(case.name)
            for boots in seen.values():
                assert [(len(one.serial), len(one.logs["bochs.log"])) for one, _ in boots] == [(300_000, 300_000)], seed
            if (run.folder / "cases" / case.name / "results.json").exists():
                assert set(seen) == {"bochs", "kvm-hosted"}, seed
                judged += 1
            assert run.results(case.name) == []
    assert judged > 0
