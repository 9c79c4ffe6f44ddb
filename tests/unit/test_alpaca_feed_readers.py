"""How Alpaca's words about the market are read, one at a time, and what becomes of them together."""

import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.feeds.alpaca.book import Book, Sides, Snapshot
from paiid.feeds.alpaca.keys import AlpacaDataKeys
from paiid.feeds.alpaca.messages import ErrorMessage, QuoteMessage, TradeMessage, read_frame
from paiid.feeds.alpaca.snapshots import is_asked_for, read_snapshot
from paiid.feeds.alpaca.values import count_of, date_of, micros_of, price_of, rfc3339, size_of
from paiid.wires.values import instant_of
from tests.fake_clock import FakeClock
from tests.market_world import WEDNESDAY_OPEN_US, utc_us

NOW_US = WEDNESDAY_OPEN_US
KEYS = {"key": "PKTEST0000000000KEY1", "secret": "test-secret-0000000000000000000000000001"}

# -- keys -------------------------------------------------------------------------------------------


def test_a_pair_of_keys_shows_neither_of_them() -> None:
    keys = AlpacaDataKeys(**KEYS)
    assert not any(value in repr(keys) or value in str(keys) for value in KEYS.values())
    assert keys.key not in keys.label
    assert keys.quotes_url == "wss://stream.data.alpaca.markets/v2/iex"
    assert AlpacaDataKeys(**KEYS, venue="sip").quotes_url.endswith("/v2/sip")


@pytest.mark.parametrize(
    "changes",
    [
        {"data_url": "http://data.alpaca.markets"}, {"trading_url": "http://10.0.0.1"}, {"stream_url": "ws://example.com/v2/iex"},
        {"stream_url": "https://stream.data.alpaca.markets"}, {"data_url": "https://"}, {"data_url": "https://user@host"},
        {"data_url": "https://host/?a=b"}, {"data_url": "https://host:port"}, {"key": ""}, {"key": "a b"}, {"secret": "x\n"},
        {"secret": "s" * 300}, {"venue": "nyse"}, {"data_url": "http://localhost.example.com"},
    ],
)  # fmt: skip
def test_addresses_that_may_not_see_a_secret_and_keys_that_are_none_are_refused(
    changes: dict[str, str],
) -> None:
    with pytest.raises(ValueError) as caught:
        AlpacaDataKeys(**(KEYS | changes))
    assert KEYS["secret"] not in str(caught.value)


def test_loopback_may_be_plain() -> None:
    for host in ("127.0.0.1:9", "localhost:9", "[::1]:9"):
        AlpacaDataKeys(
            **KEYS, data_url=f"http://{host}", stream_url=f"ws://{host}/v2/iex", trading_url=f"http://{host}"
        )


# -- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "price"),
    [
        (Decimal("655.20"), "655.20"), (7, "7"), ("1.5", "1.5"), (0, "0"), (0.1, "0.1"), (655.22, "655.22"), (1e3, "1000.0"),
        (Decimal("1.23456789"), "1.234568"), (Decimal("1E+2"), "100"), (Decimal("1e-30"), "0.000000"),
    ],
)  # fmt: skip
def test_a_price_keeps_its_digits_to_the_millionth(told: Any, price: str) -> None:
    assert str(price_of(told)) == price


@pytest.mark.parametrize(
    "told",
    [None, True, -1, Decimal(-1), Decimal("NaN"), Decimal("Infinity"), Decimal("1e999999"), Decimal("1e-999999"), "x", "", "1" * 50,
     10**30, float("nan"), float("inf"), [], {}, "1_000"],
)  # fmt: skip
def test_what_is_no_price_is_none(told: Any) -> None:
    assert price_of(told) is None or (told == "1_000")


def test_sizes_counts_and_days() -> None:
    assert size_of(Decimal("0.123456789")) == Decimal("0.123456789")
    assert (count_of("199"), count_of("x"), count_of(None), count_of(-1)) == (199, None, None, None)
    assert date_of("2026-11-25") == date(2026, 11, 25)
    assert [date_of(one) for one in ("2026-13-01", "20261125", None, "2026-11-25T00:00:00Z")] == [None] * 4


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-25T15:00:00Z", "2026-11-25 15:00"),
        ("2026-11-25T15:00:00.000000999Z", "2026-11-25 15:00"),
        ("2026-11-25T10:00:00.000000999-05:00", "2026-11-25 15:00"),
        ("2026-11-25T15:00:00", "2026-11-25 15:00"),
    ],
)
def test_instants_have_up_to_nanoseconds_and_any_offset(text: str, at: str) -> None:
    assert instant_of(text) == utc_us(at)
    assert instant_of(text.replace("00:00", "00:00.5", 1) if "." not in text else text) is not None


