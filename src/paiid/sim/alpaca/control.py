"""The control endpoint `/sim`: what a test script, and nobody from outside this machine, may ask of the simulator."""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paiid.brokers import BrokerError
from paiid.domain.terms import AccountTerms
from paiid.sim.alpaca.accounts import SIM_TERMS, BadKeys
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.fault_kinds import DATA_KINDS, KINDS, BadFault, Kind
from paiid.sim.alpaca.faults import FaultBook
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.hub import Hub
from paiid.sim.alpaca.later import Later
from paiid.sim.alpaca.ledger import MAX_PAGE, Ledger
from paiid.sim.alpaca.market import DEEP, SimMarket
from paiid.sim.alpaca.marketdata.side import FEEDS
from paiid.sim.alpaca.marketdata.stream import DataStream
from paiid.sim.alpaca.recorder import CONTROL, SEEN
from paiid.sim.alpaca.stream import TradeStream

__all__ = ["Control"]

MAX_QUIESCE_S = 60.0
_QUIESCE_S = 10.0
_LOOK_S = 0.01
_MAX_PRICE = Decimal(1_000_000)
_MAX_SIZE = Decimal(1_000_000_000)
_MAX_CASH = Decimal(1_000_000_000)
_BOOLS = ("margin", "fees", "impact")
_CENTS = Decimal("0.0001")
_PLAN = {"max_connections": 1000, "max_symbols": 20_000, "max_contracts": 20_000}
"""What can be set about the market data stream, and how far."""


