"""Answers what an account holds and is worth, from the ledger's rows and the newest quotes."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from paiid.accounts.service import AccountService
from paiid.brokers import Broker
from paiid.core.db import Database
from paiid.core.json import encode
from paiid.domain.errors import not_found
from paiid.domain.identity import Principal
from paiid.domain.instruments import is_option
from paiid.domain.margin import Combo
from paiid.domain.pricing.position import ContractGreeks
from paiid.domain.quotes import Quote
from paiid.domain.valuation import Holding, Mark, Valued, Worth, mark_from, value_account
from paiid.feeds import FeedUnavailable
from paiid.market.service import MarketService
from paiid.options.held import HeldGreeks
from paiid.portfolio.store import AccountFigures, Day, load_books
from paiid.portfolio.views import account_view, position_view, summary_view


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger has of one account; `priced`: the quotes here are prices of what it holds."""

    account: AccountFigures
    holdings: tuple[Holding, ...]
    combos: tuple[Combo, ...]
    last_day: Day | None
    priced: bool

    @property
    def symbols(self) -> frozenset[str]:
        """What needs a price."""
        return frozenset(held.symbol for held in self.holdings if self.priced and held.qty != 0)

    @property
    def options(self) -> frozenset[str]:
        """What has Greeks."""
        return frozenset(symbol for symbol in self.symbols if is_option(symbol))

    def at(self, marks: Mapping[str, Mark]) -> "Snapshot":
        """The account valued at these marks; what has none stays without a value."""
        account, needed = self.account, self.symbols
        worth = value_account(
            account.cash,
            [
                Valued(held, marks.get(held.symbol) if held.symbol in needed else None)
                for held in self.holdings
            ],
            self.combos,
            margin=account.margin,
            options_level=account.options_level,
        )
        return Snapshot(account, worth, self.last_day)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One account with its figures, its worth and the day it is compared with."""

    account: AccountFigures
    worth: Worth
    last_day: Day | None


class PortfolioService:
    """Reads for one caller at a time; every answer is encoded JSON. Raises Problem, DatabaseUnavailable."""

    def __init__(
        self,
        db: Database,
        accounts: AccountService,
        market: MarketService,
        brokers: Mapping[str, Broker],
        greeks: HeldGreeks,
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._market = market
        self._brokers = brokers
        self.greeks = greeks

    async def positions(self, user: Principal, account: str | None) -> bytes:
        """A bare array of positions by symbol."""
        found = await self._one(user, account)
        greeks = await self._greeks_of(found)
        return encode([position_view(one, greeks) for one in found.worth.held])

    async def position(self, user: Principal, account: str | None, symbol: str) -> bytes:
        """One position. Raises Problem (404) when flat."""
        found = await self._one(user, account)
        for one in found.worth.held:
            if one.holding.symbol == symbol:
                return encode(position_view(one, await self.greeks.load([symbol])))
        raise not_found("position")

    async def summary(self, user: Principal, account: str | None) -> bytes:
        """The summary of one account."""
        found = await self._one(user, account)
        greeks = await self._greeks_of(found)
        return encode(summary_view(found.account, found.worth, found.last_day, greeks))

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

    async def _greeks_of(self, found: Snapshot) -> dict[str, ContractGreeks]:
        return await self.greeks.load(one.holding.symbol for one in found.worth.held if one.mark is not None)

    async def load(self, ids: Sequence[str]) -> list[Snapshot]:
        """These accounts valued at the newest quotes, by id. Raises DatabaseUnavailable."""
        books = await self.load_books(ids)
        symbols = {symbol for one in books for symbol in one.symbols}
        marks = self.newest_marks(symbols)
        marks.update(await self.fetch_marks(symbols))
        return [one.at(marks) for one in books]

    async def load_books(self, ids: Sequence[str]) -> list[Books]:
        """What the ledger has of these accounts, by id. Raises DatabaseUnavailable."""
        if not ids:
            return []
        async with self._db.read() as tx:
            figures, holdings, combos, days = await load_books(tx, ids)
        return [
            Books(
                account,
                tuple(holdings[account.id]),
                tuple(combos.get(account.id, ())),
                days.get(account.id),
                self._is_priced(account),
            )
            for account in figures
        ]

    def _is_priced(self, account: AccountFigures) -> bool:
        broker = self._brokers.get(account.broker)
        return broker is None or self._market.prices_for(simulated=broker.simulated)

    def newest_marks(self, symbols: Iterable[str]) -> dict[str, Mark]:
        """The marks by the newest quotes in memory; what has none is left out."""
        return _marks({symbol: self._market.newest(symbol) for symbol in symbols})

    async def fetch_marks(self, symbols: Iterable[str]) -> dict[str, Mark]:
        """The marks of those that have no quote in memory. What cannot be had is left out: the answer names it, and what is held is
        told all the same."""
        absent = sorted(symbol for symbol in symbols if self._market.newest(symbol) is None)
        found: Mapping[str, Quote] = {}
        if absent:
            with suppress(FeedUnavailable):
                found = await self._market.quotes(absent)
        return _marks(found)


def _marks(quotes: Mapping[str, Quote | None]) -> dict[str, Mark]:
    marks = {symbol: mark_from(quote) for symbol, quote in quotes.items()}
    return {symbol: mark for symbol, mark in marks.items() if mark is not None}
