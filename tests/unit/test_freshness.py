"""Whether a quote is still good: by when it was last known to be the newest, and by the hours in which it trades (contract S5)."""

from dataclasses import replace
from decimal import Decimal

import pytest

from paiid.domain.calendar import hours_of
from paiid.domain.quotes import Quote
from paiid.market.freshness import Freshness
from tests.fake_clock import FakeClock
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, utc_us

OPTION = "AAPL261218C00265000"
CLOSE_US = utc_us("2026-11-25 21:00")
EXTENDED_END_US = utc_us("2026-11-26 01:00")
FRIDAY_EARLY_CLOSE_US = utc_us("2026-11-27 18:00")
FRIDAY_EXTENDED_END_US = utc_us("2026-11-27 22:00")
RESEND_S = 30.0
RESEND_US = int(RESEND_S * 1_000_000)


def quote(as_of_us: int, symbol: str = "AAPL", **more: int) -> Quote:
    one = Decimal(1)
    return Quote(symbol, one, one, one, one, one, one, as_of_us, 1, "hand", **more)


def freshness(at_us: int, hours: str = "exchange") -> Freshness:
    return Freshness(FakeClock(at_us), hours_of(hours), RESEND_S)


@pytest.mark.parametrize(
    ("at_us", "as_of_us", "symbol", "stale"),
    [
        (WEDNESDAY_OPEN_US, WEDNESDAY_OPEN_US - RESEND_US, "AAPL", False),
        (WEDNESDAY_OPEN_US, WEDNESDAY_OPEN_US - RESEND_US - 1, "AAPL", True),
        (WEDNESDAY_OPEN_US, WEDNESDAY_OPEN_US - RESEND_US - 1, OPTION, True),
        (CLOSE_US + 1, CLOSE_US - 1, OPTION, False),
        (CLOSE_US + 2 * RESEND_US, CLOSE_US - 1, "AAPL", True),
        (EXTENDED_END_US + 1, EXTENDED_END_US - 1, "AAPL", False),
        (SATURDAY_US, FRIDAY_EXTENDED_END_US - RESEND_US, "AAPL", False),
        (SATURDAY_US, FRIDAY_EXTENDED_END_US - RESEND_US - 1, "AAPL", True),
        (SATURDAY_US, FRIDAY_EARLY_CLOSE_US - RESEND_US, OPTION, False),
        (SATURDAY_US, FRIDAY_EARLY_CLOSE_US - RESEND_US - 1, OPTION, True),
    ],
)
def test_S5_a_quote_is_judged_by_the_hours_of_what_it_quotes(
    at_us: int, as_of_us: int, symbol: str, stale: bool
) -> None:
    assert freshness(at_us).is_stale(quote(as_of_us, symbol)) is stale


def test_S5_on_a_half_day_an_option_needs_no_quote_after_one_oclock_and_a_share_does() -> None:
    after_us = FRIDAY_EARLY_CLOSE_US + 5 * RESEND_US
    assert not freshness(after_us).is_stale(quote(FRIDAY_EARLY_CLOSE_US - 1, OPTION))
    assert freshness(after_us).is_stale(quote(FRIDAY_EARLY_CLOSE_US - 1))


@pytest.mark.parametrize("hours", ["always", "exchange"])
def test_S5_a_quiet_symbols_quote_is_good_as_long_as_the_source_confirms_it(hours: str) -> None:
    old_us = WEDNESDAY_OPEN_US - 100 * RESEND_US
    judge = freshness(WEDNESDAY_OPEN_US, hours)
    assert judge.is_stale(quote(old_us))
    assert not judge.is_stale(quote(old_us, confirmed_us=WEDNESDAY_OPEN_US - RESEND_US))
    assert judge.is_stale(quote(old_us, confirmed_us=WEDNESDAY_OPEN_US - RESEND_US - 1))


def test_S5_what_somebody_else_thought_of_it_does_not_count() -> None:
    judge = freshness(WEDNESDAY_OPEN_US)
    good, bad = quote(WEDNESDAY_OPEN_US), quote(0)
    assert judge.judged(good) is good, "nothing is copied where nothing changes"
    assert judge.judged(replace(good, stale=True)) == good
    assert judge.judged(bad) == replace(bad, stale=True)
