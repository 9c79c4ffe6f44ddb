"""Reads what the AI may speak about, through the services and with the rights of the caller's own requests; changes nothing."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from paiid.accounts.records import SETTING_FIELDS
from paiid.accounts.service import AccountService
from paiid.ai import fields
from paiid.ai.facts import LEDGER, Fact, FactBook, Item, Reading
from paiid.ai.limits import ITEMS
from paiid.core.instants import instant
from paiid.domain.bars import Timeframe
from paiid.domain.errors import Code, Problem, not_found
from paiid.domain.halts import GLOBAL, Mode, Scope
from paiid.domain.identity import Principal
from paiid.domain.instruments import is_option
from paiid.feeds import FeedUnavailable
from paiid.market.service import MarketService
from paiid.options.asked import Asked, parse_day
from paiid.options.service import OptionsService
from paiid.options.views import chain_view
from paiid.portfolio.service import PortfolioService
from paiid.trading.halt import HaltService
from paiid.trading.ledger import LedgerService
from paiid.trading.limits import limits_of

NEWEST_ORDERS = 20
BARS = 60
_STRIKES = 3
_EXPIRATIONS = 12
_HUNDRED = Decimal(100)
_OURS = msgspec.json.Decoder(float_hook=Decimal)
"""For what we have written ourselves: the strict parser of strangers' bodies would hold the event loop up over thousands of positions."""


@dataclass(frozen=True, slots=True)
class Services:
    """What is read from."""

    portfolio: PortfolioService
    ledger: LedgerService
    accounts: AccountService
    market: MarketService
    options: OptionsService
    halts: HaltService


