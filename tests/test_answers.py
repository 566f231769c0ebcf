"""Answers that are kept between runs: right after every change of what they rest on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from difftest.image.build import _version
from emulators.host import answers as answers_module
from emulators.host.answers import FOLDER, Answer, cached_answer, hashed
from emulators.host.files import sha256
from emulators.host.mirror import archives

from . import mirror as fake


class Asked:
    """Answers with how often it was asked."""

    def __init__(self, *rests_on: Path) -> None:
        self.times = 0
        self.rests_on = rests_on

    def __call__(self) -> Answer:
        self.times += 1
        return Answer(f"answer {self.times}", self.rests_on)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "below").mkdir(parents=True)
    (folder / "file").write_text("one")
    (folder / "below/entry").write_text("two")
    return folder


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were just written are as good as old ones here, where every change is another size or another
    inode.
    """
    monkeypatch.setattr(answers_module, "SETTLED_SECONDS", -60.0)


def test_it_is_asked_once(tmp_path: Path, tree: Path) -> None:
    asked = Asked(tree / "file", tree / "below", tree / "missing")
    assert [cached_answer(tmp_path, "q", asked) for _ in range(3)] == ["answer 1"] * 3
    assert cached_answer(tmp_path, "another q", asked) == "answer 2"
    assert cached_answer(tmp_path / "elsewhere", "q", asked) == "answer 3"


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "file").write_text("other"),
        lambda tree: (tree / "file").unlink(),
        lambda tree: (tree / "missing").touch(),
        lambda tree: (tree / "below/new").touch(),
        lambda tree: (tree / "below/entry").unlink(),
        lambda tree: (tree / "below/entry").write_text("longer"),
        lambda tree: (tree / "below/entry").rename(tree / "below/name"),
        lambda tree: (tree / "new").rename(tree / "file"),
        lambda tree: os.utime(tree / "file", ns=(0, 0)),
    ],
)
def test_every_change_asks_again(tmp_path: Path, tree: Path, change: Callable[[Path], object]) -> None:
    asked = Asked(tree / "file", tree / "below", tree / "missing")
    (tree / "new").write_text("one")
    assert cached_answer(tmp_path, "q", asked) == "answer 1"
    change(tree)
    assert cached_answer(tmp_path, "q", asked) == "answer 2"
    assert cached_answer(tmp_path, "q", asked) == "answer 2"


def test_a_change_whose_times_are_set_back_is_seen(tmp_path: Path, tree: Path) -> None:
    asked = Asked(tree / "file")
    before = (tree / "file").stat()
    cached_answer(tmp_path, "q", asked)
    time.sleep(0.02)
    (tree / "file").write_text("eno")
    os.utime(tree / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cached_answer(tmp_path, "q", asked) == "answer 2"


def test_what_changed_just_now_is_not_kept(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "SETTLED_SECONDS", 60.0)
    asked = Asked(tree / "file")
    assert [cached_answer(tmp_path, "q", asked) for _ in range(2)] == ["answer 1", "answer 2"]
    assert not (tmp_path / FOLDER).exists()


def test_what_changes_while_it_is_asked_is_not_kept(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "SETTLED_SECONDS", 0.0)

    def ask() -> Answer:
        time.sleep(0.02)
        (tree / "file").write_text("changed")
        return Answer("of the file before", [tree / "file"])

    assert cached_answer(tmp_path, "q", ask) == "of the file before"
    assert cached_answer(tmp_path, "q", Asked(tree / "file")) == "answer 1"


def test_an_answer_that_rests_on_nothing_is_not_kept(tmp_path: Path) -> None:
    asked = Asked()
    assert [cached_answer(tmp_path, "q", asked) for _ in range(2)] == ["answer 1", "answer 2"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff" * 40, b"[]", b'{"question": "q", "said": 1, "rests_on": [], "state": ""}']
)
def test_a_damaged_answer_is_asked_again(tmp_path: Path, tree: Path, damage: bytes) -> None:
    asked = Asked(tree / "file")
    cached_answer(tmp_path, "q", asked)
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(damage)
    assert [cached_answer(tmp_path, "q", asked) for _ in range(2)] == ["answer 2"] * 2


def test_a_cache_that_takes_nothing_costs_no_answer(tmp_path: Path, tree: Path) -> None:
    (tmp_path / FOLDER).write_text("a file in the folder's place")
    asked = Asked(tree / "file")
    assert [cached_answer(tmp_path, "q", asked) for _ in range(2)] == ["answer 1", "answer 2"]


def test_a_hash_is_that_of_the_file_as_it_is_now(tmp_path: Path, tree: Path) -> None:
    file, computed = tree / "file", []

    def compute(path: Path) -> str:
        computed.append(path)
        return sha256(path)

    first = hashed(tmp_path, file, compute)
    assert (hashed(tmp_path, file, compute), len(computed)) == (first, 1)
    answers_module._hashes.cache_clear()
    assert (hashed(tmp_path, file, compute), len(computed)) == (first, 1), "another process"
    file.write_text("another")
    assert hashed(tmp_path, file, compute) == sha256(file) != first
    (tmp_path / FOLDER / "hashes.json").write_bytes(b'{"%s": ["x", "y"]}' % str(file).encode())
    answers_module._hashes.cache_clear()
    assert hashed(tmp_path, file, compute) == sha256(file)


def test_another_compiler_is_asked_for_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for number in (12, 13):
        program = tmp_path / f"gcc-{number}"
        program.write_text(f"#!/bin/sh\necho gcc {number}\n")
        program.chmod(0o755)
    (tmp_path / "gcc").symlink_to("gcc-12")
    assert (_version("gcc"), _version("gcc")) == ("gcc 12", "gcc 12")
    (tmp_path / "gcc").unlink()
    (tmp_path / "gcc").symlink_to("gcc-13")
    assert _version("gcc") == "gcc 13"


def test_apt_is_asked_again_when_its_sources_or_lists_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = answers_module.cached_answer

    def counted(cache: Path, question: str, ask: Callable[[], Answer]) -> str:
        def told() -> Answer:
            calls.append(question)
            return ask()

        return real(cache, question, told)

    monkeypatch.setattr("emulators.host.apt.cached_answer", counted)
    conf = fake.apt_of(tmp_path / "host", one_line="deb http://one.example.org/debian bookworm main\n")
    assert [archives(conf, tmp_path / "cache").main for _ in range(2)] == ["http://one.example.org/debian/"] * 2
    assert len(calls) == 1
    (tmp_path / "host/sources.list").write_text("deb http://two.example.org/debian bookworm main\n")
    assert [archives(conf, tmp_path / "cache").main for _ in range(2)] == ["http://two.example.org/debian/"] * 2
    assert len(calls) == 2
    deb822 = "Types: deb\nURIs: http://three.example.org/debian\nSuites: bookworm\nComponents: main\n"
    (tmp_path / "host/sources.list").unlink()
    (tmp_path / "host/parts/more.sources").write_text(deb822)
    assert archives(conf, tmp_path / "cache").main == "http://three.example.org/debian/"
    assert len(calls) == 3
    (tmp_path / "host/state/lists/three.example.org_debian_dists_bookworm_main_binary-amd64_Packages").write_text("")
    archives(conf, tmp_path / "cache")
    assert len(calls) == 4, "apt-get update writes there"
    conf.write_text(conf.read_text() + f'Dir::Etc::sourceparts "{tmp_path}/host/none";\n')
    (tmp_path / "host/sources.list").write_text("deb http://four.example.org/debian bookworm main\n")
    assert archives(conf, tmp_path / "cache").main == "http://four.example.org/debian/"
