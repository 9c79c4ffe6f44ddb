"""Alpaca's wire in the other forms that its reference does not settle: between the socket and the simulator the same
things are said in other words."""

import json
from collections.abc import Callable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from paiid.sim.alpaca.app import SimApp

Json = dict[str, Any]


class Accent:
    """How one server words things; each method gets what the simulator says and gives what goes out."""

    text_frames = False

    def order(self, told: Json) -> Json:
        """An order object, an exit's or a leg's too."""
        return told

    def account(self, told: Json) -> Json:
        """`GET /v2/account`."""
        return told

    def position(self, told: Json) -> Json:
        """A row of `GET /v2/positions`."""
        return told

    def activity(self, told: Json) -> Json:
        """A row of `GET /v2/account/activities`."""
        return told

    def events(self, told: Json) -> list[Json]:
        """A trade update, `order` in it already worded: none, one or more."""
        return [told]

    def answer(self, method: str, status: int, body: Any) -> tuple[int, Any]:
        """A whole answer."""
        return status, body

    def anything(self, told: Any) -> Any:
        """Whatever goes out, at last."""
        return told


class Dialect:
    """The app with an accent. It runs in place of the simulator."""

    def __init__(self, sim: SimApp, accent: Accent) -> None:
        self._sim = sim
        self._accent = accent
        self.is_heard = False
        """Whether anything has gone out otherwise than the simulator said it."""

    def begin_stop(self) -> None:
        """As the simulator's own."""
        self._sim.begin_stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._sim(scope, receive, self._answering(scope, send))
        elif scope["type"] == "websocket":
            await self._sim(scope, receive, self._telling(send))
        else:
            await self._sim(scope, receive, send)

    def _answering(self, scope: Scope, send: Send) -> Send:
        start: Message = {}
        content = bytearray()

        async def gather(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            content.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            body = json.loads(content) if content else None
            status, told = self._accent.answer(
                scope["method"], start["status"], self._worded(scope["path"], start["status"], body)
            )
            told = self._accent.anything(told)
            self.is_heard |= (status, told) != (start["status"], body)
            out = b"" if told is None else json.dumps(told).encode()
            headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            if status != 204:
                headers.append((b"content-length", str(len(out)).encode()))
            await send({**start, "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": out})

        return gather

    def _worded(self, path: str, status: int, body: Any) -> Any:
        if not 200 <= status < 300:
            return body
        rows = {
            "/v2/account": self._accent.account,
            "/v2/positions": self._accent.position,
            "/v2/account/activities": self._accent.activity,
        }.get(path, self._order if path.startswith("/v2/orders") else _as_it_is)
        if isinstance(body, list):
            # Rows of a cancel of everything are no orders.
            return [rows(one) if "status" not in one or len(one) > 3 else one for one in body]
        return rows(body) if isinstance(body, dict) else body

    def _order(self, told: Json) -> Json:
        legs = told.get("legs")
        return self._accent.order({**told, "legs": legs and [self._accent.order(leg) for leg in legs]})

    def _telling(self, send: Send) -> Send:
        async def tell(message: Message) -> None:
            if message["type"] != "websocket.send":
                await send(message)
                return
            said = json.loads(message.get("bytes") or message.get("text") or "null")
            for one in self._said(said):
                text = json.dumps(self._accent.anything(one))
                form = {"text": text} if self._accent.text_frames else {"bytes": text.encode()}
                await send({"type": "websocket.send", **form})

        return tell

    def _said(self, message: Json) -> list[Json]:
        if message.get("stream") != "trade_updates":
            return [message]
        data = {**message["data"], "order": self._order(message["data"]["order"])}
        return [{"stream": "trade_updates", "data": one} for one in self._accent.events(data)]


def _as_it_is(told: Json) -> Json:
    return told


def everywhere(told: Any, change: Callable[[str, Any], Any], name: str = "") -> Any:
    """The same with every value changed, which is known by its field's name."""
    if isinstance(told, dict):
        return {key: everywhere(value, change, key) for key, value in told.items()}
    if isinstance(told, list):
        return [everywhere(one, change, name) for one in told]
    return change(name, told)
