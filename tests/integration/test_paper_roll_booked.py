"""The day roll of the paper venue: every expiration, dividend and split is booked once, and never at a made-up price."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerActivity
from paiid.brokers.paper.roll import DayRoll
from paiid.brokers.paper.roll_store import load_activities, load_rolled_at
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.leases import Held, LeaseLost
from paiid.domain.calendar import session_of
from paiid.domain.corporate import CorporateAction
from paiid.domain.occ import find_contract
from paiid.domain.paper_checks import last_trade_us
from paiid.domain.terms import DEFAULT_TERMS, PLAIN, AccountTerms
from tests.paper_floor import Floor, bracket, order, spread
from tests.paper_world import HandHours

D = Decimal
# The Friday on which the market's clock begins, 2027-01-15, is the last trading day of these.
C95, C100, C105 = "AAPL270115C00095000", "AAPL270115C00100000", "AAPL270115C00105000"
P95, P105 = "AAPL270115P00095000", "AAPL270115P00105000"
LATER = "AAPL270319C00105000"
FRIDAY = date(2027, 1, 15)
DAY_US = 86_400_000_000


class Days(HandHours):
    """Hours that roll every day."""

    def next_roll_us(self, at_us: int) -> int:
        return self.roll_us + ((at_us - self.roll_us) // DAY_US + 1) * DAY_US

    def previous_roll_us(self, at_us: int) -> int:
        return self.next_roll_us(at_us) - DAY_US


class RollFloor(Floor):
    """A floor whose days roll, with closes and corporate actions in the test's hand."""

    def begin(self) -> None:
        session = session_of(FRIDAY)
        assert session is not None
        self.friday_us = session.close_us
        self.market.hours.roll_us = session.close_us
        self.closes: dict[str, Decimal | None] = {"AAPL": D(102)}
        self.actions: list[CorporateAction] = []
        self.asked: list[date] = []
        self.roll = DayRoll(self.db, self.market.hours, self.desk, self._close, self._actions)

    async def _close(self, symbol: str, roll_us: int) -> Decimal | None:
        return self.closes.get(symbol) if roll_us == self.friday_us else None

    async def _actions(self, symbols: Sequence[str], ex_date: date) -> Sequence[CorporateAction]:
        self.asked.append(ex_date)
        return [one for one in self.actions if one.symbol in symbols and one.ex_date == ex_date]

    async def start(self) -> None:
        """The first run knows nothing of the days before."""
        await self.roll.run(self.held, self.market.clock.us)

    async def over_the_close(self, ms: int = 1) -> bool:
        """The day ends: what ends with it does, then the roll runs."""
        self.market.clock.us = self.friday_us + ms * 1000
        await self.look()
        return await self.roll.run(self.held, self.market.clock.us)

    async def activities(self) -> list[BrokerActivity]:
        async with self.db.read() as tx:
            return await load_activities(tx, "me", 0)

    async def said(self) -> list[tuple[Any, ...]]:
        return [(one.kind, one.symbol, one.qty, one.price, one.cash) for one in await self.activities()]

    async def buy(self, symbol: str, qty: int, price: str) -> None:
        side: Any = "buy" if qty > 0 else "sell"
        self.show(price, price, symbol=symbol)
        await self.place(order(f"{symbol}{qty}", side, abs(qty), symbol=symbol))
        assert (await self.position(symbol)) == qty


async def opened(db: Database, terms: AccountTerms = PLAIN) -> RollFloor:
    floor = await RollFloor.opened(db, terms)
    assert isinstance(floor, RollFloor)
    floor.begin()
    floor.show("101.90", "102.10")
    await floor.start()
    return floor


@pytest.fixture
async def floor(db: Database) -> RollFloor:
    return await opened(db)


