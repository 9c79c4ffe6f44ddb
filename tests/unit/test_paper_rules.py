"""Corners of the paper venue's rules that docs/paper.md has no room for: what a fill may cost, which quote is new,
what an order keeps reserved, and which orders the matching process looks at."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers.paper.book import OpenBook
from paiid.brokers.paper.records import PaperOrder
from paiid.domain.margin import Exposure, requirement
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import (
    IMMEDIATE_PATIENCE_US,
    NOTHING,
    Moment,
    Step,
    Taken,
    Working,
    after_quote,
    decide,
    take,
    wants_look,
)
from paiid.domain.paper_account import EMPTY, Holding, PaperAccount, reserve, trade
from paiid.domain.terms import PLAIN
from tests.paper_world import START_US, Market

D = Decimal
NOW = Moment(0, is_open=True, is_extended=True)


def opened(held: Holding, side: Any, qty: Decimal, price: Decimal) -> Holding:
    """With one more open order."""
    return reserve(held, side, ZERO, qty, price)


def working(
    side: Any = "buy", qty: int = 100, type: Any = "market", tif: Any = "day", **more: Any
) -> Working:
    """An order that is live from the start of time."""
    base: dict[str, Any] = {"limit_price": None, "stop_price": None, "live_at_us": 0, "expires_at_us": None}
    return Working("AAPL", side, type, tif, D(qty), **{**base, **more})


def quote(
    bid: str = "99.90", ask: str = "100.00", bid_size: int = 300, ask_size: int = 300, **more: Any
) -> Any:
    shown = Market().show("AAPL", D(bid), D(bid_size), D(ask), D(ask_size))
    return replace(shown, **more)


def account(cash: str = "100000", mark: str | None = "100.00") -> PaperAccount:
    return PaperAccount(D(cash), {}, lambda _symbol, _qty: None if mark is None else D(mark))


# -- what a fill may cost -----------------------------------------------------------------------------


def test_a_partial_fill_that_leaves_its_rest_payable_leaves_the_order_working() -> None:
    book = account()
    book.place(working(qty=500), D(100))
    step = Step(qty=D(60), price=D(120))
    assert book.within_means(working(qty=500), step, D(100), 0) == step


def test_a_partial_fill_that_can_only_be_paid_without_its_rest_cancels_the_rest() -> None:
    book = account()
    book.place(working(qty=1000), D(100))
    cut = book.within_means(working(qty=1000), Step(qty=D(60), price=D(120)), D(100), 0)
    assert cut == Step(False, D(60), D(120), OrderStatus.CANCELED, "insufficient_buying_power")


def test_a_fill_that_nothing_can_be_paid_of_ends_the_order_without_a_print() -> None:
    book = account("100")
    book.place(working(qty=1), D(100))
    cut = book.within_means(working(qty=1), Step(qty=D(1), price=D(101), ends=OrderStatus.FILLED), D(100), 0)
    assert cut == Step(False, ZERO, ZERO, OrderStatus.CANCELED, "insufficient_buying_power")


@pytest.mark.parametrize(("tif", "qty"), [("day", 800), ("ioc", 800), ("fok", 0)])
def test_what_cannot_be_paid_is_cut_to_the_last_whole_share_and_fok_to_nothing(tif: str, qty: int) -> None:
    book = account()
    book.place(working(qty=1000), D(100))
    step = Step(qty=D(1000), price=D("124.99"), ends=OrderStatus.FILLED)
    cut = book.within_means(working(qty=1000, tif=tif), step, D(100), 0)
    assert (cut.qty, cut.ends, cut.reason) == (qty, OrderStatus.CANCELED, "insufficient_buying_power")


def test_an_account_below_zero_still_fills_what_makes_it_no_worse() -> None:
    book = account("100000", mark="300.00")
    book.holdings["MSFT"] = trade(EMPTY, "sell", D(400), D(100))
    book.holdings["AAPL"] = opened(EMPTY, "buy", D(10), D(100))
    assert book.buying_power() < 0
    at_its_reserve = Step(qty=D(10), price=D(100), ends=OrderStatus.FILLED)
    assert book.within_means(working(qty=10), at_its_reserve, D(100), 0) == at_its_reserve
    dearer = replace(at_its_reserve, price=D("100.01"))
    assert book.within_means(working(qty=10), dearer, D(100), 0).qty < 10


@pytest.mark.parametrize(("side", "held"), [("sell", 100), ("buy", -100)])
def test_what_only_closes_fills_at_any_price_and_without_a_value_of_other_shorts(
    side: str, held: int
) -> None:
    book = account("0", mark=None)
    book.holdings["AAPL"] = replace(trade(EMPTY, "buy" if held > 0 else "sell", D(100), D(1)))
    book.holdings["MSFT"] = trade(EMPTY, "sell", D(1), D(1))
    book.holdings["AAPL"] = opened(book.holdings["AAPL"], side, D(100), D(1))
    step = Step(qty=D(100), price=D(999_999), ends=OrderStatus.FILLED)
    assert book.within_means(working(side), step, D(1), 0) == step


def test_an_order_through_zero_that_cannot_pay_for_the_other_side_still_closes() -> None:
    book = account("100")
    book.holdings["AAPL"] = opened(trade(EMPTY, "buy", D(10), D(100)), "sell", D(500), D("0.1"))
    step = Step(qty=D(500), price=D(90), ends=OrderStatus.FILLED)
    cut = book.within_means(working("sell", 500), step, D("0.1"), 0)
    # 10 close; the 1,000 dollars that are there then carry 22 more at 45 dollars each.
    assert (cut.qty, cut.ends) == (32, OrderStatus.CANCELED)


def test_an_immediate_order_waits_for_the_value_of_its_account_as_long_as_for_a_quote() -> None:
    book = account(mark=None)
    book.holdings["MSFT"] = trade(EMPTY, "sell", D(1), D(1))
    book.holdings["AAPL"] = opened(EMPTY, "buy", D(1), D(1))
    step = Step(qty=D(1), price=D(1), ends=OrderStatus.FILLED)
    asked = working(qty=1, tif="ioc")
    assert book.within_means(asked, step, D(1), IMMEDIATE_PATIENCE_US - 1) == NOTHING
    late = book.within_means(asked, step, D(1), IMMEDIATE_PATIENCE_US)
    assert (late.qty, late.ends, late.reason) == (0, OrderStatus.CANCELED, "no_fresh_quote")


def test_a_stop_that_waits_for_the_value_of_its_account_stays_triggered() -> None:
    book = account(mark=None)
    book.holdings["MSFT"] = trade(EMPTY, "sell", D(1), D(1))
    book.holdings["AAPL"] = opened(EMPTY, "buy", D(1), D(1))
    step = Step(triggers=True, qty=D(1), price=D(1), ends=OrderStatus.FILLED)
    assert book.within_means(working(qty=1, type="stop", stop_price=D(1)), step, D(1), 0) == Step(
        triggers=True
    )


# -- which quote is new -------------------------------------------------------------------------------


def test_the_same_number_of_the_same_source_is_the_same_quote() -> None:
    shown = quote()
    used = take(Taken(shown.source, shown.sequence, shown.as_of_us), "buy", D(7))
    assert after_quote(used, shown) is used
    assert after_quote(used, replace(shown, stale=True)) is used


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        ({"sequence": 8}, True),
        ({"sequence": 8, "as_of_us": START_US - 1}, False),
        ({"sequence": 6}, False),
        ({"sequence": 6, "as_of_us": START_US - 1}, False),
        ({"sequence": 1, "as_of_us": START_US + 1}, True),
        ({"source": "another"}, True),
        ({"source": "another", "as_of_us": START_US - 1}, False),
    ],
)
def test_only_a_later_quote_brings_new_size(change: dict[str, Any], is_new: bool) -> None:
    used = take(Taken("hand", 7, START_US), "sell", D(7))
    shown = replace(quote(), **{"sequence": 7, "as_of_us": START_US, **change})
    fresh = after_quote(used, shown)
    assert fresh == (Taken(shown.source, shown.sequence, shown.as_of_us) if is_new else None)


def test_the_two_sides_of_a_quote_are_taken_apart() -> None:
    used = take(take(Taken("hand", 1, 0), "buy", D(300)), "sell", D(1))
    assert (used.ask, used.bid) == (300, 1)
    shown = quote(bid_size=300, ask_size=300)
    assert decide(working("buy"), shown, used, NOW, PLAIN) == NOTHING
    assert decide(working("sell"), shown, used, NOW, PLAIN).qty == 100


# -- what is asked, and what it keeps reserved --------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "open_buy", "open_sell", "tied_up"),
    [
        (0, (0, 0), (0, 0), 0),
        (0, (10, 1000), (0, 0), 1000),
        (100, (0, 0), (100, 12_000), 0),
        (100, (0, 0), (150, 18_000), 3000),
        (-100, (0, 0), (0, 0), 15_000),
        (-100, (100, 10_000), (0, 0), 15_000),
        (-100, (150, 15_000), (0, 0), 20_000),
        (-100, (0, 0), (10, 1000), 15_500),
    ],
)
def test_a_symbol_ties_up_what_the_formula_says(
    held: int, open_buy: tuple[int, int], open_sell: tuple[int, int], tied_up: int
) -> None:
    exposure = Exposure("AAPL", D(held), *map(D, open_buy), *map(D, open_sell), mark=D(100))
    assert requirement(exposure) == tied_up
    assert exposure.needs_mark == (held < 0)


def test_a_short_without_a_price_has_no_value_that_is_made_up() -> None:
    with pytest.raises(ValueError, match="AAPL"):
        requirement(Exposure("AAPL", D(-1), ZERO, ZERO, ZERO, ZERO, None))


def test_a_position_that_is_closed_in_odd_parts_leaves_no_cost_behind() -> None:
    held = EMPTY
    for price in ("10.01", "10.02", "10.04"):
        held = trade(held, "buy", D(1), D(price))
    for _ in range(2):
        held = trade(held, "sell", D(1), D(50))
        assert abs(held.avg_entry_price() - D("30.07") / 3) < D("0.000001")
    assert trade(held, "sell", D(1), D(50)) == EMPTY


def test_an_order_gives_back_what_it_reserved_as_it_fills_and_ends() -> None:
    book = account()
    buys = working(qty=100)
    book.place(buys, D(100))
    book.place(replace(working("sell", 30), symbol="MSFT"), D("33.33"))
    assert book.buying_power() == 100_000 - 10_000 - D("499.95")
    part = Step(qty=D(40), price=D("99.99"))
    book.settle(buys, part, D(100))
    assert book.holding("AAPL") == Holding(D(40), D("3999.60"), D(60), D(6_000))
    book.settle(replace(buys, filled_qty=D(40)), Step(ends=OrderStatus.CANCELED), D(100))
    assert book.holding("AAPL") == Holding(D(40), D("3999.60"), D(0), D(0))
    assert book.open_orders == 1, "fills do not count down; the end of an order does"


# -- which orders are looked at -----------------------------------------------------------------------


def paper_order(name: str, order: Working, seq: int = 1) -> PaperOrder:
    return PaperOrder(
        id=name, account_number="me", client_order_id=name, working=order, reserve_price=D(100),
        filled_value=ZERO, status=OrderStatus.NEW, reason=None, triggered_at_us=None, version=1,
        accepted_seq=seq, event_seq=seq, submitted_at_us=0, updated_at_us=0,
    )  # fmt: skip


class Looking:
    """An open book over a quote in hand."""

    def __init__(self) -> None:
        self.quote: Any = quote()
        self.book = OpenBook(lambda _: self.quote)

    def names(self, now_us: int = 1_000, is_open: bool = True) -> list[str]:
        return [one.id for one in self.book.candidates(Moment(now_us, is_open, is_open))]


def test_each_quote_is_looked_at_once_and_a_new_one_again() -> None:
    at = Looking()
    at.book.add([paper_order("a", working())])
    assert at.names() == ["a"]
    assert at.names() == []
    at.quote = replace(at.quote, sequence=at.quote.sequence + 1)
    assert at.names() == ["a"]


def test_an_order_is_looked_at_when_it_goes_live_though_the_quote_is_the_same() -> None:
    at = Looking()
    at.book.add([paper_order("a", working(live_at_us=500)), paper_order("b", working(live_at_us=400), 2)])
    assert at.book.next_live_us(0) == 400
    assert at.names(399) == []
    assert at.names(400) == ["b"]
    assert at.names(500) == ["a"]
    assert at.book.next_live_us(500) is None


def test_those_live_first_come_first() -> None:
    at = Looking()
    at.book.add(
        [
            paper_order("late", working(live_at_us=9), 1),
            paper_order("second", working(live_at_us=5), 3),
            paper_order("first", working(live_at_us=5), 2),
        ]
    )
    assert at.names() == ["first", "second", "late"]


def test_the_opening_of_the_market_is_news_as_a_quote_is() -> None:
    at = Looking()
    at.book.add([paper_order("a", working())])
    assert at.names(is_open=False) == []
    assert at.names(is_open=True) == ["a"]


def test_the_end_of_the_day_is_news_without_any_quote() -> None:
    at = Looking()
    at.quote = None
    at.book.add([paper_order("a", working(expires_at_us=2_000))])
    assert at.names(1_999) == []
    assert at.names(2_000) == ["a"]


def test_what_did_not_commit_is_looked_at_again_the_end_of_a_day_included() -> None:
    at = Looking()
    order = paper_order("a", working(expires_at_us=2_000))
    at.book.add([order])
    assert at.names(2_000) == ["a"]
    at.book.look_again([order])
    at.quote = None
    assert at.names(2_000) == ["a"]


def test_what_is_over_or_gone_is_forgotten_and_what_is_known_is_not_taken_twice() -> None:
    at = Looking()
    one, other = paper_order("a", working()), paper_order("b", working())
    at.book.add([one, other, one])
    assert len(at.book) == 2
    at.book.keep([one], {"a": replace(one, status=OrderStatus.CANCELED)})
    at.book.keep([other], {})
    assert len(at.book) == 0
    assert at.names() == []
    at.book.add([replace(one, status=OrderStatus.FILLED)])
    assert len(at.book) == 0
    at.book.look_again([one])
    assert at.names() == []


@pytest.mark.parametrize("tif", ["ioc", "fok"])
def test_an_immediate_order_is_looked_at_until_it_ends(tif: str) -> None:
    at = Looking()
    at.quote = None
    at.book.add([paper_order("a", working(tif=tif))])
    assert at.names(1_000) == []
    assert at.names(IMMEDIATE_PATIENCE_US) == ["a"]
    assert at.names(IMMEDIATE_PATIENCE_US) == ["a"]


@pytest.mark.parametrize("tif", ["day", "gtc", "ioc", "fok", "opg", "cls"])
@pytest.mark.parametrize("type", ["market", "limit", "stop", "stop_limit", "trailing_stop"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_whatever_decide_would_change_is_worth_a_look(side: str, type: str, tif: str) -> None:
    prices: dict[str, list[dict[str, Any]]] = {
        "market": [{}, {"notional": D(1000)}],
        "limit": [{"limit_price": D(100)}, {"limit_price": D(100), "extended_hours": True}],
        "stop": [{"stop_price": D(100)}],
        "stop_limit": [
            {"stop_price": D(100), "limit_price": D(99)},
            {"stop_price": D(100), "limit_price": D(99), "triggered": True},
        ],
        "trailing_stop": [
            {"trail_price": D(1)},
            {"trail_price": D(1), "hwm": D(100), "stop_price": D(99 if side == "sell" else 101)},
        ],
    }
    quotes = [
        None, quote(), quote("100.00", "100.00"), quote("100.05", "100.10"), quote("100.10", "100.00"),
        quote("98.05", "98.10"), quote("101.05", "101.10"),
        quote("0", "100.00"), quote(stale=True), quote(ask_size=0, bid_size=0), quote(as_of_us=5),
    ]  # fmt: skip
    moments = [
        Moment(now, is_open, is_extended)
        for now in (0, 10, 1_000_000, 1_000_010, 5_000_000, 60_000_010)
        for is_open, is_extended in ((True, True), (False, True), (False, False))
    ]
    for more in prices[type]:
        for shown in quotes:
            taken = None if shown is None else after_quote(None, shown)
            for moment in moments:
                for expires in (None, 2_000_000):
                    order = working(side, 100, type, tif, live_at_us=10, expires_at_us=expires, **more)
                    changes = decide(order, shown, taken, moment, PLAIN).changes
                    assert not changes or wants_look(order, shown, moment)
