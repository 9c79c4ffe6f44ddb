"""Plays the faults of the REST API around the handling of a request: before it, instead of it, and behind it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.brokers import BrokerError, BrokerOrderView
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.sim.alpaca.connection import connection_of, taken
from paiid.sim.alpaca.exchange import CALL_S, Exchange
from paiid.sim.alpaca.fault_body import spoiled
from paiid.sim.alpaca.fault_kinds import operation_of
from paiid.sim.alpaca.faults import Fault, FaultBook
from paiid.sim.alpaca.held_answer import Answer, answer_with, begin, failure
from paiid.sim.alpaca.hub import Hub
from paiid.sim.alpaca.ids import ORDER, venue_id
from paiid.sim.alpaca.later import Later
from paiid.sim.alpaca.market import SimMarket, Thin
from paiid.sim.alpaca.recorder import SEEN, Seen, is_control, replayed
from paiid.sim.alpaca.small_prints import SmallPrints

__all__ = ["FaultLayer"]

_HTML = b"<!DOCTYPE html>\n<html><head><title>Alpaca</title></head><body><h1>We will be right back</h1></body></html>\n"
_GARBAGE = b'{"id": "61e69015-8549-4bfd-b9c3\x00\xff\xfe, <<<'
_CHUNK = 1 << 16
_LOOK_S = 0.02
"""Between two looks whether something has happened."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on its way through the layer."""

    scope: Scope
    receive: Receive
    send: Send
    seen: Seen
    fault: Fault


