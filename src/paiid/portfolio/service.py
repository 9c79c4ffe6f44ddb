"""Answers what an account holds and is worth, from the ledger's rows and the newest quotes."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from paiid.accounts.service import AccountService
from paiid.brokers import Broker
from paiid.core.db import Database
from paiid.core.json import encode
from paiid.domain.errors import not_found
from paiid.domain.identity import Principal
from paiid.domain.valuation import Mark, Valued, Worth, mark_from, value_account
from paiid.feeds import FeedUnavailable
from paiid.market.service import MarketService
from paiid.portfolio.store import (
    AccountFigures,
    Day,
    load_accounts,
    load_holdings,
    load_last_days,
)
from paiid.portfolio.views import account_view, position_view, summary_view


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One account with its figures, its worth and the day it is compared with."""

    account: AccountFigures
    worth: Worth
    last_day: Day | None


class PortfolioService:
    """Reads for one caller at a time; every answer is encoded JSON. Raises Problem, DatabaseUnavailable."""

    def __init__(
        self, db: Database, accounts: AccountService, market: MarketService, brokers: Mapping[str, Broker]
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._market = market
        self._brokers = brokers

    async def positions(self, user: Principal, account: str | None) -> bytes:
        """A bare array of positions by symbol."""
        found = await self._one(user, account)
        return encode([position_view(one) for one in found.worth.held])

    async def position(self, user: Principal, account: str | None, symbol: str) -> bytes:
        """One position. Raises Problem (404) when flat."""
        found = await self._one(user, account)
        for one in found.worth.held:
            if one.holding.symbol == symbol:
                return encode(position_view(one))
        raise not_found("position")

    async def summary(self, user: Principal, account: str | None) -> bytes:
        """The summary of one account."""
        found = await self._one(user, account)
        return encode(summary_view(found.account, found.worth, found.last_day))

    async def account(self, user: Principal, account: str | None) -> bytes:
        """One account's figures. Raises Problem (404) outside the caller's grants."""
        return encode(self._account_view(await self._one(user, account)))

    async def list_accounts(self, user: Principal) -> bytes:
        """Every account the caller may see, by id."""
        visible = await self._accounts.list_accounts(user)
        return encode([self._account_view(one) for one in await self.load([one.id for one in visible])])

    def _account_view(self, found: Snapshot) -> dict[str, object]:
        broker = self._brokers.get(found.account.broker)
        return account_view(found.account, found.worth, None if broker is None else broker.capabilities)

    async def _one(self, user: Principal, named: str | None) -> Snapshot:
        resolved = await self._accounts.resolve(user, named, "view")
        found = await self.load([resolved.id])
        if not found:
            raise not_found("account")
        return found[0]

    async def load(self, ids: Sequence[str]) -> list[Snapshot]:
        """These accounts valued at the newest quotes, by id. Raises DatabaseUnavailable."""
        if not ids:
            return []
        async with self._db.read() as tx:
            figures = await load_accounts(tx, ids)
            holdings = await load_holdings(tx, ids)
            days = await load_last_days(tx, ids)
        symbols = {held.symbol for rows in holdings.values() for held in rows if held.qty != 0}
        marks = await self._marks(sorted(symbols))
        return [
            Snapshot(
                account,
                value_account(
                    account.cash, [Valued(held, marks.get(held.symbol)) for held in holdings[account.id]]
                ),
                days.get(account.id),
            )
            for account in figures
        ]

    async def _marks(self, symbols: Sequence[str]) -> dict[str, Mark]:
        """The newest quote in memory, fetched where there is none yet; what cannot be had is left out."""
        quotes = {symbol: self._market.newest(symbol) for symbol in symbols}
        absent = [symbol for symbol, quote in quotes.items() if quote is None]
        if absent:
            # The answer says which prices are missing; holdings are told all the same.
            with suppress(FeedUnavailable):
                quotes.update(await self._market.quotes(absent))
        marks = {symbol: mark_from(quote) for symbol, quote in quotes.items()}
        return {symbol: mark for symbol, mark in marks.items() if mark is not None}
