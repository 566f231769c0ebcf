import json
import os
import re
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftest.case.case import BUNDLED, load, of_image
from difftest.case.manifest import Manifest
from difftest.case.selection import bundled, checks_named, find, select
from difftest.errors import CaseError
from difftest.image.prepare import bootable
from emulators.host.disk import CYLINDER, whole_cylinders


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "case.toml").write_text(text)
    return folder


KNOWN = 'name = "x"\nimage = "a.img"\n[[known]]\ncheck = "c"\nverdict = "differ"\nreason = "r"\npattern = "x"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "x"\nimage = "a.img"\ncolour = "red"', "colour"),
        ('name = "x"', "either sources or image"),
        ('name = "x"\nimage = "../../etc/passwd"', "leads out of"),
        ('name = "X y"\nimage = "a.img"', "lower-case"),
        ('name = "x"\nimage = "a.img"\nend = "("', "end"),
        ('name = "x"\nimage = "a.img"\nmemory_mib = 100000', "memory_mib"),
        ('name = "x"\nsources = ["a.c"]\nmemory_mib = 7', "8 MiB"),
        ('name = "x"\nimage = "a.img"\nquiet_seconds = 0', "above 0"),
        ('name = "x"\nimage = 5', "str"),
        ("name = ", "case.toml"),
        ('name = "x"\nimage = "a\\u0000b"', "no name of a file"),
        ('name = "x"\nsources = ["-B."]', "begins with a dash"),
        (f'name = "x"\nimage = "a.img"\ngroups = {"[" * 20_000}{"]" * 20_000}', "case.toml"),
        (f'name = "x"\nimage = "a.img"\nend = "{"(" * 20_000}{")" * 20_000}"', "longer than"),
        ('name = "x"\nimage = "a.img"\nvolatile = ["[a"]', "volatile: no regular expression"),
        ('name = "x"\nimage = "a.img"\nquiet_seconds = nan', "above 0"),
        ('name = "x"\nimage = "a.img"\ntotal_seconds = inf', "at most"),
        ('name = "x"\nimage = "a.img"\ntotal_seconds = 100000', "at most"),
        (KNOWN + 'kernels = "garbage!!"', "'garbage!!' is no range of versions"),
        (KNOWN + 'bochs = ">=2.7,8"', "no range of versions"),
        (KNOWN + f'kernels = ">={"1" * 5000}"', "no range of versions"),
        (KNOWN + 'kernel = ">=5.10"', "unknown field `kernel`"),
    ],
)
def test_a_broken_manifest_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        load(write(tmp_path / "c", text))


@pytest.mark.parametrize("versions", ["", ">=5.10,<8", "~=6.1", ">= 6.1.12, != 6.4.*", "==2.7"])
def test_a_range_of_versions_is_taken(tmp_path: Path, versions: str) -> None:
    assert load(write(tmp_path / "c", f'{KNOWN}kernels = "{versions}"')).manifest.known[0].kernels == versions


def test_a_manifest_that_is_no_file_or_too_large_is_refused_unread(tmp_path: Path) -> None:
    folder = write(tmp_path / "c", "")
    os.truncate(folder / "case.toml", 4 << 30)
    begun = time.process_time()
    with pytest.raises(CaseError, match="larger than"):
        load(folder)
    assert time.process_time() - begun < 0.5
    (folder / "case.toml").unlink()
    os.mkfifo(folder / "case.toml")
    with pytest.raises(CaseError, match="not a file"):
        load(folder)


