"""Quotes get their places: +1 for each that is shown, staleness and confirmation included (contracts S1, S5)."""

from dataclasses import replace
from decimal import Decimal

import pytest

from paiid.domain.calendar import AlwaysOpen
from paiid.domain.quotes import Quote
from paiid.market import sequencer as module
from paiid.market.board import Board, Shown
from paiid.market.freshness import Freshness
from paiid.market.sequencer import Sequencer
from paiid.market.tick_filter import TickFilter
from paiid.market.ticks import Confirmed
from tests.fake_clock import FakeClock

RESEND_S = 5.0


class Desk:
    """A sequencer, and what it told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.board = Board()
        self.ticks = TickFilter(self.clock)
        self.told: list[Shown] = []
        self.confirmed: list[Confirmed] = []
        self.sequencer = Sequencer(
            self.clock,
            self.board,
            lambda share: Freshness(self.clock, AlwaysOpen(), share * RESEND_S),
            self.ticks,
            7,
            self.told.append,
            self.confirmed.append,
        )
        self.sequencer.followed = {"AAPL", "SPY"}

    def quote(self, symbol: str = "AAPL", bid: str = "10", sequence: int = 1) -> Quote:
        price = Decimal(bid)
        return Quote(
            symbol, price, price + 1, Decimal(1), Decimal(1), price, price, self.clock.now_us(), sequence, "hand"
        )  # fmt: skip

    @property
    def places(self) -> list[tuple[str, int, bool]]:
        return [(one.quote.symbol, one.sequence, one.quote.stale) for one in self.told]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_S1_each_symbol_counts_by_itself_and_only_what_is_shown(desk: Desk) -> None:
    for n in range(3):
        desk.clock.advance(0.1)
        desk.sequencer.streamed(desk.quote(sequence=n))
        desk.sequencer.streamed(desk.quote(sequence=n))
        desk.sequencer.streamed(desk.quote("TLT"))
    desk.sequencer.streamed(desk.quote("SPY"))
    assert desk.places == [("AAPL", 1, False), ("AAPL", 2, False), ("AAPL", 3, False), ("SPY", 1, False)]
    assert desk.ticks.counts == {"duplicate": 3, "not_followed": 3}
    assert desk.board.find("AAPL") == desk.told[2]


def test_S5_a_quote_that_grows_stale_is_told_once_and_a_confirmation_makes_it_good_again(desk: Desk) -> None:
    first = desk.quote()
    desk.sequencer.streamed(first)
    desk.clock.advance(RESEND_S)
    desk.sequencer.mark_stale(["AAPL", "SPY"])
    assert len(desk.told) == 1
    desk.clock.advance(0.001)
    desk.sequencer.mark_stale(["AAPL", "SPY"])
    desk.sequencer.mark_stale(["AAPL", "SPY"])
    assert desk.places[1:] == [("AAPL", 2, True)]
    desk.sequencer.fetched({"AAPL": first}, desk.clock.now_us(), listens=True)
    assert desk.places[2:] == [("AAPL", 3, False)]
    assert desk.told[2].quote.as_of_us == first.as_of_us, "its time is not made up"
    assert "missed_by_stream" not in desk.ticks.counts


def test_S5_a_quiet_symbol_is_asked_for_in_good_time_and_the_same_answer_is_no_event(desk: Desk) -> None:
    first = desk.quote()
    desk.sequencer.streamed(first)
    assert desk.sequencer.due(["AAPL"], RESEND_S) == []
    desk.clock.advance(RESEND_S / 2 + 0.1)
    assert desk.sequencer.due(["AAPL"], RESEND_S) == ["AAPL"]
    assert desk.sequencer.due(["AAPL"], RESEND_S) == [], "once in half the interval"
    asked_us = desk.clock.now_us()
    desk.sequencer.fetched({"AAPL": replace(first, sequence=99)}, asked_us, listens=True)
    assert len(desk.told) == 1
    assert desk.confirmed == [Confirmed("AAPL", 1, asked_us)]
    shown = desk.board.find("AAPL")
    assert shown is not None
    assert shown.quote.confirmed_us == asked_us
    assert shown.sequence == 1
    desk.clock.advance(RESEND_S - 0.1)
    desk.sequencer.mark_stale(["AAPL"])
    assert len(desk.told) == 1


def test_what_the_stream_missed_is_shown_and_counted(desk: Desk) -> None:
    desk.sequencer.streamed(desk.quote())
    desk.clock.advance(1)
    missed = desk.quote(bid="11", sequence=0)
    desk.sequencer.fetched({"AAPL": missed}, desk.clock.now_us(), listens=True)
    assert desk.places == [("AAPL", 1, False), ("AAPL", 2, False)]
    assert desk.ticks.counts == {"missed_by_stream": 1}
    desk.clock.advance(-0.5)
    desk.sequencer.fetched({"AAPL": desk.quote(bid="10.5")}, desk.clock.now_us(), listens=True)
    assert len(desk.told) == 2, "an answer that is late does not go back"


def test_what_nothing_is_known_of_is_due_at_once_and_again_after_an_interruption(desk: Desk) -> None:
    assert desk.sequencer.due(["AAPL", "SPY"], RESEND_S) == ["AAPL", "SPY"]
    assert desk.sequencer.due(["AAPL", "SPY"], RESEND_S) == []
    desk.sequencer.ask_all_again()
    assert desk.sequencer.due(["AAPL", "SPY"], RESEND_S) == ["AAPL", "SPY"]


def test_what_is_wanted_again_goes_on_where_it_was(desk: Desk) -> None:
    desk.sequencer.streamed(desk.quote())
    desk.sequencer.drop("AAPL")
    assert desk.board.find("AAPL") is None
    desk.clock.advance(1)
    desk.sequencer.streamed(desk.quote(sequence=2))
    assert desk.places[-1] == ("AAPL", 2, False)


def test_nothing_is_shown_once_the_epoch_is_over(desk: Desk) -> None:
    desk.sequencer.closed = True
    desk.sequencer.streamed(desk.quote())
    desk.sequencer.fetched({"SPY": desk.quote("SPY")}, desk.clock.now_us(), listens=True)
    assert desk.told == []


def test_symbols_that_one_epoch_numbers_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERED", 2)
    assert not desk.sequencer.full
    desk.sequencer.streamed(desk.quote())
    desk.sequencer.streamed(desk.quote("SPY"))
    assert desk.sequencer.full
