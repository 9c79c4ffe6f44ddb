"""A client of the service: signs in, executes with a key that is on disk before it is sent, follows streams and resumes them.

    async with PaiidClient("http://127.0.0.1:8000", key_file="bot-keys.jsonl") as paiid:
        await paiid.sign_in("owner@localhost", password)
        await paiid.recover()                    # what an earlier run began and did not finish
        async with paiid.stream(["account", "quotes:AAPL"]) as events:
            done = await paiid.execute([NewOrder(symbol="AAPL", side="buy", qty=10)])
            async for event in events:
                ...

It imports nothing of the service.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import httpx2

from paiid.client.errors import (
    ApiError,
    ClientError,
    FieldProblem,
    KeyFileError,
    SignedOut,
    StillUnknown,
    Unreachable,
)
from paiid.client.keyfile import KeyFile
from paiid.client.orders import Execution, NewOrder, Order, decode
from paiid.client.session import Session, checked
from paiid.client.stream import Stream, StreamEvent

__all__ = [
    "ApiError", "ClientError", "Execution", "FieldProblem", "KeyFile", "KeyFileError", "NewOrder", "Order",
    "PaiidClient", "SignedOut", "StillUnknown", "Stream", "StreamEvent", "Unreachable",
]  # fmt: skip

PATIENCE_S = 60.0
"""How long an execute is followed before it is left to `recover`."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


class PaiidClient:
    """One user of one service. Without `key_file` keys are kept in memory only: a crash then loses what is in doubt."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        key_file: str | Path | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.session = Session(base_url, token, transport)
        self._keys = KeyFile(key_file) if key_file is not None else None
        self._streams: WeakSet[Stream] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let connections and the file of keys go."""
        for stream in list(self._streams):
            await stream.close()
        await self.session.close()
        if self._keys is not None:
            self._keys.close()

    async def sign_in(self, email: str, password: str) -> None:
        """Begin a session, which refreshes itself. Raises ApiError, Unreachable."""
        await self.session.sign_in(email, password)

    async def sign_out(self) -> None:
        """End all sessions of the user."""
        await self.session.sign_out()

    # -- orders -------------------------------------------------------------------------------------

    async def execute(
        self,
        orders: Sequence[NewOrder],
        *,
        account: str | None = None,
        key: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Execution:
        """Place 1 to 10 orders, once. The key is on disk before the first byte goes out; the same call with the same key gives the
        same answer.

        Raises ApiError where nothing was executed and the key is free again (422, 403 …); Unreachable or StillUnknown where the key
        is kept: `recover` follows it.
        """
        body: dict[str, Any] = {"orders": [one.as_json() for one in orders]}
        if account is not None:
            body["account"] = account
        chosen = key or f"py-{secrets.token_hex(12)}"
        if self._keys is not None:
            self._keys.begin(chosen, body)
        return await self._follow(chosen, body, patience_s)

    async def dry_run(self, orders: Sequence[NewOrder], *, account: str | None = None) -> Execution:
        """What would happen, and why not."""
        body: dict[str, Any] = {"orders": [one.as_json() for one in orders], "dryRun": True}
        if account is not None:
            body["account"] = account
        answer = checked(await self.session.request("POST", "/api/trading/execute", body))
        return Execution.read(None, answer.content, False)

    async def recover(self, patience_s: float = PATIENCE_S) -> list[Execution]:
        """The answers to all that was begun and not finished, by this run or one before: sent again under its key, oldest first.
        What the service refuses outright is dropped. Raises Unreachable, StillUnknown."""
        found = []
        for key, body in self._keys.pending.items() if self._keys is not None else ():
            try:
                found.append(await self._follow(key, body, patience_s))
            except SignedOut:
                raise
            except ApiError:
                continue
        return found

    async def _follow(self, key: str, body: Mapping[str, Any], patience_s: float) -> Execution:
        """Ask until there is a final answer: the same request under the same key is always safe."""
        loop = asyncio.get_running_loop()
        end, pause_s = loop.time() + patience_s, _FIRST_PAUSE_S
        unknown = False
        while True:
            try:
                answer = await self.session.request(
                    "POST", "/api/trading/execute", body, {"idempotency-key": key}
                )
            except Unreachable:
                answer = None
            if answer is not None:
                unknown = answer.status_code in (202, 409)
                if answer.status_code in (200, 423):
                    self._finished(key)
                    return Execution.read(key, answer.content, "idempotency-replayed" in answer.headers)
                if not _again(answer):
                    # Nothing was executed. A session can be had again, so its key waits for that.
                    if answer.status_code != 401:
                        self._finished(key)
                    checked(answer)
                pause_s = max(pause_s, _retry_after_s(answer))
            if loop.time() + pause_s > end:
                raise (
                    StillUnknown(key)
                    if unknown
                    else Unreachable(f"no final answer for {key}; recover it later")
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _finished(self, key: str) -> None:
        if self._keys is not None:
            self._keys.finish(key)

    # -- reads --------------------------------------------------------------------------------------

    async def get(self, path: str, **params: str) -> Any:
        """Any GET, decoded with exact decimals. Raises ApiError, Unreachable."""
        query = "?" + str(httpx2.QueryParams(params)) if params else ""
        return decode(checked(await self.session.request("GET", path + query)).content)

    async def positions(self, account: str | None = None) -> list[dict[str, Any]]:
        """What an account holds."""
        found: list[dict[str, Any]] = await self.get("/api/portfolio/positions", **_named(account))
        return found

    async def quotes(self, *symbols: str) -> list[dict[str, Any]]:
        """The newest quotes."""
        found: list[dict[str, Any]] = await self.get("/api/market/quotes", symbols=",".join(symbols))
        return found

    async def order(self, order_id: str) -> Order:
        """One order."""
        return Order.read(await self.get(f"/api/trading/orders/{order_id}"))

    async def cancel(self, order_id: str) -> Order:
        """Ask for the end of an order. Raises ApiError."""
        found = checked(await self.session.request("DELETE", f"/api/trading/orders/{order_id}"))
        return Order.read(decode(found.content)["order"])

    async def halt(self, reason: str) -> dict[str, Any]:
        """Stop all trading that you may stop. Raises ApiError, Unreachable."""
        answer = await self.session.request("POST", "/api/admin/kill", {"halt": True, "reason": reason})
        found: dict[str, Any] = decode(checked(answer).content)
        return found

    # -- streams ------------------------------------------------------------------------------------

    def stream(
        self,
        channels: Iterable[str],
        *,
        resume: Mapping[str, str] | None = None,
        on_reset: Callable[[StreamEvent], Awaitable[None]] | None = None,
    ) -> Stream:
        """Events of these channels (`account`, `quotes:AAPL`, `portfolio`, `halts`, `feed`) as they come, over every reconnection, each once and
        in order. `resume` is `Stream.places` of an earlier run."""
        stream = Stream(self.session, list(channels), resume or {}, on_reset)
        self._streams.add(stream)
        return stream


def _again(answer: httpx2.Response) -> bool:
    return answer.status_code in (202, 408, 409, 425, 429, 502, 503, 504) or answer.status_code == 500


def _retry_after_s(answer: httpx2.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return min(float(text), _LONGEST_PAUSE_S) if text.isdigit() else 0.0


def _named(account: str | None) -> dict[str, str]:
    return {} if account is None else {"account": account}
