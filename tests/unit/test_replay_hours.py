"""The hours of a replay: one trading day from the start of the play to its end, and days that never overlap."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.calendar import MarketHours
from paiid.feeds.replay import ReplayHours
from tests.market_world import utc_us

STARTS = st.integers(utc_us("2026-01-01 00:00"), utc_us("2027-01-01 00:00"))
LENGTHS = st.integers(1, 10 * 86_400_000_000)
OFFSETS = st.integers(-20 * 86_400_000_000, 20 * 86_400_000_000)


@given(start_us=STARTS, length_us=LENGTHS, offset_us=OFFSETS)
def test_rolls_lie_around_every_instant_and_days_follow_each_other(
    start_us: int, length_us: int, offset_us: int
) -> None:
    hours: MarketHours = ReplayHours(start_us, start_us + length_us)
    at_us = start_us + offset_us
    previous_us, next_us = hours.previous_roll_us(at_us), hours.next_roll_us(at_us)
    assert previous_us <= at_us < next_us
    assert hours.previous_roll_us(next_us) == next_us
    assert hours.next_roll_us(previous_us) == next_us
    assert hours.previous_roll_us(next_us - 1) == previous_us
    day = hours.trading_day(at_us)
    assert hours.trading_day(previous_us) == hours.trading_day(next_us - 1) == day
    assert hours.trading_day(next_us) > day
    assert hours.next_trading_day_end_us(at_us) == hours.next_roll_us(next_us)
    assert hours.next_open_us(at_us) > at_us
    assert hours.previous_extended_end_us(at_us) <= at_us < hours.extended_end_us(at_us)
    assert hours.is_extended(at_us) == hours.is_open(at_us) == (0 <= offset_us < length_us)
    coming = hours.coming_session(at_us)
    assert coming.open_us < coming.close_us
    assert coming.close_us > at_us


@given(start_us=STARTS, length_us=LENGTHS)
def test_the_play_is_one_session_and_its_end_a_roll(start_us: int, length_us: int) -> None:
    end_us = start_us + length_us
    hours = ReplayHours(start_us, end_us)
    day = hours.trading_day(start_us)
    [session] = hours.sessions(day - timedelta(days=9), day + timedelta(days=9))
    assert (session.day, session.open_us, session.close_us) == (day, start_us, end_us)
    assert hours.coming_session(start_us) == session
    assert hours.next_roll_us(start_us) == hours.previous_roll_us(end_us) == end_us
    assert hours.sessions(day + timedelta(days=1), day + timedelta(days=9)) == []
    assert hours.next_open_us(start_us - 1) == start_us
    assert hours.next_open_us(end_us) > end_us + 36_000 * 86_400_000_000