class Wrong(Exception):
    """A body or query that cannot be used: which field, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(slots=True)
class Control:
    """The routes under `/sim`, and what they act on."""

    exchange: Exchange
    market: SimMarket
    faults: FaultBook
    hub: Hub
    stream: TradeStream
    data: DataStream
    ledger: Ledger
    later: Later
    facts: dict[str, Any]
    """What `GET /sim` tells of how the simulator was started."""

    def routes(self) -> list[Route]:
        """All of them."""
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "", self.state),
            ("GET", "/faults", self.list_faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.remove_faults),
            ("DELETE", "/faults/{id}", self.remove_faults),
            ("GET", "/ledger", self.read_ledger),
            ("GET", "/ledger/summary", self.summary),
            ("POST", "/quotes", self.pin),
            ("DELETE", "/quotes/{symbol}", self.unpin),
            ("POST", "/accounts", self.add_account),
            ("POST", "/stream/disconnect", self.disconnect),
            ("POST", "/data", self.set_plan),
            ("POST", "/data/disconnect", self.disconnect_data),
            ("POST", "/quiesce", self.quiesce),
        ]
        return [Route(CONTROL + path, _local(work), methods=[method]) for method, path, work in table]

    # -- state --------------------------------------------------------------------------------------

    async def state(self, request: Request) -> Response:
        """What this simulator is, and what goes on in it."""
        accounts = [
            {"account_number": one.number, "key_id": one.key_id} for one in self.exchange.accounts.all()
        ]
        pins = {
            symbol: dict(zip(("bid", "ask", "bid_size", "ask_size"), map(str, pin), strict=True))
            for symbol, pin in self.market.pins.items()
        }
        return Answer(
            {
                **self.facts,
                "accounts": accounts,
                "quotes": pins,
                "faults": [one.as_json() for one in self.faults.all()],
                "faults_played": self.faults.played,
                "stream_connections": self.stream.connections,
                "stream_listeners": self.hub.audience.counts,
                "data_connections": self.data.connections,
                "data_plan": self._plan(),
                "event_cursor": self.hub.cursor,
                "ledger_entries": self.ledger.last_seq,
                "pending": self._pending(),
            }
        )

    def _pending(self) -> dict[str, int]:
        """Work that goes on by itself and ends."""
        return {
            "late_requests": len(self.later),
            "cancels": self.exchange.pending_work,
            **self.hub.busy,
        }

    async def quiesce(self, request: Request) -> Response:
        """Wait until no such work is left and everything booked has been told, or the time is up."""
        body = _object(request, {"timeout_s"})
        timeout_s = body.get("timeout_s", _QUIESCE_S)
        number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
        if not number or not 0 <= timeout_s <= MAX_QUIESCE_S:
            raise Wrong("timeout_s", f"must be a number from 0 to {MAX_QUIESCE_S:g}")
        clock = self.exchange.clock
        end_s = clock.monotonic_s() + timeout_s
        while True:
            told = await self.hub.caught_up()
            pending = self._pending()
            quiet = told and not any(pending.values())
            if quiet or clock.monotonic_s() >= end_s:
                return Answer({"quiet": quiet, "pending": pending, "all_told": told})
            await clock.sleep(_LOOK_S)

    # -- faults -------------------------------------------------------------------------------------

    async def list_faults(self, request: Request) -> Response:
        """The faults in force, and every kind there is."""
        return Answer(
            {
                "faults": [one.as_json() for one in self.faults.all()],
                "kinds": _kinds_json(KINDS),
                "data_kinds": _kinds_json(DATA_KINDS),
            }
        )

    async def add_fault(self, request: Request) -> Response:
        """Put a fault in force."""
        try:
            fault = self.faults.add(request.scope[SEEN].body)
        except BadFault as error:
            raise Wrong(error.field, error.reason) from None
        account = fault.account
        if account is not None and self.exchange.accounts.by_number(account) is None:
            self.faults.remove(fault.id)
            raise Wrong("account", "there is no account with this number")
        return Answer(fault.as_json(), 201)

    async def remove_faults(self, request: Request) -> Response:
        """Take one or all out of force."""
        named = request.path_params.get("id")
        if named is None:
            return Answer({"removed": self.faults.remove()})
        if not named.isascii() or not named.isdigit() or self.faults.remove(int(named)) == 0:
            return Answer({"errors": [{"field": "id", "reason": "there is no such fault"}]}, 404)
        return Answer({"removed": 1})

    # -- ledger -------------------------------------------------------------------------------------

    async def read_ledger(self, request: Request) -> Response:
        """Entries behind a number."""
        query = request.query_params
        after = _whole(query.get("after", "0"), "after", 0, 10**12)
        limit = _whole(query.get("limit", "100"), "limit", 1, MAX_PAGE)
        entries = self.ledger.read(after, query.get("kind"), limit)
        return Answer({"entries": entries, "last_seq": self.ledger.last_seq})

    async def summary(self, request: Request) -> Response:
        """What the entries add up to."""
        return Answer(self.ledger.summary.as_json())

    # -- market -------------------------------------------------------------------------------------

    async def pin(self, request: Request) -> Response:
        """Pin a quote."""
        body = _object(request, {"symbol", "bid", "ask", "bid_size", "ask_size"})
        symbol = body.get("symbol")
        if not isinstance(symbol, str) or not 1 <= len(symbol) <= 32:
            raise Wrong("symbol", "must be a ticker or an option symbol")
        symbol = symbol.upper()
        bid = _decimal(body, "bid", None, Decimal(0), _MAX_PRICE)
        ask = _decimal(body, "ask", None, _CENTS, _MAX_PRICE)
        if ask < bid:
            raise Wrong("ask", "must not be less than bid")
        sizes = [_decimal(body, name, DEEP, Decimal(0), _MAX_SIZE) for name in ("bid_size", "ask_size")]
        try:
            self.market.pin(symbol, bid, ask, *sizes)
        except KeyError:
            raise Wrong("symbol", "this market has no quote of it") from None
        return Answer({"symbol": symbol, "bid": str(bid), "ask": str(ask)}, 201)

    async def unpin(self, request: Request) -> Response:
        """Let it move again."""
        if not self.market.unpin(request.path_params["symbol"].upper()):
            return Answer({"errors": [{"field": "symbol", "reason": "no quote of it is pinned"}]}, 404)
        return Response(status_code=204)

    # -- accounts and streams -----------------------------------------------------------------------

    async def add_account(self, request: Request) -> Response:
        """A pair of keys with an account of its own; the answer is the only place that shows the secret."""
        terms = {one.name for one in fields(AccountTerms)}
        body = _object(request, {"key_id", "secret", "terms"})
        clock = self.exchange.clock
        key_id = body.get("key_id", "PK" + clock.random_bytes(9).hex().upper())
        secret = body.get("secret", "simulated-" + clock.random_bytes(20).hex())
        for name, value in (("key_id", key_id), ("secret", secret)):
            if not isinstance(value, str):
                raise Wrong(name, "must be a text")
        wished = body.get("terms", {})
        if not isinstance(wished, dict):
            raise Wrong("terms", "must be an object")
        for name in wished:
            if name not in terms:
                raise Wrong(f"terms.{name}", f"no such field; there are: {', '.join(sorted(terms))}")
        if self.exchange.accounts.find(key_id, secret) is None and any(
            one.key_id == key_id for one in self.exchange.accounts.all()
        ):
            raise Wrong("key_id", "is in use with another secret")
        try:
            account = self.exchange.accounts.add(key_id, secret, _terms(wished))
        except BadKeys as error:
            raise Wrong("key_id", str(error)) from None
        try:
            await self.exchange.open(account)
        except BrokerError as error:
            return Answer({"errors": [{"field": "body", "reason": f"the venue: {error}"}]}, 503)
        return Answer({"account_number": account.number, "key_id": key_id, "secret": secret}, 201)

    async def disconnect(self, request: Request) -> Response:
        """Cut the listeners of one account, or all, off."""
        return Answer({"disconnected": self.hub.audience.disconnect(self._account(request))})

    # -- market data --------------------------------------------------------------------------------

    def _plan(self) -> dict[str, Any]:
        options = self.data.side.options
        return {
            **{name: getattr(options, name) for name in _PLAN},
            "feeds": [feed for feed in FEEDS if feed in options.feeds],
        }

    async def set_plan(self, request: Request) -> Response:
        """Set limits of the market data stream; they hold for what comes from now on."""
        body = _object(request, {*_PLAN, "feeds"})
        wished: dict[str, Any] = {}
        for name, most in _PLAN.items():
            value = body.get(name, getattr(self.data.side.options, name))
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise Wrong(name, f"must be a whole number from 0 to {most}")
            wished[name] = value
        feeds = body.get("feeds", [*self.data.side.options.feeds])
        if not isinstance(feeds, list) or not all(feed in FEEDS for feed in feeds):
            raise Wrong("feeds", f"must be a list of: {', '.join(FEEDS)}")
        self.data.side.options = replace(self.data.side.options, **wished, feeds=frozenset(feeds))
        return Answer(self._plan())

    async def disconnect_data(self, request: Request) -> Response:
        """Cut the sockets of the market data stream, of one account or all, off."""
        return Answer({"disconnected": self.data.disconnect(self._account(request))})

    def _account(self, request: Request) -> str | None:
        """The account that a body names, None for all. Raises Wrong."""
        account = _object(request, {"account"}).get("account")
        if account is None:
            return None
        if not isinstance(account, str) or self.exchange.accounts.by_number(account) is None:
            raise Wrong("account", "there is no account with this number")
        return account


def _kinds_json(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    return {
        name: {
            "says": kind.says,
            "on": kind.on,
            "default_on": kind.default_on,
            "params": {key: param.default for key, param in kind.params.items()},
        }
        for name, kind in kinds.items()
    }


def _local(work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for clients on this machine, and not for the pages that a browser here shows."""

    async def endpoint(request: Request) -> Response:
        if not _is_loopback(request):
            return Answer(
                {"errors": [{"field": "client", "reason": "the control endpoint answers this machine only"}]},
                403,
            )
        try:
            return await work(request)
        except Wrong as error:
            return Answer({"errors": [{"field": error.field, "reason": error.reason}]}, 422)

    return endpoint


