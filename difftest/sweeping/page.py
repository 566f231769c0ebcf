"""A sweep for people: the lines on the terminal, and a page with a section for each finding."""

from __future__ import annotations

from pathlib import Path

from difftest.atomic import write
from difftest.sweeping.model import RULES
from difftest.sweeping.stored import StoredSweep
from difftest.sweeping.sweep import FamilyResult

TEMPLATES = Path(__file__).with_name("templates")


def summary(stored: StoredSweep) -> list[str]:
    """What a sweep showed, in a few lines."""
    result = stored.result
    lines = [f"sweep {stored.folder.name}: {result.status}, seed {result.plan.seed}"]
    for family in result.families:
        lines.append(f"  {family.family}: {counts(family)}")
        for finding in (*family.findings, *family.reviews):
            lines += [f"    {finding.signature.name}: {finding.signature.opinion}, {finding.count} vectors",
                      f"        {finding.sentence}"]  # fmt: skip
    return lines


def counts(family: FamilyResult) -> str:
    """How many vectors came to what."""
    parts = [f"{family.vectors} vectors", f"{family.differing} differ or are not what the model says"]
    more = {
        "permitted by the SDM": family.permitted,
        "equal, but not what the model says": family.review,
        "not asked in full": family.unasked,
        "not run": family.unrun,
        "left out, as vectors like them ended the machine": family.skipped,
        "otherwise in full than among others": len(family.history),
    }
    parts += [f"{number} {words}" for words, number in more.items() if number]
    for side, seconds in family.seconds.items():
        if seconds:
            parts.append(f"{side} {family.vectors / seconds:.0f} vectors a second")
    return ", ".join(parts)


def write_page(stored: StoredSweep) -> Path:
    """index.html in the sweep's folder."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True)
    text = (TEMPLATES / "sweep.html.jinja").read_text()
    page = stored.folder / "index.html"
    words = {"name": stored.folder.name, "result": stored.result, "rules": RULES, "counts": counts}
    write(page, environment.from_string(text).render(words).encode())
    return page
