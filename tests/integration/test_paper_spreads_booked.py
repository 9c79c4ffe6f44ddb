"""Spreads at the paper venue: taken whole, filled leg by leg in one transaction at a net no worse than the limit."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerOrder, BrokerRejected
from paiid.core.db import Database
from paiid.domain.orders import Leg, OrderStatus
from paiid.domain.terms import PLAIN
from tests.paper_floor import Floor, order, spread
from tests.rows import every_row

D = Decimal
C100, C105, C110 = "AAPL270319C00100000", "AAPL270319C00105000", "AAPL270319C00110000"
P95, P90, P85 = "AAPL270319P00095000", "AAPL270319P00090000", "AAPL270319P00085000"
MSFT = "MSFT270319C00100000"
BULL_CALL = f"+{C100} -{C105}"
BULL_PUT = f"-{P95} +{P90}"
BUTTERFLY = f"+{C100} -2{C105} +{C110}"
CONDOR = f"-{P90} +{P85} -{C105} +{C110}"


def show_chain(floor: Floor, size: int = 50, shift: str = "0") -> None:
    """Quotes of the contracts, ten cents wide."""
    middles = ((C100, "5"), (C105, "3"), (C110, "1.5"), (P95, "2.50"), (P90, "1.20"), (P85, "0.60"))
    for symbol, middle in middles:
        at = D(middle) + D(shift)
        floor.show(str(at - D("0.05")), str(at + D("0.05")), size, symbol)


@pytest.fixture
async def floor(db: Database) -> Floor:
    floor = await Floor.opened(db)
    show_chain(floor)
    return floor


async def refused(floor: Floor, one: BrokerOrder) -> str:
    with pytest.raises(BrokerRejected) as caught:
        await floor.submit(one)
    await floor.audit()
    return caught.value.code


async def test_a_spread_is_told_with_its_legs(floor: Floor) -> None:
    view = await floor.place(spread("s", BUTTERFLY, "0.10", qty=3, time_in_force="day"), ms=0)
    assert (view.order_class, view.symbol, view.side, view.qty) == ("mleg", "AAPL", "buy", 3)
    assert (view.limit_price, view.group_role, view.position_intent) == (D("0.10"), None, None)
    one, other, third = view.legs
    assert (one.client_order_id, one.symbol, one.side, one.qty, one.ratio_qty) == (
        "s.leg1",
        C100,
        "buy",
        3,
        1,
    )
    assert (other.client_order_id, other.symbol, other.side, other.qty) == ("s.leg2", C105, "sell", 6)
    assert (other.type, other.limit_price, other.position_intent) == ("limit", None, "sell_to_open")
    assert (third.symbol, third.qty) == (C110, 3)
    assert {leg.group_role for leg in view.legs} == {"leg"}
    assert {leg.parent_broker_order_id for leg in view.legs} == {view.broker_order_id}


async def test_a_debit_spread_fills_every_leg_at_its_own_price_and_never_over_its_limit(floor: Floor) -> None:
    await floor.place(spread("s", BULL_CALL, "2.09", qty=10))
    assert await floor.told("s") == "NEW 0"
    floor.show("4.94", "5.04", 50, C100)
    await floor.tick(1)
    view = await floor.view("s")
    assert (view.status, view.filled_qty, view.filled_avg_price) == (OrderStatus.FILLED, 10, D("2.09"))
    prints = {one.symbol: (one.side, one.qty, one.price) for one in await floor.prints()}
    assert prints == {C100: ("buy", 10, D("5.04")), C105: ("sell", 10, D("2.95"))}
    book = await floor.audit()
    assert book.cash == 100_000 - 10 * 209
    assert (book.holding(C100).qty, book.holding(C105).qty) == (10, -10)
    assert (book.holding(C100).cost_basis, book.holding(C105).cost_basis) == (5_040, -2_950)


async def test_a_credit_spread_gets_at_least_its_limit_and_tells_a_negative_net(floor: Floor) -> None:
    await floor.place(spread("s", BULL_PUT, "-1.21"))
    assert await floor.told("s") == "NEW 0"
    await floor.place(spread("t", BULL_PUT, "-1.20"))
    view = await floor.view("t")
    assert (view.status, view.filled_avg_price) == (OrderStatus.FILLED, D("-1.20"))
    book = await floor.audit()
    assert book.cash == 100_120


async def test_a_spread_ties_up_its_largest_loss_while_it_is_open_and_when_it_has_filled(
    floor: Floor,
) -> None:
    before = (await floor.audit()).buying_power()
    await floor.place(spread("s", BULL_PUT, "-1.30", qty=10))
    assert before - (await floor.audit()).buying_power() == 10 * (500 - 130)
    await floor.cancel("me", "s")
    assert (await floor.audit()).buying_power() == before
    await floor.place(spread("t", CONDOR, qty=10))
    assert await floor.told("t") == "FILLED 10"
    net = D("1.15") - D("0.65") + D("2.95") - D("1.55")
    book = await floor.audit()
    assert book.cash == 100_000 + net * 1_000
    assert before - book.buying_power() == 10 * (500 - net * 100)


async def test_whole_units_fill_as_many_as_the_thinnest_leg_allows_and_the_rest_waits(floor: Floor) -> None:
    floor.show("2.95", "3.05", 5, C105)
    await floor.place(spread("s", BUTTERFLY, qty=4))
    assert await floor.told("s") == "PARTIALLY_FILLED 2"
    assert await floor.told("s.leg2") == "PARTIALLY_FILLED 4"
    floor.show("2.95", "3.05", 1, C105)
    await floor.tick(1)
    assert await floor.told("s") == "PARTIALLY_FILLED 2"
    floor.show("2.95", "3.05", 50, C105)
    await floor.tick(1)
    assert await floor.told("s") == "FILLED 4"
    await floor.audit()


async def test_a_part_of_a_spread_is_whole_units_of_all_legs(floor: Floor) -> None:
    floor.show("2.95", "3.05", 3, C105)
    await floor.place(spread("s", BULL_CALL, qty=7))
    assert await floor.told("s") == "PARTIALLY_FILLED 3"
    assert await floor.told("s.leg1") == "PARTIALLY_FILLED 3"
    book = await floor.audit()
    assert [one.net for one in book.combos.values()] == [4 * D("2.10") * 100]
    floor.show("2.95", "3.05", 3, C105)
    await floor.tick(1)
    assert await floor.told("s") == "PARTIALLY_FILLED 6"
    await floor.cancel("me", "s")
    for name in ("s", "s.leg1", "s.leg2"):
        assert await floor.told(name) == "CANCELED 6 (canceled_by_user)"
    assert (await floor.audit()).combos == {}


async def test_size_that_a_spread_took_is_gone_for_others(floor: Floor) -> None:
    show_chain(floor, size=5)
    await floor.place(spread("s", BULL_CALL, qty=4))
    await floor.place(order("o", "buy", 3, symbol=C100))
    assert await floor.told("o") == "PARTIALLY_FILLED 1"
    await floor.audit()


@pytest.mark.parametrize("leg", [C100, C105])
async def test_a_spread_waits_while_one_leg_cannot_be_traded(floor: Floor, leg: str) -> None:
    await floor.place(spread("s", BULL_CALL, "1.00"))
    show_chain(floor)
    floor.show("2.95", "2.95", 50, C100)
    quote = floor.market.quotes[leg]
    floor.show(str(quote.bid), str(quote.ask), 50, leg, stale=True)
    await floor.tick(1)
    assert await floor.told("s") == "NEW 0"
    floor.show(str(quote.bid), str(quote.ask), 50, leg)
    await floor.tick(1)
    assert await floor.told("s") == "FILLED 1"


async def test_a_spread_is_closed_by_its_mirror_image(floor: Floor) -> None:
    await floor.place(spread("s", BULL_CALL, qty=2))
    assert await refused(floor, spread("x", f"-{C100}! +{C105}!", qty=3)) == "insufficient_qty"
    await floor.place(spread("t", f"-{C100}! +{C105}!", "-1.00", qty=2))
    assert await floor.told("t") == "FILLED 2"
    book = await floor.audit()
    assert (book.holding(C100).qty, book.holding(C105).qty) == (0, 0)
    assert book.cash == 100_000 - 2 * 210 + 2 * 190


async def test_the_long_leg_of_a_spread_is_not_closed_before_the_short_one(floor: Floor) -> None:
    await floor.place(spread("s", BULL_CALL, qty=2))
    assert await refused(floor, order("x", "sell", 1, symbol=C100)) == "uncovered_option"
    await floor.place(order("y", "buy", 2, symbol=C105))
    await floor.place(order("z", "sell", 2, symbol=C100))
    assert await floor.told("z") == "FILLED 2"
    await floor.audit()


async def test_what_an_open_spread_closes_cannot_be_closed_twice(floor: Floor) -> None:
    await floor.place(spread("s", BULL_CALL, qty=2))
    await floor.place(spread("t", f"-{C100}! +{C105}!", "-2.50", qty=2))
    assert await refused(floor, spread("u", f"-{C100}! +{C105}!", "-2.50", qty=1)) == "insufficient_qty"


async def test_a_leg_cannot_be_canceled_by_itself(floor: Floor) -> None:
    await floor.place(spread("s", BULL_CALL, "1.00"))
    with pytest.raises(BrokerRejected) as caught:
        await floor.cancel("me", "s.leg1")
    assert caught.value.code == "not_cancelable"


async def test_a_day_spread_ends_with_the_day_and_any_with_its_contracts(floor: Floor) -> None:
    floor.market.hours.roll_us = floor.market.clock.us + 1_000_000
    await floor.place(spread("s", BULL_CALL, "1.00", time_in_force="day"))
    await floor.place(spread("t", BULL_CALL, "1.00"))
    await floor.tick(1_000)
    assert await floor.told("s") == "EXPIRED 0 (day_over)"
    assert await floor.told("s.leg2") == "EXPIRED 0 (day_over)"
    assert await floor.told("t") == "NEW 0"
    floor.market.clock.us += 90 * 86_400_000_000
    show_chain(floor)
    await floor.tick(1)
    assert await floor.told("t") == "EXPIRED 0 (day_over)"
    await floor.audit()
    assert await refused(floor, spread("u", BULL_CALL, "1.00")) == "expired_contract"


async def test_a_spread_fills_no_more_than_the_account_can_carry_and_the_rest_is_canceled(
    floor: Floor,
) -> None:
    await floor.place(order("o", "buy", 890))
    await floor.place(spread("s", BULL_CALL, qty=50), ms=0)
    floor.show("9.95", "10.05", 50, C100)
    await floor.tick(20)
    # 10,911 dollars are left, and a unit costs 710.
    told = await floor.told("s")
    assert told == "CANCELED 15 (insufficient_buying_power)"
    book = await floor.audit()
    assert 0 <= book.excess() < 710
    assert await floor.told("s.leg1") == told


_NO_SPREADS: list[tuple[str, str, dict[str, Any], str]] = [
    (f"+{C100}", "1", {}, "legs_count"),
    (f"+{C100} -{C105} +{C110} -{P95} +{P90}", "1", {}, "legs_count"),
    (f"+{C100} -{C100}", "1", {}, "leg_twice"),
    (f"+2{C100} -2{C105}", "1", {}, "leg_ratios"),
    (f"+0{C100} -1{C105}", "1", {}, "leg_ratios"),
    (BULL_CALL, "1.005", {}, "invalid_price"),
    (BULL_CALL, "1", {"type": "market"}, "invalid_price"),
    (BULL_CALL, "1", {"time_in_force": "ioc"}, "time_in_force_not_supported"),
    (BULL_CALL, "1", {"type": "stop"}, "type_not_supported"),
    (BULL_CALL, "1", {"extended_hours": True}, "extended_hours_not_supported"),
    (BULL_CALL, "1", {"qty": D("1.5")}, "invalid_qty"),
    (BULL_CALL, "1", {"symbol": "MSFT"}, "leg_underlying"),
    (f"-{C100}! +{C105}", "1", {}, "position_intent_mismatch"),
    (f"+{C100} -2{C105}", "-0.50", {}, "uncovered_option"),
    (f"-{C100} -{P95}", "-5", {}, "uncovered_option"),
    (f"+{C100} -AAPL270319C00107000", "1", {}, "unknown_contract"),
    (f"+{C100} -AAPL250321C00107000", "1", {}, "expired_contract"),
    (BULL_PUT, "-1.00", {"qty": D(251)}, "insufficient_buying_power"),
]  # fmt: skip


async def test_a_spread_that_makes_no_sense_is_refused_whole(floor: Floor) -> None:
    with every_row() as row:
        for legs, limit, more, code in _NO_SPREADS:
            with row(legs, limit, more):
                one = spread("s", legs, limit)
                assert await refused(floor, replace(one, **more)) == code


async def test_a_spread_needs_level_3(db: Database) -> None:
    floor = await Floor.opened(db, replace(PLAIN, options_level=2))
    show_chain(floor)
    assert await refused(floor, spread("s", BULL_CALL, "1.00")) == "options_level"


async def test_a_leg_that_opens_against_what_is_held_is_refused(floor: Floor) -> None:
    await floor.place(order("o", "buy", 1, symbol=C100))
    assert await refused(floor, spread("s", f"-{C100} +{C105}", "-1.00")) == "position_intent_mismatch"


async def test_a_market_spread_needs_an_open_market_and_fresh_quotes(floor: Floor) -> None:
    floor.market.hours.open = False
    assert await refused(floor, spread("s", BULL_CALL)) == "market_closed"
    floor.market.hours.open = True
    floor.show("4.95", "5.05", 50, C100, stale=True)
    assert await refused(floor, spread("s", BULL_CALL)) == "stale_quote"


async def test_a_leg_is_no_stock(floor: Floor) -> None:
    one = spread("s", BULL_CALL, "1.00")
    stock = Leg("AAPL", "sell", 1, "sell_to_open")
    assert await refused(floor, replace(one, legs=(one.legs[0], stock))) == "leg_symbol"


async def test_events_of_a_fill_tell_the_spread_first_and_each_leg_with_its_print(floor: Floor) -> None:
    await floor.place(spread("s", BULL_CALL))
    told = (await floor.events())[3:]
    assert [one.order.client_order_id for one in told if one.order] == ["s", "s.leg1", "s.leg2"]
    assert told[0].execution is None
    assert [one.execution.symbol for one in told[1:] if one.execution] == [C100, C105]
    head = told[0].order
    assert head is not None
    assert [leg.status for leg in head.legs] == ["FILLED", "FILLED"]
    assert head == await floor.view("s")


async def test_the_matching_process_remembers_spreads_after_a_restart(floor: Floor) -> None:
    await floor.place(spread("s", BULL_CALL, "2.00"))
    again = Floor(floor.market, floor.db, floor.held, floor.terms)
    await again.look()
    again.show("4.85", "4.95", 50, C100)
    await again.tick(1)
    assert await again.told("s") == "FILLED 1"