def _is_loopback(request: Request) -> bool:
    if request.client is None or "origin" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _object(request: Request, known: set[str]) -> dict[str, Any]:
    """The body: an object with no other fields than these, or nothing at all. Raises Wrong."""
    seen = request.scope[SEEN]
    if not seen.raw:
        return {}
    try:
        body = msgspec.json.decode(seen.raw)
    except (msgspec.DecodeError, RecursionError):
        raise Wrong("body", "is no JSON") from None
    if not isinstance(body, dict):
        raise Wrong("body", "must be an object")
    for name in body:
        if name not in known:
            raise Wrong(name, f"no such field; there are: {', '.join(sorted(known))}")
    return body


def _terms(wished: dict[str, Any]) -> AccountTerms:
    margin, fees, impact = (_bool(wished, name, getattr(SIM_TERMS, name)) for name in _BOOLS)
    level = wished.get("options_level", SIM_TERMS.options_level)
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= 3:
        raise Wrong("terms.options_level", "must be 0, 1, 2 or 3")
    return AccountTerms(
        starting_cash=_decimal(
            wished, "starting_cash", SIM_TERMS.starting_cash, Decimal(0), _MAX_CASH, where="terms."
        ),
        margin=margin,
        options_level=level,
        fees=fees,
        impact=impact,
        price_improvement_pct=_decimal(
            wished, "price_improvement_pct", SIM_TERMS.price_improvement_pct, Decimal(0), Decimal(50),
            where="terms.",
        ),
    )  # fmt: skip


def _bool(wished: dict[str, Any], name: str, default: bool) -> bool:
    value = wished.get(name, default)
    if not isinstance(value, bool):
        raise Wrong(f"terms.{name}", "must be true or false")
    return value


def _decimal(
    body: dict[str, Any], name: str, default: Decimal | None, least: Decimal, most: Decimal, where: str = ""
) -> Decimal:
    """A number, as a JSON number or a text. Raises Wrong."""
    value = body.get(name, default)
    reason = f"must be a number from {least} to {most} with at most 6 decimals"
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise Wrong(where + name, reason)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise Wrong(where + name, reason) from None
    if not number.is_finite() or not least <= number <= most or number != round(number, 6):
        raise Wrong(where + name, reason)
    return number


def _whole(text: str, name: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15 or not least <= int(text) <= most:
        raise Wrong(name, f"must be a whole number from {least} to {most}")
    return int(text)
