"""`difftest add-suite`: what a list of tests says, what becomes of it, and a stand-in's images on real emulators.

With DIFFTEST_KVM_UNIT_TESTS, the path of a checkout of kvm-unit-tests, `make proof` also takes that.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from difftest.authoring.image_list import listed
from difftest.authoring.kvm_unit_tests.build import Image
from difftest.authoring.kvm_unit_tests.cases import cases
from difftest.authoring.kvm_unit_tests.config import Entry, parse
from difftest.authoring.kvm_unit_tests.cpu import models
from difftest.authoring.suite import add_suite
from difftest.case.case import load
from difftest.case.manifest import Manifest
from difftest.case.selection import bundled
from difftest.cli import application
from difftest.errors import BuildError, CaseError
from difftest.judging.result import Result
from difftest.run.store import StoredRun
from difftest.verdict import Verdict

STANDIN = Path(__file__).parent / "data/standin"
LIST = """
[first]            # what follows the name is no key
file = one.flat
smp = 2
test_args = 'words "in quotes"'
qemu_params = -cpu max,+vmx -m 1g -device thing,a=b -enable-kvm
arch = x86_64
groups = vmx nodefault
timeout = 90s
check = /sys/a=Y /proc/b=0

[older]
file = two.flat
extra_params = -append 'these words' -smp 3

[long]
file = three.flat
test_args = \"\"\"a
b\"\"\"

[timed]
file = four.flat
test_args = "5 `date +%s`"
"""


def test_the_list_of_tests_is_read() -> None:
    first, older, long, timed = parse(LIST)
    assert first == Entry(
        name="first",
        file="one.flat",
        arguments='words "in quotes"',
        cpus=2,
        memory_mib=1024,
        cpu="max,+vmx",
        arch="x86_64",
        groups=["vmx", "nodefault"],
        timeout=90,
        checks=["/sys/a=Y", "/proc/b=0"],
        options=["-device thing,a=b"],
    )
    assert (older.arguments, older.cpus) == ("these words", 3)
    assert long.arguments == "a b"
    assert timed.arguments == "5 1600000000", "the time by the emulators' clocks"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file = a.flat", "line 1 is neither"),
        ("[a]\nno pair here", "line 2 is neither"),
        ('[a]\nfile = """x', "has no end"),
        ("[a]\nfile = x\ntest_args = 'open", "No closing quotation"),
        ("[a]\nfile = x\nsmp = many", "smp is no number"),
        ("[a]\nfile = x\nqemu_params = -m lots", "no amount of memory"),
    ],
)
def test_a_list_that_cannot_be_read_is_an_error_with_its_line(text: str, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("wanted", "bochs", "kvm"),
    [
        ("max,+vmx", "", ""),
        ("qemu64,+x2apic,+tsc-deadline,vendor=GenuineIntel", "", ""),
        ("qemu64,-x2apic,+tsc-deadline", "corei7_sandy_bridge_2600k", "host,vmx=on,-x2apic"),
        ("qemu64,+umip", "corei3_cnl", ""),
        ("max,-pku", "", ""),
        ("Opteron_G1,vendor=AuthenticAMD", "athlon64_clawhammer", "Opteron_G1,vendor=AuthenticAMD"),
    ],
)
def test_a_cpu_becomes_models_of_both_sides(wanted: str, bochs: str, kvm: str) -> None:
    found = models(wanted)
    assert not found.missing
    assert (found.models.get("bochs", ""), found.models.get("kvm-hosted", "")) == (bochs, kvm)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("max,+svm", "needs SVM"),
        ("host,hv_passthrough", "Hyper-V"),
        ("qemu64,-pcid,+invpcid", "with invpcid and without pcid"),
        ("max,+la57", "la57"),
        ("Skylake-Server,+vmx-mbec", "vmx-mbec"),
        ("IvyBridge,phys-bits=36", "phys-bits"),
        ("Nehalem", "no model of Bochs"),
    ],
)
def test_a_cpu_that_a_side_lacks_is_a_reason(wanted: str, words: str) -> None:
    assert words in models(wanted).missing


