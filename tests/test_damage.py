"""Files of the cache that are torn or changed, and runs that make the same things at once: the verdicts stay right, and
the cache is whole again afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emulators.host.cache import SUMS
from emulators.host.files import cache_folder

from .guests import HALT, boot_sector

ROOT = Path(__file__).parent.parent
SECONDS = 400
SEED = {"mapped": "agree", "not-present": "subject-wrong"}
# What is in the cache: the kinds of entries, and answers of programs, which are files of their own.
KINDS = ("snapshots", "appliances", "kernels", "bochs", "built", "images", "answers", "readings")


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flipped(path: Path) -> None:
    """Bits all over the file; its size and the time that it seems to be of stay."""
    before = path.stat()
    with path.open("r+b") as file:
        for place in range(0, before.st_size, max(1, before.st_size // 500)):
            byte = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([byte[0] ^ 0x41]), place)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}


def command(folder: Path, target: str, image: Path, results: str = "results") -> list[str]:
    argv = [sys.executable, "-m", "difftest.cli", "run", "ept-pdpte-load" if target == "kvm-hosted" else str(image)]
    argv += [str(image)] if target == "kvm-hosted" else []
    return [*argv, "-t", target, "--confirm", "none", "-q", "--results", str(folder / results)]


def verdicts(results: Path) -> dict[str, str]:
    """By check; that on an image as a whole is "image"."""
    found = {}
    for path in results.glob("latest/cases/*/results.json"):
        found |= {result["check"]: result["verdict"] for result in json.loads(path.read_bytes())}
    return found


def run(folder: Path, target: str, image: Path) -> tuple[dict[str, str], float]:
    begun = time.monotonic()
    done = subprocess.run(
        command(folder, target, image), env=environment(folder / "cache"), capture_output=True, text=True,
        check=False, timeout=SECONDS, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return verdicts(folder / "results"), time.monotonic() - begun


def prepared(folder: Path, *, shared: bool) -> Path:
    """A cache of its own, which has this user's packages; `shared`: kernels and emulators, too."""
    cache = folder / "cache" / "difftest"
    cache.mkdir(parents=True)
    for kind in ("apt", *(("kernels", "bochs") if shared else ())):
        (cache_folder() / kind).mkdir(parents=True, exist_ok=True)
        (cache / kind).symlink_to(cache_folder() / kind)
    return cache


def files_of(cache: Path, kind: str) -> list[Path]:
    """The files of a kind, the largest first; of an entry also its list of hashes."""
    found = [path for path in (cache / kind).rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    found.sort(key=lambda path: (path.stat().st_size, path.name), reverse=True)
    sums = [path for path in found if path.name == SUMS]
    return [found[0], *sums[:1]] if found else []


@pytest.mark.boots
@pytest.mark.parametrize("damage", [empty, half, flipped])
def test_damaged_images_and_answers_change_no_verdict(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache = prepared(tmp_path, shared=True)
    image = boot_sector(tmp_path, b"hello\r\n", HALT)
    assert run(tmp_path, "tcg", image)[0] == {"image": "agree"}
    damaged = [path for kind in ("images", "answers") for path in files_of(cache, kind)]
    assert damaged
    for path in damaged:
        damage(path)
    assert run(tmp_path, "tcg", image)[0] == {"image": "agree"}


@pytest.mark.hosted
@pytest.mark.proof
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_damaged_is_made_again_at_most_one_cold_boot_later(tmp_path: Path, kind: str) -> None:
    cache = prepared(tmp_path, shared=False)
    image = boot_sector(tmp_path, b"hello\r\n", HALT)
    wanted = {**SEED, "image": "agree"}
    seen, cold = run(tmp_path, "kvm-hosted", image)
    assert seen == wanted
    for damage in (empty, half, flipped):
        assert run(tmp_path, "kvm-hosted", image)[0] == wanted
        for path in files_of(cache, kind):
            damage(path)
            seen, seconds = run(tmp_path, "kvm-hosted", image)
            assert seen == wanted, f"{damage.__name__} {path}"
            assert seconds < cold + 30, f"{damage.__name__} {path}"
    warm = min(run(tmp_path, "kvm-hosted", image)[1] for _ in range(2))
    assert warm < cold / 2, "all is there again"


@pytest.mark.hosted
@pytest.mark.proof
@pytest.mark.parametrize("count", [4, 8])
def test_runs_on_an_empty_cache_at_once_of_which_one_is_killed(tmp_path: Path, count: int) -> None:
    cache = prepared(tmp_path, shared=False)
    image = boot_sector(tmp_path, b"hello\r\n", HALT)
    begun = time.monotonic()
    runs = [
        subprocess.Popen(
            command(tmp_path, "kvm-hosted", image, f"results-{number}"), env=environment(tmp_path / "cache"),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tmp_path,
        )
        for number in range(count)
    ]  # fmt: skip
    time.sleep(15)  # in which they have begun to make something
    runs[0].send_signal(signal.SIGKILL)
    for number, one in enumerate(runs):
        _, said = one.communicate(timeout=SECONDS * count)
        if number:
            assert one.returncode == 0, said.decode(errors="replace")
            assert verdicts(tmp_path / f"results-{number}") == {**SEED, "image": "agree"}
    assert len(list((cache / "appliances").glob("[0-9a-f]*"))) == 1
    assert not list(cache.glob("*/.making-*")), f"after {time.monotonic() - begun:.0f} s"
