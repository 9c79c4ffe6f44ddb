"""What is no quote, or no newer one, is kept away and counted; a clock that is set does not keep quotes away for ever."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.quotes import Quote
from paiid.market.tick_filter import AHEAD_S, PATIENCE_S, TickFilter
from tests.fake_clock import FakeClock

HOUR_S = 3600.0


class WallClock(FakeClock):
    """A clock whose wall time can be set, while the steady time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.set_by_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.set_by_us

    def set_by(self, seconds: float) -> None:
        self.set_by_us += int(seconds * 1_000_000)


def quote(as_of_us: int, sequence: int = 1, **changes: Any) -> Quote:
    plain = Quote(
        symbol="AAPL",
        bid=Decimal("10"),
        ask=Decimal("10.02"),
        bid_size=Decimal(100),
        ask_size=Decimal(100),
        last=Decimal("10.01"),
        prev_close=Decimal("9.9"),
        as_of_us=as_of_us,
        sequence=sequence,
        source="hand",
    )
    prices = {k: Decimal(v) if isinstance(v, str) and k != "source" else v for k, v in changes.items()}
    return replace(plain, **prices)


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def ticks(clock: WallClock) -> TickFilter:
    return TickFilter(clock)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bid": "10.03"}, "crossed"),
        ({"bid": "0", "ask": "0"}, "no_price"),
        ({"bid": "-1"}, "nonsense"),
        ({"ask": "-1"}, "nonsense"),
        ({"bid": "NaN"}, "nonsense"),
        ({"ask": "Infinity"}, "nonsense"),
        ({"ask": "1E+999999"}, "nonsense"),
        ({"bid": "1E-999999"}, "nonsense"),
        ({"bid_size": "-1"}, "nonsense"),
        ({"last": "-0.01"}, "nonsense"),
        ({"prev_close": "0E+99"}, "nonsense"),
    ],
)
def test_what_is_no_quote_is_refused_and_counted(
    clock: WallClock, ticks: TickFilter, changes: dict[str, Any], reason: str
) -> None:
    assert ticks.refusal(quote(clock.now_us(), **changes), None) == reason
    assert ticks.counts == {reason: 1}


def test_a_quote_without_a_time_is_none(ticks: TickFilter) -> None:
    assert ticks.refusal(quote(0), None) == "nonsense"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bid": "10.02"},
        {"bid": "0"},
        {"ask": "0"},
        {"last": "0", "prev_close": "0"},
        {"bid_size": "0", "ask_size": "0"},
    ],
)
def test_a_locked_market_one_side_alone_and_what_was_not_told_are_quotes(
    clock: WallClock, ticks: TickFilter, changes: dict[str, Any]
) -> None:
    assert ticks.refusal(quote(clock.now_us(), **changes), None) is None
    assert not ticks.counts


def test_doubles_late_and_reordered_ones_are_refused(clock: WallClock, ticks: TickFilter) -> None:
    now_us = clock.now_us()
    newest = quote(now_us, 10)
    assert ticks.refusal(replace(newest), newest) == "duplicate"
    assert ticks.refusal(quote(now_us - 1, 11), newest) == "backward"
    assert ticks.refusal(quote(now_us, 9, bid="9"), newest) == "reordered"
    assert ticks.refusal(quote(now_us, 10, bid="9"), newest) is None
    assert ticks.refusal(quote(now_us + 1, 9, bid="9"), newest, streamed=False) is None, (
        "asked for: only its time counts"
    )
    assert ticks.counts == {"duplicate": 1, "backward": 1, "reordered": 1}


def test_another_source_counts_by_itself(clock: WallClock, ticks: TickFilter) -> None:
    newest = quote(clock.now_us(), 1000)
    assert ticks.refusal(quote(clock.now_us() + 1, 1, source="other"), newest) is None


