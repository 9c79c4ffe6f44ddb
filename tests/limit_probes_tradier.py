"""The probes of docs/limits.md that are about Tradier: what we send and read there, and how much of a budget is left to whom."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice, product
from string import ascii_uppercase
from typing import Any

from paiid.brokers import BrokerError, BrokerOrder, BrokerRejected
from paiid.brokers.tradier import TradierBroker
from paiid.brokers.tradier.requests import order_form
from paiid.core.bus import NoBus
from paiid.core.clock import SystemClock
from paiid.domain.calendar import AlwaysOpen
from paiid.feeds import FeedUnavailable
from paiid.feeds.tradier import TradierFeed
from paiid.feeds.tradier.messages import Pieces
from paiid.market.demand import Demand
from paiid.market.supply import POLL_REST_S
from paiid.market.wanted import WantedEverywhere
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governor, Governors, Priority, Spent
from paiid.wires.shared_budget import SharedBudget
from paiid.wires.tradier.keys import TradierKeys
from paiid.wires.tradier.wire import Bucket, TradierWire
from paiid.wires.window import Window
from tests.fake_clock import FakeClock
from tests.limit_probes import ORDER, Outcome, Probed, outcome, probe
from tests.tradier_data_stage import CHAINS, EXPIRATIONS, say, tradier_data_stage, until
from tests.tradier_stage import NUMBER, floods, staged, told

PROFILE = {"profile": {"account": {"account_number": NUMBER, "status": "active", "type": "margin"}}}
TALLIED: dict[str, Any] = {"x_ratelimit_allowed": "120", "x_ratelimit_available": "120"}
"""As Tradier's own headers, to an account that may ask 120 times a minute."""


# -- budgets ------------------------------------------------------------------------------------------


