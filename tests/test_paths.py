"""What is recorded of a boot says nothing of the user, nor of where on this host it was done."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from difftest.report.words import command_line
from emulators.host.paths import neutral, neutral_argv, neutral_log


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("/tmp/difftest-bochs-12-345-ab_c9/bochsrc", "SCRATCH/bochs/bochsrc"),
        ("socket,path=/var/tmp/x/difftest-qemu-1-2-a/com1,id=c", "socket,path=SCRATCH/qemu/com1,id=c"),
        ("/home/alice/.cache/difftest/bochs/3.0/lib:/usr/lib", "$CACHE/bochs/3.0/lib:/usr/lib"),
        ("/home/alice/qemu/build/qemu", "~/qemu/build/qemu"),
        ("/home/alice", "~"),
        ("/home/alicette/x", ".../x"),
        ("file=/data/alice/disk.img,format=raw", "file=.../disk.img,format=raw"),
        ('path="/srv/work of bob/disk.img"', 'path=".../work of bob/disk.img"'),
        (
            "/usr/bin/qemu-system-x86_64 /dev/kvm /cases/disk.img",
            "/usr/bin/qemu-system-x86_64 /dev/kvm /cases/disk.img",
        ),
        ("pipe,path=/tmp/exit", "pipe,path=/tmp/exit"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("and/or 1/2/3 ./a/b", "and/or 1/2/3 ./a/b"),
        ("", ""),
    ],
)
def test_paths_of_the_host_become_neutral(said: str, kept: str) -> None:
    assert neutral(said) == kept
    assert neutral(kept) == kept, "once is enough"


def test_command_lines_and_logs_do_too() -> None:
    assert neutral_argv(["qemu", "-bios", "/home/alice/bios"]) == ["qemu", "-bios", "~/bios"]
    assert neutral_log(b"\xff\0 at /home/alice/x: \x80") == b"\xff\0 at ~/x: \x80"


@pytest.mark.parametrize("piece", ["/a", "/", "/difftest-", " /a", "!/x", "/difftest-a-", "a"])
def test_a_guests_words_take_no_longer_than_they_are_long(piece: str) -> None:
    text = piece * (1 << 16)
    begun = time.process_time()
    neutral(text)
    assert time.process_time() - begun < 5


def test_where_there_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert neutral("/usr/bin/a /data/b/c") == "/usr/bin/a .../c"


def test_a_command_line_leaves_them_to_the_shell() -> None:
    assert command_line(["$CACHE/x", "~/y", "$CACHE/a:$CACHE/b"]) == "$CACHE/x ~/y $CACHE/a:$CACHE/b"
    assert command_line(["$HOME", "a~b c", "", "$CACHED"]) == "'$HOME' 'a~b c' '' '$CACHED'"


def test_another_place_of_the_cache_is_found_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert neutral(str(tmp_path / "caches" / "difftest" / "x")) == "$CACHE/x"
