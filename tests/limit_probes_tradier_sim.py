"""The probes of docs/limits.md that are about the simulated Tradier."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from itertools import islice, product
from pathlib import Path
from string import ascii_uppercase
from typing import Any
from urllib.parse import urlencode

import httpx2
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from paiid.sim.tradier.markets.listener import Listener
from paiid.sim.tradier.markets.sessions import Sessions
from paiid.sim.tradier.markets.side import MarketOptions
from paiid.sim.tradier.rate import SANDBOX_LIMITS, RateLimits
from tests.fake_clock import FakeClock
from tests.limit_probes import Outcome, Probed, outcome, probe
from tests.sim_tradier_world import TradierWorld, simulated, until

Ask = Callable[[TradierWorld, int], Awaitable[httpx2.Response]]
SESSION = "/v1/markets/events/session"
EVENTS = "/v1/markets/events"
ORDER = {
    "class": "equity", "symbol": "AAPL", "side": "buy", "quantity": "1", "type": "limit", "price": "1.00",
    "duration": "day",
}  # fmt: skip


@asynccontextmanager
async def simulator(probed: Probed, **options: Any) -> AsyncIterator[TradierWorld]:
    """One over the database that is there: books of the simulated venue and the ledger are different tables."""
    settings = probed.app.settings
    directory = Path(settings.data_dir) / "sim"
    directory.mkdir()
    async with simulated(str(settings.database_url), directory, **options) as world:
        yield world


def _tickers(count: int) -> list[str]:
    return ["".join(letters) for letters in islice(product(ascii_uppercase, repeat=3), count)]


# -- requests -----------------------------------------------------------------------------------------


def _request(name: str, ask: Ask) -> None:
    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        async with simulator(probed) as world:
            return outcome(await ask(world, limit)), outcome(await ask(world, limit + 1))

    probe(name)(found)


async def _post(world: TradierWorld, content: str) -> httpx2.Response:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return await world.client.post(world.orders_path, content=content, headers=kind)


async def _body(world: TradierWorld, size: int) -> httpx2.Response:
    """An order in a form of exactly so many bytes."""
    form = urlencode(ORDER) + "&more="
    return await _post(world, form + "x" * (size - len(form)))


async def _fields(world: TradierWorld, count: int) -> httpx2.Response:
    more = {f"more{number}": "x" for number in range(count - len(ORDER))}
    return await _post(world, urlencode({**ORDER, **more}))


async def _days(world: TradierWorld, count: int) -> httpx2.Response:
    last = date(2026, 11, 25)
    first = last - timedelta(days=count - 1)
    return await world.client.get(f"{world.orders_path}?filter=all&start={first}&end={last}")


async def _asked_for(world: TradierWorld, count: int) -> httpx2.Response:
    return await world.send("POST", "/v1/markets/quotes", {"symbols": ",".join(_tickers(count))})


_request("sim-tradier-body", _body)
_request("sim-tradier-fields", _fields)
_request("sim-tradier-quantity", lambda w, n: w.send("POST", w.orders_path, {**ORDER, "quantity": n}))
_request("sim-tradier-tag", lambda w, n: w.send("POST", w.orders_path, {**ORDER, "tag": "a" * n}))
_request("sim-tradier-page", lambda w, n: w.client.get(f"{w.orders_path}?limit={n}"))
_request("sim-tradier-days", _days)
_request("sim-tradier-symbols", _asked_for)
_request("sim-tradier-token", lambda w, n: w.client.post("/sim/accounts", json={"token": "a" * n}))


def _rate(name: str, method: str, path: str, **options: Any) -> None:
    """A bucket whose limit nobody has changed: the request after so many others."""

    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        async with simulator(probed, **{"limits": RateLimits(), **options}) as world:
            where = path.replace("ORDERS", world.orders_path)
            answers = [outcome(await world.send(method, where)) for _ in range(limit + 1)]
        assert "429" not in answers[:limit]
        return answers[limit - 1], answers[limit]

    probe(name)(found)


_rate("sim-tradier-rate", "GET", "/v1/user/profile")
_rate("sim-tradier-rate-data", "GET", "/v1/markets/clock")
_rate("sim-tradier-rate-orders", "POST", "ORDERS")
_rate("sim-tradier-rate-sandbox", "GET", "/v1/user/profile", sandbox=True, limits=SANDBOX_LIMITS)


# -- streams ------------------------------------------------------------------------------------------


async def _session(world: TradierWorld) -> tuple[str, str]:
    """Status, and the id of a new session."""
    answer = await world.send("POST", SESSION)
    return outcome(answer), answer.json()["stream"]["sessionid"] if answer.status_code == 200 else ""


@probe("sim-tradier-sessions")
async def _streams(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async with simulator(probed) as world:

        async def opened(left: int) -> Outcome:
            status, session = await _session(world)
            if status != "200":
                return status
            if left == 1:
                return "open"
            async with connect(world.url.replace("http", "ws") + EVENTS, proxy=None) as socket:
                await socket.send(f'{{"symbols":["AAPL"],"sessionid":"{session}"}}')

                async def streams() -> bool:
                    return bool(world.sim.markets.connections)

                await until(streams)
                return await opened(left - 1)

        return await opened(limit), await opened(limit + 1)


@probe("sim-tradier-session-seconds")
async def _session_seconds(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    for waited_s in (limit - 0.001, limit):
        clock = FakeClock()
        sessions = Sessions(clock)
        session = sessions.create("VA00000001", MarketOptions().session_s)
        clock.advance(waited_s)
        found.append("open" if sessions.find(session) else "error `invalid session`")
    return found[0], found[1]


@probe("sim-tradier-streamed")
async def _streamed(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    async with simulator(probed) as world:
        for count in (limit, limit + 1):
            form = {"sessionid": (await _session(world))[1], "symbols": ",".join(_tickers(count))}
            async with world.client.stream("POST", EVENTS, data=form) as answer:
                found.append(str(answer.status_code))

            async def ended() -> bool:
                return not world.sim.markets.connections

            await until(ended)
    return found[0], found[1]


@probe("sim-tradier-frame")
async def _frame(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    async with simulator(probed) as world:
        for size in (limit, limit + 1):
            async with connect(world.url.replace("http", "ws") + EVENTS, proxy=None) as socket:
                await socket.send("x" * size)
                try:
                    await socket.recv()
                    found.append("error")
                except ConnectionClosed as closed:
                    found.append(f"closed with {closed.rcvd.code if closed.rcvd else 'nothing'}")
    return found[0], found[1]


class _Tick:
    """Stands for a message that waits to be sent."""

    def encoded(self) -> bytes:
        return b"{}"


@probe("sim-tradier-queue")
async def _queue(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    listener = Listener(1, None, MarketOptions().max_queue)
    found = []
    for _ in range(limit + 1):
        listener.hear(_Tick())  # type: ignore[arg-type]
        found.append("cut off" if listener.is_over else "waits")
    listener.gone()
    return found[limit - 1], found[limit]
