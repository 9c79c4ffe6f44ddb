"""The pre-trade checks of options, spreads and short sales: which no, with which value and limit, and when none."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.margin import Combo, Exposure
from paiid.domain.occ import OptionContract
from paiid.domain.quotes import Quote
from paiid.domain.risk import (
    Proposal,
    ProposedLeg,
    RiskLimits,
    Standing,
    check,
    estimated_value,
    grown,
    only_reduces,
    reserve_price,
)

D = Decimal
LIMITS = RiskLimits(D(100), D(50_000), D(80_000), 10, 4, D(25))


def option(kind: str, strike: str, year: int = 2026) -> str:
    """The symbol of a contract on AAPL."""
    return OptionContract.of("AAPL", kind, D(strike), date(year, 12, 18)).symbol


PUT_95, PUT_100, CALL_100, CALL_105 = (
    option("put", "95"), option("put", "100"), option("call", "100"), option("call", "105"),
)  # fmt: skip


def quote(symbol: str, bid: str, ask: str, **changes: Any) -> Quote:
    made = Quote(symbol, D(bid), D(ask), D(100), D(100), D(ask), D(ask), 0, 1, "test")
    return replace(made, **changes)


PRICES = {
    PUT_95: quote(PUT_95, "2.90", "3.10"),
    PUT_100: quote(PUT_100, "4.90", "5.10"),
    CALL_100: quote(CALL_100, "4.80", "5.20"),
    CALL_105: quote(CALL_105, "2.80", "3.00"),
    "AAPL": quote("AAPL", "99", "100"),
}


def order(side: Any, symbol: str, qty: str = "1", intent: Any = None, **changes: Any) -> Proposal:
    """A market order."""
    base = Proposal(symbol, side, "market", D(qty), None, None, PRICES[symbol], intent)
    return replace(base, **changes)


def buy(symbol: str, qty: str = "1", intent: Any = None, **changes: Any) -> Proposal:
    return order("buy", symbol, qty, intent, **changes)


def sell(symbol: str, qty: str = "1", intent: Any = None, **changes: Any) -> Proposal:
    return order("sell", symbol, qty, intent, **changes)


def spread(*legs: tuple[str, str, str], limit: str | None = None, qty: str = "1") -> Proposal:
    """A spread of one contract a leg; a leg is side, symbol, and "open" or "close"."""
    made = tuple(
        ProposedLeg(symbol, side, D(qty), f"{side}_to_{what}", PRICES[symbol])  # type: ignore[arg-type]
        for side, symbol, what in legs
    )
    price = None if limit is None else D(limit)
    kind: Any = "market" if limit is None else "limit"
    return Proposal("AAPL", "buy", kind, D(qty), price, None, PRICES["AAPL"], legs=made)


BULL_PUT = (("sell", PUT_100, "open"), ("buy", PUT_95, "open"))
OUT_OF_BULL_PUT = (("buy", PUT_100, "close"), ("sell", PUT_95, "close"))


def have(
    symbol: str, qty: str = "0", mark: str | None = "5", *, buying: str = "0", selling: str = "0"
) -> Exposure:
    """A position with open orders at five dollars."""
    each = 100 if symbol == "AAPL" else 500
    price = None if mark is None else D(mark)
    return Exposure(symbol, D(qty), D(buying), D(buying) * each, D(selling), D(selling) * each, price)


def at(*exposures: Exposure, cash: str = "100000", **changes: Any) -> Standing:
    """A cash account of level 3."""
    return Standing(D(cash), 0, len(exposures), exposures, **changes)


SHARES = have("AAPL", "100", "100")
HAS_BULL_PUT = (have(PUT_100, "-1"), have(PUT_95, "1", "3"))


def no(proposal: Proposal, standing: Standing, limits: RiskLimits = LIMITS) -> tuple[Any, ...] | None:
    """(code, measured, limit) of the first no."""
    found = check(proposal, standing, limits)
    return None if found is None else (found.code, found.measured, found.limit)


@pytest.mark.parametrize(
    ("proposal", "standing", "wanted"),
    [
        # What an order does to a position must be what it says.
        (buy(CALL_100, "1", "buy_to_close"), at(), ("position_intent_mismatch", "buy_to_close", "buy_to_open")),
        (sell(PUT_100, "1", "sell_to_close"), at(), ("position_intent_mismatch", "sell_to_close", "sell_to_open")),
        (
            sell(CALL_100, "1", "sell_to_open"), at(have(CALL_100, "1")),
            ("position_intent_mismatch", "sell_to_open", "sell_to_close"),
        ),
        (
            buy(PUT_100, "1", "buy_to_open"), at(have(PUT_100, "-1")),
            ("position_intent_mismatch", "buy_to_open", "buy_to_close"),
        ),
        (
            sell("AAPL", "1", "sell_to_close"), at(),
            ("position_intent_mismatch", "sell_to_close", "sell_to_open"),
        ),
        (
            spread(*OUT_OF_BULL_PUT), at(have(PUT_100, "-1")),
            ("position_intent_mismatch", "sell_to_close", "sell_to_open"),
        ),
        # Never more is closed than is held, open orders and open spreads counted.
        (sell(CALL_100, "3"), at(have(CALL_100, "2")), ("insufficient_qty", D(3), D(2))),
        (sell(CALL_100, "2"), at(have(CALL_100, "2", selling="1")), ("insufficient_qty", D(2), D(1))),
        (buy(PUT_100, "2"), at(have(PUT_100, "-2", buying="1")), ("insufficient_qty", D(2), D(1))),
        (sell("AAPL", "101", "sell_to_close"), at(SHARES), ("insufficient_qty", D(101), D(100))),
        (
            sell(PUT_95), at(*HAS_BULL_PUT, combos=(Combo(((PUT_100, D(1)), (PUT_95, D(-1))), D(200)),)),
            ("insufficient_qty", D(1), D(0)),
        ),
        (spread(*OUT_OF_BULL_PUT, qty="2"), at(*HAS_BULL_PUT), ("insufficient_qty", D(2), D(1))),
        (
            spread(*OUT_OF_BULL_PUT), at(have(PUT_100, "-1", buying="1"), HAS_BULL_PUT[1]),
            ("insufficient_qty", D(1), D(0)),
        ),
        (sell("AAPL", "60", exits=True), at(have("AAPL", "100", "100", selling="50")), ("insufficient_qty", D(60), D(50))),
        (sell("AAPL", exits=True), at(), ("insufficient_qty", D(1), D(0))),
        # Both sides of a contract are not opened at once.
        (sell(PUT_100), at(have(PUT_100, buying="1")), ("opposite_order_open", PUT_100, None)),
        (buy(PUT_100), at(have(PUT_100, selling="1")), ("opposite_order_open", PUT_100, None)),
        (
            buy(PUT_100), at(combos=(Combo(((PUT_100, D(-1)), (PUT_95, D(1))), D(-200)),)),
            ("opposite_order_open", PUT_100, None),
        ),
        # Levels.
        (sell(PUT_100), at(options_level=0), ("options_level", "1", "0")),
        (buy(PUT_100), at(options_level=1), ("options_level", "2", "1")),
        (spread(*BULL_PUT), at(options_level=2), ("options_level", "3", "2")),
        # Nothing is left uncovered.
        (sell(CALL_100), at(), ("uncovered_option", CALL_100, None)),
        (sell(CALL_100, "2"), at(SHARES), ("uncovered_option", CALL_100, None)),
        (sell(CALL_100), at(have("AAPL", "100", "100", selling="1")), ("uncovered_option", CALL_100, None)),
        (sell("AAPL", "1"), at(SHARES, have(CALL_100, "-1")), ("uncovered_option", CALL_100, None)),
        (sell(CALL_105), at(have(CALL_105, "1"), have(CALL_100, "-1")), ("uncovered_option", CALL_100, None)),
        (
            spread(("sell", CALL_100, "open"), ("buy", CALL_105, "open")), at(options_level=3, cash="200"),
            ("buying_power", D("320.00"), D("200.00")),
        ),
        (sell("AAPL"), at(SHARES, have(CALL_100, "-2")), ("uncovered_option", CALL_100, None)),
        (
            sell("AAPL"), at(SHARES, have(CALL_100, "-1"), have("MSFT", "-1", None), margin=True),
            ("uncovered_option", CALL_100, None),
        ),
        # The long leg of a put spread alone: what it covered needs its strike in cash then.
        (sell(PUT_95), at(*HAS_BULL_PUT, cash="5000"), ("buying_power", D("9500.00"), D("4500.00"))),
        # Money: premium whole, strikes whole, the width of a spread less its credit.
        (buy(CALL_100, "2"), at(cash="1039.99"), ("buying_power", D("1040.00"), D("1039.99"))),
        (sell(PUT_100), at(cash="9999.99"), ("buying_power", D("10000.00"), D("9999.99"))),
        (spread(*BULL_PUT, limit="-1.80"), at(cash="319.99"), ("buying_power", D("320.00"), D("319.99"))),
        (spread(*BULL_PUT), at(cash="300"), ("buying_power", D("320.00"), D("300.00"))),
        # Size: contracts count a hundred times.
        (buy(CALL_100, "97"), at(), ("notional_limit", D("50440.00"), D(50_000))),
        (buy(CALL_100, "101"), at(), ("quantity_limit", D(101), D(100))),
        (spread(*BULL_PUT, qty="101"), at(), ("quantity_limit", D(101), D(100))),
        (buy(CALL_100, "90"), at(have(CALL_100, "70")), ("position_limit", D("83200.00"), D(80_000))),
        (spread(*BULL_PUT), at(*(have(s, "1") for s in ("MSFT", "GOOG", "NVDA"))), ("positions_limit", "5", "4")),
        (
            buy("AAPL"),
            at(
                *(have(s, "1") for s in ("MSFT", "GOOG", "NVDA")),
                combos=(Combo(((PUT_100, D(-1)), (PUT_95, D(1))), D(-200)),),
            ),
            ("positions_limit", "6", "4"),
        ),
        # Prices.
        (buy(CALL_100, quote=None), at(), ("no_price", None, None)),
        (
            replace(spread(*BULL_PUT), legs=(ProposedLeg(PUT_100, "sell", D(1), "sell_to_open", None),)), at(),
            ("no_price", None, None),
        ),
        (
            replace(spread(*BULL_PUT), legs=(
                ProposedLeg(PUT_100, "sell", D(1), "sell_to_open", replace(PRICES[PUT_100], stale=True)),
            )), at(), ("stale_price", None, None),
        ),
        (
            spread(("buy", CALL_100, "open"), ("sell", CALL_105, "open"), limit="5.01"), at(),
            ("price_collar", D("5.01"), D(5)),
        ),
        (spread(*BULL_PUT, limit="0.01"), at(), ("price_collar", D("0.01"), D(0))),
        (
            sell("AAPL", type="trailing_stop", trail_price=D(99)), at(SHARES), ("price_collar", D(99), D(99)),
        ),
        # Short sales: whole shares, and 2,000 dollars with margin.
        (sell("AAPL", "0.5"), at(), ("short_sale_whole_shares", D("0.5"), D(0))),
        (sell("AAPL", "2.5"), at(have("AAPL", "2", "100")), ("short_sale_whole_shares", D("2.5"), D(2))),
        (sell("AAPL", "2"), at(have("AAPL", "1.5", "100")), ("short_sale_whole_shares", D(2), D("1.5"))),
        (sell("AAPL", "2", notional=D(200)), at(), ("short_sale_whole_shares", D(2), D(0))),
        (sell("AAPL"), at(cash="1999.99", margin=True), ("equity_below_2000", D("1999.99"), D(2000))),
        # Twice the cash with margin, and no more.
        (buy("AAPL", "41"), at(cash="2000", margin=True), ("buying_power", D("4100.00"), D("4000.00"))),
        (buy("AAPL", "20"), at(cash="1999", margin=True), ("buying_power", D("2000.00"), D("1999.00"))),
        (buy(CALL_100, "4"), at(cash="2000", margin=True), ("buying_power", D("2080.00"), D("2000.00"))),
        (buy("AAPL"), at(have(PUT_95, "-1", None), margin=True), ("stale_price", None, None)),
    ],
)  # fmt: skip
def test_each_check_says_no_with_code_value_and_limit(
    proposal: Proposal, standing: Standing, wanted: tuple[Any, ...]
) -> None:
    assert no(proposal, standing) == wanted
    found = check(proposal, standing, LIMITS)
    assert found is not None
    assert found.message.endswith(".")


@pytest.mark.parametrize(
    ("proposal", "standing"),
    [
        (buy(CALL_100, "2", "buy_to_open"), at(cash="1040")),
        (buy(CALL_100), at(have(CALL_100, "1", selling="1"))),
        (sell(PUT_100, "1", "sell_to_open"), at(cash="10000")),
        (sell(PUT_100), at(options_level=1, cash="10000")),
        (sell(CALL_100), at(SHARES, options_level=1, cash="0")),
        (sell(CALL_100), at(have(CALL_105, "1"), cash="500")),
        (buy(PUT_100), at(options_level=2)),
        (spread(*BULL_PUT, limit="-1.80"), at(cash="320")),
        (spread(("buy", CALL_100, "open"), ("sell", CALL_105, "open"), limit="5"), at()),
        (spread(*BULL_PUT, limit="0"), at()),
        (spread(*BULL_PUT), at(*(have(s, "1") for s in ("MSFT", "GOOG")))),
        # What closes needs no level and no money.
        (sell(CALL_100, "2", "sell_to_close"), at(have(CALL_100, "2"), cash="-500", options_level=0)),
        (buy(PUT_100, "1", "buy_to_close"), at(have(PUT_100, "-1"), cash="100", options_level=0)),
        (spread(*OUT_OF_BULL_PUT), at(*HAS_BULL_PUT, cash="0", options_level=1)),
        (buy(PUT_100), at(*HAS_BULL_PUT, cash="0")),
        # Out of an account that holds an uncovered call already, as after a lower level.
        (buy(CALL_100), at(have(CALL_100, "-1"), cash="0")),
        (buy(PUT_100), at(have(PUT_100, "-1", None), cash="0", margin=True)),
        (sell(CALL_100), at(have(CALL_100, "1"), have("MSFT", "-1", None), margin=True)),
        # Without margin the price of a short option changes nothing.
        (buy("AAPL"), at(have(PUT_95, "-1", None))),
        # Selling what covers nothing.
        (sell("AAPL", "100"), at(have("AAPL", "200", "100"), have(CALL_100, "-1"), cash="0")),
        (sell(PUT_95), at(*HAS_BULL_PUT, cash="10000")),
        (sell("AAPL", "50", exits=True), at(have("AAPL", "100", "100", selling="50"))),
        (sell("AAPL", "0.5"), at(have("AAPL", "0.5", "100"))),
        (sell("AAPL", "2"), at(have("AAPL", "1", "100"))),
        (sell("AAPL", "20"), at(cash="2000", margin=True)),
        (sell("AAPL"), at(cash="1000")),
        (buy("AAPL", "40"), at(cash="2000", margin=True)),
        (sell("AAPL", type="trailing_stop", trail_price=D("98.99")), at(SHARES)),
    ],
)
def test_at_the_limit_every_check_says_yes(proposal: Proposal, standing: Standing) -> None:
    assert no(proposal, standing) is None


@pytest.mark.parametrize(
    ("code", "field", "proposal", "standing"),
    [
        ("position_intent_mismatch", "legs.1.position_intent", spread(*OUT_OF_BULL_PUT), at(have(PUT_100, "-1"))),
        ("options_level", "order_class", spread(*BULL_PUT), at(options_level=2)),
        ("short_sale_whole_shares", "notional", sell("AAPL", "2", notional=D(200)), at()),
        ("price_collar", "trail_price", sell("AAPL", trail_price=D(99)), at(SHARES)),
    ],
)  # fmt: skip
def test_the_no_names_the_field(code: str, field: str, proposal: Proposal, standing: Standing) -> None:
    found = check(proposal, standing, LIMITS)
    assert found is not None
    assert (found.code, found.field) == (code, field)


@pytest.mark.parametrize(
    ("proposal", "wanted"),
    [
        (buy("AAPL", type="stop_limit", limit_price=D(106), stop_price=D(105)), "106"),
        (buy("AAPL", type="stop", stop_price=D(99)), "100"),
        (buy("AAPL", type="trailing_stop", trail_price=D(3)), "103"),
        (buy("AAPL", type="trailing_stop", trail_percent=D(5)), "105"),
        (sell("AAPL", type="trailing_stop", trail_price=D(3)), "100"),
        (buy(CALL_100), "5.20"),
        (spread(*BULL_PUT), "-1.80"),
        (spread(*BULL_PUT, limit="-1.95"), "-1.95"),
        (spread(*BULL_PUT, qty="3"), "-1.80"),
        (spread(("buy", CALL_100, "open"), ("sell", CALL_105, "open")), "2.40"),
    ],
)
def test_what_an_order_reserves_a_share(proposal: Proposal, wanted: str) -> None:
    assert reserve_price(proposal) == D(wanted)


def test_options_and_spreads_are_estimated_at_a_hundred_times_their_price() -> None:
    assert estimated_value(buy(CALL_100, "2")) == D(1040)
    assert estimated_value(spread(*BULL_PUT, qty="2")) == D(-360)


def test_K01_a_spread_reduces_only_if_every_leg_closes_what_is_held() -> None:
    standing = at(*HAS_BULL_PUT)
    assert only_reduces(spread(*OUT_OF_BULL_PUT), standing)
    assert not only_reduces(spread(*OUT_OF_BULL_PUT, qty="2"), standing)
    assert not only_reduces(spread(*BULL_PUT), standing)
    assert not only_reduces(
        spread(("buy", PUT_100, "close"), ("sell", CALL_105, "open"), ("buy", CALL_100, "open")), standing
    )
    assert not only_reduces(spread(*OUT_OF_BULL_PUT), grown(spread(*OUT_OF_BULL_PUT), standing))


def test_K01_what_open_spreads_are_to_close_counts_for_an_order_that_reduces() -> None:
    standing = at(have(PUT_95, "3"), combos=(Combo(((PUT_100, D(2)), (PUT_95, D(-2))), D(400)),))
    assert only_reduces(sell(PUT_95, "1"), standing)
    assert not only_reduces(sell(PUT_95, "2"), standing)


def test_E04_spreads_of_a_call_are_checked_as_if_those_before_them_were_open() -> None:
    standing = at(cash="700")
    after = grown(spread(*BULL_PUT), standing)
    assert after.open_orders == 1
    assert after.combos == (Combo(((PUT_100, D(-1)), (PUT_95, D(1))), D(-180)),)
    assert no(spread(*BULL_PUT), after) is None
    assert no(spread(*BULL_PUT), grown(spread(*BULL_PUT), after)) == (
        "buying_power", D("320.00"), D("60.00"),
    )  # fmt: skip


def test_E04_two_covered_calls_on_the_same_shares_do_not_pass_together() -> None:
    standing = at(SHARES)
    assert no(sell(CALL_100), standing) is None
    assert no(sell(CALL_105), grown(sell(CALL_100), standing)) == ("uncovered_option", CALL_100, None)


def test_a_spread_counts_what_it_ties_up_where_that_is_more_than_its_price() -> None:
    tight = replace(LIMITS, max_order_notional=D(999))
    assert no(spread(*BULL_PUT, qty="2"), at(), tight) == ("notional_limit", D("1000.00"), D(999))
    assert no(spread(*BULL_PUT, qty="1"), at(), tight) is None
