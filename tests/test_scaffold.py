"""A new case builds as it is; a folder that cannot be made leaves nothing behind."""

from pathlib import Path

import pytest

from difftest.authoring.scaffold import new_case, new_case_folder
from difftest.case.case import load
from difftest.errors import CaseError
from difftest.image.build import build_case


def test_a_new_case_builds_and_has_its_two_checks(tmp_path: Path) -> None:
    case = load(new_case(tmp_path / "mine"))
    built = build_case(case.name, case.folder, case.manifest.sources, tmp_path / "cache")
    assert [about.check for about in built.checks] == ["ud2", "cpuid-exits"]
    assert all(about.sdm for about in built.checks)


@pytest.mark.parametrize(("name", "words"), [("X y", "cannot be the name"), ("taken", "there already")])
def test_a_name_that_will_not_do_is_told(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(CaseError, match=words):
        new_case(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_folder_that_is_not_finished_vanishes(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no luck"), new_case_folder(tmp_path / "half") as filled:
        (filled / "image.img").write_bytes(b"x")
        raise CaseError("no luck")
    assert not list(tmp_path.iterdir())
