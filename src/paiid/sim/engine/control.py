"""The control endpoint `/sim`: what a test script, and nobody from outside this machine, may ask of a simulator."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paiid.core.clock import Clock
from paiid.sim.engine.control_input import Json, Wrong, decimal_of, local, object_of, whole_of
from paiid.sim.engine.fault_kinds import BadFault
from paiid.sim.engine.faults import FaultBook
from paiid.sim.engine.later import Later
from paiid.sim.engine.ledger import MAX_PAGE, Ledger
from paiid.sim.engine.market import DEEP, SimMarket
from paiid.sim.engine.recorder import CONTROL, SEEN

__all__ = ["Control", "Controlled", "Table"]

MAX_QUIESCE_S = 60.0
_QUIESCE_S = 10.0
_LOOK_S = 0.01
_MAX_PRICE = Decimal(1_000_000)
_MAX_SIZE = Decimal(1_000_000_000)
_CENTS = Decimal("0.0001")

Table = list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]
"""Method, path below `/sim`, and what answers."""


class Controlled(Protocol):
    """What one simulator adds: its accounts, its streams, and routes of its own."""

    def table(self) -> Table:
        """Its own routes, among them `POST /accounts`."""
        ...

    def state(self) -> dict[str, Any]:
        """What `GET /sim` tells of it: how it was started, accounts, listeners."""
        ...

    def pending(self) -> dict[str, int]:
        """Work that goes on by itself and ends."""
        ...

    async def caught_up(self) -> bool:
        """Whether everything booked has been told."""
        ...

    def knows(self, account: str) -> bool:
        """Whether there is an account with this number."""
        ...

    def disconnect(self, account: str | None) -> int:
        """Cut the listeners of the account's stream off, of one or all; how many that were."""
        ...

    def disconnect_data(self, account: str | None) -> int:
        """The same for the market data stream."""
        ...


