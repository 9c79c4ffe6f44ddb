"""Plays the faults of the REST API around the handling of a request: before it, instead of it, and behind it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.brokers import BrokerOrderView
from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.sim.engine.connection import connection_of, taken
from paiid.sim.engine.faults import Fault, FaultBook
from paiid.sim.engine.held_answer import Answer, answer_with, begin
from paiid.sim.engine.later import Later
from paiid.sim.engine.ledger import Ledger
from paiid.sim.engine.market import SimMarket, Thin
from paiid.sim.engine.recorder import SEEN, Seen, is_control, replayed
from paiid.sim.engine.small_prints import SmallPrints
from paiid.sim.engine.wire import AskedOrder, Wire

__all__ = ["Call", "FaultLayer", "Stage"]

_CHUNK = 1 << 16
_CALL_S = 5.0
_LOOK_S = 0.02
"""Between two looks whether something has happened."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that faults reach. `told_fill` waits until the fill of the order that an answer is about has been sent to
    all who listened, at most so many seconds; False: not in time, or no order."""

    wire: Wire
    faults: FaultBook
    market: SimMarket
    venue: PaperBroker
    later: Later
    ledger: Ledger
    clock: Clock
    told_fill: Callable[[Answer, float], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through the layer."""

    scope: Scope
    receive: Receive
    send: Send
    seen: Seen
    fault: Fault
    operation: str


