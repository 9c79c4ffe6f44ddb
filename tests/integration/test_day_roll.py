"""The equity kept at each roll of the day, from real rows."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import insert

from paiid.core.clock import SystemClock
from paiid.core.db import make_database, statement
from paiid.core.leases import Leases
from paiid.core.migrate import migrate
from paiid.core.tables import accounts, executions, positions
from paiid.domain.calendar import hours_of
from paiid.domain.quotes import Quote
from paiid.portfolio.dayroll import DayRoll, ended_day
from paiid.portfolio.store import load_last_days

D = Decimal


class Market:
    """Quotes as given."""

    def __init__(self) -> None:
        self.hours = hours_of("always")
        self.known: dict[str, Quote] = {}

    async def quotes(self, symbols):
        return {symbol: self.known[symbol] for symbol in symbols if symbol in self.known}


@pytest.fixture
async def db(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'paiid.db'}"
    await asyncio.to_thread(migrate, url)
    one = make_database(url, SystemClock())
    await one.start()
    yield one
    await one.stop()


async def test_a_late_roll_keeps_what_the_account_was_worth_at_the_roll(db) -> None:
    clock, market = SystemClock(), Market()
    now = clock.now_us()
    roll = market.hours.previous_roll_us(now)
    async with db.begin() as tx:
        await tx.execute(
            statement(insert(accounts)),
            {"id": "paper-1", "broker": "paper", "mode": "paper", "number": "1", "owner_user_id": "u", "name": "n",
             "status": "active", "cash": 88_000_000_000, "starting_cash": 100_000_000_000, "open_orders": 0,
             "event_seq": 0, "event_epoch": 1, "version": 0, "reconciled_at": None, "reconcile_problem": None,
             "created_at": roll - 1_000_000},
        )  # fmt: skip
        await tx.execute(
            statement(insert(positions)),
            {"account_id": "paper-1", "symbol": "AAPL", "asset_class": "stock", "qty": 120 * 10**9,
             "cost_basis": 12_000_000_000, "realized_pl": 0, "open_buy_qty": 0, "open_buy_value": 0,
             "open_sell_qty": 0, "open_sell_value": 0, "version": 1, "updated_at": now},
        )  # fmt: skip
        # 20 of the 120 shares were bought after the roll, at 100.
        await tx.execute(
            statement(insert(executions)),
            {"id": "exe_1", "account_id": "paper-1", "order_id": "o", "execution_id": "x", "kind": "fill",
             "corrects": None, "symbol": "AAPL", "side": "buy", "qty": 20 * 10**9, "price": 100_000_000, "fee": 0,
             "executed_at": roll + 1, "booked_at": now},
        )  # fmt: skip
    task = DayRoll(db, clock, market, Leases(db, "one"))
    assert await task.look() == 0, "without a price nothing is made up"
    market.known["AAPL"] = Quote("AAPL", D(129), D(131), D(1), D(1), D(130), D(105), roll + 5, 1, "simulated")
    assert await task.look() == 1
    assert await task.look() == 0
    assert await DayRoll(db, clock, market, Leases(db, "one")).look() == 0, "a restart adds nothing"
    async with db.read() as tx:
        day = (await load_last_days(tx, ["paper-1"]))["paper-1"]
    assert (day.day, day.cash, day.equity) == (ended_day(market.hours, roll), D(90_000), D(100_500))
    assert day.rolled_at_us == roll
