"""One request to Alpaca and what its end means: a yes, a definite no, never sent, or unknown (contracts E10, E11)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import structlog

from paiid.brokers import NotSent, OutcomeUnknown
from paiid.brokers.alpaca.keys import AlpacaKeys
from paiid.brokers.alpaca.refusals import failure, without
from paiid.wires.alpaca.wire import AlpacaWire, trading_budget
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governor, Governors, Priority, Spent
from paiid.wires.outbound import Broken, NotBegun, TooLong
from paiid.wires.outbound import Reply as RawReply

OBJECT_CAP = 1 << 20
LIST_CAP = 8 << 20
_BACKGROUND = 4
"""Background reads at once: the other connections are for orders."""
_NEVER_AGAIN = ("POST", "PATCH")
"""What was refused with 429 is a no (E11), and for orders it stays one."""
_log = structlog.get_logger("paiid.alpaca")


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx with its parsed body; None where it had none. Numbers in it are texts: the digits as they were sent."""

    status: int
    data: object


class Unreadable(Exception):
    """No JSON."""


class Wire:
    """The connections of one pair of keys to the trading host."""

    def __init__(
        self,
        keys: AlpacaKeys,
        governors: Governors,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.keys = keys
        self._wire = AlpacaWire(
            keys.key_id,
            keys.secret,
            keys.api_url,
            trading_budget(governors, keys.key_id),
            transport=transport,
        )
        self._background = asyncio.Semaphore(_BACKGROUND)

    @property
    def governor(self) -> Governor:
        """The budget of the account."""
        return self._wire.governor

    async def send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        priority: Priority,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        cap: int = OBJECT_CAP,
        wait_s: float | None = None,
    ) -> Reply:
        """One request, within what is left of the deadline. Reads and cancels that are refused with 429 are asked again once there is
        a place, within the deadline; nothing else is sent twice. Raises BrokerRejected, NotSent (also without budget), OutcomeUnknown.
        """
        if priority is not Priority.BACKGROUND:
            return await self._send(method, path, deadline, priority, query, body, cap, wait_s)
        try:
            async with asyncio.timeout(max(0.0, deadline.left_s)):
                await self._background.acquire()
        except TimeoutError:
            raise NotSent("other reads were in the way until the time was up") from None
        try:
            return await self._send(method, path, deadline, priority, query, body, cap, wait_s)
        finally:
            self._background.release()

    async def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        priority: Priority,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        cap: int,
        wait_s: float | None,
    ) -> Reply:
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        refused: RawReply | None = None
        while True:
            try:
                reply = await self._wire.send(
                    method,
                    path,
                    deadline,
                    priority=priority,
                    query=query,
                    json_body=content,
                    cap=cap,
                    wait_s=wait_s,
                )
            except Spent as spent:
                if refused is not None:
                    return self._judge(method, path, refused)
                raise NotSent(str(spent)) from None
            except NotBegun as problem:
                raise NotSent(str(problem)) from None
            except TooLong as problem:
                _log.error("alpaca_answer_too_long", method=method, path=path, cap=cap)
                raise OutcomeUnknown(str(problem)) from None
            except Broken as problem:
                raise OutcomeUnknown(str(problem)) from None
            if reply.status != 429 or method in _NEVER_AGAIN:
                return self._judge(method, path, reply)
            refused = reply

    def _judge(self, method: str, path: str, reply: RawReply) -> Reply:
        status = reply.status
        try:
            data, readable = parse(reply.content), True
        except Unreadable:
            data, readable = None, False
        if 200 <= status < 300:
            if not readable:
                _log.error("alpaca_answer_unreadable", method=method, path=path, status=status)
                raise OutcomeUnknown(f"the broker answered {status} with something unreadable")
            return Reply(status, data)
        if 300 <= status < 400:
            _log.error("alpaca_redirect_refused", method=method, path=path, status=status)
        elif status in (401, 429) or status >= 500:
            _log.warning("alpaca_refused", keys=self.keys.label, method=method, path=path, status=status)
        raise without((self.keys.secret, self.keys.key_id), failure(method, status, data, readable=readable))

    async def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        await self._wire.close()


def parse(content: bytes) -> object:
    """JSON, its numbers as texts so that no digit is lost and none is too many; None for an empty body.

    Raises Unreadable for what is no JSON. NaN and the like are null.
    """
    if not content.strip():
        return None
    try:
        return _DECODER.decode(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unreadable from None


_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda _: None)