def case_of(**fields: object) -> Manifest:
    entry = Entry(name="one", file="one.flat", **fields)  # type: ignore[arg-type]
    (made,) = cases(
        [entry], {"one.flat": Image(path=Path("one"), parameters=True, tests=["a", "b_c", "b_d"])}, "x86_64"
    )
    return made.manifest


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"groups": ["nodefault"]}, "on demand"),
        ({"accel": "tcg"}, "accelerator tcg"),
        ({"machine": "q35"}, "machine q35"),
        ({"disabled_if": "true"}, "disables it"),
        ({"checks": ["/sys/module/kvm/parameters/ignore_msrs=Y"]}, "ignore_msrs=Y"),
        ({"checks": ["/nowhere=1"]}, "something else"),
        ({"options": ["-device edu"]}, "-device edu"),
        ({"memory_mib": 4096}, "4096 MiB"),
        ({"cpus": 64}, "64 CPUs"),
        ({"arguments": "`uname`"}, "a shell"),
        ({"arguments": 'a "b"'}, "GRUB"),
    ],
)
def test_what_cannot_run_on_both_sides_is_skipped_with_the_reason(fields: dict[str, object], words: str) -> None:
    assert words in case_of(**fields).skipped


def test_a_case_has_what_its_entry_says() -> None:
    made = case_of(arguments="-b_* x", cpus=2, memory_mib=512, cpu="max,+vmx", groups=["vmx"])
    assert (made.cpus, made.memory_mib, made.needs, made.groups, made.skipped) == (2, 512, ["vmx"], ["vmx"], "")
    assert made.tests == {}, "a positive word that matches none leaves no test"
    assert case_of(arguments="-b_*").tests == {"a": 0}
    assert case_of(arguments="b_*").tests == {"b_c": 1, "b_d": 2}


def test_the_same_boot_is_made_once() -> None:
    entries = [Entry(name=name, file="one.flat", cpu=cpu) for name, cpu in (("first", "max"), ("second", "host"))]
    first, second = cases(entries, {"one.flat": Image(path=Path("one"))}, "i386")
    assert (first.manifest.name, first.manifest.skipped) == ("first-32", "")
    assert "same boot as first" in second.manifest.skipped


def test_a_folder_of_images_with_a_list(tmp_path: Path) -> None:
    source = tmp_path / "images"
    (source / "sub").mkdir(parents=True)
    (source / "sub/one.elf").write_bytes(b"one")
    (source / "images.toml").write_text(
        '[[image]]\nimage = "sub/one.elf"\ngroups = ["g"]\n[[image]]\nname = "again"\nimage = "sub/one.elf"\ncpus = 2\n'
    )
    made = add_suite(source, tmp_path / "mine", ["i386"], print)
    assert (made.cases, made.skipped) == (2, {})
    names = {case.name: case.manifest for case in bundled([tmp_path / "mine"])}
    assert names["one"].groups == ["g"] and names["again"].cpus == 2
    assert (tmp_path / "mine/again/one.elf").read_bytes() == b"one"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"\[\[image\]\] tables"),
        ('[[image]]\nimage = "x"\nno_such_key = 1', "unknown field"),
        ('[[image]]\nimage = "../x"', "no file"),
        ('[[image]]\nimage = "a"\n[[image]]\nimage = "a"', "two images are called a"),
        ('[[case]]\nimage = "a"', r"\[\[image\]\] tables"),
    ],
)
def test_a_list_of_images_that_does_not_hold_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "images.toml").write_text(text)
    with pytest.raises(CaseError, match=words):
        listed(tmp_path)


def test_what_is_no_suite_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no suite that difftest knows"):
        add_suite(tmp_path, tmp_path / "s", ["i386"], print)


