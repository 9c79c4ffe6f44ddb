"""How Tradier's words about the market are read, one at a time, and what becomes of them together."""

import json
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.domain.quotes import Quote
from paiid.feeds.outbox import Outbox
from paiid.feeds.tradier.bars import _begin_of, _read_bar
from paiid.feeds.tradier.book import Book
from paiid.feeds.tradier.chain import read_greeks
from paiid.feeds.tradier.connection import http_url_of, payload_of
from paiid.feeds.tradier.faults import StreamFault, fault_of_words
from paiid.feeds.tradier.hearing import Hearing, Tally
from paiid.feeds.tradier.listing import _days_of, _read_security, _stock
from paiid.feeds.tradier.messages import Pieces, read_frame
from paiid.feeds.tradier.rows import Sides, read_row
from paiid.feeds.tradier.symbols import from_wire, is_asked_for, to_wire
from paiid.feeds.tradier.values import date_of, figure_of, millis_us, price_of, seconds_us, size_of, whole_of
from paiid.feeds.tradier.wanted import Wanted
from paiid.wires.tradier.keys import TradierKeys
from tests.fake_clock import FakeClock
from tests.market_world import WEDNESDAY_OPEN_US
from tests.tradier_data_stage import quote, row, trade, values

NOW_US = WEDNESDAY_OPEN_US
MS = NOW_US // 1000
ONE, TWO = Decimal(1), Decimal(2)

# -- values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "price"),
    [
        ("655.20", "655.20"), ("7", "7"), (7, "7"), ("0", "0"), ("0.0", "0"), ("100.00000000", "100.000000"), ("1.0E-4", "0.00010"),
        ("1E+2", "100"), ("1.0E5", "100000"), (655.22, "655.22"), (" 1.5 ", "1.5"), ("1e-30", "0"),
    ],
)  # fmt: skip
def test_a_price_keeps_its_digits_to_the_millionth(told: Any, price: str) -> None:
    assert str(price_of(told)) == price


@pytest.mark.parametrize(
    "told",
    [
        None,
        "null",
        "",
        "NaN",
        "Infinity",
        True,
        "-1",
        -1,
        "1e999",
        "1e10",
        "x",
        [],
        {},
        "1_000",
        "1" * 50,
        float("nan"),
    ],
)
def test_what_is_no_price_is_none(told: Any) -> None:
    assert price_of(told) is None


def test_sizes_counts_figures_and_days() -> None:
    assert values(size_of("4"), size_of("0.5"), size_of("null")) == (4, Decimal("0.5"), None)
    assert [whole_of(one) for one in ("12", "12.0", "1.2E1", "12.5", None, "-1", "null")] == [
        12,
        12,
        12,
        None,
        None,
        None,
        None,
    ]
    assert [figure_of(one) for one in ("-0.0412", "1E-5", None, "null", "NaN", "1e12")] == [
        -0.0412,
        1e-5,
        None,
        None,
        None,
        None,
    ]
    assert date_of("2026-11-25") == date_of("2026-11-25T00:00:00.000Z") == date(2026, 11, 25)
    assert [date_of(one) for one in ("2026-13-01", "20261125", None, 7, "2026-11-25T10:00:00Z")] == [None] * 5


def test_instants_are_milliseconds_as_numbers_or_texts_and_zero_is_never() -> None:
    assert millis_us("1795618800123") == millis_us(1795618800123) == 1795618800123000
    assert seconds_us("1795618800") == seconds_us(1795618800) == 1795618800000000
    nothing: tuple[Any, ...] = (0, "0", None, "null", "", "1795618800", "1e30", -5, "x", True, {})
    for never in nothing:
        assert millis_us(never) is None


def test_class_shares_have_a_dot_here_and_a_slash_there() -> None:
    assert (to_wire("BRK.B"), from_wire("BRK/B"), to_wire("SPY261218C00700000")) == (
        "BRK/B",
        "BRK.B",
        "SPY261218C00700000",
    )
    assert all(is_asked_for(one) for one in ("AAPL", "BRK.B", "AAPL261218C00265000"))
    for odd in ("", "aapl", "BRK/B/C", "AAPL  261218C00265000", "A" * 30, None, 7, "AAPL\0"):
        assert from_wire(odd) is None


