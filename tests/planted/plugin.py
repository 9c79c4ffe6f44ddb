"""A pytest plugin that collects once and then runs the same tests under each bug, every time in a fork of its own.

Importing and collecting take longer than the tests. A fork starts with both done and nothing planted, so that no bug
can reach another's run.
"""

import json
import os
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.planted.bugs import plant

SWITCH = "PAIID_PLANTED_BUG"
"""Names the file with what to run, as JSON: a list of {bug, picks: [{tests, cases}], report}."""


def _picked(item: pytest.Item, picks: list[dict[str, list[str]]]) -> bool:
    test, _, case = item.name.partition("[")
    return any(test in pick["tests"] and all(word in case for word in pick["cases"]) for pick in picks)


class _Outcomes:
    """What became of each test: 'passed', 'failure' in the test itself, 'error' around it, or 'skipped'."""

    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}
        self.reasons: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One of the three phases of a test is over."""
        name = report.nodeid.rpartition("::")[2]
        if report.passed:
            self.by_name.setdefault(name, "passed")
            return
        self.reasons.append(f"{name} ({report.when}): {report.longreprtext}")
        self.by_name[name] = "skipped" if report.skipped else "failure" if report.when == "call" else "error"


def _run(session: pytest.Session, order: dict[str, Any]) -> None:
    """In the fork: plant, run, report."""
    if order["bug"]:
        plant(order["bug"])
    outcomes = _Outcomes()
    session.config.pluginmanager.register(outcomes)
    session.items = [item for item in session.items if _picked(item, order["picks"])]
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    report = {"outcomes": outcomes.by_name, "reasons": "\n".join(outcomes.reasons)[-6000:]}
    Path(order["report"]).write_text(json.dumps(report))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Takes the place of pytest's own loop where the switch is set."""
    orders = os.environ.get(SWITCH)
    if not orders:
        return None
    # What every fork would otherwise import for itself.
    __import__("paiid.app")
    assert threading.active_count() == 1, "a fork would lose the other threads"
    for order in json.loads(Path(orders).read_text()):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _run(session, order)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.waitpid(child, 0)
    return True
