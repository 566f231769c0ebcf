"""Which tests run, and what a skipped test means.

A test that is skipped fails, unless pytest is given `--allow-skips`: a test command that leaves out what it was to
prove has not proved it. Tests marked `proof` take too long for every change: they are deselected unless `-m` names the
marker (`make proof`).
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

ALLOW_SKIPS = "--allow-skips"
Report = pytest.TestReport | pytest.CollectReport


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(ALLOW_SKIPS, action="store_true", help="skipped tests do not fail")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "proof" in config.getoption("markexpr"):
        return
    proofs = [item for item in items if item.get_closest_marker("proof")]
    if proofs:
        config.hook.pytest_deselected(items=proofs)
        items[:] = [item for item in items if item not in proofs]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _fail_if_skipped(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report, collector.config)
    return report


def _fail_if_skipped(report: Report, config: pytest.Config) -> None:
    if report.skipped and not config.getoption(ALLOW_SKIPS):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {reason}\nA skipped test fails; pytest {ALLOW_SKIPS} lets it pass."