# -- rows ---------------------------------------------------------------------------------------------


def told(**changes: Any) -> Mapping[str, Any]:
    """As the wire's parser gives it: numbers are texts."""
    found: Mapping[str, Any] = json.loads(
        json.dumps(row("AAPL", 10, 10.02, NOW_US) | changes), parse_float=str, parse_int=str
    )
    return found


def test_a_row_has_shares_for_lots_and_the_newer_of_its_dates() -> None:
    read = read_row(told(bid_date=MS - 5, ask_date=MS))
    assert read is not None
    assert read.sides == Sides(Decimal(10), Decimal(100), Decimal("10.02"), Decimal(200), NOW_US)
    assert (read.last, read.close, read.prev_close) == (Decimal("10.02"), None, Decimal("9.9"))


@pytest.mark.parametrize(
    ("changes", "bid", "ask"),
    [
        ({"bid": None}, 0, "10.02"), ({"bid": "null"}, 0, "10.02"), ({"ask": 0}, 10, 0), ({"bid_date": 0}, 10, "10.02"),
        ({"bid": -1}, 0, "10.02"), ({"bidsize": None}, 10, "10.02"),
    ],
)  # fmt: skip
def test_a_side_that_is_not_told_is_none_and_has_no_size(changes: dict[str, Any], bid: int, ask: Any) -> None:
    read = read_row(told(**changes))
    assert read is not None
    assert read.sides is not None
    assert values(read.sides.bid, read.sides.ask) == (bid, Decimal(ask))
    assert read.sides.bid_size == (0 if not bid or changes.get("bidsize", 1) is None else 100)


@pytest.mark.parametrize(
    "changes",
    [
        {"bid": None, "ask": None},
        {"bid": 0, "ask": 0},
        {"bid_date": 0, "ask_date": 0},
        {"bid_date": None, "ask_date": "null"},
    ],
)
def test_without_prices_or_without_their_time_there_are_no_sides(changes: dict[str, Any]) -> None:
    read = read_row(told(**changes))
    assert read is not None
    assert read.sides is None


def test_a_last_price_without_its_time_is_none() -> None:
    for changes in ({"trade_date": 0}, {"trade_date": None}, {"last": None}, {"last": 0}):
        read = read_row(told(**changes))
        assert read is not None
        assert (read.last, read.last_us) == (None, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["null", "NaN", "1E400", "1.0E-4", "0", "AAPL"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted({*row("AAPL", 1, 2, 3), *quote("AAPL", 1, 2, 3), *trade("AAPL", "1", 2), "greeks", "date", "time", "timestamp", "open", "high", "low", "close", "error", "expiration", "mid_iv"})) | st.text(max_size=5), inner, max_size=8),
    max_leaves=12,
)  # fmt: skip


def hearing_of(*symbols: str) -> Hearing:
    """Something that takes messages."""
    clock, wanted = FakeClock(NOW_US), Wanted(9)
    wanted.set(symbols)
    return Hearing(clock, Book(clock, "tradier"), wanted, Outbox(), Tally())


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_no_json_whatsoever_raises_out_of_a_reader(value: Any) -> None:
    known = row("AAPL", 10, 11, NOW_US)
    shapes = [
        value,
        {"symbol": "AAPL", "x": value},
        *(
            {**known, name: value}
            for name in ("bid", "ask", "last", "bid_date", "type", "prevclose", "bidsize", "description")
        ),
    ]
    book = Book(FakeClock(NOW_US), "tradier")
    for one in shapes:
        read = read_row(one)
        _read_security(one)
        _begin_of(one)
        _read_bar(one, NOW_US)
        read_greeks(one)
        list(_days_of(one))
        if read is not None:
            _stock(read)
            found = book.note_row(read, NOW_US)
            assert found is None or isinstance(found, Quote)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_no_message_whatsoever_raises_but_what_is_said_of_the_session(value: Any) -> None:
    hearing = hearing_of("AAPL")
    shapes: list[Any] = [
        {"type": kind, "symbol": "AAPL", name: value}
        for kind in ("quote", "trade", "tradex", "summary")
        for name in ("bid", "price", "prevClose", "date", "size")
    ]
    shapes += [
        quote("AAPL", 1, 2, NOW_US) | {"bid": value},
        trade("AAPL", "1", NOW_US) | {"price": value},
        {"error": value},
        {"symbol": value},
    ]
    for one in [*shapes, value]:
        if isinstance(one, dict):
            with nullcontext() if "session" not in str(value).lower() else suppress(StreamFault):
                hearing.take_message(one)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary())
