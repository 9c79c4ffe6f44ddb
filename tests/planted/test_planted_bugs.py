"""Five bugs of which each would cost money, planted one at a time: the suite must catch each, by the promise it breaks.

Every run is a pytest of its own over this run's PostgreSQL. The same tests without a bug must pass, so that a test
that fails for another reason proves nothing.
"""

import asyncio
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.planted.bugs import BUGS
from tests.planted.plugin import SWITCH

_ROOT = Path(__file__).parents[2]
_RUN_S = 240.0
_PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "tests.planted.plugin", "no:cacheprovider")
"""Only what the tests need: loading the rest takes longer than the tests."""


@dataclass(frozen=True)
class Catch:
    """The tests that must fail while a bug is planted, each with what narrows it down to few cases."""

    tests: tuple[str, ...]
    cases: str = ""

    @property
    def selection(self) -> str:
        """For pytest -k."""
        any_of = " or ".join(self.tests)
        return f"({any_of}) and {self.cases}" if self.cases else f"({any_of})"


_UNKNOWN = "test_E11_everything_else_is_unknown_and_settled_by_a_lookup_never_by_sending_again"
_GATE = "test_K03_a_halt_armed_while_a_claim_waits_at_the_gate_stops_that_claim"
_RECEIPT = "test_K04_the_answer_names_what_is_in_flight_and_claims_no_more_than_effective"
_WIRE = "test_K04_K05_nothing_is_on_the_wire_when_drained_is_answered_and_nothing_follows"
_REUSED = "test_E03_another_request_under_the_key_is_a_422_that_reveals_nothing"

CAUGHT_BY: dict[str, Catch] = {
    "send-before-commit": Catch(
        (
            "test_E09_nothing_is_sent_before_the_claim_is_committed",
            "test_E09_a_claim_whose_commit_breaks_sends_nothing_and_its_key_may_try_again",
        ),
    ),
    "unknown-is-rejected": Catch((_UNKNOWN,), "sqlite and OutcomeUnknown and True"),
    "halts-read-before-the-claim": Catch((_GATE,), "symbol"),
    # SQLite's one writer is the gate, so only on PostgreSQL can the two change places.
    "halts-read-before-the-gate": Catch((_GATE,), "postgresql and symbol"),
    "halts-not-read-for-the-next-order": Catch(
        ("test_K03_a_halt_armed_while_an_order_is_sent_stops_the_next_one_of_the_call",), "sqlite"
    ),
    "armed-is-told-as-drained": Catch((_WIRE,), "sqlite"),
    "drained-without-waiting": Catch((_RECEIPT, _WIRE), "sqlite"),
    "no-fingerprint-replays": Catch((_REUSED,), "sqlite and other0"),
    "no-fingerprint-executes": Catch((_REUSED,), "sqlite and other0"),
}


def files_with(tests: Iterable[str]) -> list[str]:
    """Only these are collected, for importing all would take longer than the tests."""
    texts = {path: path.read_text() for path in sorted((_ROOT / "tests" / "integration").glob("test_*.py"))}
    return [str(path) for path, text in texts.items() if any(f"def {test}(" in text for test in tests)]


async def run(catches: Sequence[Catch], tmp_path: Path, bug: str = "") -> tuple[int, dict[str, str], str]:
    """Run these tests: exit code, outcome of each ('passed', 'failure', 'error', 'skipped'), output."""
    files = files_with(test for catch in catches for test in catch.tests)
    selection = " or ".join(f"({catch.selection})" for catch in catches)
    report = tmp_path / "report.xml"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", *files, "-k", selection, "-q", "--tb=line", "--show-capture=no",
        *(f"-p{name}" for name in _PLUGINS), f"--basetemp={tmp_path / 'inner'}", f"--junitxml={report}",
        cwd=_ROOT, env={**environ, SWITCH: bug, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_RUN_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode(errors="replace")[-6000:]
    assert report.exists(), text
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        wrong = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcomes[case.attrib["name"]] = wrong[0] if wrong else "passed"
    assert process.returncode is not None
    return process.returncode, outcomes, text


def test_every_planted_bug_has_the_tests_that_catch_it() -> None:
    assert CAUGHT_BY.keys() == BUGS.keys()


def test_the_product_knows_no_switch() -> None:
    for path in (_ROOT / "src").rglob("*.py"):
        assert SWITCH not in path.read_text(), path


@pytest.mark.timeout(300)
async def test_without_a_bug_the_tests_that_catch_them_all_pass(tmp_path: Path) -> None:
    code, outcomes, text = await run(list(CAUGHT_BY.values()), tmp_path)
    assert code == 0, text
    assert set(outcomes.values()) == {"passed"}
    ran = {name.partition("[")[0] for name in outcomes}
    assert ran == {test for catch in CAUGHT_BY.values() for test in catch.tests}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", list(BUGS))
async def test_a_planted_bug_is_caught_by_the_test_of_the_promise_it_breaks(bug: str, tmp_path: Path) -> None:
    catch = CAUGHT_BY[bug]
    code, outcomes, text = await run([catch], tmp_path, bug)
    assert code == pytest.ExitCode.TESTS_FAILED, text
    failed = {name.partition("[")[0] for name, outcome in outcomes.items() if outcome == "failure"}
    assert failed == set(catch.tests), text