class FaultLayer:
    """ASGI middleware inside the recorder. The control endpoint and answers without an end pass by it."""

    def __init__(self, app: ASGIApp, stage: Stage) -> None:
        self._app = app
        self._stage = stage
        self._wire = stage.wire
        self._faults = stage.faults
        self._market = stage.market
        self._clock = stage.clock
        self._prints = SmallPrints(stage.market)
        self.plays: dict[str, Callable[[Call], Awaitable[None]]] = {
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
        if scope["type"] != "http" or is_control(path) or self._wire.streams(path):
            await self._app(scope, receive, send)
            return
        seen: Seen = scope[SEEN]
        operation = self._wire.operation_of(scope, seen.body)
        if operation == "lookup" and await self._not_found(scope, receive, send, seen):
            return
        asked = self._wire.asked(seen.body) if operation == "submit" else AskedOrder()
        fault = self._faults.draw(operation, seen.account, symbol=asked.symbol)
        if fault is None:
            await self._pass(asked, scope, receive, send, seen)
            return
        await self.plays[fault.kind.name](Call(scope, receive, send, seen, fault, operation))

    # -- handling -----------------------------------------------------------------------------------

    async def _pass(self, asked: AskedOrder, scope: Scope, receive: Receive, send: Send, seen: Seen) -> None:
        """Handle it without a fault; an order may be one of those that fill in part at random."""
        thin = self._prints.at_random(asked)
        if thin is None:
            await self._app(scope, receive, send)
            return
        answer = await self._handle_thin(scope, receive, seen, thin)
        await answer_with(send, answer)

    async def handle(self, scope: Scope, receive: Receive, seen: Seen) -> Answer:
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
            answer = await self.handle(scope, receive, seen)
            order_id = self._wire.order_in(answer)
        finally:
            if order_id is None:
                self._market.thick(thin)
        if order_id is not None:
            self._market.bind(thin, order_id)
        return answer

    def tell(self, call: Call, **what: Any) -> None:
        """Write down that its fault is played."""
        what |= self._wire.naming(call.seen.body)
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
        self.tell(Call(scope, receive, send, seen, fault, "lookup"))
        await answer_with(send, self._wire.not_found(scope["path"]))
        return True

    async def _refuse_before(self, call: Call) -> None:
        self.tell(call)
        await answer_with(call.send, self._wire.failure(call.fault.params["status"]))

    async def _rate_limited(self, call: Call) -> None:
        self.tell(call)
        answer = self._wire.too_many(call.operation, call.fault.params["reset_s"])
        await answer_with(call.send, answer)

    async def _redirect(self, call: Call) -> None:
        self.tell(call)
        if call.fault.params["handled"]:
            await self.handle(call.scope, call.receive, call.seen)
        location = call.fault.params["location"].encode("ascii", "replace")
        await answer_with(call.send, Answer(307, ((b"location", location),), b""))

    async def _late_accept(self, call: Call) -> None:
        self.tell(call)
        # Of its own: the server takes the scope back once the answer is out.
        scope = dict(call.scope)

        async def handle() -> None:
            answer = await self.handle(scope, _gone, call.seen)
            self._stage.ledger.append(
                "fault_done", fault=call.fault.id, request=call.seen.seq, status=answer.status
            )

        self._stage.later.begin_in(call.fault.params["delay_ms"] / 1000, handle)
        await answer_with(call.send, self._wire.failure(504))

    async def _cancel_fill_race(self, call: Call) -> None:
        order = await self._wire.order_at(call.scope["path"], call.seen.account)
        if order is None or order.status in TERMINAL_STATUSES or order.order_class == "mleg":
            await self._app(call.scope, replayed(call.seen.raw, call.receive), call.send)
            return
        self.tell(call, order_id=call.scope["path"].rpartition("/")[2])
        self._stage.later.begin(self._let_fill(call, order))
        await answer_with(call.send, self._wire.canceled(call.scope["path"]))

    async def _let_fill(self, call: Call, order: BrokerOrderView) -> None:
        """Bring the market to the order until it has filled or the time is up."""
        clock, params = self._clock, call.fault.params
        price = order.limit_price if order.limit_price is not None else order.stop_price
        if price is not None:
            self._market.flash(order.symbol, order.side, price)
        try:
            end_s = clock.monotonic_s() + params["timeout_ms"] / 1000
            over = False
            while not over and clock.monotonic_s() < end_s:
                await clock.sleep(_LOOK_S)
                now = await self._stage.venue.fetch_order_by_id(
                    order.account_number, order.broker_order_id, _CALL_S
                )
                over = now is None or now.status in TERMINAL_STATUSES
        finally:
            self._market.calm(order.symbol)
        self._stage.ledger.append("fault_done", fault=call.fault.id, request=call.seen.seq, order_ended=over)

    # -- behind the handling ------------------------------------------------------------------------

    async def _answer_lost(self, call: Call) -> None:
        answer = await self.handle(call.scope, call.receive, call.seen)
        self.tell(call, status=answer.status)
        await _cut(call)

    async def _fail_after(self, call: Call) -> None:
        answer = await self.handle(call.scope, call.receive, call.seen)
        self.tell(call, status=answer.status)
        await answer_with(call.send, self._wire.failure(call.fault.params["status"]))

    async def _slow(self, call: Call) -> None:
        self.tell(call)
        await self._clock.sleep(call.fault.params["before_ms"] / 1000)
        answer = await self.handle(call.scope, call.receive, call.seen)
        await self._clock.sleep(call.fault.params["after_ms"] / 1000)
        await answer_with(call.send, answer)

    async def _reset_mid_body(self, call: Call) -> None:
        answer = await self.handle(call.scope, call.receive, call.seen)
        self.tell(call, status=answer.status)
        await begin(call.send, answer)
        half = answer.body[: len(answer.body) // 2]
        await call.send({"type": "http.response.body", "body": half, "more_body": True})
        await taken(connection_of(call.scope), self._clock)
        await _cut(call)

    async def _other_body(self, call: Call) -> None:
        name = call.fault.kind.name
        self.tell(call)
        if call.fault.params["handled"]:
            await self.handle(call.scope, call.receive, call.seen)
        kind, body = (
            (b"text/html", self._wire.html) if name == "html" else (b"application/json", self._wire.garbage)
        )
        await answer_with(call.send, Answer(200, ((b"content-type", kind),), body))

    async def _huge(self, call: Call) -> None:
        self.tell(call)
        if call.fault.params["handled"]:
            await self.handle(call.scope, call.receive, call.seen)
        left = call.fault.params["bytes"]
        headers = [(b"content-type", b"application/json"), (b"content-length", str(left).encode())]
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
        first = b"["
        while left > 0:
            chunk = (first + b" " * _CHUNK)[: min(left, _CHUNK)]
            first = b""
            left -= len(chunk)
            await call.send({"type": "http.response.body", "body": chunk, "more_body": left > 0})

    async def _trickle(self, call: Call) -> None:
        self.tell(call)
        answer = await self.handle(call.scope, call.receive, call.seen)
        await begin(call.send, answer)
        for at in range(len(answer.body)):
            await call.send(
                {"type": "http.response.body", "body": answer.body[at : at + 1], "more_body": True}
            )
            await self._clock.sleep(call.fault.params["every_ms"] / 1000)
        await call.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _spoiled(self, call: Call) -> None:
        answer = await self.handle(call.scope, call.receive, call.seen)
        if 200 <= answer.status < 300 and answer.json is not None:
            self.tell(call, status=answer.status)
            answer = answer.with_body(msgspec.json.encode(self._wire.spoiled(call.fault, answer.json)))
        await answer_with(call.send, answer)

    async def _fill_before_answer(self, call: Call) -> None:
        answer = await self.handle(call.scope, call.receive, call.seen)
        told = await self._stage.told_fill(answer, call.fault.params["timeout_ms"] / 1000)
        self.tell(call, status=answer.status, fill_sent=told)
        await answer_with(call.send, answer)

    async def _burst(self, call: Call) -> None:
        thin = self._prints.in_many(self._wire.asked(call.seen.body), call.fault.params["prints"])
        if thin is None:
            self.tell(call, played=False, why="the order has fewer shares than prints")
            await self._app(call.scope, replayed(call.seen.raw, call.receive), call.send)
            return
        self.tell(call, size=str(thin.size))
        await answer_with(call.send, await self._handle_thin(call.scope, call.receive, call.seen, thin))


async def _cut(call: Call) -> None:
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