@dataclass(slots=True)
class Control:
    """The routes under `/sim`, and what they act on."""

    simulator: Controlled
    market: SimMarket
    faults: FaultBook
    ledger: Ledger
    later: Later
    clock: Clock

    def routes(self) -> list[Route]:
        """All of them."""
        table: Table = [
            ("GET", "", self.state),
            ("GET", "/faults", self.list_faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.remove_faults),
            ("DELETE", "/faults/{id}", self.remove_faults),
            ("GET", "/ledger", self.read_ledger),
            ("GET", "/ledger/summary", self.summary),
            ("POST", "/quotes", self.pin),
            ("DELETE", "/quotes/{symbol}", self.unpin),
            ("POST", "/stream/disconnect", self.disconnect),
            ("POST", "/data/disconnect", self.disconnect_data),
            ("POST", "/quiesce", self.quiesce),
            *self.simulator.table(),
        ]
        return [Route(CONTROL + path, local(work), methods=[method]) for method, path, work in table]

    # -- state --------------------------------------------------------------------------------------

    async def state(self, request: Request) -> Response:
        """What this simulator is, and what goes on in it."""
        pins = {
            symbol: dict(zip(("bid", "ask", "bid_size", "ask_size"), map(str, pin), strict=True))
            for symbol, pin in self.market.pins.items()
        }
        return Json(
            {
                **self.simulator.state(),
                "quotes": pins,
                "faults": [one.as_json() for one in self.faults.all()],
                "faults_played": self.faults.played,
                "ledger_entries": self.ledger.last_seq,
                "pending": self._pending(),
            }
        )

    def _pending(self) -> dict[str, int]:
        return {"late_requests": len(self.later), **self.simulator.pending()}

    async def quiesce(self, request: Request) -> Response:
        """Wait until no such work is left and everything booked has been told, or the time is up."""
        body = object_of(request, {"timeout_s"})
        timeout_s = body.get("timeout_s", _QUIESCE_S)
        number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
        if not number or not 0 <= timeout_s <= MAX_QUIESCE_S:
            raise Wrong("timeout_s", f"must be a number from 0 to {MAX_QUIESCE_S:g}")
        clock = self.clock
        end_s = clock.monotonic_s() + timeout_s
        while True:
            told = await self.simulator.caught_up()
            pending = self._pending()
            quiet = told and not any(pending.values())
            if quiet or clock.monotonic_s() >= end_s:
                return Json({"quiet": quiet, "pending": pending, "all_told": told})
            await clock.sleep(_LOOK_S)

    # -- faults -------------------------------------------------------------------------------------

    async def list_faults(self, request: Request) -> Response:
        """The faults in force, and every kind there is."""
        return Json(
            {
                "faults": [one.as_json() for one in self.faults.all()],
                **self.faults.catalogue.as_json(),
            }
        )

    async def add_fault(self, request: Request) -> Response:
        """Put a fault in force."""
        try:
            fault = self.faults.add(request.scope[SEEN].body)
        except BadFault as error:
            raise Wrong(error.field, error.reason) from None
        account = fault.account
        if account is not None and not self.simulator.knows(account):
            self.faults.remove(fault.id)
            raise Wrong("account", "there is no account with this number")
        return Json(fault.as_json(), 201)

    async def remove_faults(self, request: Request) -> Response:
        """Take one or all out of force."""
        named = request.path_params.get("id")
        if named is None:
            return Json({"removed": self.faults.remove()})
        if not named.isascii() or not named.isdigit() or self.faults.remove(int(named)) == 0:
            return Json({"errors": [{"field": "id", "reason": "there is no such fault"}]}, 404)
        return Json({"removed": 1})

    # -- ledger -------------------------------------------------------------------------------------

    async def read_ledger(self, request: Request) -> Response:
        """Entries behind a number."""
        query = request.query_params
        after = whole_of(query.get("after", "0"), "after", 0, 10**12)
        limit = whole_of(query.get("limit", "100"), "limit", 1, MAX_PAGE)
        entries = self.ledger.read(after, query.get("kind"), limit)
        return Json({"entries": entries, "last_seq": self.ledger.last_seq})

    async def summary(self, request: Request) -> Response:
        """What the entries add up to."""
        return Json(self.ledger.summary.as_json())

    # -- market -------------------------------------------------------------------------------------

    async def pin(self, request: Request) -> Response:
        """Pin a quote."""
        body = object_of(request, {"symbol", "bid", "ask", "bid_size", "ask_size"})
        symbol = body.get("symbol")
        if not isinstance(symbol, str) or not 1 <= len(symbol) <= 32:
            raise Wrong("symbol", "must be a ticker or an option symbol")
        symbol = symbol.upper()
        bid = decimal_of(body, "bid", None, Decimal(0), _MAX_PRICE)
        ask = decimal_of(body, "ask", None, _CENTS, _MAX_PRICE)
        if ask < bid:
            raise Wrong("ask", "must not be less than bid")
        sizes = [decimal_of(body, name, DEEP, Decimal(0), _MAX_SIZE) for name in ("bid_size", "ask_size")]
        try:
            self.market.pin(symbol, bid, ask, *sizes)
        except KeyError:
            raise Wrong("symbol", "this market has no quote of it") from None
        return Json({"symbol": symbol, "bid": str(bid), "ask": str(ask)}, 201)

    async def unpin(self, request: Request) -> Response:
        """Let it move again."""
        if not self.market.unpin(request.path_params["symbol"].upper()):
            return Json({"errors": [{"field": "symbol", "reason": "no quote of it is pinned"}]}, 404)
        return Response(status_code=204)

    # -- streams ------------------------------------------------------------------------------------

    async def disconnect(self, request: Request) -> Response:
        """Cut the listeners of one account, or all, off."""
        return Json({"disconnected": self.simulator.disconnect(self._account(request))})

    async def disconnect_data(self, request: Request) -> Response:
        """Cut the sockets of the market data stream, of one account or all, off."""
        return Json({"disconnected": self.simulator.disconnect_data(self._account(request))})

    def _account(self, request: Request) -> str | None:
        """The account that a body names, None for all. Raises Wrong."""
        account = object_of(request, {"account"}).get("account")
        if account is None:
            return None
        if not isinstance(account, str) or not self.simulator.knows(account):
            raise Wrong("account", "there is no account with this number")
        return account
