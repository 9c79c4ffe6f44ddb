"""Whatever is asked of the venue, in whatever order: its books balance, nothing oversells, nothing fills worse."""

import asyncio
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import or_, select, update

from paiid.brokers import BrokerOrder, BrokerOrderView
from paiid.brokers.paper.desk import Desk
from paiid.brokers.paper.records import PaperOrder, order_from_row
from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database, statement
from paiid.core.tables import (
    paper_accounts,
    paper_activities,
    paper_executions,
    paper_orders,
    paper_positions,
)
from paiid.domain.money import money_to_int, qty_to_int
from paiid.domain.terms import DEFAULT_TERMS, PLAIN, AccountTerms
from tests.paper_floor import Floor as BareFloor
from tests.paper_world import Market
from tests.venue_days import (
    Action,
    Ask,
    Cancel,
    DayEnds,
    Move,
    Option,
    Replace,
    Spread,
    days,
    followed,
    in_parts,
    only,
    round_trips,
    spread_in_parts,
    squeezed,
)
from tests.venue_judge import ZERO, Judge, free_margin
from tests.venue_player import Day, DayHours

# A failure is told as it was found: to make it small takes longer than a test may.
BOUNDED = settings(
    phases=[Phase.generate],
    max_examples=45,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Floor(BareFloor):
    """The venue's books, with what a planted bug needs to spoil them behind its back."""

    async def spoil(self, change: Any) -> None:
        """Change rows as a bug would have."""
        async with self.db.begin() as tx:
            await tx.execute(statement(change))

    async def rows(self, question: Any) -> list[Any]:
        """Any rows."""
        async with self.db.read() as tx:
            return list(await tx.fetch(statement(question)))

    async def orders(self) -> list[PaperOrder]:
        """All orders."""
        return [order_from_row(row) for row in await self.rows(select(paper_orders))]

    async def reserved(self) -> dict[str, int]:
        """What open orders may buy, by symbol, as stored."""
        return {row["symbol"]: row["open_buy_qty"] for row in await self.rows(select(paper_positions))}


def fresh(template: Path, folder: Path) -> Path:
    """A copy for one example."""
    path = folder / "example.db"
    for old in folder.glob("example.db*"):
        old.unlink()
    shutil.copy(template, path)
    return path


async def play_judged(
    actions: list[Action], path: Path, terms: AccountTerms, floor: type[Floor] = Floor
) -> Day:
    """A day with the referee looking after every step. Raises AssertionError."""
    database = make_database(f"sqlite:///{path}", SystemClock())
    await database.start()
    try:
        venue = await floor.open(Market(hours=DayHours()), database, terms)
        assert isinstance(venue, Floor)
        day, judge = Day(venue), Judge(venue)
        await day.open()
        judge.note_quotes()
        await judge.look()
        for action in actions:
            await _step(day, judge, action)
        await judge.end()
        return day
    finally:
        await database.stop()


async def _step(day: Day, judge: Judge, action: Action) -> None:
    quotes = day.floor.market.quotes
    margin = day.floor.terms.margin
    assert judge.books is not None
    before = free_margin(judge.books, quotes, margin=margin)
    taken = await day.ask(action)
    if isinstance(action, Move):
        judge.note_quotes()
    if taken and isinstance(action, (Ask, Spread, Option, Replace)):
        after = free_margin(await judge.read(), quotes, margin=margin)
        if isinstance(action, Replace) and action.qty is not None and day.placed:
            judge.grown.add(day.placed[-1])
        if before is not None:
            assert after is not None, "a naked call was accepted"
            assert after >= min(ZERO, before) - Decimal("0.01"), f"margin went from {before} to {after}"
    await day.look(action)
    await judge.look()


@pytest.mark.parametrize("terms", [DEFAULT_TERMS, PLAIN], ids=["margin-and-costs", "plain"])
def test_the_books_balance_and_every_rule_holds_whatever_is_asked(
    terms: AccountTerms, runner: asyncio.Runner, template: Path, tmp_path: Path
) -> None:
    @BOUNDED
    @given(days())
    def play(actions: list[Action]) -> None:
        runner.run(play_judged(actions, fresh(template, tmp_path), terms))

    play()


class CountsTheStopLossToo(Floor):
    async def submit(self, order: BrokerOrder) -> None:
        await super().submit(order)
        if order.order_class == "oco":
            await self.spoil(
                update(paper_positions)
                .where(paper_positions.c.symbol == order.symbol)
                .values(open_sell_qty=paper_positions.c.open_sell_qty + qty_to_int(order.qty or ZERO))
            )


class ExitsLiveAtTheFirstFill(Floor):
    async def look(self) -> None:
        await super().look()
        entries = select(paper_orders.c.id).where(paper_orders.c.status == "PARTIALLY_FILLED")
        waiting = paper_orders.c.status == "HELD", paper_orders.c.parent_id.in_(entries.scalar_subquery())
        await self.spoil(update(paper_orders).where(*waiting).values(status="NEW"))


class ForgetsToShrinkTheOtherExit(Floor):
    async def look(self) -> None:
        sizes = {one.id: one.working.qty for one in await self.orders()}
        await super().look()
        for one in await self.orders():
            was = sizes.get(one.id)
            if one.group_role == "stop_loss" and was is not None and one.working.qty < was:
                same = update(paper_orders).where(paper_orders.c.id == one.id)
                await self.spoil(same.values(qty=qty_to_int(was)))


class FillsWorseThanTheLimit(Floor):
    """New prints of limit orders cost a dollar a share more than they should; the books go along with it."""

    group_role: str | None = None

    async def look(self) -> None:
        before = {row["id"] for row in await self.rows(select(paper_executions))}
        await super().look()
        orders = {one.id: one for one in await self.orders()}
        for row in await self.rows(select(paper_executions)):
            order = orders[row["order_id"]]
            mine = order.group_role == self.group_role and order.working.type == "limit"
            if row["id"] not in before and mine and row["side"] == "buy":
                more = row["qty"] // 1000
                size = 100 if self.group_role == "leg" else 1
                cash = paper_accounts.c.cash - more * size
                value = paper_orders.c.filled_value + more
                print_ = update(paper_executions).where(paper_executions.c.id == row["id"])
                await self.spoil(print_.values(price=row["price"] + 1_000_000))
                await self.spoil(update(paper_accounts).values(cash=cash))
                both = or_(paper_orders.c.id == order.id, paper_orders.c.id == (order.parent_id or ""))
                await self.spoil(update(paper_orders).where(both).values(filled_value=value))


class FillsSpreadsWorseThanTheirNet(FillsWorseThanTheLimit):
    group_role = "leg"


class FillsLegsOneByOne(Floor):
    async def look(self) -> None:
        before = {one.id for one in await self.orders() if one.working.filled_qty}
        await super().look()
        for one in await self.orders():
            first = one.client_order_id.endswith(".leg1") and one.working.filled_qty and one.id not in before
            if first and not one.is_over:
                await self.spoil(update(paper_orders).where(paper_orders.c.id == one.id).values(filled_qty=0))


class ForgetsWhatFilledWhenItReplaces(Floor):
    async def replace(self, name: str, new_name: str, **change: Any) -> BrokerOrderView:
        old = await self.view(name)
        if change.get("qty") is not None:
            change["qty"] += old.filled_qty
        return await super().replace(name, new_name, **change)


class LetsTheTrailGoBack(Floor):
    async def look(self) -> None:
        trails = paper_orders.c.type == "trailing_stop", paper_orders.c.triggered_at.is_(None)
        await self.spoil(update(paper_orders).where(*trails).values(hwm=None))
        await super().look()


class BuysMoreThanTheDollars(Floor):
    async def look(self) -> None:
        dollars = update(paper_orders).where(paper_orders.c.notional.is_not(None))
        await self.spoil(dollars.values(notional=paper_orders.c.notional * 2))
        await super().look()
        await self.spoil(dollars.values(notional=paper_orders.c.notional / 2))


class TakesNoFees(Floor):
    async def look(self) -> None:
        before = sum(one.fees for one in await self.orders())
        await super().look()
        more = sum(one.fees for one in await self.orders()) - before
        await self.spoil(update(paper_accounts).values(cash=paper_accounts.c.cash + money_to_int(more)))


class ReopensTheDead(Floor):
    """A cancel that comes too late is carried out all the same."""

    async def cancel(self, account: str, client_order_id: str) -> None:
        mine = paper_orders.c.client_order_id == client_order_id
        await self.spoil(update(paper_orders).where(mine).values(status="CANCELED", reason="late"))


class KeepsWhatACanceledOrderReserved(Floor):
    async def cancel(self, account: str, client_order_id: str) -> None:
        before = await self.reserved()
        await super().cancel(account, client_order_id)
        for symbol, qty in before.items():
            mine = update(paper_positions).where(paper_positions.c.symbol == symbol)
            await self.spoil(mine.values(open_buy_qty=qty))


class LendsOnAnything(Floor):
    """Longs are valued at ten times the bid."""

    @classmethod
    async def open(cls, market: Market, database: Database, terms: AccountTerms = PLAIN) -> "LendsOnAnything":
        floor = await super().open(market, database, terms)
        assert isinstance(floor, LendsOnAnything)
        floor.desk = Generous(market.clock, market.quote_of, market.hours, 20, terms)
        return floor


class Generous(Desk):
    def mark_of(self, symbol: str, qty: Decimal) -> Decimal | None:
        mark = super().mark_of(symbol, qty)
        return None if mark is None else mark * (10 if qty > 0 else 1)


class PaysTwice(Floor):
    """What a roll books reaches the cash twice."""

    async def look(self) -> None:
        await super().look()
        paid = sum(row["cash"] for row in await self.rows(select(paper_activities)))
        if paid:
            await self.spoil(update(paper_accounts).values(cash=paper_accounts.c.cash + paid))


ROUNDS, PARTS, SPREADS = only(round_trips()), only(in_parts()), only(spread_in_parts())
SQUEEZED = only(squeezed())
DAY_ENDS = only(st.builds(lambda one, brings: [*one, DayEnds(brings)], in_parts(), st.just("dividend")))
TOO_LATE = only(st.builds(lambda one, back: [*one, Cancel(back)], in_parts(), st.integers(1, 3)))
IN_TIME = only(st.builds(lambda one: [*one[:3], Cancel(1)], in_parts()))
PLANTED: list[tuple[type[Floor], str, st.SearchStrategy[list[Action]]]] = [
    (CountsTheStopLossToo, "reservations of sales", ROUNDS),
    (ExitsLiveAtTheFirstFill, "reservations of|exits live before their time", ROUNDS),
    (ForgetsToShrinkTheOtherExit, "exits out of step", ROUNDS),
    (FillsWorseThanTheLimit, "worse than its limit", PARTS),
    (FillsSpreadsWorseThanTheirNet, "worse than its net", SPREADS),
    (FillsLegsOneByOne, "quantity lost or made up", SPREADS),
    (ForgetsWhatFilledWhenItReplaces, "quantity lost or made up by a replacement", PARTS),
    (LetsTheTrailGoBack, "a trail went back", only(followed())),
    (BuysMoreThanTheDollars, "more dollars than were asked for", SQUEEZED),
    (TakesNoFees, "cash does not add up", PARTS),
    (ReopensTheDead, "reservations|the dead walk|open orders", TOO_LATE),
    (KeepsWhatACanceledOrderReserved, "reservations of buys", IN_TIME),
    (LendsOnAnything, "margin went from", SQUEEZED),
    (PaysTwice, "cash does not add up", DAY_ENDS),
]


@pytest.mark.parametrize(("planted", "words", "asked"), PLANTED, ids=[one.__name__ for one, *_ in PLANTED])
def test_the_referee_catches_each_planted_bug(
    planted: type[Floor],
    words: str,
    asked: st.SearchStrategy[list[Action]],
    runner: asyncio.Runner,
    template: Path,
    tmp_path: Path,
) -> None:
    @BOUNDED
    @given(asked)
    def play(actions: list[Action]) -> None:
        runner.run(play_judged(actions, fresh(template, tmp_path), DEFAULT_TERMS, planted))

    with pytest.raises(AssertionError, match=words):
        play()
