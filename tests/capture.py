"""Makes the captured runs in tests/data from real boots: `python -m tests.capture [SCENARIO...]`, all if none is named.

Each is a run as `difftest run` stored it, with the versions of all that took part and its command in run.json. Nothing
in it is edited by hand. This script changes four things, and no byte that a guest gave but those of a flood:

- Paths of the machine in JSON files and logs become neutral ones: the folder that the command ran in /home/user/images,
  the cache /home/user/.cache/difftest, the checkout /home/user/difftest, home /home/user, the temporary folder /tmp.
  Temporary names lose what is random in them; the host's kernel keeps only the numbers of its version.
- Of logs stay an emulator's configuration, the exits that KVM recorded, the beginning of the kernel's, and where the
  boot ended badly the end of the others: no judge and no report needs more.
- COM1's bytes are cut to the first 16 KiB.
- An image is compressed harder; one that stays large is left out.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from difftest.run.store import StoredRun
from emulators.host.files import cache_folder
from emulators.observation import EXITS_LOG, ORDERLY
from tests.scenarios import SCENARIOS, Scenario

CHECKOUT = Path(__file__).resolve().parent.parent
DATA = CHECKOUT / "tests" / "data"
JUDGED = (0, 1, 3)  # exit codes of a run that came to its end
LONGEST_LOG = 1500  # bytes
LONGEST_KERNEL_LOG = 12_000
LONGEST_SERIAL = 16 << 10
LARGEST_IMAGE = 40 << 10  # compressed
RANDOM_NAME = re.compile(rb"\b(difftest-[a-z]+)-[a-z0-9_]{8}\b")


def main(names: Sequence[str]) -> None:
    if unknown := set(names) - set(SCENARIOS):
        sys.exit(f"no scenario is called {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    for name in names or SCENARIOS:
        scenario = SCENARIOS[name]
        with tempfile.TemporaryDirectory(prefix="difftest-capture-") as scratch:
            for run, word in zip(boot(scenario, Path(scratch)), scenario.runs or (name,), strict=True):
                clean(run, Path(scratch) / "work")
                target = DATA / ("schema1" if scenario.commit else "captured") / word
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(run, target)
                print(
                    f"{target}: {sum(path.stat().st_size for path in target.rglob('*') if path.is_file())} bytes",
                    flush=True,
                )


def boot(scenario: Scenario, scratch: Path) -> list[Path]:
    """Run a scenario in scratch/work. Returns the folders of the stored runs."""
    work = scratch / "work"
    work.mkdir()
    scenario.make(work)
    code = unpacked(scenario.commit, scratch / "code") if scenario.commit else CHECKOUT
    argv = [sys.executable, "-m", "difftest.cli", "run", *shlex.split(scenario.arguments)]
    done = subprocess.run(argv, cwd=work, env=os.environ | {"PYTHONPATH": str(code)}, capture_output=True, check=False)
    if done.returncode not in JUDGED:
        sys.exit(f"{shlex.join(argv)}: exit code {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return sorted(path for path in (work / "results").iterdir() if not path.is_symlink())


def unpacked(commit: str, folder: Path) -> Path:
    """The code of a commit."""
    packed = subprocess.run(["git", "archive", commit], cwd=CHECKOUT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def clean(run: Path, work: Path) -> None:
    """Make a stored run, which was made in `work`, small and free of this machine's paths."""
    neutral = {
        str(work): "/home/user/images",
        str(work.parent / "code"): "/home/user/difftest",
        str(CHECKOUT): "/home/user/difftest",
        str(cache_folder()): "/home/user/.cache/difftest",
        str(Path.home()): "/home/user",
        tempfile.gettempdir(): "/tmp",
        os.uname().release: re.sub(r"[^\d.].*", "", os.uname().release),
    }
    for path in [path for path in run.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        if path.suffix == ".json":
            path.write_bytes(cleaned(data, neutral))
        elif path.parent.name == "logs":
            lines = shortened(path, cleaned(data, neutral))
            path.unlink() if lines is None else path.write_bytes(lines)
        elif path.name == "serial.bin":
            path.write_bytes(data[:LONGEST_SERIAL])
        elif path.suffix == ".gz":
            packed = gzip.compress(gzip.decompress(data), mtime=0)
            path.write_bytes(packed) if len(packed) <= LARGEST_IMAGE else path.unlink()
    for path in (path for path in run.rglob("*") if path.is_file()):
        if left := [
            word for word in neutral if neutral[word] != word and whole(word.encode()).search(path.read_bytes())
        ]:
            sys.exit(f"{path} still has {left[0]}")
    if not StoredRun.open(run).all_results():
        sys.exit(f"{run}: nothing was judged")


def cleaned(data: bytes, neutral: Mapping[str, str]) -> bytes:
    """Text with these words replaced, the longest first, and without the random part of temporary names."""
    data = RANDOM_NAME.sub(rb"\1", data)
    for word in sorted(neutral, key=len, reverse=True):
        data = whole(RANDOM_NAME.sub(rb"\1", word.encode())).sub(neutral[word].encode(), data)
    return data


def whole(word: bytes) -> re.Pattern[bytes]:
    """A path, or a version, that is not a piece of a longer one."""
    return re.compile(rb"(?<![\w.-])" + re.escape(word) + rb"(?![\w-])")


def shortened(path: Path, log: bytes) -> bytes | None:
    """The lines of a log that are kept; None where there is no use for it."""
    if path.suffix != ".log" or path.name == EXITS_LOG:
        return log
    if path.name == "kernel.log":
        return log[:LONGEST_KERNEL_LOG]
    ending = msgspec.json.decode((path.parent.parent / "observation.json").read_bytes())["ending"]
    if ending in ORDERLY or not log:
        return None
    return log if len(log) <= LONGEST_LOG else b"...\n" + log[-LONGEST_LOG:].partition(b"\n")[2]


if __name__ == "__main__":
    main(sys.argv[1:])