def test_a_quote_from_the_future_is_refused_and_one_that_is_a_little_ahead_is_not(
    clock: WallClock, ticks: TickFilter
) -> None:
    ahead_us = int(AHEAD_S * 1_000_000)
    assert ticks.refusal(quote(clock.now_us() + ahead_us), None) is None
    assert ticks.refusal(quote(clock.now_us() + ahead_us + 1), None) == "from_the_future"


def test_a_few_wrong_times_among_good_ones_never_pass(clock: WallClock, ticks: TickFilter) -> None:
    newest = quote(clock.now_us(), 1)
    for n in range(2, 200):
        clock.advance(0.2)
        wrong_us = clock.now_us() + (60_000_000 if n % 2 else -60_000_000)
        assert ticks.refusal(quote(wrong_us + n, n), newest) in ("from_the_future", "backward")
        good = quote(clock.now_us(), n)
        assert ticks.refusal(good, newest) is None
        newest = good


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S, 3.0, -3.0])
@pytest.mark.parametrize("follows", ["our clock", "its own clock"])
def test_our_clock_being_set_does_not_keep_quotes_away(
    clock: WallClock, ticks: TickFilter, by_s: float, follows: str
) -> None:
    """A simulated source goes by our clock, a real one does not."""
    newest: Quote | None = None

    def flow(seconds: float, first: int) -> int:
        nonlocal newest
        passed = 0
        for n in range(int(seconds * 4)):
            clock.advance(0.25)
            at_us = clock.now_us() - (clock.set_by_us if follows == "its own clock" else 0)
            one = quote(at_us, first + n)
            if ticks.refusal(one, newest) is None:
                newest = one
                passed += 1
        return passed

    assert flow(5, 1) == 20
    clock.set_by(by_s)
    assert flow(5, 100) >= 19, "at once"
    clock.set_by(-by_s)
    assert flow(5, 200) >= 19, "and back"
    assert ticks.counts["clock_set"] == 2


def test_a_clock_that_was_wrong_from_the_start_keeps_quotes_away_only_for_a_moment(
    clock: WallClock, ticks: TickFilter
) -> None:
    newest: Quote | None = None
    refused = 0
    for n in range(40):
        clock.advance(0.25)
        one = quote(clock.now_us() + 600_000_000, n)
        if ticks.refusal(one, newest) is None:
            newest = one
        else:
            refused += 1
    assert newest is not None
    assert refused <= PATIENCE_S * 4 + 1
    assert ticks.counts["clocks_apart"] == 1


def test_a_quote_that_got_through_with_a_wrong_time_does_not_stand_for_ever(
    clock: WallClock, ticks: TickFilter
) -> None:
    newest = quote(clock.now_us() + 4_900_000, 1)
    passed_after = 0.0
    for n in range(2, 100):
        clock.advance(0.25)
        if ticks.refusal(quote(clock.now_us(), n), newest) is None:
            passed_after = (n - 1) * 0.25
            break
    assert 0 < passed_after <= 5.0


@given(
    st.lists(
        st.tuples(
            st.integers(-10_000_000, 10_000_000),
            st.integers(0, 50),
            st.sampled_from(["9", "10", "10.02", "10.03", "0"]),
        ),
        max_size=60,
    )
)
def test_whatever_comes_a_shown_quote_is_sound_and_all_others_are_counted(
    words: list[tuple[int, int, str]],
) -> None:
    clock = WallClock()
    ticks = TickFilter(clock)
    newest: Quote | None = None
    passed = 0
    for offset_us, sequence, bid in words:
        clock.advance(0.01)
        one = quote(clock.now_us() + offset_us, sequence, bid=bid)
        if ticks.refusal(one, newest) is None:
            assert one.bid <= one.ask
            if newest is not None:
                # Within a second no clock can have been found to be wrong.
                assert (one.as_of_us, one.sequence) >= (newest.as_of_us, 0)
            newest = one
            passed += 1
    assert passed + ticks.counts.total() == len(words)
