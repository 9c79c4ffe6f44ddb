"""Five bugs of which each would cost money, planted one at a time: the suite must catch each, by the promise it breaks.

They run in one pytest of their own over this run's PostgreSQL, each in a fork (`plugin`). The same tests without a bug
must pass, so that a test that fails for another reason proves nothing.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.planted.bugs import BUGS
from tests.planted.plugin import SWITCH

_ROOT = Path(__file__).parents[2]
_RUN_S = 240.0
_PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "tests.planted.plugin", "no:cacheprovider")
"""Only what the tests need: loading the rest takes longer than the tests."""
_NONE = ""
"""The run without a bug."""


@dataclass(frozen=True)
class Catch:
    """The tests that must fail while a bug is planted, each with words that narrow it down to few cases."""

    tests: tuple[str, ...]
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ran:
    """One run: the outcome of each test ('passed', 'failure', 'error', 'skipped'), and what was said of those that
    did not pass."""

    outcomes: Mapping[str, str]
    said: str


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
    "unknown-is-rejected": Catch((_UNKNOWN,), ("sqlite", "OutcomeUnknown", "True")),
    "halts-read-before-the-claim": Catch((_GATE,), ("symbol",)),
    # SQLite's one writer is the gate, so only on PostgreSQL can the two change places.
    "halts-read-before-the-gate": Catch((_GATE,), ("postgresql", "symbol")),
    "halts-not-read-for-the-next-order": Catch(
        ("test_K03_a_halt_armed_while_an_order_is_sent_stops_the_next_one_of_the_call",), ("sqlite",)
    ),
    "armed-is-told-as-drained": Catch((_WIRE,), ("sqlite",)),
    "drained-without-waiting": Catch((_RECEIPT, _WIRE), ("sqlite",)),
    "no-fingerprint-replays": Catch((_REUSED,), ("sqlite", "other0")),
    "no-fingerprint-executes": Catch((_REUSED,), ("sqlite", "other0")),
}


def files_with(tests: Iterable[str]) -> list[str]:
    """Only these are collected, for importing all would take longer than the tests."""
    texts = {path: path.read_text() for path in sorted((_ROOT / "tests").rglob("test_*.py"))}
    return [str(path) for path, text in texts.items() if any(f"def {test}(" in text for test in tests)]


async def run(runs: Mapping[str, Iterable[Catch]], tmp_path: Path) -> dict[str, Ran]:
    """The runs by the bug that is planted in each. Raises AssertionError where one brought no report."""
    reports = {bug: tmp_path / f"report-{bug}.json" for bug in runs}
    orders = tmp_path / "orders.json"
    orders.write_text(
        json.dumps(
            [
                {"bug": bug, "picks": [asdict(catch) for catch in catches], "report": str(reports[bug])}
                for bug, catches in runs.items()
            ]
        )
    )
    files = files_with(test for catches in runs.values() for catch in catches for test in catch.tests)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", *files, "-q", "--tb=line", "--capture=no", "--assert=plain",
        *(f"-p{name}" for name in _PLUGINS), f"--basetemp={tmp_path / 'inner'}",
        cwd=_ROOT, env={**environ, SWITCH: str(orders), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
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
    found: dict[str, Ran] = {}
    for bug, path in reports.items():
        assert path.exists(), f"{bug or 'no bug'}: no report\n{text}"
        report = json.loads(path.read_text())
        found[bug] = Ran(report["outcomes"], report["reasons"])
    return found


def test_every_planted_bug_has_the_tests_that_catch_it() -> None:
    assert CAUGHT_BY.keys() == BUGS.keys()


def test_the_product_knows_no_switch() -> None:
    for path in (_ROOT / "src").rglob("*.py"):
        assert SWITCH not in path.read_text(), path


@pytest.mark.timeout(300)
async def test_every_planted_bug_is_caught_by_the_test_of_the_promise_it_breaks_and_by_none_without_it(
    tmp_path: Path,
) -> None:
    runs = await run({_NONE: CAUGHT_BY.values(), **{bug: [one] for bug, one in CAUGHT_BY.items()}}, tmp_path)
    sound = runs.pop(_NONE)
    assert set(sound.outcomes.values()) == {"passed"}, sound.said
    assert names(sound.outcomes) == {test for catch in CAUGHT_BY.values() for test in catch.tests}
    escaped = {
        bug: ran
        for bug, ran in runs.items()
        if names({name: it for name, it in ran.outcomes.items() if it == "failure"})
        != set(CAUGHT_BY[bug].tests)
    }
    assert not escaped, "\n".join(f"{bug}: {ran.said or ran.outcomes}" for bug, ran in escaped.items())


def names(outcomes: Iterable[str]) -> set[str]:
    """Of the tests, without their cases."""
    return {name.partition("[")[0] for name in outcomes}