class Reader:
    """One caller's eyes for one answer; what it reads becomes facts of the book. Raises Problem, DatabaseUnavailable."""

    def __init__(
        self,
        services: Services,
        user: Principal,
        account: str | None,
        book: FactBook,
        again: Callable[[], Awaitable[Principal]] | None = None,
    ) -> None:
        self._services = services
        self._user = user
        self._account = account
        self._again = again
        self.book = book

    async def still(self) -> None:
        """Look at the caller's credential anew, for an answer takes longer than a right may last (contract A3). Raises Problem (401)."""
        if self._again is not None:
            self._user = await self._again()

    async def resolve(self) -> None:
        """Raises Problem (404) where the account is not the caller's to see."""
        await self._services.accounts.resolve(self._user, self._account, "view")

    # -- the account ------------------------------------------------------------------------------------

    async def portfolio(self, account: str | None = None) -> Reading:
        """What the account is worth, and how it does."""
        view = _decoded(await self._services.portfolio.summary(self._user, account or self._account))
        item = self._item("portfolio", view, fields.SUMMARY, fields.SUMMARY_WORDS)
        facts = dict(item.facts)
        for name, label in (("largest_winner", "largest winner"), ("largest_loser", "largest loser")):
            one = view[name]
            if one is not None:
                self.book.symbols.add(one["symbol"])
                note = self.book.add(
                    f"{one['symbol']} unrealized profit ({label})",
                    one["unrealized_pl"],
                    "dollars",
                    source=view.get("source") or LEDGER,
                    as_of=view.get("as_of"),
                    stale=bool(view.get("stale")),
                )
                facts |= {} if note is None else {name: note}
        exposure = self._facts("portfolio", view["exposure"], fields.EXPOSURE, view)
        greeks = self._facts("portfolio", view["greeks"], fields.PORTFOLIO_GREEKS, view)
        words = {**item.words, "missing_prices": view["missing_prices"]}
        return Reading("portfolio", (Item(words, {**facts, **exposure, **greeks}),))

    async def account(self, account: str | None = None) -> Reading:
        """The account's figures and its state."""
        view = _decoded(await self._services.portfolio.account(self._user, account or self._account))
        return Reading("account", (self._item("account", view, fields.ACCOUNT, fields.ACCOUNT_WORDS),))

    async def positions(self, account: str | None = None) -> Reading:
        """All positions, the first of them if there are many."""
        views = _decoded(await self._services.portfolio.positions(self._user, account or self._account))
        items = tuple(self._position(view) for view in views[:ITEMS])
        return Reading("positions", items, None if items else "There is no position in this account.")

    async def position(self, symbol: str, account: str | None = None) -> Reading:
        """One position. Raises Problem (404) when flat."""
        body = await self._services.portfolio.position(self._user, account or self._account, symbol)
        return Reading("position", (self._position(_decoded(body)),))

    def _position(self, view: Mapping[str, Any]) -> Item:
        item = self._item(view["symbol"], view, fields.POSITION, fields.POSITION_WORDS)
        return Item(
            item.words, {**item.facts, **self._facts(view["symbol"], view, fields.CONTRACT_GREEKS, view)}
        )

    # -- orders -----------------------------------------------------------------------------------------

    async def orders(
        self, account: str | None = None, status: str = "all", symbol: str | None = None
    ) -> Reading:
        """The newest orders; `status` is open, closed or all."""
        reply = await self._services.ledger.orders(
            self._user, account or self._account, status, symbol, None, NEWEST_ORDERS
        )
        page = _decoded(reply.body)
        items = tuple(self._order(view) for view in page["data"])
        note = "There is no such order in this account." if not items else None
        return Reading("orders", items, "There are older ones." if page["next"] else note)

    async def order(self, order_id: str) -> Reading:
        """One order with what hangs on it. Raises Problem (404)."""
        view = _decoded((await self._services.ledger.order(self._user, order_id)).body)
        return Reading("order", (self._order(view), *(self._order(leg) for leg in view["legs"][:ITEMS])))

    async def fills(self, account: str | None = None, order_id: str | None = None) -> Reading:
        """The newest executions."""
        reply = await self._services.ledger.fills(
            self._user, account or self._account, order_id, None, NEWEST_ORDERS
        )
        views = _decoded(reply.body)["data"]
        items = tuple(
            self._item(f"{view['symbol']} {view['side']} fill", view, fields.FILL, fields.FILL_WORDS)
            for view in views
        )
        return Reading("fills", items, None if items else "Nothing was filled.")

    def _order(self, view: Mapping[str, Any]) -> Item:
        # The end of its id tells it from other orders in the same symbol.
        what = f"{view['symbol']} {view['side']} order {view['id'][-4:]}"
        item = self._item(what, view, fields.ORDER, fields.ORDER_WORDS)
        words, facts = dict(item.words), dict(item.facts)
        reason = view["reason"]
        if reason is not None:
            # Somebody else's words may be in there: they are told as data, and are no figure.
            words["reason_code"], words["reason_words"] = reason["code"], str(reason["message"])[:500]
            for name, label in (("measured", "measured"), ("limit", "allowed")):
                noted = self.book.add(f"{what}, {label} ({reason['code']})", _decimal(reason.get(name)))
                facts |= {} if noted is None else {name: noted}
        return Item(words, facts)

    # -- the market -------------------------------------------------------------------------------------

    async def quotes(self, symbols: Sequence[str]) -> Reading:
        """The newest quotes of those that there are."""
        try:
            found = await self._services.market.encoded_quotes(symbols)
        except FeedUnavailable as silent:
            raise Problem(Code.MARKET_DATA_UNAVAILABLE, f"There are no quotes now: {silent}.") from None
        items = tuple(
            self._item(name, _decoded(body), fields.QUOTE, fields.QUOTE_WORDS) for name, body in found.items()
        )
        unknown = [symbol for symbol in symbols if symbol not in found]
        return Reading("quotes", items, f"There is no quote for {', '.join(unknown)}." if unknown else None)

    async def bars(self, symbol: str, timeframe: Timeframe, count: int) -> Reading:
        """What a symbol did over the newest so many bars, in sum. Raises Problem (404, 503)."""
        try:
            found = await self._services.market.bars(symbol, timeframe, None, None, min(count, BARS))
        except FeedUnavailable as silent:
            raise Problem(Code.MARKET_DATA_UNAVAILABLE, f"There are no bars now: {silent}.") from None
        bars = found.bars
        if not bars:
            raise not_found("symbol")
        first, last = bars[0], bars[-1]
        view = {
            "symbol": symbol,
            "timeframe": timeframe.value,
            "bars": len(bars),
            "begin": instant(first.start_us),
            "open": first.open,
            "close": last.close,
            "high": max(bar.high for bar in bars),
            "low": min(bar.low for bar in bars),
            "volume": sum((bar.volume for bar in bars), Decimal(0)),
            "change": last.close - first.open,
            "source": found.source,
            "as_of": instant(found.as_of_us),
            "stale": found.stale,
        }
        if first.open:
            view["change_pct"] = ((last.close / first.open - 1) * _HUNDRED).quantize(Decimal("0.01"))
        return Reading("bars", (self._item(symbol, view, fields.BARS, ("symbol", "timeframe")),))

    async def chain(self, symbol: str, expiration: str | None = None) -> Reading:
        """The contracts of one expiration that are near the money; the nearest expiration unless one is named. Raises Problem."""
        chains, pool = self._services.options.chains, self._services.options.pool
        listed = await chains.expirations(symbol)
        if not listed:
            return Reading("chain", (), f"No options are listed on {symbol}.")
        day = listed[0] if expiration is None else parse_day("expiration", expiration)
        asked = Asked(expirations=(day,), strikes=_STRIKES, limit=ITEMS)
        view = _decoded(await pool.run(chain_view, await chains.load(symbol, (day,), asked.accuracy), asked))
        head = self._item(symbol, view, fields.CHAIN, fields.CHAIN_WORDS)
        dates = {
            f"expiration_{number}": fact
            for number, one in enumerate(listed[:_EXPIRATIONS], 1)
            if (fact := self.book.add(f"{symbol} options expire", one.isoformat(), source=view["source"]))
            is not None
        }
        contracts = tuple(
            self._item(
                one["symbol"], {**one, "source": view["source"]}, fields.CONTRACT, fields.CONTRACT_WORDS
            )
            for one in [*view["calls"], *view["puts"]]
        )
        return Reading("chain", (Item(head.words, {**head.facts, **dates}), *contracts), view.get("reason"))

    async def clock(self) -> Reading:
        """Whether the market is open."""
        view = _decoded(self._services.market.clock())
        return Reading("clock", (self._item("market", view, fields.CLOCK, fields.CLOCK_WORDS),))

    # -- limits and halts -------------------------------------------------------------------------------

    async def limits(self) -> Reading:
        """The caller's settings, and the limits of risk that are in force for him."""
        settings = await self._services.accounts.settings_of(self._user.user_id)
        limits = limits_of(settings)
        chosen = {name: getattr(settings, name) for name in SETTING_FIELDS if name != "default_account"}
        in_force = {name: getattr(limits, name) for name in limits.__dataclass_fields__}
        return Reading(
            "limits",
            (
                self._item("your setting", chosen, fields.SETTINGS, ()),
                self._item("limit in force", in_force, fields.SETTINGS, ()),
            ),
        )

    async def halts(self, account: str | None = None) -> Reading:
        """Whether trading is halted for everybody, for this account, for the caller; and in which symbols."""
        found = await self._services.accounts.resolve(self._user, account or self._account, "view")
        scopes = {
            GLOBAL: "everybody",
            Scope("account", found.id): "this account",
            Scope("user", self._user.user_id): "you",
        }
        views = [(name, await self._services.halts.view(scope)) for scope, name in scopes.items()]
        symbols = await self._services.halts.of_symbols()
        halts = [(name, view.halt, view.latch) for name, view in views]
        halts += [(halt.scope.id, halt, None) for halt in symbols[:ITEMS]]
        items = []
        for name, halt, latch in halts:
            mode = Mode.ACTIVE if halt is None else halt.mode
            words: dict[str, Any] = {"scope": name, "mode": mode.value, "halted": mode is not Mode.ACTIVE}
            facts: dict[str, Fact] = {}
            if halt is not None and mode is not Mode.ACTIVE:
                words["reason_words"] = halt.reason
                since = self.book.add(f"halt of {name}, since", instant(halt.set_at_us))
                facts |= {} if since is None else {"since": since}
            if latch is not None:
                words["this_process"] = "halted by its latch file"
            items.append(Item(words, facts))
        self.book.symbols |= {halt.scope.id for halt in symbols[:ITEMS]}
        more = "More symbols are halted." if len(symbols) > ITEMS else None
        return Reading("halts", tuple(items), more or (None if symbols else "No single symbol is halted."))

    # -- from a view to facts ---------------------------------------------------------------------------

    def _item(
        self, subject: str, view: Mapping[str, Any], kinds: Sequence[fields.Field], words: Sequence[str]
    ) -> Item:
        for name in ("symbol", "underlying"):
            if isinstance(view.get(name), str):
                self.book.symbols.add(view[name])
        told = {name: view[name] for name in words if view.get(name) is not None}
        return Item(told, self._facts(subject, view, kinds, view))

    def _facts(
        self, subject: str, view: Mapping[str, Any], kinds: Sequence[fields.Field], about: Mapping[str, Any]
    ) -> dict[str, Fact]:
        facts: dict[str, Fact] = {}
        symbol = str(about.get("symbol", ""))
        size = "contracts" if about.get("asset_class") == "option" or is_option(symbol) else "shares"
        for one in kinds:
            value = view.get(one.name)
            if value is None:
                continue
            if one.unit == "percent" and one.of_fraction:
                value = Decimal(value) * _HUNDRED
            noted = self.book.add(
                f"{subject} {one.label}",
                value,
                size if one.unit == fields.SIZE and symbol else one.unit,
                source=(about.get("source") or LEDGER) if one.priced else LEDGER,
                as_of=about.get("as_of") if one.priced else None,
                stale=bool(about.get("stale")) if one.priced else False,
            )
            if noted is not None:
                facts[one.name] = noted
        return facts


def _decoded(body: bytes) -> Any:
    """As a route would answer it; numbers are exact."""
    return _OURS.decode(body)


def _decimal(value: Any) -> Decimal | None:
    """A number, also one that is kept as a text; None for every other text."""
    try:
        found = Decimal(str(value))
    except ArithmeticError:
        return None
    return found if found.is_finite() else None
