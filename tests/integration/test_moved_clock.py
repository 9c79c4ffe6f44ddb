"""The clocks that tests move: all that a service looks at must say the same time, or the tests near midnight would mean nothing."""

import subprocess
import sys
from datetime import date, time
from pathlib import Path

import pytest

from paiid.core.clock import SystemClock
from paiid.core.db import make_database
from paiid.domain.calendar import eastern_us
from tests import moved_clock
from tests.moved_clock import away_from_midnight, later_s, move_database

HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000


@pytest.mark.parametrize(
    ("hour", "minute", "moved"),
    [
        (22, 59, False),
        (23, 0, True),
        (23, 59, True),
        (0, 0, True),
        (0, 19, True),
        (0, 20, False),
        (12, 0, False),
    ],
)
def test_a_run_near_midnight_in_new_york_is_moved_and_any_other_is_not(
    monkeypatch: pytest.MonkeyPatch, hour: int, minute: int, moved: bool
) -> None:
    at_us = eastern_us(date(2026, 11, 29), time(hour, minute))
    monkeypatch.setattr(moved_clock, "_MACHINE", lambda _: at_us)
    monkeypatch.delenv(moved_clock._VARIABLE, raising=False)
    assert (later_s() > 0) is moved
    # It stays so, whatever the time is by then.
    monkeypatch.setattr(moved_clock, "_MACHINE", lambda _: at_us + 6 * HOUR_US)
    assert (later_s() > 0) is moved
    assert (away_from_midnight().moved_s > 0) is moved


async def test_a_database_tells_the_moved_time_to_whoever_connects(postgres_url: str) -> None:
    await move_database(postgres_url, 3_600.0)
    db = make_database(postgres_url, SystemClock())
    try:
        before_us = SystemClock().now_us()
        async with db.begin() as tx:
            told_us = await tx.now_us()
        assert HOUR_US - MINUTE_US < told_us - before_us < HOUR_US + MINUTE_US
    finally:
        await db.stop()


def test_a_process_is_as_much_later() -> None:
    said = subprocess.run(
        [
            sys.executable, "-c",
            "from tests.moved_clock import move_process; from paiid.core.clock import SystemClock;"
            "move_process(3600.0); print(SystemClock().now_us())",
        ],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    ahead_us = int(said.stdout) - SystemClock().now_us()
    assert HOUR_US - MINUTE_US < ahead_us < HOUR_US + MINUTE_US
