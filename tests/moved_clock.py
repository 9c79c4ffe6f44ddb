"""Time as it goes on, begun at another moment: the clock of an app, of a process and of a PostgreSQL database.

Tradier's lists end at midnight in New York, and a doubt of the minutes around it is left to the owner (ADR 0025). So a test
whose doubts must end begins at another time of day where the machine's clock is near that midnight: `away_from_midnight`.
"""

import os
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import asyncpg

from paiid.core.clock import SystemClock

_VARIABLE = "PAIID_TEST_LATER_S"
_EASTERN = ZoneInfo("America/New_York")
_LATER_S = 5_400.0
_MACHINE = SystemClock.now_us


class MovedClock(SystemClock):
    """Real time, some seconds later than it is; or earlier, and then monotonic time is the machine's, for it is nowhere negative."""

    moved_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.moved_s * 1_000_000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + max(self.moved_s, 0.0)

    def move_to(self, moment: datetime) -> None:
        """It is this instant now."""
        self.moved_s = moment.timestamp() - super().now_us() / 1_000_000


def later_s() -> float:
    """By how many seconds clocks are moved, so that no midnight in New York comes in the next half hour, nor was a moment ago. It
    is decided once in a run, for all its processes."""
    if _VARIABLE not in os.environ:
        now = datetime.fromtimestamp(_MACHINE(SystemClock()) / 1_000_000, _EASTERN)
        near = now.hour == 23 or (now.hour == 0 and now.minute < 20)
        os.environ[_VARIABLE] = str(_LATER_S if near else 0.0)
    return float(os.environ[_VARIABLE])


def away_from_midnight() -> MovedClock:
    """A clock that is not near midnight in New York."""
    clock = MovedClock()
    clock.moved_s = later_s()
    return clock


def move_process(seconds: float) -> None:
    """Every clock of this process, for its life."""
    SystemClock.now_us = lambda self: _MACHINE(self) + int(seconds * 1_000_000)  # type: ignore[method-assign]


async def move_database(url: str, seconds: float) -> None:
    """The time of a PostgreSQL database, for whoever connects from now on: what it is asked for is found before the server's
    own. Nothing is touched where nothing is to be moved."""
    if seconds == 0:
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS"
            f" $$ SELECT pg_catalog.clock_timestamp() + {float(seconds)} * interval '1 second' $$"
        )
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    finally:
        await connection.close()


def main() -> None:
    """The command `paiid`, as many seconds later as the first argument says."""
    from paiid.cli import main as paiid

    seconds = sys.argv.pop(1)
    move_process(float(seconds))
    paiid()


if __name__ == "__main__":
    main()