async def test_a_long_call_in_the_money_is_exercised(floor: RollFloor) -> None:
    await floor.buy(C100, 2, "2.50")
    assert await floor.over_the_close()
    assert sorted(await floor.said()) == [
        ("exercise", "AAPL", 200, 100, -20_000),
        ("exercise", C100, -2, 0, 0),
    ]
    book = await floor.audit()
    assert book.cash == 100_000 - 500 - 20_000
    assert (book.holding("AAPL").qty, book.holding("AAPL").cost_basis) == (200, 20_000)
    assert (book.holding(C100).qty, book.holding(C100).cost_basis) == (0, 0)
    told = [one.activity for one in await floor.events() if one.activity]
    assert sorted(told, key=lambda one: one.activity_id) == sorted(
        await floor.activities(), key=lambda one: one.activity_id
    )


async def test_a_long_put_in_the_money_sells_the_shares_that_are_held(floor: RollFloor) -> None:
    await floor.buy("AAPL", 100, "102.00")
    await floor.buy(P105, 1, "3.20")
    await floor.over_the_close()
    assert await floor.position() == 0
    assert (await floor.audit()).cash == 100_000 - 10_200 - 320 + 10_500


@pytest.mark.parametrize(
    ("close", "kind"), [("100.01", "exercise"), ("100.00", "expiration"), ("99", "expiration")]
)
async def test_a_cent_in_the_money_is_exercised_and_less_expires_worthless(
    floor: RollFloor, close: str, kind: str
) -> None:
    floor.closes["AAPL"] = D(close)
    await floor.buy(C100, 1, "2.50")
    await floor.over_the_close()
    said = await floor.said()
    assert {one[0] for one in said} == {kind}
    assert await floor.position(C100) == 0
    if kind == "expiration":
        assert said == [("expiration", C100, -1, 0, 0)]
        assert (await floor.audit()).cash == 99_750


async def test_what_the_account_cannot_carry_is_closed_at_its_intrinsic_value(floor: RollFloor) -> None:
    await floor.buy(C100, 20, "2.50")
    await floor.over_the_close()
    assert await floor.said() == [("expiration", C100, -20, 2, 4_000)]
    (one,) = await floor.activities()
    assert "could not carry" in one.description
    assert (await floor.audit()).cash == 100_000 - 5_000 + 4_000


async def test_with_margin_half_the_value_carries_the_shares(db: Database) -> None:
    floor = await opened(db, DEFAULT_TERMS)
    await floor.buy(C100, 18, "2.50")
    await floor.over_the_close()
    assert await floor.position() == 1_800


async def test_a_short_put_is_assigned_and_a_covered_call_called_away(floor: RollFloor) -> None:
    await floor.buy("AAPL", 100, "102.00")
    await floor.buy(C100, -1, "2.50")
    await floor.buy(P105, -1, "3.50")
    await floor.over_the_close()
    assert sorted(await floor.said()) == [
        ("assignment", "AAPL", -100, 100, 10_000),
        ("assignment", "AAPL", 100, 105, -10_500),
        ("assignment", C100, 1, 0, 0),
        ("assignment", P105, 1, 0, 0),
    ]
    assert await floor.position() == 100
    await floor.audit()


async def test_both_legs_of_a_spread_meet_in_the_shares(floor: RollFloor) -> None:
    floor.show("7.00", "7.00", symbol=C95)
    floor.show("2.50", "2.50", symbol=C100)
    await floor.place(spread("s", f"+{C95} -{C100}", qty=200))
    await floor.over_the_close()
    assert (await floor.position(), await floor.position(C95), await floor.position(C100)) == (0, 0, 0)
    assert (await floor.audit()).cash == 100_000 - 200 * 450 + 200 * 500


async def test_what_expires_later_stays(floor: RollFloor) -> None:
    await floor.buy(LATER, 1, "4.00")
    assert not await floor.over_the_close()
    assert await floor.position(LATER) == 1
    assert not floor.roll.is_due(floor.market.clock.us + 1)