def checkout(folder: Path) -> Path:
    return Path(shutil.copytree(STANDIN, folder / "checkout"))


def test_a_checkout_is_built_beside_itself(tmp_path: Path) -> None:
    source = checkout(tmp_path)
    before = sorted(source.rglob("*"))
    made = add_suite(source, tmp_path / "suite", ["i386"], print)
    assert sorted(source.rglob("*")) == before, "the checkout stays as it is"
    assert made.cases == 2 and "SVM" in made.skipped["beyond-32"]
    assert ["does not build" in words for words in made.failed] == [True]
    many = load(tmp_path / "suite/many-32").manifest
    assert many.tests == {"first_test": 0, "ends_test": 1, "last_test": 3} and many.parameters
    assert b"DIFFTEST-PARAMS\0" in (tmp_path / "suite/many-32/many.flat").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "suite/plain-32/plain.flat").read_bytes()


def test_a_checkout_in_a_folder_that_make_does_not_take(tmp_path: Path) -> None:
    spaced = tmp_path / "with space"
    spaced.mkdir()
    with pytest.raises(BuildError, match="make does not take"):
        add_suite(checkout(spaced), tmp_path / "suite", ["i386"], print)


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, Result]]:
    """`difftest run` from the folder: its exit code, and the results by case and check."""
    words = ["run", *arguments, "--results", str(folder / "results"), "--confirm", "none", "-q"]
    code = CliRunner().invoke(application(["run"]), words).exit_code
    stored = StoredRun.find(folder / "results")
    return code, {f"{result.case} {result.check}": result for result in stored.all_results()}


@pytest.mark.boots
@pytest.mark.proof
def test_a_stand_in_runs_on_bochs_and_under_qemu(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    add_suite(checkout(tmp_path), suite, ["i386"], print)
    _, results = run(tmp_path, str(suite), "--target", "tcg")
    verdicts = {name: result.verdict for name, result in results.items()}
    assert verdicts == {
        "beyond-32 image": Verdict.SKIPPED,
        "many-32 first_test": Verdict.AGREE,
        "many-32 first_test/before it": Verdict.AGREE,
        "many-32 ends_test": Verdict.INCONCLUSIVE,  # both sides give up in it
        "many-32 ends_test/at its beginning": Verdict.AGREE,
        "many-32 last_test": Verdict.AGREE,  # booted again without what ended the image
        "many-32 last_test/after it": Verdict.AGREE,
        "plain-32 the environment says that there is one CPU": Verdict.AGREE,
        "plain-32 the local APIC answers": Verdict.AGREE,
        "plain-32 the words of the list came along": Verdict.AGREE,
    }
    assert all(side.status == "PASS" for name in verdicts if name.startswith("plain") for side in results[name].sides)
    _, one = run(tmp_path, str(suite), "--target", "tcg", "-k", "last_test")
    assert set(one) == {"many-32 last_test", "many-32 last_test/after it"}


if "DIFFTEST_KVM_UNIT_TESTS" in os.environ:

    @pytest.mark.proof
    def test_a_checkout_of_kvm_unit_tests(tmp_path: Path) -> None:
        suite = tmp_path / "suite"
        made = add_suite(Path(os.environ["DIFFTEST_KVM_UNIT_TESTS"]), suite, ["x86_64", "i386"], print)
        assert made.cases >= 45 and all(made.skipped.values())
        names = ["setjmp", "msr", "realmode", "smptest", "taskswitch2-32"]
        code, results = run(tmp_path, str(suite), *(word for name in names for word in ("-k", name)), "--allow-skips")
        assert {name.partition(" ")[0] for name in results} == set(names)
        assert not any(name.endswith(" image") and result.diverges for name, result in results.items())
        agreeing = sum(result.verdict == Verdict.AGREE for result in results.values())
        assert agreeing > 0.95 * len(results) and code in (0, 1)
