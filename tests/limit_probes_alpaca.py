"""The probes of docs/limits.md that are about Alpaca: what its simulator takes, and what we read of an answer."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice, product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import httpx2
from websockets.exceptions import InvalidStatus

from paiid.brokers import BrokerError
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca import FREE_PLAN_SYMBOLS
from paiid.market.demand import Demand
from paiid.market.supply import POLL_REST_S
from paiid.market.wanted import WantedEverywhere
from paiid.sim.alpaca.exchange import SimOptions
from paiid.wires.alpaca.wire import trading_budget
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors, Priority, Spent
from tests.alpaca_data_wire import SNAPSHOTS, data_serving
from tests.alpaca_wire import NUMBER, floods, serving
from tests.fake_clock import FakeClock
from tests.limit_probes import Outcome, Probed, outcome, probe
from tests.sim_data_world import AUTH, greeted
from tests.sim_world import KEYS, SimWorld, simulated

Ask = Callable[[httpx2.AsyncClient, int], Awaitable[httpx2.Response]]
ORDER: dict[str, Any] = {
    "symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1", "time_in_force": "day",
}  # fmt: skip


@asynccontextmanager
async def simulator(probed: Probed, rate_limit: int = 0) -> AsyncIterator[SimWorld]:
    """One over the database that is there: books of the simulated venue and the ledger are different tables."""
    settings = probed.app.settings
    directory = Path(settings.data_dir) / "sim"
    directory.mkdir()
    options = SimOptions(rate_limit_per_minute=rate_limit)
    async with simulated(str(settings.database_url), directory, options=options) as world:
        yield world


def _sim_request(name: str, ask: Ask) -> None:
    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        async with simulator(probed) as world:
            return outcome(await ask(world.client, limit)), outcome(await ask(world.client, limit + 1))

    probe(name)(found)


async def _order_of(client: httpx2.AsyncClient, size: int) -> httpx2.Response:
    """An order in a body of exactly so many bytes."""
    body = httpx2.Request("POST", "http://sim", json=ORDER).content
    return await client.post("/v2/orders", content=body + b" " * (size - len(body)))


_sim_request("sim-body", _order_of)
_sim_request("sim-page", lambda c, n: c.get(f"/v2/orders?limit={n}"))
_sim_request("sim-client-id", lambda c, n: c.post("/v2/orders", json={**ORDER, "client_order_id": "a" * n}))
_sim_request("sim-ledger-page", lambda c, n: c.get(f"/sim/ledger?limit={n}"))
_sim_request("sim-quiesce", lambda c, n: c.post("/sim/quiesce", json={"timeout_s": n}))


@probe("sim-faults")
async def _sim_faults(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async with simulator(probed) as world:
        answers = [
            outcome(await world.client.post("/sim/faults", json={"kind": "slow"})) for _ in range(limit + 1)
        ]
    return answers[limit - 1], answers[limit]


@probe("sim-rate")
async def _sim_rate(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async with simulator(probed, rate_limit=limit) as world:
        # A minute may begin anew in between: the count is then met a little later.
        answers = [outcome(await world.client.get("/v2/clock")) for _ in range(2 * limit + 1)]
    at = answers.index("429") if "429" in answers else 0
    return answers[at - 1], answers[at]


@probe("sim-sockets")
async def _sim_sockets(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    headers = {name.replace("-", "_"): value for name, value in KEYS.items()}
    async with simulator(probed) as world:

        async def opened(left: int) -> Outcome:
            if left == 0:
                return "open"
            try:
                async with world.connected(**headers):
                    return await opened(left - 1)
            except InvalidStatus as refused:
                return str(refused.response.status_code)

        return await opened(limit), await opened(limit + 1)


def _answer(name: str, path: str, ask: Callable[[Any], Awaitable[object]]) -> None:
    """A row about an answer of Alpaca's: one of so many bytes, and one of one more."""

    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        outcomes = []
        for size in (limit, limit + 1):
            async with serving() as wire:
                broker = wire.broker()
                await broker.fetch_accounts(5.0)
                wire.say("GET", path, floods(size))
                try:
                    await ask(broker)
                    told = "read"
                except BrokerError as error:
                    told = "not read" if "is longer than" in str(error) else "read"
                finally:
                    await broker.stop()
            outcomes.append(told)
        return outcomes[0], outcomes[1]

    probe(name)(found)


_answer("alpaca-answer", "/v2/account", lambda broker: broker.fetch_account(NUMBER, 10.0))
_answer("alpaca-list", "/v2/positions", lambda broker: broker.fetch_positions(NUMBER, 10.0))


@probe("alpaca-reserve")
async def _reserve(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    for left in (limit + 1, limit):
        clock = FakeClock()
        budget = trading_budget(Governors(clock), "PKTEST")
        budget.learn(left=left)
        try:
            await budget.admit(Priority.BACKGROUND, Deadline(clock, 0.1))
            outcomes.append("asked")
        except Spent:
            outcomes.append("waits")
    return outcomes[0], outcomes[1]


# -- market data --------------------------------------------------------------------------------------


@probe("alpaca-data-list")
async def _data_list(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    for size in (limit, limit + 1):
        async with data_serving() as wire:
            feed = wire.feed(request_s=20.0)
            wire.say("GET", SNAPSHOTS, floods(size))
            try:
                await feed.fetch_quotes(["AAPL"])
                told = "read"
            except FeedUnavailable as problem:
                told = "not read" if "is longer than" in str(problem) else "read"
            finally:
                await feed.stop()
        outcomes.append(told)
    return outcomes[0], outcomes[1]


def _tickers(count: int) -> list[str]:
    return ["".join(letters) for letters in islice(product(ascii_uppercase, repeat=3), count)]


@probe("alpaca-data-symbols")
async def _data_symbols(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    async with data_serving() as wire:
        feed = wire.feed()
        for count in (limit, limit + 1):
            try:
                await feed.fetch_quotes(_tickers(count))
                outcomes.append("asked")
            except FeedUnavailable:
                outcomes.append("not asked")
        await feed.stop()
    return outcomes[0], outcomes[1]


@probe("alpaca-streamed")
async def _streamed(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    clock = FakeClock()
    demand = Demand(clock)
    wanted = WantedEverywhere(clock, demand)
    outcomes = []
    for count in (limit, limit + 1):
        demand.add(_tickers(count))
        union = wanted.union(FREE_PLAN_SYMBOLS, ())
        outcomes.append(f"asked for every {POLL_REST_S:.0f} s" if union.polled else "streamed")
    return outcomes[0], outcomes[1]


@probe("sim-data-sockets")
async def _data_sockets(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async with simulator(probed) as world:

        async def opened(left: int) -> Outcome:
            async with greeted(world) as one:
                [told] = await one.say(**AUTH)
                if left > 1 and told["T"] == "success":
                    return await opened(left - 1)
                return f"error {told['code']}" if told["T"] == "error" else "open"

        return await opened(limit), await opened(limit + 1)


@probe("sim-data-symbols")
async def _subscribed(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async with simulator(probed) as world, greeted(world, "iex") as one:
        await one.say(**AUTH)
        outcomes = []
        for count in (limit, limit + 1):
            [told] = await one.say(action="subscribe", quotes=_tickers(count))
            outcomes.append(f"error {told['code']}" if told["T"] == "error" else told["T"])
    return outcomes[0], outcomes[1]
