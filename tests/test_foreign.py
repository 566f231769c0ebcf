"""Images that nobody here made: none gives a vacuous agreement, and each that has no verdict names what would help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.foreign import IMAGES, Packages, outcome


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return Packages(tmp_path_factory.mktemp("packages"))


@pytest.mark.proof
@pytest.mark.hosted
@pytest.mark.parametrize("title", IMAGES)
def test_an_image_gets_its_verdict_or_a_reason_with_the_option_that_helps(
    title: str, packages: Packages, tmp_path: Path
) -> None:
    image = IMAGES[title]
    found = outcome(image, packages, tmp_path)
    assert found.verdict in image.verdicts, found.output
    words = " ".join(found.output.split())
    assert re.search(image.says, words), words
    if found.verdict == "inconclusive":
        assert re.search(r" --?\w", found.reason), f"no option is named: {found.reason}"


@pytest.mark.boots
def test_a_cd_that_waits_at_its_prompt_agrees_once_that_is_called_its_end(packages: Packages, tmp_path: Path) -> None:
    """The sample of the above, without hosted KVM."""
    found = outcome(IMAGES["isolinux.iso, its prompt"], packages, tmp_path, "-t", "tcg")
    assert found.verdict == "agree", found.output
