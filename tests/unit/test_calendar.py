"""The hours of the market: the holiday table against the rules, rolls, daylight saving, and the table's end."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.calendar import AlwaysOpen, ExchangeHours, MarketHours, hours_of, session_of
from paiid.domain.holidays import CLOSED, EARLY_CLOSE, FIRST_YEAR, LAST_YEAR
from tests.market_world import SATURDAY_US, THANKSGIVING_US, WEDNESDAY_OPEN_US, utc_us

YEARS = range(FIRST_YEAR, LAST_YEAR + 1)
MONDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = 0, 3, 4, 5, 6
DAY = timedelta(days=1)
MOURNING = date(2025, 1, 9)
HOURS: list[MarketHours] = [AlwaysOpen(), ExchangeHours()]
INSTANTS = st.integers(utc_us("1970-02-01 00:00"), utc_us("2199-12-01 00:00"))
SERVED = st.integers(utc_us("2024-01-01 00:00"), utc_us("2032-12-31 00:00"))


# -- the holiday table, worked out again from the rules ---------------------------------------------


def nth(year: int, month: int, weekday: int, n: int) -> date:
    """The n-th such weekday of a month; -1 is the last."""
    if n > 0:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
    last = date(year, month + 1, 1) - DAY
    return last - timedelta(days=(last.weekday() - weekday) % 7)


def easter(year: int) -> date:
    """The Gregorian computus of Meeus, Jones and Butcher."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (a + 11 * h) // 319
    r = (2 * e + 2 * i - k - h + m + 32) % 7
    month = (h - m + r + 90) // 25
    return date(year, month, (h - m + r + month + 19) % 32)


def kept(day: date) -> date:
    """A fixed holiday on a Saturday is kept on the Friday, on a Sunday on the Monday."""
    return day + {SATURDAY: -DAY, SUNDAY: DAY}.get(day.weekday(), timedelta())


def holidays(year: int) -> Iterator[date]:
    if date(year, 1, 1).weekday() != SATURDAY:
        yield kept(date(year, 1, 1))
    yield nth(year, 1, MONDAY, 3)
    yield nth(year, 2, MONDAY, 3)
    yield easter(year) - 2 * DAY
    yield nth(year, 5, MONDAY, -1)
    yield kept(date(year, 6, 19))
    yield kept(date(year, 7, 4))
    yield nth(year, 9, MONDAY, 1)
    yield nth(year, 11, THURSDAY, 4)
    yield kept(date(year, 12, 25))


def early_closes(year: int) -> Iterator[date]:
    closed = set(holidays(year))
    for day in (date(year, 7, 3), nth(year, 11, THURSDAY, 4) + DAY, date(year, 12, 24)):
        if day.weekday() < SATURDAY and day not in closed:
            yield day


def test_the_table_of_closed_days_is_what_the_rules_of_the_exchange_say() -> None:
    assert {day for year in YEARS for day in holidays(year)} | {MOURNING} == CLOSED


def test_the_table_of_early_closes_is_what_the_rules_of_the_exchange_say() -> None:
    assert {day for year in YEARS for day in early_closes(year)} == EARLY_CLOSE


@pytest.mark.parametrize(
    ("year", "sessions"), [(2024, 252), (2025, 250), (2026, 251), (2027, 251), (2028, 251), (2029, 251), (2030, 251)]
)  # fmt: skip
def test_a_year_has_as_many_sessions_as_the_exchange_counts(year: int, sessions: int) -> None:
    assert len(ExchangeHours().sessions(date(year, 1, 1), date(year, 12, 31))) == sessions


@pytest.mark.parametrize(
    "day", ["2025-01-09", "2026-07-03", "2027-06-18", "2028-04-14", "2026-11-26", "2026-11-28"]
)
def test_the_exchange_is_closed_on_known_days(day: str) -> None:
    assert session_of(date.fromisoformat(day)) is None
    assert not ExchangeHours().is_open(utc_us(f"{day} 16:00"))


