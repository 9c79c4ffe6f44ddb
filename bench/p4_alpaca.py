"""P4A: the time we add to an order at Alpaca, against a bare HTTP client that posts the same order to the same simulator.

Both take turns, order by order, in one loop and with the same client library, so that what the machine does
meanwhile meets both. The order ends unfilled at once (immediate or cancel, far from the market), as in P4.
"""

import asyncio
import http.client
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from bench.figures import Say, Series, goal, row
from bench.processes import START_S, Process, cores, pinned
from bench.service import Service
from cluster.ports import free_port

KEY_ID, SECRET = "PKTESTBENCH000000001", "test-secret-bench-0000000000000000000001"
SYMBOL, LIMIT = "AAPL", 100
_PAUSE_S = 0.004
"""Between two orders, so that what the order before still causes (its updates) is not counted as the next one's."""
_OUT_OF_REACH = 100_000
"""Requests a minute; a limit of 0 would not be told, and the adapter would go by the 200 it knows of."""
Ask = Callable[[httpx2.AsyncClient, str], Awaitable[httpx2.Response]]


@dataclass
class _Way:
    """One way of placing the order, and what it took in a round."""

    name: str
    ask: Ask
    accepted: Callable[[Any], bool]
    p50: Series = field(init=False)
    p99: Series = field(init=False)
    _took_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.p50, self.p99 = Series(self.name, "ms p50"), Series(self.name, "ms p99")

    async def place(self, client: httpx2.AsyncClient, name: str) -> None:
        """One order. Raises RuntimeError where it is not taken: a refusal is not a fast order."""
        began_s = time.perf_counter()
        answer = await self.ask(client, name)
        self._took_s.append(time.perf_counter() - began_s)
        if answer.status_code != 200 or not self.accepted(answer.json()):
            raise RuntimeError(f"{self.name}: {answer.status_code} {answer.text[:600]}")

    def end_round(self, *, count: bool) -> None:
        """Keep the round's figures, or only forget it."""
        taken = sorted(self._took_s)
        if count:
            self.p50.add(quantile_ms(taken, 0.50))
            self.p99.add(quantile_ms(taken, 0.99))
        self._took_s.clear()


def quantile_ms(ordered_s: list[float], share: float) -> float:
    """Of seconds in order, in milliseconds."""
    return ordered_s[min(len(ordered_s) - 1, int(len(ordered_s) * share))] * 1000


def added(ours: Series, bare: Series, unit: str) -> Series:
    """Ours less the bare call, round by round."""
    return Series("added", unit, [a - b for a, b in zip(ours.values, bare.values, strict=True)])


def bare_order(simulator: str) -> Ask:
    """A POST of the order as Alpaca wants it, with keys and an id of its own."""
    keys = {"APCA-API-KEY-ID": KEY_ID, "APCA-API-SECRET-KEY": SECRET}

    def ask(client: httpx2.AsyncClient, name: str) -> Awaitable[httpx2.Response]:
        body = {
            "symbol": SYMBOL, "side": "buy", "qty": "1", "type": "limit", "limit_price": str(LIMIT),
            "time_in_force": "ioc", "client_order_id": name,
        }  # fmt: skip
        return client.post(f"{simulator}/v2/orders", json=body, headers=keys)

    return ask


def our_order(service: str, token: str) -> Ask:
    """The same order as an `execute`."""
    order = {
        "symbol": SYMBOL, "side": "buy", "qty": 1, "type": "limit", "limit_price": LIMIT, "time_in_force": "ioc",
    }  # fmt: skip

    def ask(client: httpx2.AsyncClient, name: str) -> Awaitable[httpx2.Response]:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": name}
        return client.post(f"{service}/api/trading/execute", json={"orders": [order]}, headers=headers)

    return ask


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether every goal is reached."""
    say("P4A latency added by us at Alpaca (the simulator, no limit on requests), one order after the other")
    on_server, on_load = cores()
    port = free_port()
    simulator = Process(
        "p4a-sim",
        ["-m", "paiid", "sim", "alpaca", "--port", str(port), "--data", str(directory / "sim"), "--rate-limit",
         str(_OUT_OF_REACH), "--partial-fills", "0", "--key", f"{KEY_ID}:{SECRET}"],
        directory, on=on_load,
    )  # fmt: skip
    service: Service | None = None
    try:
        simulator.wait_listening(port)
        url = f"http://127.0.0.1:{port}"
        environ = {
            "TESTING": "false", "ALPACA_PAPER_API_KEY": KEY_ID, "ALPACA_PAPER_SECRET_KEY": SECRET,
            "ALPACA_API_BASE_URL": url,
        }  # fmt: skip
        database = f"sqlite:///{directory}/p4a.db"
        service = Service("p4a-ours", database, directory, broker="settings", on=on_server, environ=environ)
        service.wait_ready()
        service.settled(SYMBOL)
        token = service.sign_in()
        wait_reconciled(service.port, token)
        bare = _Way("bare httpx2 client", bare_order(url), lambda told: "id" in told)
        here = f"http://127.0.0.1:{service.port}"
        ours = _Way("execute, SQLite", our_order(here, token), lambda told: told["accepted"] is True)
        with pinned(on_load):
            asyncio.run(_measure(bare, ours, seconds, rounds))
    finally:
        if service is not None:
            service.process.stop()
        simulator.stop()
    p50, p99 = added(ours.p50, bare.p50, "ms p50"), added(ours.p99, bare.p99, "ms p99")
    row(say, "limit", bare.name, bare.p50, bare.p99)
    row(say, "ours", ours.name, ours.p50, ours.p99)
    row(say, "ours", "added to the bare call", p50, p99)
    met = [goal(say, "added, p50", p50, 3.0, at_most=True), goal(say, "added, p99", p99, 10.0, at_most=True)]
    return all(met)


async def _measure(bare: _Way, ours: _Way, seconds: float, rounds: int) -> None:
    run_id = secrets.token_hex(4)
    names = (f"bench-{run_id}-{number:07d}" for number in itertools.count())
    # One client each: neither waits for a connection that the other has.
    async with httpx2.AsyncClient(trust_env=False) as theirs, httpx2.AsyncClient(trust_env=False) as mine:
        for number in range(rounds + 1):
            # The first round opens connections and is not counted.
            end_s = time.perf_counter() + (seconds if number else min(1.0, seconds))
            while True:
                await bare.place(theirs, next(names))
                await asyncio.sleep(_PAUSE_S)
                await ours.place(mine, next(names))
                await asyncio.sleep(_PAUSE_S)
                if time.perf_counter() >= end_s:
                    break
            bare.end_round(count=number > 0)
            ours.end_round(count=number > 0)


def wait_reconciled(port: int, token: str) -> None:
    """Until the account is there and its books agree with the simulator's. Raises RuntimeError."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/api/account", headers={"Authorization": f"Bearer {token}"})
            told = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if told.get("broker") == "alpaca" and told.get("reconciled_at") is not None:
            return
        time.sleep(0.1)
    raise RuntimeError(f"the account at the simulator is not there: {told}")