@probe("budget-wait")
async def _order_wait(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    (broker,) = [one for one in probed.app.state.trading._brokers.values() if hasattr(one, "order_free")]
    outcomes = []
    for wait_ms in (limit, limit + 1):
        broker.order_free = wait_ms / 1000
        outcomes.append(outcome(await probed.owner.execute(ORDER)))
    return outcomes[0], outcomes[1]


@probe("budget-waiting")
async def _waiting(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    clock = SystemClock()
    governor = Governor(clock, "probed", 1)
    await governor.admit(Priority.CANCEL, Deadline(clock, 60.0))
    tasks = []
    for _ in range(limit + 1):
        tasks.append(asyncio.create_task(governor.admit(Priority.CANCEL, Deadline(clock, 60.0))))
    await asyncio.sleep(0)
    found = ["refused" if one.done() and one.exception() else "waits" for one in tasks]
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert set(found[:limit]) == {"waits"}
    return found[limit - 1], found[limit]


@probe("budget-shared")
async def _shared(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    clock = FakeClock()
    shared = SharedBudget(clock, NoBus())
    outcomes = []
    for number in range(limit + 1):
        governor = Governor(clock, "probed", 60)
        before = governor.changed
        shared.join("probed", f"token-{number}", governor)
        outcomes.append("not shared" if governor.changed is before else "shared")
    assert set(outcomes[:limit]) == {"shared"}
    return outcomes[limit - 1], outcomes[limit]


@probe("budget-replicas")
async def _replicas(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    window = Window(FakeClock(), 10 * limit)
    outcomes = []
    for number in range(limit + 1):
        window.hear(f"replica-{number}", [(0.0, 1)], 0.0)
        known = window.left == 10 * limit - (number + 1)
        outcomes.append("all count" if known else "the one heard longest ago is forgotten")
    return outcomes[limit - 1], outcomes[limit]


def _kept(name: str, bucket: Bucket, priority: Priority) -> None:
    """A row about how much of a bucket somebody leaves to those before him."""

    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        outcomes = []
        for left in (limit + 1, limit):
            clock = FakeClock()
            governor = TradierWire(clock, TradierKeys("test-token-0001"), Governors(clock)).governor(bucket)
            governor.learn(left=left)
            try:
                await governor.admit(priority, Deadline(clock, 60.0), wait_s=0.0)
                outcomes.append("asked")
            except Spent:
                outcomes.append("not asked")
        return outcomes[0], outcomes[1]

    probe(name)(found)


_kept("tradier-entries", "trading", Priority.ENTRY)
_kept("tradier-exits", "trading", Priority.EXIT)
_kept("tradier-looks", "standard", Priority.BACKGROUND)
_kept("tradier-data-looks", "market", Priority.BACKGROUND)


# -- what is sent and read ----------------------------------------------------------------------------


@probe("tradier-token")
async def _token(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    for length in (limit, limit + 1):
        try:
            TradierKeys("a" * length)
            outcomes.append("taken")
        except ValueError:
            outcomes.append("not taken")
    return outcomes[0], outcomes[1]


@probe("tradier-quantity")
async def _quantity(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    for qty in (limit, limit + 1):
        order = BrokerOrder(NUMBER, "pd-0", "F", "buy", Decimal(qty), "market", "day")
        try:
            order_form(order, 0, AlwaysOpen())
            outcomes.append("sent")
        except BrokerRejected as refused:
            outcomes.append(f"not sent, `{refused.code}`")
    return outcomes[0], outcomes[1]


def _answer(name: str, path: str, ask: Callable[[TradierBroker], Awaitable[object]]) -> None:
    """A row about an answer of Tradier's: one of so many bytes, and one of one more."""

    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        outcomes = []
        for size in (limit, limit + 1):
            async with staged() as stage:
                stage.say("GET", "/v1/user/profile", told(200, PROFILE))
                stage.say("GET", f"/v1/accounts/{NUMBER}/{path}", floods(size))
                broker = TradierBroker(SystemClock(), stage.keys())
                try:
                    await ask(broker)
                    read = "read"
                except BrokerError as error:
                    read = "not read" if "is longer than" in str(error) else "read"
                finally:
                    await broker.stop()
            outcomes.append(read)
        return outcomes[0], outcomes[1]

    probe(name)(found)


_answer("tradier-answer", "balances", lambda broker: broker.fetch_account(NUMBER, 60.0))
_answer("tradier-list", "positions", lambda broker: broker.fetch_positions(NUMBER, 60.0))


# -- market data --------------------------------------------------------------------------------------


def _tickers(count: int) -> list[str]:
    return ["".join(letters) for letters in islice(product(ascii_uppercase, repeat=3), count)]


@probe("tradier-data-symbols")
async def _data_symbols(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    async with tradier_data_stage() as stage:
        for count in (limit, limit + 1):
            try:
                await stage.feed.fetch_quotes(_tickers(count))
                outcomes.append("asked")
            except FeedUnavailable:
                outcomes.append("not asked")
    return outcomes[0], outcomes[1]


@probe("tradier-streamed")
async def _streamed(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    clock = FakeClock()
    demand = Demand(clock)
    wanted = WantedEverywhere(clock, demand)
    outcomes = []
    for count in (limit, limit + 1):
        demand.add(_tickers(count))
        union = wanted.union(TradierFeed.most_streamed, ())
        outcomes.append(f"asked for every {POLL_REST_S:.0f} s" if union.polled else "streamed")
    return outcomes[0], outcomes[1]


@probe("tradier-chain")
async def _chain(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    for count in (limit, limit + 1):
        days = [date(2027, 1, 1) + timedelta(days=7 * week) for week in range(count)]
        async with tradier_data_stage() as stage:
            listed = {"expirations": {"date": [day.isoformat() for day in days]}}
            stage.server.script(EXPIRATIONS, say(listed, **TALLIED))
            stage.server.script(CHAINS, say({"options": None}, **TALLIED))
            try:
                await stage.feed.fetch_chain("AAPL", days[0], days[-1])
                outcomes.append("asked" if len(stage.server.requests(CHAINS)) == count else "asked in part")
            except FeedUnavailable:
                outcomes.append("not asked")
    return outcomes[0], outcomes[1]


@probe("tradier-frame")
async def _frame(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    for size in (limit, limit + 1):
        async with tradier_data_stage() as stage:
            stage.feed.follow(["AAPL"])
            async with aclosing(stage.feed.listen()) as events:  # type: ignore[type-var]
                async for _ in events:
                    if stage.stream.open:
                        break
                await stage.stream.send_raw("x" * size)
                await until(lambda: stage.feed.dropped or stage.feed.connections > 1)
                outcomes.append("connected anew" if stage.feed.connections > 1 else "counted as unreadable")
    return outcomes[0], outcomes[1]


@probe("tradier-piece")
async def _piece(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    outcomes = []
    for size in (limit, limit + 1):
        read = Pieces().read(b'{"type":"' + b"x" * (size - 9))
        outcomes.append("dropped" if read.dropped else "kept until more comes")
    return outcomes[0], outcomes[1]