@pytest.mark.parametrize(
    "day", ["2027-12-31", "2025-01-08", "2026-07-02", "2027-07-02", "2026-11-11", "2026-10-12"]
)
def test_the_exchange_is_open_all_day_on_days_one_might_doubt(day: str) -> None:
    session = session_of(date.fromisoformat(day))
    assert session is not None
    assert (session.early, session.certain) == (False, True)


# -- sessions and rolls -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2026-03-06", "14:30", "21:00"),
        ("2026-03-09", "13:30", "20:00"),
        ("2026-10-30", "13:30", "20:00"),
        ("2026-11-02", "14:30", "21:00"),
        ("2026-11-27", "14:30", "18:00"),
        ("2028-07-03", "13:30", "17:00"),
    ],
)
def test_a_session_keeps_eastern_time_through_the_change_of_the_clocks(
    day: str, opens: str, closes: str
) -> None:
    hours = ExchangeHours()
    start, end = utc_us(f"{day} {opens}"), utc_us(f"{day} {closes}")
    assert [hours.is_open(at) for at in (start - 1, start, end - 1, end)] == [False, True, True, False]
    assert hours.next_roll_us(start - 1) == hours.next_roll_us(end - 1) == end
    assert hours.previous_roll_us(end) == end
    assert hours.previous_roll_us(end - 1) < start


def test_over_thanksgiving_the_day_that_comes_is_the_friday_with_its_early_close() -> None:
    hours = ExchangeHours()
    assert hours.trading_day(WEDNESDAY_OPEN_US) == date(2026, 11, 25)
    assert hours.trading_day(THANKSGIVING_US) == date(2026, 11, 27)
    assert hours.previous_roll_us(THANKSGIVING_US) == utc_us("2026-11-25 21:00")
    assert hours.next_open_us(THANKSGIVING_US) == utc_us("2026-11-27 14:30")
    assert hours.next_roll_us(THANKSGIVING_US) == utc_us("2026-11-27 18:00")
    assert hours.next_trading_day_end_us(THANKSGIVING_US) == utc_us("2026-11-30 21:00")
    assert hours.next_open_us(utc_us("2026-11-27 14:30")) == utc_us("2026-11-30 14:30")


def test_E12_the_end_of_the_next_trading_day_skips_the_weekend() -> None:
    friday = utc_us("2026-11-20 15:00")
    assert ExchangeHours().next_trading_day_end_us(friday) == utc_us("2026-11-23 21:00")
    assert AlwaysOpen().next_trading_day_end_us(friday) == utc_us("2026-11-21 21:00")
    after_the_close = utc_us("2026-11-20 21:00")
    assert ExchangeHours().next_trading_day_end_us(after_the_close) == utc_us("2026-11-24 21:00")


def test_the_market_that_never_closes_rolls_at_four_eastern_every_day() -> None:
    hours = AlwaysOpen()
    roll = utc_us("2026-11-28 21:00")
    assert hours.is_open(SATURDAY_US)
    assert hours.next_open_us(SATURDAY_US) == SATURDAY_US
    assert hours.next_roll_us(SATURDAY_US) == roll
    assert hours.trading_day(roll - 1) == date(2026, 11, 28)
    assert hours.trading_day(roll) == date(2026, 11, 29)
    assert (hours.previous_roll_us(roll), hours.next_roll_us(roll)) == (roll, utc_us("2026-11-29 21:00"))


@pytest.mark.parametrize(
    ("before", "hours"), [("2026-03-07 21:00", 23), ("2026-10-31 20:00", 25), ("2026-11-28 21:00", 24)]
)
def test_the_day_on_which_the_clocks_change_is_an_hour_shorter_or_longer(before: str, hours: int) -> None:
    roll = utc_us(before)
    assert AlwaysOpen().next_roll_us(roll) - roll == hours * 3_600_000_000