class FaultLayer:
    """ASGI middleware inside the recorder. The control endpoint and the event stream pass by it."""

    def __init__(
        self, app: ASGIApp, exchange: Exchange, faults: FaultBook, market: SimMarket, hub: Hub, later: Later
    ) -> None:
        self._app = app
        self._exchange = exchange
        self._faults = faults
        self._market = market
        self._hub = hub
        self._later = later
        self._prints = SmallPrints(market, exchange.asset_ids)
        self._plays: dict[str, Callable[[_Call], Awaitable[None]]] = {
            "answer_lost": self._answer_lost,
            "refuse_before": self._refuse_before,
            "fail_after": self._fail_after,
            "rate_limited": self._rate_limited,
            "slow": self._slow,
            "reset_mid_body": self._reset_mid_body,
            "garbage": self._other_body,
            "html": self._other_body,
            "redirect": self._redirect,
            "huge": self._huge,
            "late_accept": self._late_accept,
            "trickle": self._trickle,
            "unknown_status": self._spoiled,
            "missing_fields": self._spoiled,
            "cancel_fill_race": self._cancel_fill_race,
            "fill_before_answer": self._fill_before_answer,
            "partial_fill_burst": self._burst,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or is_control(path) or path.startswith("/v2/events"):
            await self._app(scope, receive, send)
            return
        seen: Seen = scope[SEEN]
        operation = operation_of(scope["method"], path)
        if operation == "lookup" and await self._not_found(scope, receive, send, seen):
            return
        symbol = self._prints.symbol_of(seen.body) if operation == "submit" else None
        fault = self._faults.draw(operation, seen.account, symbol=symbol)
        if fault is None:
            await self._pass(operation, scope, receive, send, seen)
            return
        await self._plays[fault.kind.name](_Call(scope, receive, send, seen, fault))

    # -- handling -----------------------------------------------------------------------------------

    async def _pass(self, operation: str, scope: Scope, receive: Receive, send: Send, seen: Seen) -> None:
        """Handle it without a fault; an order may be one of those that fill in part at random."""
        thin = self._prints.at_random(seen.body) if operation == "submit" else None
        if thin is None:
            await self._app(scope, receive, send)
            return
        answer = await self._handle_thin(scope, receive, seen, thin)
        await answer_with(send, answer)

    async def _handle(self, scope: Scope, receive: Receive, seen: Seen) -> Answer:
        """Handle it, and keep the answer back."""
        start: dict[str, Any] = {}
        chunks: list[bytes] = []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                chunks.append(message.get("body", b""))

        await self._app(scope, replayed(seen.raw, receive), keep)
        headers = tuple((bytes(name), bytes(value)) for name, value in start.get("headers", ()))
        return Answer(start.get("status", 500), headers, b"".join(chunks))

    async def _handle_thin(self, scope: Scope, receive: Receive, seen: Seen, thin: Thin) -> Answer:
        """Handle the submission of an order that is to meet small sizes."""
        self._market.thin(thin)
        order_id: str | None = None
        try:
            answer = await self._handle(scope, receive, seen)
            order_id = _order_id(answer)
        finally:
            if order_id is None:
                self._market.thick(thin)
        if order_id is not None:
            self._market.bind(thin, order_id)
        return answer

    def _tell(self, call: _Call, **what: Any) -> None:
        body = call.seen.body
        named = body.get("client_order_id") if isinstance(body, dict) else None
        if named is not None:
            what["client_order_id"] = named
        self._faults.tell(
            call.fault,
            request=call.seen.seq,
            account=call.seen.account,
            method=call.scope["method"],
            path=call.scope["path"],
            **what,
        )

    # -- instead of handling it ---------------------------------------------------------------------

    async def _not_found(self, scope: Scope, receive: Receive, send: Send, seen: Seen) -> bool:
        asked = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        fault = self._faults.draw_not_found(asked, seen.account)
        if fault is None:
            return False
        self._tell(_Call(scope, receive, send, seen, fault))
        named = scope["path"].rstrip("/").rpartition("/")[2]
        message = "order not found" if ":" in named else f"order not found for {named}"
        await answer_with(send, Answer.of_json(404, {"code": 40410000, "message": message}))
        return True

    async def _refuse_before(self, call: _Call) -> None:
        self._tell(call)
        await answer_with(call.send, failure(call.fault.params["status"]))

    async def _rate_limited(self, call: _Call) -> None:
        self._tell(call)
        reset_s = self._exchange.clock.now_us() // 1_000_000 + call.fault.params["reset_s"]
        limit = self._exchange.options.rate_limit_per_minute or 200
        answer = Answer.of_json(
            429,
            {"code": 42910000, "message": "rate limit exceeded"},
            x_ratelimit_limit=str(limit),
            x_ratelimit_remaining="0",
            x_ratelimit_reset=str(reset_s),
        )
        await answer_with(call.send, answer)

    async def _redirect(self, call: _Call) -> None:
        self._tell(call)
        if call.fault.params["handled"]:
            await self._handle(call.scope, call.receive, call.seen)
        location = call.fault.params["location"].encode("ascii", "replace")
        await answer_with(call.send, Answer(307, ((b"location", location),), b""))

    async def _late_accept(self, call: _Call) -> None:
        self._tell(call)
        # Of its own: the server takes the scope back once the answer is out.
        scope = dict(call.scope)

        async def handle() -> None:
            answer = await self._handle(scope, _gone, call.seen)
            self._exchange.ledger.append(
                "fault_done", fault=call.fault.id, request=call.seen.seq, status=answer.status
            )

        self._later.begin_in(call.fault.params["delay_ms"] / 1000, handle)
        await answer_with(call.send, failure(504))

    async def _cancel_fill_race(self, call: _Call) -> None:
        order = await self._order(call)
        if order is None or order.status in TERMINAL_STATUSES or order.order_class == "mleg":
            await self._app(call.scope, replayed(call.seen.raw, call.receive), call.send)
            return
        self._tell(call, order_id=call.scope["path"].rpartition("/")[2])
        self._later.begin(self._let_fill(call, order))
        await answer_with(call.send, Answer(204, (), b""))

    async def _let_fill(self, call: _Call, order: BrokerOrderView) -> None:
        """Bring the market to the order until it has filled or the time is up."""
        clock, params = self._exchange.clock, call.fault.params
        price = order.limit_price if order.limit_price is not None else order.stop_price
        if price is not None:
            self._market.flash(order.symbol, order.side, price)
        try:
            end_s = clock.monotonic_s() + params["timeout_ms"] / 1000
            over = False
            while not over and clock.monotonic_s() < end_s:
                await clock.sleep(_LOOK_S)
                now = await self._exchange.venue.fetch_order_by_id(
                    order.account_number, order.broker_order_id, CALL_S
                )
                over = now is None or now.status in TERMINAL_STATUSES
        finally:
            self._market.calm(order.symbol)
        self._exchange.ledger.append(
            "fault_done", fault=call.fault.id, request=call.seen.seq, order_ended=over
        )

    async def _order(self, call: _Call) -> BrokerOrderView | None:
        found = venue_id(ORDER, call.scope["path"].rstrip("/").rpartition("/")[2])
        if found is None or call.seen.account is None:
            return None
        try:
            return await self._exchange.venue.fetch_order_by_id(call.seen.account, found, CALL_S)
        except BrokerError:
            return None

    # -- behind the handling ------------------------------------------------------------------------

    async def _answer_lost(self, call: _Call) -> None:
        answer = await self._handle(call.scope, call.receive, call.seen)
        self._tell(call, status=answer.status)
        await _cut(call)

    async def _fail_after(self, call: _Call) -> None:
        answer = await self._handle(call.scope, call.receive, call.seen)
        self._tell(call, status=answer.status)
        await answer_with(call.send, failure(call.fault.params["status"]))

    async def _slow(self, call: _Call) -> None:
        self._tell(call)
        await self._exchange.clock.sleep(call.fault.params["before_ms"] / 1000)
        answer = await self._handle(call.scope, call.receive, call.seen)
        await self._exchange.clock.sleep(call.fault.params["after_ms"] / 1000)
        await answer_with(call.send, answer)

    async def _reset_mid_body(self, call: _Call) -> None:
        answer = await self._handle(call.scope, call.receive, call.seen)
        self._tell(call, status=answer.status)
        await begin(call.send, answer)
        half = answer.body[: len(answer.body) // 2]
        await call.send({"type": "http.response.body", "body": half, "more_body": True})
        await taken(connection_of(call.scope), self._exchange.clock)
        await _cut(call)

    async def _other_body(self, call: _Call) -> None:
        name = call.fault.kind.name
        self._tell(call)
        if call.fault.params["handled"]:
            await self._handle(call.scope, call.receive, call.seen)
        kind, body = (b"text/html", _HTML) if name == "html" else (b"application/json", _GARBAGE)
        await answer_with(call.send, Answer(200, ((b"content-type", kind),), body))

    async def _huge(self, call: _Call) -> None:
        self._tell(call)
        if call.fault.params["handled"]:
            await self._handle(call.scope, call.receive, call.seen)
        left = call.fault.params["bytes"]
        headers = [(b"content-type", b"application/json"), (b"content-length", str(left).encode())]
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
        first = b"["
        while left > 0:
            chunk = (first + b" " * _CHUNK)[: min(left, _CHUNK)]
            first = b""
            left -= len(chunk)
            await call.send({"type": "http.response.body", "body": chunk, "more_body": left > 0})

    async def _trickle(self, call: _Call) -> None:
        self._tell(call)
        answer = await self._handle(call.scope, call.receive, call.seen)
        await begin(call.send, answer)
        for at in range(len(answer.body)):
            await call.send(
                {"type": "http.response.body", "body": answer.body[at : at + 1], "more_body": True}
            )
            await self._exchange.clock.sleep(call.fault.params["every_ms"] / 1000)
        await call.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _spoiled(self, call: _Call) -> None:
        answer = await self._handle(call.scope, call.receive, call.seen)
        if 200 <= answer.status < 300 and answer.json is not None:
            self._tell(call, status=answer.status)
            answer = answer.with_body(msgspec.json.encode(spoiled(call.fault, answer.json)))
        await answer_with(call.send, answer)

    async def _fill_before_answer(self, call: _Call) -> None:
        answer = await self._handle(call.scope, call.receive, call.seen)
        order_id = _order_id(answer)
        told = False
        if order_id is not None:
            told = await self._hub.told_fill(order_id, call.fault.params["timeout_ms"] / 1000)
        self._tell(call, status=answer.status, fill_sent=told)
        await answer_with(call.send, answer)

    async def _burst(self, call: _Call) -> None:
        thin = self._prints.in_many(call.seen.body, call.fault.params["prints"])
        if thin is None:
            self._tell(call, played=False, why="the order has fewer shares than prints")
            await self._app(call.scope, replayed(call.seen.raw, call.receive), call.send)
            return
        self._tell(call, size=str(thin.size))
        await answer_with(call.send, await self._handle_thin(call.scope, call.receive, call.seen, thin))


async def _cut(call: _Call) -> None:
    """Cut the connection, and wait until the server has noticed, or it would answer 500 by itself.

    Raises ConnectionResetError where there is no connection to cut.
    """
    connection = connection_of(call.scope)
    if connection is None:
        raise ConnectionResetError("the simulator has cut the connection")
    connection.reset()
    while (await call.receive())["type"] != "http.disconnect":
        continue


async def _gone() -> Message:
    """The `receive` of a request whose client is not waited for."""
    return {"type": "http.disconnect"}


def _order_id(answer: Answer) -> str | None:
    """The venue's id of the order that an answer is about; None where there is none."""
    body = answer.json if answer.status == 200 else None
    named = body.get("id") if isinstance(body, dict) else None
    return venue_id(ORDER, named) if isinstance(named, str) else None