VALUES: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["../x", "\0", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from([field.name for field in msgspec.structs.fields(Manifest)])


@given(st.dictionaries(KEYS, VALUES, max_size=6), st.sampled_from([{}, {"image": "a.img"}, {"sources": ["a.c"]}]))
@settings(deadline=None, max_examples=300)
def test_any_manifest_is_a_case_or_an_error_of_its_author(
    tmp_path_factory: pytest.TempPathFactory, wild: dict[str, object], plain: dict[str, object]
) -> None:
    folder = tmp_path_factory.mktemp("case")
    lines = [f"{key} = {_toml(value)}\n" for key, value in ({"name": "x"} | plain | wild).items()]
    (folder / "case.toml").write_text("".join(lines), encoding="utf-8", errors="surrogatepass")
    try:
        load(folder)
    except CaseError as error:
        assert str(error).startswith(str(folder))


def _toml(value: object) -> str:
    """JSON's strings are TOML's; floats are not all JSON's."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return str(value) if isinstance(value, float) else json.dumps(value)


def test_cases_are_chosen_by_name_pattern_and_group(tmp_path: Path) -> None:
    for name, group in (("a-one", "g"), ("a-two", "h"), ("b", "g")):
        write(tmp_path / name, f'name = "{name}"\nimage = "x.img"\ngroups = ["{group}"]')
    cases = bundled([tmp_path])
    assert [case.name for case in select(cases, ["a-*"], [])] == ["a-one", "a-two"]
    assert [case.name for case in select(cases, [], ["g"])] == ["a-one", "b"]
    assert len(select(cases, [], [])) == 3
    with pytest.raises(CaseError, match="no case is called"):
        select(cases, ["c*"], [])
    with pytest.raises(CaseError, match="no case is in group"):
        select(cases, [], ["z"])


IDS = ["P-01/a", "P-01/b", "P-02", "P-010", "L2-12/write", "L2-12/write/full", "L2-12/write/empty", "mapped"]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["P-01"], ["P-01/a", "P-01/b"]),
        (["P-01/"], ["P-01/a", "P-01/b"]),
        (["P-01/b", "P-02"], ["P-01/b", "P-02"]),
        (["P-0*"], ["P-01/a", "P-01/b", "P-02", "P-010"]),
        (["P-0?"], ["P-01/a", "P-01/b", "P-02"]),
        (["L2-12"], ["L2-12/write", "L2-12/write/full", "L2-12/write/empty"]),
        (["L2-12/write"], ["L2-12/write"]),
        (["L2-12/write/"], ["L2-12/write/full", "L2-12/write/empty"]),
        (["L2-12", "L2-12/write/full"], ["L2-12/write", "L2-12/write/full", "L2-12/write/empty"]),
        (["*/full"], ["L2-12/write/full"]),
        (["[LM]*", "mapped"], ["L2-12/write", "L2-12/write/full", "L2-12/write/empty", "mapped"]),
    ],
)
def test_checks_are_chosen_by_id_beginning_or_pattern(patterns: list[str], chosen: list[str]) -> None:
    assert checks_named(patterns, IDS) == set(chosen)


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("maped", "near: mapped"),
        ("L2-12/wite", "near: L2-12/write"),
        ("P-1", "near: P-"),
        ("P-01/x", "near: P-01"),
        ("nothing-like-it", "there are: P-01, P-01/a, P-01/b, P-02, P-010, ...; `difftest list --checks`"),
        ("p-01", "near:"),
        ("", "there are:"),
        ("/", "there are:"),
        ("Z*", "there are:"),
    ],
)
def test_a_name_of_no_check_is_an_error_with_near_names(pattern: str, hint: str) -> None:
    with pytest.raises(CaseError, match=re.escape(f"no check called {pattern}")) as caught:
        checks_named(["P-02", pattern], IDS)
    assert caught.value.hint.startswith(hint)


def test_bundled_cases_are_found_by_name_without_reading_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    every = bundled()
    assert all(case.name == case.folder.name for case in every)
    for wanted in ([every[1].name], [every[2].name, every[0].name, every[2].name]):
        assert find([], wanted, []) == select(every, wanted, [])
    read: list[Path] = []
    monkeypatch.setattr("difftest.case.selection.load", lambda folder: (read.append(folder), load(folder))[1])
    assert find([], [every[0].name], []) and read == [BUNDLED / every[0].name]
    with pytest.raises(CaseError, match="no case is called nothing"):
        find([], [every[0].name, "nothing"], [])


def test_no_case_anywhere_is_an_error_that_says_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=f"there is no case in {tmp_path}") as caught:
        bundled([tmp_path])
    assert "wheel" in caught.value.hint and "--cases" in caught.value.hint


def test_one_name_for_two_cases_is_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder, 'name = "same"\nimage = "x.img"')
    with pytest.raises(CaseError, match="taken"):
        bundled([tmp_path])


def test_an_image_is_padded_to_whole_cylinders_and_must_boot(tmp_path: Path) -> None:
    image = tmp_path / "a.img"
    image.write_bytes(bytes(510) + b"\x55\xaa")
    result = bootable(image, tmp_path / "out")
    assert result.path.stat().st_size == CYLINDER
    assert whole_cylinders(CYLINDER + 1) == 2 * CYLINDER
    image.write_bytes(bytes(512))
    with pytest.raises(CaseError, match="are zero: nothing boots from it"):
        bootable(image, tmp_path / "out")
    image.write_bytes(b"")
    with pytest.raises(CaseError, match="no disk image"):
        bootable(image, tmp_path / "out")
    with pytest.raises(CaseError, match="no such image"):
        of_image(tmp_path / "none.img")
