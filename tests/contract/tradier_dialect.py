"""Tradier's wire in other words: between the socket and the simulator the same things are said as its reference also allows, or leaves
unconfirmed (tradier.md, sections 3, 5.3, 6.6, 7 and 9.5)."""

import json
import re
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.sim.tradier.app import SimApp

Json = dict[str, Any]
_ORDERS = re.compile(r"/v1/accounts/[^/]+/orders(?:/[0-9]+)?\Z", re.ASCII)
_POSITIONS = re.compile(r"/v1/accounts/[^/]+/positions\Z", re.ASCII)
_WAITS = ("oto", "otoco")
_COUNTS = ("quantity", "exec_quantity", "remaining_quantity", "last_fill_quantity")


class OtherWords:
    """The app with an accent. It runs in place of the simulator."""

    def __init__(self, sim: SimApp) -> None:
        self._sim = sim

    def begin_stop(self) -> None:
        """As the simulator's own."""
        self._sim.begin_stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._sim
        if scope["type"] == "http" and scope["method"] == "GET" and _ORDERS.match(scope["path"]):
            send = _answering(send, _orders)
        elif scope["type"] == "http" and _POSITIONS.match(scope["path"]):
            send = _answering(send, _positions)
        elif scope["type"] == "websocket":
            send = _telling(send)
        await app(scope, receive, send)


def _answering(send: Send, worded: Callable[[Json], Json]) -> Send:
    """Words the JSON of a 200; every other answer goes out as it is."""
    start: Message = {}
    content = bytearray()

    async def gather(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        content.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        out = json.dumps(worded(json.loads(content))).encode() if start["status"] == 200 else bytes(content)
        headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        headers.append((b"content-length", str(len(out)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": out})

    return gather


def _telling(send: Send) -> Send:
    """Words the events of the account stream, which have older names too."""

    async def tell(message: Message) -> None:
        text = message.get("text") if message["type"] == "websocket.send" else None
        if text is not None and (event := json.loads(text)).get("event") == "order":
            event["executed_quantity"] = event.pop("exec_quantity", 0)
            event["account_number"] = event.pop("account", None)
            message = {**message, "text": json.dumps(event) + "\n"}
        await send(message)

    return tell


def _orders(told: Json) -> Json:
    """The newest first, and one that is asked for alone as it stands in the list."""
    if "order" in told:
        return {"order": _order(told["order"])}
    rows = told["orders"]
    if not isinstance(rows, dict):
        return {"orders": {}}
    found = rows["order"]
    return {
        "orders": {
            "order": [_order(one) for one in reversed(found)] if isinstance(found, list) else _order(found)
        }
    }


def _order(told: Json) -> Json:
    """Whole numbers, 0 for a price that there is not, fields that nobody knows; a group says of itself next to nothing, and its
    exits are `held` until its entry has filled."""
    said = {**told, **{name: _whole(told[name]) for name in _COUNTS if name in told}}
    said |= {name: said.get(name, 0) for name in ("price", "stop_price")}
    said |= {"routing": {"leg": [1, None]}, "reason_code": None}
    legs = told.get("leg")
    if isinstance(legs, list):
        said["leg"] = [_order(one) for one in legs]
        if told["class"] in _WAITS and legs[0]["status"] != "filled":
            said["leg"][1:] = [_held(one) for one in said["leg"][1:]]
        said |= {"strategy": told["strategy"].replace("_", " ")}
        if told["class"] != "multileg":
            said |= {"symbol": None, "side": "null", "type": "", "exec_quantity": 0, "avg_fill_price": 0}
    return said


def _held(leg: Json) -> Json:
    return {**leg, "status": "held"} if leg["status"] == "pending" else leg


def _positions(told: Json) -> Json:
    """Costs without a sign."""
    rows = told["positions"]
    if not isinstance(rows, dict):
        return {"positions": {}}
    found = rows["position"]
    return {
        "positions": {
            "position": [_held_there(one) for one in found] if isinstance(found, list) else _held_there(found)
        }
    }


def _held_there(row: Json) -> Json:
    return {**row, "cost_basis": abs(row["cost_basis"]), "description": "null"}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value