# -- extended hours ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "begins", "ends"),
    [
        ("2026-03-06", "2026-03-06 09:00", "2026-03-07 01:00"),
        ("2026-03-09", "2026-03-09 08:00", "2026-03-10 00:00"),
        ("2026-11-02", "2026-11-02 09:00", "2026-11-03 01:00"),
        ("2026-11-27", "2026-11-27 09:00", "2026-11-27 22:00"),
    ],
)
def test_extended_hours_are_from_four_to_eight_eastern_and_to_five_on_an_early_close(
    day: str, begins: str, ends: str
) -> None:
    hours = ExchangeHours()
    start, end = utc_us(begins), utc_us(ends)
    assert [hours.is_extended(at) for at in (start - 1, start, end - 1, end)] == [False, True, True, False]
    assert (
        hours.extended_end_us(start - 1)
        == hours.extended_end_us(start)
        == hours.extended_end_us(end - 1)
        == end
    )
    assert hours.extended_end_us(end) > end
    assert hours.previous_extended_end_us(end) == end
    assert hours.previous_extended_end_us(end - 1) < start
    assert hours.next_extended_us(start - 1) == start
    assert hours.next_extended_us(start) == hours.next_extended_us(end - 1) > end
    assert hours.coming_session(start).day == date.fromisoformat(day)


def test_over_thanksgiving_extended_hours_rest_until_the_friday_morning() -> None:
    hours = ExchangeHours()
    evening = utc_us("2026-11-25 22:00")
    assert (hours.is_open(evening), hours.is_extended(evening)) == (False, True)
    assert hours.coming_session(evening).day == date(2026, 11, 27), "after the roll the next session comes"
    assert not hours.is_extended(THANKSGIVING_US)
    assert hours.previous_extended_end_us(THANKSGIVING_US) == utc_us("2026-11-26 01:00")
    assert hours.next_extended_us(THANKSGIVING_US) == utc_us("2026-11-27 09:00")
    assert hours.extended_end_us(THANKSGIVING_US) == utc_us("2026-11-27 22:00")
    assert hours.coming_session(THANKSGIVING_US) == session_of(date(2026, 11, 27))


def test_the_market_that_never_closes_is_always_in_extended_hours() -> None:
    hours = AlwaysOpen()
    roll = utc_us("2026-11-28 21:00")
    for at in (SATURDAY_US, roll - 1, roll):
        assert hours.is_extended(at)
        assert hours.extended_end_us(at) == hours.next_roll_us(at)
        assert hours.previous_extended_end_us(at) == hours.previous_roll_us(at)
        assert hours.next_extended_us(at) == at
        assert [hours.coming_session(at)] == hours.sessions(hours.trading_day(at), hours.trading_day(at))


def test_the_settings_name_the_hours() -> None:
    assert isinstance(hours_of("always"), AlwaysOpen)
    assert isinstance(hours_of("exchange"), ExchangeHours)


# -- beyond the table -------------------------------------------------------------------------------


def test_beyond_the_table_weekdays_are_sessions_that_are_not_certain() -> None:
    hours = ExchangeHours()
    independence = date(2031, 7, 4)
    assert independence.weekday() == FRIDAY
    [session] = hours.sessions(independence, independence + 2 * DAY)
    assert (session.day, session.early, session.certain) == (independence, False, False)
    assert hours.is_open(utc_us("2031-07-04 15:00"))
    assert all(one.certain for one in hours.sessions(date(2024, 1, 1), date(2030, 12, 31)))
    assert all(one.certain for one in AlwaysOpen().sessions(date(2031, 1, 1), date(2031, 1, 9)))


# -- what holds at every instant --------------------------------------------------------------------