def test_no_frame_whatsoever_raises(frame: str | bytes) -> None:
    read_frame(frame)
    Pieces().read(frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass"))


# -- messages -----------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_messages_come_out_whole_however_they_are_cut(breaks: list[bool], cuts: list[int]) -> None:
    messages = [quote("BRK/B", n, "1.0E-4", NOW_US) | {"exch": 'ü}{"\n'} for n, _ in enumerate(breaks)]
    body = "".join(
        json.dumps(one, ensure_ascii=False) + ("\n" if end else "")
        for one, end in zip(messages, breaks, strict=True)
    ).encode()
    pieces, found, dropped, at = Pieces(), list[Any](), 0, 0
    while at < len(body):
        size = cuts[at % len(cuts)]
        read = pieces.read(body[at : at + size])
        found += read.messages
        dropped += read.dropped
        at += size
    assert [str(one["bid"]) for one in found] == [str(one["bid"]) for one in messages]
    assert dropped == 0
    assert read_frame(body).messages == found


def test_numbers_keep_their_digits() -> None:
    (told_one,) = read_frame('{"bid":655.20,"ask":1.0E-4,"n":7}').messages
    assert told_one == {"bid": "655.20", "ask": "1.0E-4", "n": "7"}


def test_what_is_broken_costs_itself_and_not_what_stands_behind_it() -> None:
    read = read_frame('{"type":"quo{"a":1}\nrubbish\n{"b":2}{"c":3} and more\n\n{"d":4')
    assert read.messages == [{"a": "1"}, {"b": "2"}, {"c": "3"}] or read.messages == [{"b": "2"}, {"c": "3"}]
    assert read.dropped >= 3
    pieces = Pieces()
    assert pieces.read(b'{"x": oops}{"b":2}').messages == [{"b": "2"}]
    assert pieces.read(b'{"c":').messages == []
    assert pieces.read(b"3}").messages == [{"c": "3"}]


def test_what_never_becomes_a_message_does_not_grow_without_end() -> None:
    pieces, dropped = Pieces(), 0
    for _ in range(40):
        dropped += pieces.read(b'{"x":"' + b"y" * 10_000).dropped
    assert dropped >= 1
    assert len(pieces._rest) < 300_000
    assert read_frame('{"a":' * 50_000).messages == []


def test_only_what_is_said_of_sessions_is_about_the_session() -> None:
    crowded = fault_of_words("Too many sessions requested")
    assert crowded is not None
    assert crowded.pause == "crowded"
    assert fault_of_words("invalid session id") is not None
    assert fault_of_words("1234 is not a valid symbol") is None
    assert fault_of_words("") is None


def test_the_payload_has_at_least_one_symbol() -> None:
    assert payload_of("id", ["BRK/B"]) == {
        "symbols": ["BRK/B"], "sessionid": "id", "filter": ["quote", "trade", "tradex", "summary"], "linebreak": True, "validOnly": True,
        "advancedDetails": False,
    }  # fmt: skip
    nobody = payload_of("id", [])
    assert (nobody["symbols"], nobody["filter"]) == (["SPY"], ["summary"])


def test_the_stream_by_http_has_a_host_of_its_own_at_tradier_only() -> None:
    assert http_url_of(TradierKeys("test-token")) == "https://stream.tradier.com/v1/markets/events"
    simulated = TradierKeys("test-token", "http://127.0.0.1:9/v1", "ws://127.0.0.1:9/v1")
    assert http_url_of(simulated) == "http://127.0.0.1:9/v1/markets/events"
    proxied = TradierKeys("test-token", stream_url="wss://data.example.com/v1/")
    assert http_url_of(proxied) == "https://data.example.com/v1/markets/events"


# -- the book -----------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_US)


@pytest.fixture
def book(clock: FakeClock) -> Book:
    return Book(clock, "tradier")


def sides(bid: int, at_us: int) -> Sides:
    return Sides(Decimal(bid), ONE, Decimal(bid + 1), TWO, at_us)


def noted(book: Book, asked_us: int, **changes: Any) -> Quote:
    read = read_row(told(**changes))
    assert read is not None
    found = book.note_row(read, asked_us)
    assert found is not None
    return found


def test_an_answer_of_the_same_second_that_was_asked_before_the_stream_spoke_changes_nothing(
    book: Book, clock: FakeClock
) -> None:
    asked_us = clock.now_us()
    clock.advance(0.1)
    streamed = book.note_sides("AAPL", sides(20, NOW_US))
    assert streamed is not None
    behind = noted(book, asked_us)
    assert values(behind.bid, behind.confirmed_us) == (20, 0)
    clock.advance(0.1)
    assert noted(book, clock.now_us()).bid == 10, "asked later, it is the later word"


def test_an_answer_that_is_older_than_the_stream_confirms_nothing(book: Book, clock: FakeClock) -> None:
    book.note_sides("AAPL", sides(20, NOW_US + 1_000_000))
    found = noted(book, clock.now_us() + 5)
    assert values(found.bid, found.confirmed_us) == (20, 0)


def test_sides_that_are_gone_leave_the_quote_unconfirmed(book: Book, clock: FakeClock) -> None:
    first = noted(book, clock.now_us())
    clock.advance(60)
    later = noted(book, clock.now_us(), bid=None, ask=None)
    assert (later.bid, later.confirmed_us) == (first.bid, first.confirmed_us)


def test_the_sequence_grows_with_every_change_and_starts_from_the_clock(book: Book, clock: FakeClock) -> None:
    first = book.note_sides("AAPL", sides(20, NOW_US))
    second = book.note_sides("AAPL", sides(21, NOW_US))
    third = book.note_trade("AAPL", Decimal(21), NOW_US)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.sequence == NOW_US
    assert first.sequence < second.sequence < third.sequence
    assert third.as_of_us == NOW_US
    assert book.note_trade("AAPL", Decimal(21), NOW_US) is None


def test_what_is_from_far_ahead_is_not_believed_once_something_plausible_comes(book: Book) -> None:
    assert book.note_sides("AAPL", sides(20, NOW_US + 3 * 86_400_000_000)) is None
    assert book.counts["from_the_future"] == 1
    ahead = book.note_sides("AAPL", sides(20, NOW_US + 3_600_000_000))
    assert ahead is not None
    found = book.note_sides("AAPL", sides(21, NOW_US))
    assert found is not None
    assert values(found.bid, found.as_of_us) == (21, NOW_US)


def test_a_previous_close_of_the_stream_counts_in_a_session_only(book: Book, clock: FakeClock) -> None:
    book.note_sides("AAPL", sides(20, NOW_US))
    found = book.note_close("AAPL", Decimal(19))
    assert found is not None
    assert found.prev_close == 19
    assert not book.needs_close("AAPL")
    clock.advance(7 * 3600)
    assert book.needs_close("AAPL")
    assert book.note_close("AAPL", Decimal(19)) is None
    later = book.find("AAPL")
    assert later is not None
    assert later.prev_close == 0, "of which day it is nobody knows"
