from pathlib import Path

import pytest

from difftest.case.case import BUNDLED, load, of_image
from difftest.case.selection import bundled, find, select
from difftest.errors import CaseError
from difftest.image.disk import CYLINDER, whole_cylinders
from difftest.image.prepare import bootable


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "case.toml").write_text(text)
    return folder


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
    ],
)
def test_a_broken_manifest_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        load(write(tmp_path / "c", text))


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
    with pytest.raises(CaseError, match="no boot signature"):
        bootable(image, tmp_path / "out")
    image.write_bytes(b"")
    with pytest.raises(CaseError, match="no disk image"):
        bootable(image, tmp_path / "out")
    with pytest.raises(CaseError, match="no such image"):
        of_image(tmp_path / "none.img")