@pytest.mark.parametrize("hours", HOURS, ids=["always", "exchange"])
@given(at_us=INSTANTS)
def test_rolls_surround_every_instant_and_chain(hours: MarketHours, at_us: int) -> None:
    before, after = hours.previous_roll_us(at_us), hours.next_roll_us(at_us)
    assert before <= at_us < after
    assert hours.previous_roll_us(after) == after
    assert hours.next_roll_us(before) == after
    assert hours.trading_day(after - 1) == hours.trading_day(at_us) == hours.trading_day(before)
    assert hours.trading_day(after) > hours.trading_day(at_us)
    assert hours.next_trading_day_end_us(at_us) == hours.next_roll_us(after)
    assert after - before <= 15 * 86_400_000_000
    assert datetime.fromtimestamp(after // 1_000_000, UTC).date() == hours.trading_day(at_us)


@given(at_us=INSTANTS)
def test_the_exchange_opens_when_it_says(at_us: int) -> None:
    hours = ExchangeHours()
    opens = hours.next_open_us(at_us)
    assert opens > at_us
    assert hours.is_open(opens)
    assert not hours.is_open(opens - 1)
    if not hours.is_open(at_us):
        assert hours.next_roll_us(at_us) == hours.next_roll_us(opens)


@pytest.mark.parametrize("hours", HOURS, ids=["always", "exchange"])
@given(at_us=INSTANTS)
def test_extended_hours_hold_the_regular_session_and_end_after_it(hours: MarketHours, at_us: int) -> None:
    before, after = hours.previous_extended_end_us(at_us), hours.extended_end_us(at_us)
    assert before <= at_us < after
    assert hours.previous_extended_end_us(after) == after
    session = hours.coming_session(at_us)
    assert session.close_us == hours.next_roll_us(at_us)
    assert hours.is_open(at_us) == (session.open_us <= at_us < session.close_us)
    assert all(hours.is_extended(at) for at in (session.open_us, session.close_us - 1))
    assert hours.extended_end_us(session.open_us) >= session.close_us
    if hours.is_open(at_us):
        assert hours.is_extended(at_us)
    begins = hours.next_extended_us(at_us)
    assert begins >= at_us
    assert hours.is_extended(begins)
    assert hours.never_closes or not hours.is_extended(begins - 1)
    if not hours.is_extended(at_us):
        assert hours.extended_end_us(begins) == after


@pytest.mark.parametrize("kind", ["always", "exchange"])
@given(instants=st.lists(SERVED, min_size=1, max_size=12))
def test_what_is_remembered_never_changes_an_answer(kind: str, instants: list[int]) -> None:
    worn = hours_of(kind)
    for at_us in instants:
        for near in (
            at_us, worn.next_roll_us(at_us), worn.previous_roll_us(at_us), worn.next_open_us(at_us),
            worn.extended_end_us(at_us), worn.next_extended_us(at_us),
        ):  # fmt: skip
            fresh = hours_of(kind)
            assert worn.is_open(near) == fresh.is_open(near)
            assert worn.previous_roll_us(near) == fresh.previous_roll_us(near)
            assert worn.next_roll_us(near) == fresh.next_roll_us(near)
            assert worn.next_open_us(near) == fresh.next_open_us(near)
            assert worn.trading_day(near) == fresh.trading_day(near)
            assert worn.coming_session(near) == fresh.coming_session(near)
            assert worn.is_extended(near) == fresh.is_extended(near)
            assert worn.extended_end_us(near) == fresh.extended_end_us(near)
            assert worn.previous_extended_end_us(near) == fresh.previous_extended_end_us(near)
            assert worn.next_extended_us(near) == fresh.next_extended_us(near)


@pytest.mark.parametrize("hours", HOURS, ids=["always", "exchange"])
@given(at_us=SERVED)
def test_sessions_and_clock_agree(hours: MarketHours, at_us: int) -> None:
    day = hours.trading_day(at_us)
    [session] = hours.sessions(day, day)
    assert session.close_us == hours.next_roll_us(at_us)
    assert hours.is_open(at_us) == (session.open_us <= at_us)
