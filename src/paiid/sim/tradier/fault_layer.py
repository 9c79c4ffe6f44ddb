"""Plays the faults that only a Tradier has, among them answers of 200 that are a no and 401s that are about an order."""

from typing import Any

import msgspec
from starlette.types import ASGIApp

from paiid.brokers import BrokerError
from paiid.sim.engine.fault_layer import Call, FaultLayer, Stage
from paiid.sim.engine.held_answer import Answer, answer_with
from paiid.sim.engine.recorder import replayed
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.gate import BACKEND
from paiid.sim.tradier.shapes import some

__all__ = ["TradierFaultLayer"]

_TEXT = ((b"content-type", b"text/plain"),)


class TradierFaultLayer(FaultLayer):
    """The shared faults and these."""

    def __init__(self, app: ASGIApp, stage: Stage, exchange: TradierExchange) -> None:
        super().__init__(app, stage)
        self._exchange = exchange
        self.plays |= {
            "backend_down": self._backend_down,
            "not_placed_500": self._not_placed,
            "errors_200": self._errors,
            "unauthorized_order": self._unauthorized,
            "empty_as_text": self._empty,
            "xml_answer": self._xml,
            "day_rollover": self._rollover,
            "preview_down": self._preview_down,
        }

    async def _backend_down(self, call: Call) -> None:
        self.tell(call)
        if call.fault.params["handled"]:
            await self.handle(call.scope, call.receive, call.seen)
        await answer_with(call.send, Answer(500, _TEXT, BACKEND.encode()))

    async def _not_placed(self, call: Call) -> None:
        self.tell(call)
        await answer_with(call.send, self._wire.failure(500))

    async def _errors(self, call: Call) -> None:
        self.tell(call)
        body = {"errors": {"error": some(call.fault.params["errors"])}}
        await answer_with(call.send, Answer.of_json(200, body))

    async def _unauthorized(self, call: Call) -> None:
        self.tell(call)
        await answer_with(call.send, self._wire.not_found(call.scope["path"]))

    async def _preview_down(self, call: Call) -> None:
        self.tell(call)
        await answer_with(call.send, Answer(400, _TEXT, b"Unexpected server error"))

    async def _empty(self, call: Call) -> None:
        answer = await self.handle(call.scope, call.receive, call.seen)
        told: Any = answer.json
        before, after = (None, "null") if call.fault.params["text"] else ("null", None)
        changed = isinstance(told, dict) and any(one == before for one in told.values())
        self.tell(call, changed=changed)
        if changed:
            told = {name: after if one == before else one for name, one in told.items()}
            answer = answer.with_body(msgspec.json.encode(told))
        await answer_with(call.send, answer)

    async def _xml(self, call: Call) -> None:
        self.tell(call)
        # Whoever does not ask for JSON is given XML (tradier.md, section 1).
        headers = [one for one in call.scope["headers"] if one[0].lower() != b"accept"]
        await self._app({**call.scope, "headers": headers}, replayed(call.seen.raw, call.receive), call.send)

    async def _rollover(self, call: Call) -> None:
        try:
            await self._exchange.roll_day()
        except BrokerError as error:
            self.tell(call, broke=str(error))
        else:
            self.tell(call)
        await self._app(call.scope, replayed(call.seen.raw, call.receive), call.send)
