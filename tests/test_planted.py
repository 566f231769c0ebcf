"""The faults that are put into KVM's sources: how an edit finds its place, and a few of them built, run and found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emulators.host.files import cache_folder
from emulators.hosted.appliance.kernel_files import Kernel

from .planted.fault import FAULTS, Fault, UnfitError, load, planted
from .planted.outcome import FOUND, FaultOutcome, Outcomes
from .planted.tree import KvmTree, prepare

SOURCE = """\
static int other(int a);
static int checked(struct vcpu *vcpu, int a);

static int other(int a)
{
	return a > 3;
}

static int checked(struct vcpu *vcpu, int a)
{
	if (a > 3)
		return 1;
	return other(a);
}

static int NAME(walked)(int a)
{
	return a > 3 ||
		a > 3;
}
"""


def fault(**fields: str) -> Fault:
    usual = {"id": "x", "area": "E", "file": "x.c", "function": "checked", "anchor": "a > 3", "becomes": "a > 4"}
    return Fault(**{**usual, "says": "It is wrong", **fields})


def test_an_edit_changes_its_function_alone() -> None:
    changed = planted(SOURCE, fault())
    assert changed.count("a > 4") == 1 and "if (a > 4)" in changed
    assert changed.replace("a > 4", "a > 3") == SOURCE
    assert "return a >= 3;" in planted(SOURCE, fault(function="other", becomes="a >= 3"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"function": "gone"}, "defines gone() 0 times"),
        ({"anchor": "a > 5"}, "'a > 5' 0 times"),
        ({"function": "NAME(walked)"}, "'a > 3' 2 times"),
        ({"function": "heck"}, "defines heck() 0 times"),
    ],
)
def test_an_anchor_that_does_not_fit_is_an_error(fields: dict[str, str], says: str) -> None:
    with pytest.raises(UnfitError) as caught:
        planted(SOURCE, fault(**fields))
    assert says in str(caught.value)


def test_every_fault_is_of_a_family_and_changes_something() -> None:
    faults = load()
    assert {fault.area for fault in faults} == {"E", "W", "F", "L1", "P", "L2", "M"}
    assert sum(fault.area in "EWF" for fault in faults) >= 30 and sum(fault.area not in "EWF" for fault in faults) >= 30
    for one in faults:
        assert one.anchor != one.becomes and one.says[:1].isalnum() and not one.says.endswith(".")


def test_outcomes_are_kept_for_the_very_fault(tmp_path: Path) -> None:
    outcomes, one = Outcomes(tmp_path), fault()
    outcomes.put(FaultOutcome(fault=one.id, key=one.key, outcome=FOUND, checks=["a/b"]))
    stored = outcomes.get(one.id, one.key)
    assert stored is not None and stored.checks == ["a/b"]
    assert outcomes.get(one.id, fault(becomes="0").key) is None
    (tmp_path / "x.json").write_text("{")
    assert outcomes.get(one.id, one.key) is None


def test_a_runner_that_was_killed_leaves_no_fault_in_the_sources(tmp_path: Path) -> None:
    kernel = Kernel(release="6.1.0-1-cloud-amd64", package="", vmlinuz=tmp_path, modules=(), sha256="")
    tree = KvmTree(tmp_path, kernel)
    source = tree.sources / fault().file
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE)
    with tree.with_fault(fault()):
        assert source.read_text() != SOURCE
        killed = {path: path.read_bytes() for path in tree.sources.rglob("*") if path.is_file()}
    assert [path.name for path in tree.sources.rglob("*") if path.is_file()] == [source.name]
    for path, content in killed.items():
        path.write_bytes(content)
    tree.restore()
    assert source.read_text() == SOURCE
    assert [path.name for path in tree.sources.rglob("*") if path.is_file()] == [source.name]


@pytest.mark.proof
@pytest.mark.hosted
def test_faults_in_kvm_are_found(tmp_path: Path) -> None:
    """All anchors fit the distribution's sources of today, and one fault of each of two families is found."""
    argv = [
        sys.executable,
        "-m",
        "tests.planted",
        "--folder",
        str(tmp_path),
        "pdpte-reserved-bits",
        "cr4-shadow-compared",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 found of 2" in done.stdout
    (sources,) = tmp_path.glob("trees/*/usr/src/linux-headers-*-common/arch/x86/kvm")
    for one in load(FAULTS):
        planted((sources / one.file).read_text(), one)


STEP = """\
import os, sys
from pathlib import Path
from emulators.host.errors import EmulatorError
from emulators.host.files import cache_folder
from emulators.hosted.appliance.kernel_files import Kernel
from tests.planted.tree import prepare

folder = Path(sys.argv[1])
try:
    kernel = prepare("6.1", folder, cache_folder(), print).modules(folder / "kernel")
except EmulatorError:
    sys.exit(125)
words = ["run", "paging", "-k", "L1-02", "-t", "kvm-hosted", "--confirm", "none", "-q", "--exit-code", "git-bisect"]
os.chdir(folder)
os.execv(sys.executable, [sys.executable, "-m", "difftest.cli", *words, "--kernel", str(kernel)])
"""


@pytest.mark.proof
@pytest.mark.hosted
def test_git_bisect_names_the_commit(tmp_path: Path) -> None:
    """Sixteen commits to KVM, one of which has the fault; one after it and one before it do not compile."""
    tree = prepare("6.1", tmp_path, cache_folder(), print)
    (bad_one,) = (one for one in load() if one.id == "cr0-nw")
    source = tree.sources / bad_one.file

    def git(*words: str) -> str:
        argv = ["git", "-c", "user.name=x", "-c", "user.email=x@x", *words]
        return subprocess.run(argv, cwd=tree.sources, capture_output=True, text=True, check=True).stdout

    git("init", "-q", "-b", "main")
    (tree.sources / ".gitignore").write_text("*.o\n*.ko\n*.cmd\n*.mod*\n*.order\n*.symvers\n")
    git("add", "-A")
    for number in range(17):
        whole = source.read_text()
        if number == 9:
            whole = planted(whole, bad_one)
        broken = "\n#error unfinished" if number in (7, 11) else ""
        source.write_text(whole.replace("\n#error unfinished", "") + f"\n/* {number} */\n{broken}")
        git("commit", "-qam" if number else "-qm", f"commit {number}")
    (tmp_path / "step.py").write_text(STEP)
    root = Path(__file__).parent.parent
    git("bisect", "start", "HEAD", git("rev-list", "--max-parents=0", "HEAD").strip())
    step = f"PYTHONPATH={root} {sys.executable} {tmp_path}/step.py {tmp_path}"
    said = git("bisect", "run", "sh", "-c", step)
    assert "commit 9\n" in said.partition("is the first bad commit")[2], said[-2000:]
