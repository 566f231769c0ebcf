"""Building cases: reproducible bytes, the parameter block, what the checks say of themselves, errors that help."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from difftest.case.case import load
from difftest.errors import BuildError, CaseError, HostError
from difftest.image import build
from difftest.image.build import KIT, build_case
from difftest.image.parameter_block import MAGIC, params_of
from difftest.image.prepare import prepare, with_checks
from emulators.host.disk import CYLINDER

SEED = KIT.parent / "ept-pdpte-load"
SOURCE = "ept-pdpte-load.c"

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def _seed(cache: Path) -> build.BuiltImage:
    return build_case("ept-pdpte-load", SEED, [SOURCE], cache)


def _case(folder: Path, text: str, **headers: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.c").write_text(text)
    for name, content in headers.items():
        (folder / f"{name}.h").write_text(content)
    return folder


def _check(name: str, body: str = "") -> str:
    return f'CHECK(c{name.encode().hex()}, "{name}", NEEDS_NOTHING, "1.2", "what {name} does")\n{{\n    {body}\n}}\n'


def test_the_same_bytes_each_time_wherever_the_sources_lie(tmp_path: Path) -> None:
    elsewhere = tmp_path / "another place"
    shutil.copytree(SEED, elsewhere)
    one = _seed(tmp_path / "one")
    other = build_case("ept-pdpte-load", elsewhere, [SOURCE], tmp_path / "two")
    assert one.sha256 == other.sha256
    assert one.image.read_bytes() == other.image.read_bytes()


def test_an_image_that_boots_and_tells_nothing_of_this_machine(tmp_path: Path) -> None:
    image = _seed(tmp_path).image.read_bytes()
    assert image[510:512] == b"\x55\xaa"
    assert len(image) % CYLINDER == 0
    assert image.count(MAGIC) == 1
    for path in (KIT.parent.parent, tmp_path, Path.home()):
        assert os.fsencode(path) not in image


def test_a_second_build_costs_nothing_and_a_damaged_one_is_done_again(tmp_path: Path) -> None:
    built = _seed(tmp_path)
    inode = built.image.stat().st_ino
    begun = time.perf_counter()
    assert _seed(tmp_path) == built
    assert time.perf_counter() - begun < 0.5
    assert built.image.stat().st_ino == inode
    good = built.image.read_bytes()
    built.image.write_bytes(good[:-1] + b"x")
    assert _seed(tmp_path) == built
    assert built.image.read_bytes() == good
    shown = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".lock-")]
    assert shown == [built.image.parent.name]


def test_checks_in_the_order_of_the_source(tmp_path: Path) -> None:
    names = [f"row-{number}/{'x' * number}" for number in range(40, 0, -1)]
    folder = _case(tmp_path / "case", '#include "check.h"\n' + "".join(map(_check, names)))
    built = build_case("many", folder, ["a.c"], tmp_path / "cache")
    assert [about.check for about in built.checks] == names
    assert (built.checks[0].sdm, built.checks[0].summary) == ("1.2", f"what {names[0]} does")
    assert params_of(built.image.read_bytes()).count == len(names)


def test_a_header_beside_the_source_is_part_of_the_case(tmp_path: Path) -> None:
    text = '#include "check.h"\n#include "value.h"\n' + _check("one", 'saw("value", VALUE);')
    folder = _case(tmp_path / "case", text, value="#define VALUE 1\n")
    one = build_case("case", folder, ["a.c"], tmp_path / "cache")
    (folder / "value.h").write_text("#define VALUE 2\n")
    assert build_case("case", folder, ["a.c"], tmp_path / "cache").sha256 != one.sha256


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('#include "check.h"\n' + _check("one", "oops;"), "a.c:4"),
        ('#include "check.h"\n' + _check("one", "int unused;"), "unused"),  # a warning is an error
        ('#include "check.h"\nint missing(void);\n' + _check("one", 'saw("one", (u64)missing());'), "missing"),
        ('#include "check.h"\n', "no CHECK"),
        ('#include "check.h"\n' + _check("two words"), "two words"),
        ('#include "check.h"\n' + _check("twice") + _check("twice").replace("(c", "(d"), "twice"),
        ('#include "check.h"\nconst char other[] = "DIFFTEST-PARAMS";\n' + _check("one", "skip(other);"), "twice"),
        ('#include "check.h"\nstatic char big[4 << 20];\n' + _check("one", 'saw("one", big[0]);'), "4 MiB"),
    ],
)
def test_what_does_not_build_says_why(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        build_case("case", _case(tmp_path / "case", text), ["a.c"], tmp_path / "cache")
    assert caught.value.hint
    assert all(path.name.startswith(".lock-") for path in (tmp_path / "cache").iterdir())


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"b\.c: No such file"):
        build_case("case", _case(tmp_path / "case", ""), ["b.c"], tmp_path / "cache")


def test_a_machine_without_a_compiler_is_told_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    build._versions.cache_clear()
    with pytest.raises(HostError, match="gcc is missing") as caught:
        _seed(tmp_path / "cache")
    assert "apt-get install gcc binutils" in caught.value.hint


def test_only_the_chosen_checks_are_switched_on(tmp_path: Path) -> None:
    for case, checks in {"a": ("P-01/a", "P-01/b", "P-02"), "b": ("P-02", "Q-01")}.items():
        (tmp_path / case).mkdir()
        (tmp_path / case / "a.c").write_text('#include "check.h"\n' + "".join(map(_check, checks)))
        (tmp_path / case / "case.toml").write_text(f'name = "{case}"\nsources = ["a.c"]\n')
    whole = [prepare(load(tmp_path / case), tmp_path / "cache") for case in ("a", "b")]

    def chosen(*patterns: str) -> dict[str, list[str]]:
        made = with_checks(whole, patterns)
        for one in made:
            params = params_of(one.image.read_bytes())
            bits = int.from_bytes(params.selected, "little")
            assert [number for number in range(params.count) if bits >> number & 1] == list(one.numbers)
        return {one.case.name: [about.check for about in one.abouts] for one in made}

    assert chosen("P-02") == {"a": ["P-02"], "b": ["P-02"]}
    assert chosen("Q-01", "P-01/b") == {"a": ["P-01/b"], "b": ["Q-01"]}
    assert chosen("P-01") == {"a": ["P-01/a", "P-01/b"]}, "a case without such a check is left out"
    with pytest.raises(CaseError, match="no check called P-01/c"):
        chosen("P-02", "P-01/c")