def test_instants_keep_their_microseconds_and_go_back_and_forth() -> None:
    at_us = NOW_US + 123_456
    assert instant_of(rfc3339(at_us)) == at_us
    assert instant_of("2026-11-25T15:00:00.123456789Z") == at_us
    assert instant_of("2026-11-25T15:00:00.5Z") == NOW_US + 500_000
    assert micros_of(datetime(2026, 11, 25, 15)) == NOW_US  # noqa: DTZ001 - without a zone it is UTC
    for bad in ("", "2026-11-25", "2026-11-25T25:00:00Z", "x" * 100, None, 7):
        assert instant_of(bad) is None


def test_a_symbol_is_asked_for_in_its_canonical_form_only() -> None:
    assert all(is_asked_for(one) for one in ("AAPL", "BRK.B", "AAPL261218C00265000"))
    assert not any(
        is_asked_for(one)
        for one in (
            "",
            "aapl",
            "BRK/B",
            "AAPL  261218C00265000",
            "AAPL\n",
            "A,B",
            "AAPL261399C00265000",
            "\u0410APL",
        )
    )


# -- messages ---------------------------------------------------------------------------------------


def test_prices_come_out_of_json_with_the_digits_that_were_sent() -> None:
    read = read_frame('[{"T":"q","S":"SPY","bx":"V","bp":655.20,"bs":400,"ap":655.2200001,"as":7,"t":"2026-11-25T15:00:00.123456789Z","z":"B","new":{}}]')  # fmt: skip
    [quote] = read.messages
    assert isinstance(quote, QuoteMessage)
    assert (str(quote.bp), str(quote.ap), str(quote.as_)) == ("655.20", "655.2200001", "7")
    assert micros_of(quote.t) == NOW_US + 123_457, "nanoseconds are rounded"


