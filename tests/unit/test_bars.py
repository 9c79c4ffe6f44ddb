"""Where bars begin: on the clock of the exchange, days and longer at its midnight, through both changes of the clock."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.bars import INTRADAY, Timeframe, bar_start_us, first_day
from paiid.domain.calendar import eastern_date
from tests.market_world import utc_us

INSTANTS = st.integers(utc_us("2000-01-01 00:00"), utc_us("2060-01-01 00:00"))


@pytest.mark.parametrize(
    ("timeframe", "at", "begins"),
    [
        ("1Min", "2026-11-25 15:07", "2026-11-25 15:07"),
        ("5Min", "2026-11-25 15:07", "2026-11-25 15:05"),
        ("15Min", "2026-11-25 15:07", "2026-11-25 15:00"),
        ("30Min", "2026-11-25 14:59", "2026-11-25 14:30"),
        ("1Hour", "2026-11-25 15:07", "2026-11-25 15:00"),
        ("4Hour", "2026-11-25 15:07", "2026-11-25 13:00"),
        ("4Hour", "2026-06-25 15:07", "2026-06-25 12:00"),
        ("4Hour", "2026-11-01 08:59", "2026-11-01 04:00"),  # five hours on the night the clock is set back
        ("1Day", "2026-11-26 04:59", "2026-11-25 05:00"),
        ("1Week", "2026-11-29 12:00", "2026-11-23 05:00"),
        ("1Month", "2026-11-29 12:00", "2026-11-01 04:00"),
        ("1Month", "2027-01-01 04:59", "2026-12-01 05:00"),
    ],
)
def test_a_bar_begins_on_the_clock_of_the_exchange(timeframe: str, at: str, begins: str) -> None:
    assert bar_start_us(Timeframe(timeframe), utc_us(at)) == utc_us(begins)


@given(timeframe=st.sampled_from(list(Timeframe)), at_us=INSTANTS)
def test_every_instant_lies_in_the_bar_that_begins_before_it_and_that_bar_begins_with_itself(
    timeframe: Timeframe, at_us: int
) -> None:
    begins_us = bar_start_us(timeframe, at_us)
    assert begins_us <= at_us
    assert bar_start_us(timeframe, begins_us) == begins_us
    longest_us = {Timeframe.WEEK_1: 7, Timeframe.MONTH_1: 31}.get(timeframe, 1) * 86_400_000_000
    assert at_us - begins_us < longest_us + 3_600_000_000


@given(at_us=INSTANTS)
def test_longer_bars_begin_where_shorter_ones_do(at_us: int) -> None:
    starts = [bar_start_us(one, at_us) for one in Timeframe if one in INTRADAY or one is Timeframe.DAY_1]
    assert starts == sorted(starts, reverse=True)


def test_the_first_day_of_a_week_is_its_monday_and_of_a_month_the_first() -> None:
    day = eastern_date(utc_us("2026-11-29 12:00"))
    assert first_day(Timeframe.DAY_1, day) == day
    assert first_day(Timeframe.WEEK_1, day) == date(2026, 11, 23)
    assert first_day(Timeframe.MONTH_1, day) == date(2026, 11, 1)
