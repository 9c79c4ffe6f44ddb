"""Each pre-trade check by itself: when it says no, with which code, value and limit, and when it must not."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.accounts.records import UserSettings
from paiid.domain.margin import Exposure
from paiid.domain.orders import Reason
from paiid.domain.quotes import Quote
from paiid.domain.risk import (
    Proposal,
    RiskLimits,
    Standing,
    check,
    estimated_value,
    grown,
    reduces,
    reserve_price,
)
from paiid.trading.limits import DEPLOYMENT, limits_of

D = Decimal
QUOTE = Quote("AAPL", D("99"), D("100"), D(100), D(100), D("99.5"), D("98"), 0, 1, "test")
LIMITS = RiskLimits(D(100), D(5_000), D(8_000), 3, 2, D(10))
RICH = Standing(D(1_000_000), 0, 0, ())


def buy(qty: str = "1", **changes: Any) -> Proposal:
    """A market order to buy AAPL at 100."""
    base = Proposal("AAPL", "buy", "market", D(qty), None, None, QUOTE)
    return replace(base, **changes)


def sell(qty: str = "1", **changes: Any) -> Proposal:
    """A market order to sell AAPL at 99."""
    return buy(qty, side="sell", **changes)


def limit(price: str, qty: str = "1", side: Any = "buy") -> Proposal:
    """A limit order."""
    return buy(qty, type="limit", limit_price=D(price), side=side)


def held(qty: str, *, symbol: str = "AAPL", mark: str | None = "100", **open_orders: str) -> Exposure:
    """A position with what open orders still may buy and sell, at 100 a share."""
    bought, sold = D(open_orders.get("buying", "0")), D(open_orders.get("selling", "0"))
    price = None if mark is None else D(mark)
    return Exposure(symbol, D(qty), bought, bought * 100, sold, sold * 100, price)


def standing(*exposures: Exposure, cash: str = "1000000", open_orders: int = 0) -> Standing:
    """An account with these."""
    return Standing(D(cash), open_orders, len(exposures), exposures)


def refusal(proposal: Proposal, at: Standing = RICH, limits: RiskLimits = LIMITS) -> tuple[Any, ...] | None:
    """(code, measured, limit) of the no."""
    found: Reason | None = check(proposal, at, limits)
    return None if found is None else (found.code, found.measured, found.limit)


@pytest.mark.parametrize(
    ("proposal", "at", "wanted"),
    [
        (buy("101"), RICH, ("quantity_limit", D(101), D(100))),
        (sell("101"), RICH, ("quantity_limit", D(101), D(100))),
        (buy("51"), RICH, ("notional_limit", D("5100.00"), D(5_000))),
        (limit("105", "48"), RICH, ("notional_limit", D("5040.00"), D(5_000))),
        (sell("51"), RICH, ("notional_limit", D("5100.00"), D(5_000))),
        (buy("41"), standing(held("40")), ("position_limit", D("8100.00"), D(8_000))),
        (buy("11"), standing(held("40", buying="30")), ("position_limit", D("8100.00"), D(8_000))),
        (sell("41"), standing(held("-40")), ("position_limit", D("8100.00"), D(8_000))),
        (sell("11"), standing(held("-40", selling="30")), ("position_limit", D("8100.00"), D(8_000))),
        (limit("110.01"), RICH, ("price_collar", "10.01%", "10%")),
        (limit("89.09", side="sell"), RICH, ("price_collar", "10.01%", "10%")),
        (buy(type="stop", stop_price=D("200.01")), RICH, ("price_collar", "100.01%", "100%")),
        (buy(quote=None), RICH, ("no_price", None, None)),
        (buy(quote=replace(QUOTE, ask=D(0))), RICH, ("no_price", None, None)),
        (sell(quote=replace(QUOTE, bid=D(0))), RICH, ("no_price", None, None)),
        (buy(quote=replace(QUOTE, stale=True)), RICH, ("stale_price", None, None)),
        (buy(), standing(open_orders=3), ("open_orders_limit", "4", "3")),
        (
            buy(),
            standing(held("1", symbol="MSFT"), held("1", symbol="GOOG")),
            ("positions_limit", "3", "2"),
        ),
        (buy("11"), standing(cash="1000"), ("buying_power", D("1100.00"), D("1000.00"))),
        (sell("21"), standing(cash="1000"), ("buying_power", D("1050.00"), D("1000.00"))),
        (buy(), standing(cash="-5"), ("buying_power", D("100.00"), D("0.00"))),
        (buy(), standing(held("-1", symbol="MSFT", mark=None)), ("stale_price", None, None)),
    ],
)
def test_each_check_says_no_with_code_value_and_limit(
    proposal: Proposal, at: Standing, wanted: tuple[Any, ...]
) -> None:
    assert refusal(proposal, at) == wanted
    found = check(proposal, at, LIMITS)
    assert found is not None
    assert found.message.endswith(".")


@pytest.mark.parametrize(
    ("proposal", "at"),
    [
        (buy("50"), RICH),
        (limit("110"), RICH),
        (limit("1"), RICH),
        (limit("89.10", side="sell"), RICH),
        (limit("500", side="sell"), RICH),
        (buy(type="stop", stop_price=D("200")), RICH),
        (buy("40"), standing(held("40"))),
        (sell("40"), standing(held("-40"))),
        (buy(), standing(open_orders=2)),
        (buy(), standing(held("1"), held("1", symbol="GOOG"))),
        (buy(), standing(held("0", buying="1"), held("1", symbol="GOOG"))),
        (buy(), standing(held("1", symbol="GOOG"))),
        (buy("10"), standing(cash="1000")),
        (sell("20"), standing(cash="1000")),
    ],
)
def test_at_the_limit_every_check_says_yes(proposal: Proposal, at: Standing) -> None:
    assert refusal(proposal, at) is None


TIGHT = RiskLimits(D(1), D(1), D(1), 3, 0, D(10))
"""Nothing that enlarges a position passes these."""


@pytest.mark.parametrize(
    ("proposal", "position"),
    [
        (sell("40"), held("40")),
        (sell("10"), held("40", selling="30")),
        (buy("40"), held("-40")),
        (buy("10"), held("-40", buying="30")),
        (limit("95", "40", "sell"), held("40")),
    ],
)
def test_an_order_that_only_reduces_skips_the_limits_on_size_and_money(
    proposal: Proposal, position: Exposure
) -> None:
    assert refusal(proposal, standing(position, cash="-100000"), TIGHT) is None


@pytest.mark.parametrize(
    ("proposal", "position"),
    [
        (sell("41"), held("40")),
        (sell("11"), held("40", selling="30")),
        (buy("41"), held("-40")),
        (buy("11"), held("-40", buying="30")),
        (buy("1"), held("40")),
        (sell("1"), held("0", selling="1")),
    ],
)
def test_an_order_that_turns_or_enlarges_a_position_does_not(proposal: Proposal, position: Exposure) -> None:
    assert refusal(proposal, standing(position), TIGHT) is not None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quote": None}, "no_price"),
        ({"quote": replace(QUOTE, stale=True)}, "stale_price"),
        ({"type": "limit", "limit_price": D(50)}, "price_collar"),
    ],
)
def test_an_order_that_only_reduces_does_not_skip_the_price(change: dict[str, Any], code: str) -> None:
    found = refusal(sell("40", **change), standing(held("40")))
    assert found is not None
    assert found[0] == code


def test_an_order_that_only_reduces_does_not_skip_the_number_of_open_orders() -> None:
    assert refusal(sell("40"), standing(held("40"), open_orders=3)) == ("open_orders_limit", "4", "3")


def test_an_account_under_water_may_still_do_what_does_not_make_it_worse() -> None:
    """Covering a part of a short frees buying power, even where none is left afterwards."""
    under = standing(held("-100"), cash="100")
    assert refusal(buy("50"), under) is None
    assert refusal(buy("1", symbol="MSFT"), under) is not None


@pytest.mark.parametrize(
    ("side", "qty", "position", "open_qty", "wanted"),
    [
        ("sell", "10", "10", "0", True),
        ("sell", "10", "10", "0.000000001", False),
        ("buy", "10", "-10", "0", True),
        ("buy", "5", "-10", "5", True),
        ("buy", "6", "-10", "5", False),
        ("buy", "1", "10", "0", False),
        ("sell", "1", "-10", "0", False),
        ("sell", "1", "0", "0", False),
    ],
)
def test_K01_an_order_reduces_if_it_and_all_that_reduce_are_not_larger_than_the_position(
    side: Any, qty: str, position: str, open_qty: str, wanted: bool
) -> None:
    assert reduces(side, D(qty), D(position), D(open_qty)) is wanted


def test_E04_orders_of_a_call_are_checked_as_if_those_before_them_were_open() -> None:
    at = standing(cash="1000", open_orders=1)
    first = buy("6")
    assert refusal(first, at) is None
    after = grown(first, at)
    assert (after.open_orders, after.position_count, after.cash) == (2, 1, D(1000))
    own = after.of("AAPL")
    assert own is not None
    assert (own.qty, own.open_buy_qty, own.open_buy_value) == (D(0), D(6), D(600))
    assert refusal(buy("5"), after) == ("buying_power", D("500.00"), D("400.00"))
    assert refusal(buy("4"), after) is None
    twice = grown(buy("4"), after)
    assert (twice.open_orders, twice.position_count) == (3, 1)
    assert refusal(buy("0.1"), twice) == ("open_orders_limit", "4", "3")


def test_E04_two_orders_that_each_only_reduce_do_not_together() -> None:
    at = standing(held("10"), cash="0")
    assert refusal(sell("6"), at, TIGHT) is None
    assert refusal(sell("6"), grown(sell("6"), at), TIGHT) is not None


def test_E04_new_symbols_of_a_call_count_as_positions() -> None:
    at = standing(held("1", symbol="MSFT"))
    after = grown(buy(), at)
    assert after.position_count == 2
    assert refusal(buy(symbol="GOOG"), after) == ("positions_limit", "3", "2")
    assert grown(buy(), after).position_count == 2


@pytest.mark.parametrize(
    ("proposal", "wanted"),
    [
        (buy(), "100"),
        (limit("90"), "90"),
        (limit("101"), "101"),
        (sell(), "100"),
        (limit("90", side="sell"), "100"),
        (limit("120", side="sell"), "120"),
        (buy(type="stop", stop_price=D(130)), "130"),
        (limit("90", side="buy", qty="1"), "90"),
    ],
)
def test_what_an_order_ties_up_is_never_less_than_it_can_cost(proposal: Proposal, wanted: str) -> None:
    assert reserve_price(proposal) == D(wanted)
    assert estimated_value(proposal) == D(wanted)


def test_without_any_price_nothing_is_estimated() -> None:
    with pytest.raises(ValueError, match="no price"):
        reserve_price(buy(quote=None))


LIMIT_FIELDS = (
    "max_order_qty", "max_order_notional", "max_position_value", "max_open_orders", "max_positions",
    "price_collar_pct",
)  # fmt: skip


@pytest.mark.parametrize("name", LIMIT_FIELDS)
def test_a_users_own_limit_tightens_and_never_loosens(name: str) -> None:
    ours = getattr(DEPLOYMENT, name)
    for own, wanted in ((ours - 1, ours - 1), (ours + 1, ours), (None, ours), (ours, ours)):
        found = limits_of(UserSettings(**{name: own}))
        assert getattr(found, name) == wanted
        assert all(
            getattr(found, other) == getattr(DEPLOYMENT, other) for other in LIMIT_FIELDS if other != name
        )
