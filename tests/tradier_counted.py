"""A simulated Tradier that counts strictly in short minutes, whose every answer is kept beside what it wrote down itself."""

import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from paiid.core.clock import SystemClock
from paiid.sim.engine.serve import running
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN
from paiid.sim.tradier.app import LEDGER_FILE, SimApp
from paiid.sim.tradier.world import SimWish, opened
from paiid.wires.tradier.wire import Bucket, bucket_of

__all__ = ["LIMIT", "Answered", "CountedTradier", "counted_tradier", "most_at_once"]

LIMIT = 60
"""Requests of each bucket in a window."""
_API = "/v1"


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer to a request of the REST API. `used` is what its header says of the bucket's window."""

    method: str
    path: str
    status: int
    bucket: Bucket
    used: int


@dataclass
class CountedTradier:
    """The simulator's app, which notes what it answers. `url` and `directory` are where it runs."""

    sim: SimApp
    directory: Path
    url: str = ""
    answers: list[Answered] = field(default_factory=list)

    def begin_stop(self) -> None:
        self.sim.begin_stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"].startswith(_API):
                self._note(scope, message)
            await send(message)

        await self.sim(scope, receive, noting)

    def _note(self, scope: Scope, message: Message) -> None:
        path = scope["path"].removeprefix(_API)
        used = Headers(raw=message["headers"]).get("x-ratelimit-used", "0")
        bucket = bucket_of(scope["method"], path)
        self.answers.append(Answered(scope["method"], path, message["status"], bucket, int(used)))

    def failed_submits(self) -> int:
        """How many orders it answered with 500, as it does when it waits too long for its own books on a busy machine."""
        return sum(
            one.method == "POST" and one.path.endswith("/orders") and one.status >= 500
            for one in self.answers
        )

    def environ(self) -> dict[str, str]:
        """What makes a server use it for everything."""
        return {
            "TESTING": "false",
            "BROKER": "tradier",
            "MARKET_DATA": "tradier",
            "TRADIER_API_KEY": DEFAULT_TOKEN,
            "TRADIER_API_BASE_URL": self.url + _API,
        }

    def settings(self) -> dict[str, Any]:
        """The same for a service in the test's process."""
        return {
            "testing": False,
            "broker": "tradier",
            "market_data": "tradier",
            "tradier_api_key": DEFAULT_TOKEN,
            "tradier_api_base_url": self.url + _API,
            "tradier_stream_url": self.url.replace("http", "ws", 1) + _API,
        }

    def refused(self, method: str = "", path: str = "") -> list[Answered]:
        """Requests that came when the window was full, all or those whose path ends so."""
        found = [one for one in self.answers if one.status == 429 and one.path.endswith(path)]
        return [one for one in found if method in ("", one.method)]

    def most_used(self) -> dict[Bucket, int]:
        """The fullest window of each bucket."""
        most: dict[Bucket, int] = {}
        for one in self.answers:
            most[one.bucket] = max(most.get(one.bucket, 0), one.used)
        return most

    async def spend_by_hand(self) -> None:
        """Past everybody: what is left of the window for orders, with cancels of orders that there are not."""
        headers = {"authorization": f"Bearer {DEFAULT_TOKEN}", "accept": "application/json"}
        async with httpx2.AsyncClient(
            base_url=self.url, trust_env=False, verify=False, headers=headers
        ) as client:
            status = 0
            while status != 429:
                status = (await client.delete(f"{_API}/accounts/{DEFAULT_ACCOUNT}/orders/1")).status_code

    def fault(self, kind: str, **wish: Any) -> None:
        """Put a fault in force."""
        self.sim.faults.add({"kind": kind, **wish})

    def ledger(self, *kinds: str) -> list[dict[str, Any]]:
        """What it has written down, of these kinds or all."""
        lines = (self.directory / LEDGER_FILE).read_bytes().split(b"\n")[:-1]
        entries = [json.loads(line) for line in lines]
        return [one for one in entries if not kinds or one["kind"] in kinds]

    def submitted(self) -> list[dict[str, Any]]:
        """Requests for an order that have come, answered or not."""
        return [
            one
            for one in self.ledger("request")
            if one["method"] == "POST" and one["path"].endswith("/orders")
        ]

    def asked_for(self, *symbols: str) -> list[dict[str, Any]]:
        """Questions for the quotes of all of these together."""
        asked = [one for one in self.ledger("request") if one["path"] == "/v1/markets/quotes"]
        return [one for one in asked if set(symbols) <= set(str(one["query"].get("symbols")).split(","))]

    def placed(self) -> Counter[str]:
        """How often an order with each tag was taken."""
        return Counter(str(one["tag"]) for one in self.ledger("order_accepted"))

    @property
    def listeners(self) -> tuple[int, int]:
        """Who listens to the market, and to the account."""
        return (
            self.sim.markets.connections.get(DEFAULT_ACCOUNT, 0),
            self.sim.stream.connections.get(DEFAULT_ACCOUNT, 0),
        )

    def most_listening(self) -> tuple[int, int]:
        """The most that there have been at the same time, of the market and of the account."""
        market = most_at_once(self.ledger("data_subscribe", "data_end"), "data_end")
        taken = [one for one in self.ledger("stream_connect") if one["outcome"] == "connected"]
        ended = self.ledger("stream_end")
        account = most_at_once(sorted([*taken, *ended], key=lambda one: int(one["seq"])), "stream_end")
        return market, account


def most_at_once(entries: Iterable[dict[str, Any]], end: str) -> int:
    """By the ledger: the most connections that were there together; the entries of this kind end one."""
    there: set[int] = set()
    most = 0
    for one in entries:
        if one["kind"] == end:
            there.discard(one["connection"])
        else:
            there.add(one["connection"])
        most = max(most, len(there))
    return most


@asynccontextmanager
async def counted_tradier(
    directory: Path, template: Path, *, window_s: float, limit: int = LIMIT, **wish: Any
) -> AsyncIterator[CountedTradier]:
    """On a socket, with books of its own in this directory; `wish` is more of `SimWish`."""
    directory.mkdir(parents=True)
    shutil.copy(template, directory / "sim.db")
    wanted = SimWish(
        directory, **{"rate_limit": limit, "rate_window_s": window_s, "partial_fills": 0.0, **wish}
    )
    async with opened(wanted, SystemClock()) as sim:
        counted = CountedTradier(sim, directory)
        async with running(counted) as url:
            counted.url = url
            yield counted