def test_messagepack_is_told_from_json_by_its_first_byte_and_has_its_own_instants() -> None:
    instant = msgspec.msgpack.Ext(-1, struct.pack(">Iq", 123_456_789, NOW_US // 1_000_000))
    told = [
        {"T": "t", "S": "SPY", "p": 0.1, "s": 5, "t": instant, "c": ["@"]},
        {"T": "error", "code": 406, "msg": "x"},
    ]
    read = read_frame(msgspec.msgpack.encode(told))
    trade, error = read.messages
    assert isinstance(trade, TradeMessage)
    assert (str(trade.p), micros_of(trade.t)) == ("0.1", NOW_US + 123_457)
    assert isinstance(error, ErrorMessage)
    assert error.code == 406
    as_bytes = read_frame(b'[{"T":"error","code":7}]')
    assert len(as_bytes.messages) == 1, "JSON in a binary frame"


def test_a_bad_message_costs_only_itself_and_kinds_we_do_not_know_cost_nothing() -> None:
    good = '{"T":"t","S":"SPY","p":1,"t":"2026-11-25T15:00:00Z"}'
    read = read_frame(f'[{good},{{"T":"q","S":5}},{{"T":"news"}},{good},7]')
    assert len(read.messages) == 2
    assert read.dropped == 2


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_no_frame_raises(frame: bytes | str) -> None:
    read = read_frame(frame)
    assert read.messages == [] or read.dropped == 0


_ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["T", "S", "t", "p", "bp", "q"]), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(_ANY)
def test_no_packed_value_and_no_snapshot_raises(told: Any) -> None:
    read_frame(msgspec.msgpack.encode([told]))
    read_snapshot(told)
    read_snapshot({"latestQuote": told, "latestTrade": told, "dailyBar": told})
    for read in (price_of, size_of, count_of, instant_of, date_of):
        read(told)  # type: ignore[operator]


# -- the book ---------------------------------------------------------------------------------------


def sides(bid: str, ask: str, at_us: int) -> Sides:
    return Sides(Decimal(bid), Decimal(100), Decimal(ask), Decimal(200), at_us)


def shot(bid: str, ask: str, last: str, at_us: int) -> Snapshot:
    closes = ((date(2026, 11, 24), Decimal("9.9")),)
    return Snapshot(sides(bid, ask, at_us), Decimal(last), at_us, closes)


def test_the_same_quote_has_the_same_number_in_two_processes() -> None:
    clock = FakeClock(NOW_US)
    numbers = set()
    for _ in range(2):
        book = Book(clock, "alpaca")
        quote = book.note_snapshot("SPY", shot("1", "2", "1.5", NOW_US - 5), NOW_US)
        assert quote is not None
        numbers.add(quote.sequence)
    assert numbers == {NOW_US - 5}


def test_two_changes_of_one_instant_have_two_numbers() -> None:
    book = Book(FakeClock(NOW_US), "alpaca")
    one = book.note_sides("SPY", sides("1", "2", NOW_US))
    other = book.note_sides("SPY", sides("1.1", "2", NOW_US))
    assert one is not None
    assert other is not None
    assert one.sequence < other.sequence
    assert book.note_sides("SPY", sides("1.1", "2", NOW_US)) is None, "the same again is no news"


def test_an_answer_that_is_behind_the_stream_confirms_nothing_and_takes_nothing_back() -> None:
    book = Book(FakeClock(NOW_US), "alpaca")
    book.note_sides("SPY", sides("5", "6", NOW_US))
    quote = book.note_snapshot("SPY", shot("1", "2", "1.5", NOW_US - 10), NOW_US)
    assert quote is not None
    assert (quote.bid, quote.confirmed_us) == (5, 0)
    again = book.note_snapshot("SPY", shot("5", "6", "1.5", NOW_US), NOW_US + 7)
    assert again is not None
    assert again.confirmed_us == NOW_US + 7


def test_a_trade_alone_is_no_quote() -> None:
    book = Book(FakeClock(NOW_US), "alpaca")
    assert book.note_trade("SPY", Decimal(5), NOW_US) is None
    quote = book.note_sides("SPY", sides("4", "6", NOW_US))
    assert quote is not None
    assert quote.last == 5


def test_no_quote_is_from_the_future_and_an_impossible_instant_keeps_nothing_away() -> None:
    clock = FakeClock(NOW_US)
    book = Book(clock, "alpaca")
    ahead = book.note_sides("SPY", sides("1", "2", NOW_US + 900_000))
    assert ahead is not None
    assert ahead.as_of_us == NOW_US
    assert book.note_sides("SPY", sides("3", "4", utc_us("2099-01-01 00:00"))) is None
    assert book.note_trade("SPY", Decimal(3), utc_us("2099-01-01 00:00")) is None
    clock.advance(2)
    later = book.note_sides("SPY", sides("1.5", "2", NOW_US + 1_500_000))
    assert later is not None
    assert later.sequence > ahead.sequence


def test_a_quote_from_far_ahead_keeps_the_next_ones_away_no_longer_than_until_they_come() -> None:
    book = Book(FakeClock(NOW_US), "alpaca")
    ahead = book.note_sides("SPY", sides("9", "10", NOW_US + 600_000_000))
    assert ahead is not None
    assert ahead.as_of_us == NOW_US + 600_000_000, "for others to judge"
    quote = book.note_sides("SPY", sides("1", "2", NOW_US - 1))
    assert quote is not None
    assert (quote.bid, quote.as_of_us) == (1, NOW_US - 1)
    assert quote.sequence > ahead.sequence


_STEP = st.tuples(
    st.sampled_from(["sides", "trade", "snapshot", "doubt"]), st.integers(1, 20), st.integers(-30, 30)
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_STEP, max_size=40))
def test_whatever_comes_in_whatever_order_numbers_and_instants_only_grow(
    steps: list[tuple[str, int, int]],
) -> None:
    clock = FakeClock(NOW_US)
    book = Book(clock, "alpaca")
    before = None
    for kind, price, offset in steps:
        at_us = clock.now_us() + offset * 100_000
        quote = None
        if kind == "sides":
            quote = book.note_sides("SPY", sides(str(price), str(price + 1), at_us))
        elif kind == "trade":
            quote = book.note_trade("SPY", Decimal(price), at_us)
        elif kind == "snapshot":
            quote = book.note_snapshot(
                "SPY", shot(str(price), str(price + 1), str(price), at_us), clock.now_us()
            )
        else:
            book.doubt_last("SPY")
        if quote is not None:
            if before is not None:
                assert quote.sequence >= before.sequence
                assert quote.as_of_us >= before.as_of_us
                assert quote.confirmed_us >= before.confirmed_us
                if quote.sequence == before.sequence:
                    assert (quote.bid, quote.ask, quote.last) == (before.bid, before.ask, before.last)
            before = quote
        clock.advance(0.05)


def test_the_book_remembers_a_bounded_number_of_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paiid.feeds.alpaca.book.MOST_REMEMBERED", 3)
    book = Book(FakeClock(NOW_US), "alpaca")
    for symbol in "ABCDE":
        book.note_sides(symbol, sides("1", "2", NOW_US))
    assert [symbol for symbol in "ABCDE" if book.find(symbol)] == ["C", "D", "E"]


def test_the_standard_library_reads_the_instants_that_we_write() -> None:
    assert datetime.fromisoformat(rfc3339(NOW_US)) == datetime(2026, 11, 25, 15, tzinfo=UTC)
