"""Keeps each account's equity and cash at the roll of the trading day, from which the day figures count.

At each roll the process that holds the lease writes one row an account for the day that ended. The row is
what the account was worth *at* the roll, whenever it is written: prints and activities since then are taken back out,
and holdings are valued at the close of that day, which a quote from after the roll tells as its previous close; an
option that expired with the day at its intrinsic value.
So a late row, after a restart or a night offline, is the row that would have been written in time. Of several
rolls missed, only the last is written: the closes of the days before are not known any more, and nothing is
made up. An account that holds something without a price is tried again until the next roll.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import structlog

from paiid.brokers import Broker
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.leases import Held, Leases, still_held
from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import is_option, multiplier_of, underlying_of
from paiid.domain.money import ZERO, round_money
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.quotes import Quote
from paiid.domain.valuation import closing_price, expired_price, rewind
from paiid.feeds import FeedUnavailable
from paiid.market.service import MarketService
from paiid.portfolio.store import (
    AccountFigures,
    Day,
    keep_days,
    load_holdings,
    load_prints_since,
    load_unrolled,
    lock_accounts,
)

_log = structlog.get_logger("paiid.portfolio.dayroll")
LEASE = "day-roll"
_LEASE_S = 30.0
_LOOK_EVERY_S = 5.0
_CHUNK = 50
"""Accounts a transaction: few enough that orders of the same accounts wait for milliseconds only."""


class DayRoll:
    """The background task. `start` and `stop` belong to the lifespan of the app."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        market: MarketService,
        leases: Leases,
        brokers: Mapping[str, Broker] | None = None,
    ) -> None:
        self._unpriced = {
            name
            for name, broker in (brokers or {}).items()
            if not market.prices_for(simulated=broker.simulated)
        }
        self._db = db
        self._clock = clock
        self._market = market
        self._leases = leases
        self._done_roll_us = 0
        self._told: set[tuple[str, str]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin watching for rolls; the first look is at once, so that a missed roll is caught up."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="paiid-day-roll")

    async def stop(self) -> None:
        """End it; what is under way is rolled back and done by the next holder."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=1.0)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (DatabaseUnavailable, FeedUnavailable) as problem:
                _log.warning("day_roll_failed", reason=str(problem))
            await self._clock.sleep(_LOOK_EVERY_S)

    async def look(self) -> int:
        """Write what the last roll still lacks; how many rows. Raises DatabaseUnavailable, FeedUnavailable."""
        hours = self._market.hours
        roll_us = hours.previous_roll_us(self._clock.now_us())
        if roll_us == self._done_roll_us:
            return 0
        held = await self._leases.take(LEASE, _LEASE_S)
        if held is None:
            return 0
        written, complete = await self._roll(held, roll_us, ended_day(hours, roll_us))
        if complete:
            self._done_roll_us = roll_us
            self._told.clear()
        return written

    async def _roll(self, held: Held, roll_us: int, day: str) -> tuple[int, bool]:
        written = 0
        passed: set[str] = set()
        while True:
            async with self._db.read() as tx:
                # Accounts without a price stay in the list: step over those that were tried in this pass.
                waiting = await load_unrolled(tx, day, roll_us, _CHUNK + len(passed))
                chunk = [one for one in waiting if one not in passed][:_CHUNK]
                holdings = await load_holdings(tx, chunk)
                prints = await load_prints_since(tx, chunk, roll_us)
            if not chunk:
                return written, not waiting
            symbols = {h.symbol for rows in holdings.values() for h in rows if h.qty != 0}
            symbols |= {p.symbol for rows in prints.values() for p in rows}
            symbols |= {underlying_of(symbol) for symbol in symbols if _expired(symbol, day)}
            closes = await self._market.quotes(sorted(symbols)) if symbols else {}
            kept = await self._keep(held, chunk, roll_us, day, closes)
            if kept is None:
                return written, False
            written += kept
            passed.update(chunk)
            held = await self._leases.take(LEASE, _LEASE_S) or held

    async def _keep(
        self, held: Held, chunk: Sequence[str], roll_us: int, day: str, quotes: Mapping[str, Quote]
    ) -> int | None:
        """One transaction for a few accounts; None where the lease has gone to another process."""
        rows: list[Day] = []
        async with self._db.begin() as tx:
            accounts = await lock_accounts(tx, chunk)
            holdings = await load_holdings(tx, chunk)
            prints = await load_prints_since(tx, chunk, roll_us)
            if not await still_held(tx, held):
                return None
            for account in accounts:
                quantities = {h.symbol: h.qty for h in holdings[account.id] if h.qty != 0}
                cash, then = rewind(account.cash, quantities, prints[account.id])
                if account.reset_at_us > roll_us:
                    continue
                if account.broker in self._unpriced:
                    self._tell_missing(account, day, sorted(then))
                    continue
                closes = {symbol: _close(symbol, quotes, day, roll_us) for symbol in then}
                known = {symbol: price for symbol, price in closes.items() if price is not None}
                if len(known) < len(then):
                    self._tell_missing(account, day, sorted(then.keys() - known.keys()))
                    continue
                worth = sum((round_money(qty * known[s]) * multiplier_of(s) for s, qty in then.items()), ZERO)
                rows.append(Day(account.id, day, cash + worth, cash, roll_us))
            if rows:
                await keep_days(tx, rows)
        return len(rows)

    def _tell_missing(self, account: AccountFigures, day: str, symbols: Sequence[str]) -> None:
        if (account.id, day) not in self._told:
            self._told.add((account.id, day))
            _log.warning("day_roll_waits_for_prices", account=account.id, day=day, symbols=symbols)


def ended_day(hours: MarketHours, roll_us: int) -> str:
    """The date of the trading day that a roll ended."""
    day: date = hours.trading_day(roll_us - 1)
    return day.isoformat()


def _expired(symbol: str, day: str) -> OptionContract | None:
    """The contract that a symbol names, if it expired with that day or before."""
    contract = find_contract(symbol) if is_option(symbol) else None
    return contract if contract is not None and contract.expiration.isoformat() <= day else None


def _close(symbol: str, quotes: Mapping[str, Quote], day: str, roll_us: int) -> Decimal | None:
    """Dollars a share at the close of the day, None where there is no price."""
    contract = _expired(symbol, day)
    if contract is not None:
        return expired_price(contract, quotes.get(contract.underlying), roll_us)
    return closing_price(quotes.get(symbol), roll_us)
