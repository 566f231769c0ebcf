"""How many checks have each verdict, a bar for each version: one chart for each version on the other axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from markupsafe import Markup, escape

from difftest.history.ledger import VERDICTS, Ledger
from difftest.report.matrix import LETTERS
from difftest.text import visible
from difftest.verdict import Verdict

MOST_CHARTS = 8
MOST_BARS = 60
HEIGHT, TOP, BOTTOM, LEFT = 150, 24, 70, 40
DRAWN = [verdict for verdict in LETTERS if verdict != Verdict.AGREE]  # agreement would dwarf all else
Bar = tuple[str, dict[Verdict, int]]


class Chart(msgspec.Struct, frozen=True):
    """`bars` has the versions in their order with how many checks have each verdict."""

    heading: str
    bars: list[Bar]


def charts(ledger: Ledger) -> list[Chart]:
    """Subjects' versions beside each version of the reference; the newest versions where there are too many."""
    counts: dict[int, Counter[Verdict]] = {}
    newest = ledger.newest().groupby(["column", "verdict"]).size().reset_index(name="many")
    for column, verdict, many in newest.to_numpy().tolist():
        counts.setdefault(column, Counter())[VERDICTS[verdict]] = many
    bars: dict[str, list[Bar]] = {}
    for number, column in enumerate(ledger.columns):
        heading = ", ".join(filter(None, (f"{column.implementation} beside {column.bochs or 'Bochs'}", column.variant)))
        bars.setdefault(heading, []).append((column.version or column.implementation, dict(counts.get(number, {}))))
    return [Chart(heading, found[-MOST_BARS:]) for heading, found in list(bars.items())[-MOST_CHARTS:]]


def drawn(charts: Sequence[Chart]) -> list[Markup]:
    """The charts as SVG, all to one scale."""
    totals = [_total(counts) for chart in charts for _, counts in chart.bars]
    return [_svg(chart, max(totals, default=1) or 1) for chart in charts]


def _total(counts: dict[Verdict, int]) -> int:
    return sum(counts.get(verdict, 0) for verdict in DRAWN)


def _svg(chart: Chart, top: int) -> Markup:
    step = max(14, min(56, 560 // max(1, len(chart.bars))))
    width, height = max(230, LEFT + step * len(chart.bars) + 10), TOP + HEIGHT + BOTTOM
    parts = [
        Markup('<svg width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">').format(
            w=width, h=height, label=visible(f"Verdicts of {chart.heading}", 200)
        ),
        Markup('<text x="0" y="12">{}</text>').format(visible(chart.heading, 60)),
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 6, TOP + 8, top),
        Markup('<text x="{}" y="{}" text-anchor="end">0</text>').format(LEFT - 6, TOP + HEIGHT),
    ]
    for place, (version, counts) in enumerate(chart.bars):
        x, y = LEFT + place * step, float(TOP + HEIGHT)
        for verdict in DRAWN:
            if many := counts.get(verdict, 0):
                tall = HEIGHT * many / top
                y -= tall
                parts.append(
                    Markup(
                        '<rect class="{}" x="{}" y="{:.1f}" width="{}" height="{:.1f}"><title>{}</title></rect>'
                    ).format(verdict.value, x, y, step - 4, tall, visible(f"{version}: {many} {verdict.value}", 120))
                )
        words, middle = visible(version, 24), x + step // 2
        parts.append(
            Markup('<text x="{0}" y="{1}" transform="rotate(-40 {0} {1})" text-anchor="end">{2}</text>').format(
                middle, TOP + HEIGHT + 14, escape(words)
            )
        )
    return Markup("").join([*parts, Markup("</svg>")])
