"""What all tests share: the requirement marker, and two rules of CI: nothing is skipped, real processes take turns."""

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

TESTS = Path(__file__).parent
R = TypeVar("R", pytest.TestReport, pytest.CollectReport)
REAL = ("attacks", "integration", "e2e")
"""Folders whose tests start brokers, databases and services."""


hypothesis.settings.register_profile("untimed", deadline=None)  # machines are noisy: no test fails for being slow
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "requirement(*ids): the duties of the CSMS (tests/requirements.csv) that this test proves"
    )
    # Who starts the tests in the background has these ignored, and every process that a test starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On several workers (`-n 2 --dist loadgroup`) tests of whole systems stay on one, so that no two of them compete
    for the cores, and those of the adapters on one, with their broker and PostgreSQL. All others go wherever a worker
    is free."""
    for item in items:
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in REAL:
            adapters = item.path.relative_to(TESTS).parts[0] == "integration"
            item.add_marker(pytest.mark.xdist_group("adapters" if adapters else "systems"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _skip_is_failure(report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _skip_is_failure(report)


def _skip_is_failure(report: R) -> R:
    if os.environ.get("CI") and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
        report.__dict__.pop("wasxfail", None)
        report.outcome = "failed"
        report.longrepr = f"In CI a skipped test is a failed one. {reason}"
    return report