async def test_open_orders_in_the_contract_end_with_its_last_day(floor: RollFloor) -> None:
    await floor.buy(C100, 1, "2.50")
    await floor.place(order("o", "sell", 1, "9.00", symbol=C100))
    await floor.over_the_close()
    assert await floor.told("o") == "EXPIRED 0 (day_over)"
    book = await floor.audit()
    assert book.open_orders == 0


async def test_without_a_close_nothing_is_booked_and_it_is_tried_again(floor: RollFloor) -> None:
    await floor.buy(C100, 1, "2.50")
    floor.closes["AAPL"] = None
    assert not await floor.over_the_close()
    assert await floor.position(C100) == 1
    assert await floor.said() == []
    assert not floor.roll.is_due(floor.market.clock.us)
    assert floor.roll.is_due(floor.market.clock.us + 60_000_000)
    floor.closes["AAPL"] = D(102)
    assert await floor.roll.run(floor.held, floor.market.clock.us)
    assert await floor.position() == 100


async def test_a_roll_is_booked_once_however_often_it_runs(floor: RollFloor) -> None:
    await floor.buy("AAPL", 100, "102.00")
    await floor.buy(C100, 1, "2.50")
    floor.actions = [CorporateAction("AAPL", date(2027, 1, 16), "dividend", D("0.25"))]
    await floor.over_the_close()
    cash = (await floor.audit()).cash
    assert cash == 100_000 - 10_200 - 250 - 10_000 + 50
    again = DayRoll(floor.db, floor.market.hours, floor.desk, floor._close, floor._actions)
    assert not await again.run(floor.held, floor.market.clock.us)
    assert (await floor.audit()).cash == cash
    assert len(await floor.activities()) == 3


class BreaksOff(DayRoll):
    """Dies after it has booked the accounts and before it has noted that."""

    async def _mark(self, held: Held, roll_us: int) -> None:
        raise DatabaseUnavailable("the test has cut the connection")


async def test_a_roll_that_was_broken_off_is_finished_and_pays_nobody_twice(floor: RollFloor) -> None:
    await floor.buy("AAPL", 100, "102.00")
    floor.actions = [
        CorporateAction("AAPL", date(2027, 1, 16), "dividend", D("0.25")),
        CorporateAction("AAPL", date(2027, 1, 16), "split", ratio=D(2)),
    ]
    floor.market.clock.us = floor.friday_us + 1
    cut = BreaksOff(floor.db, floor.market.hours, floor.desk, floor._close, floor._actions)
    with pytest.raises(DatabaseUnavailable):
        await cut.run(floor.held, floor.market.clock.us)
    assert len(await floor.activities()) == 2
    await floor.roll.run(floor.held, floor.market.clock.us)
    async with floor.db.read() as tx:
        assert await load_rolled_at(tx) == floor.friday_us
    assert len(await floor.activities()) == 2
    assert ((await floor.audit()).cash, await floor.position()) == (100_000 - 10_200 + 25, 200)


async def test_who_has_lost_the_lease_books_nothing(floor: RollFloor) -> None:
    await floor.buy(C100, 1, "2.50")
    floor.market.clock.us = floor.friday_us + 1
    with pytest.raises(LeaseLost):
        await floor.roll.run(Held("paper-matching", 99, 0), floor.market.clock.us)
    assert await floor.said() == []


async def test_long_stock_gets_the_dividend_and_short_stock_pays_it(floor: RollFloor) -> None:
    floor.show("50", "50", symbol="MSFT")
    await floor.buy("AAPL", 100, "102.00")
    await floor.buy("MSFT", -10, "50.00")
    floor.actions = [
        CorporateAction("AAPL", date(2027, 1, 16), "dividend", D("0.255"), description="a quarter"),
        CorporateAction("MSFT", date(2027, 1, 16), "dividend", D("0.50")),
    ]
    await floor.over_the_close()
    assert sorted(await floor.said()) == [
        ("dividend", "AAPL", 0, D("0.255"), D("25.5")),
        ("dividend", "MSFT", 0, D("0.5"), -5),
    ]
    assert floor.asked == [date(2027, 1, 16)]
    await floor.audit()


async def test_who_held_it_at_the_roll_gets_the_dividend_whatever_was_traded_since(floor: RollFloor) -> None:
    await floor.buy("AAPL", 100, "102.00")
    floor.actions = [CorporateAction("AAPL", date(2027, 1, 16), "dividend", D(1))]
    floor.market.clock.us = floor.friday_us + 1_000
    await floor.place(order("out", "sell", 100))
    await floor.place(order("in", "buy", 40, account_number="bob"))
    await floor.roll.run(floor.held, floor.market.clock.us)
    assert await floor.said() == [("dividend", "AAPL", 0, 1, 100)]
    assert (await floor.account("bob")).cash == 100_000 - 40 * 102


async def test_a_split_multiplies_the_shares_keeps_the_cost_and_cancels_the_orders(floor: RollFloor) -> None:
    await floor.buy("AAPL", 101, "100.00")
    floor.show("99.90", "100.10")
    await floor.place(bracket("b", "110", "95", qty=50))
    await floor.place(order("o", "buy", 10, "90"))
    floor.actions = [CorporateAction("AAPL", date(2027, 1, 16), "split", ratio=D("0.1"))]
    before = await floor.audit()
    assert await floor.over_the_close()
    book = await floor.audit()
    assert book.holding("AAPL").qty == D("15.1")
    assert book.holding("AAPL").cost_basis == before.holding("AAPL").cost_basis
    assert book.cash == before.cash
    assert book.open_orders == 0
    assert await floor.told("o") == "CANCELED 0 (corporate_action)"
    assert {await floor.told("b.tp"), await floor.told("b.sl")} == {
        "CANCELED 0 (corporate_action)",
        "CANCELED 0 (canceled_with_group)",
    }
    (one,) = await floor.activities()
    assert (one.kind, one.qty, one.price, one.cash) == ("split", D("-135.9"), 0, 0)


async def test_orders_from_after_the_roll_know_of_the_split(floor: RollFloor) -> None:
    await floor.buy("AAPL", 100, "100.00")
    floor.actions = [CorporateAction("AAPL", date(2027, 1, 16), "split", ratio=D(4))]
    floor.market.clock.us = floor.friday_us + 1_000
    floor.show("25", "25.02")
    await floor.place(order("o", "buy", 10, "24"))
    await floor.place(order("in", "buy", 8))
    await floor.roll.run(floor.held, floor.market.clock.us)
    assert await floor.told("o") == "NEW 0"
    assert await floor.position() == 408
    await floor.audit()


async def test_missed_rolls_are_booked_one_after_the_other(floor: RollFloor) -> None:
    await floor.buy("AAPL", 100, "102.00")
    floor.actions = [
        CorporateAction("AAPL", date(2027, 1, 17), "split", ratio=D(2)),
        CorporateAction("AAPL", date(2027, 1, 18), "dividend", D(1)),
    ]
    floor.market.clock.us = floor.friday_us + 2 * DAY_US + 1
    days = Days()
    days.roll_us = floor.friday_us
    roll = DayRoll(floor.db, days, floor.desk, floor._close, floor._actions)
    await roll.run(floor.held, floor.market.clock.us)
    assert floor.asked == [date(2027, 1, 16), date(2027, 1, 17), date(2027, 1, 18)]
    assert await floor.said() == [("dividend", "AAPL", 0, 1, 200), ("split", "AAPL", 100, 0, 0)]
    async with floor.db.read() as tx:
        assert await load_rolled_at(tx) == floor.friday_us + 2 * DAY_US


async def test_the_last_trading_day_before_a_holiday_is_the_contract_s_last(floor: RollFloor) -> None:
    contract = find_contract("AAPL270326C00100000")  # Good Friday of 2027
    assert contract is not None
    thursday = session_of(date(2027, 3, 25))
    assert thursday is not None
    assert last_trade_us(contract, floor.market.hours) == thursday.close_us
