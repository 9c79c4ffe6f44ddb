"""Storms over real HTTP servers: one key a hundred times at once, many keys, halts in between, two replicas.

The app is the product's own with its paper venue, served on loopback from a thread with a loop of its own. Between
the service and its venue lies a wire, at whose end every submission is written down; the venue's books are the second
witness.
"""

import asyncio
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
import uvicorn
from sqlalchemy import select

from paiid.app import create_app
from paiid.brokers import Broker, BrokerOrder, BrokerOrderView
from paiid.cli.serve import server_config
from paiid.core.clock import SystemClock
from paiid.core.db import make_database, statement
from paiid.core.tables import accounts, paper_orders
from paiid.domain.terms import PLAIN
from paiid.trading.timings import Timings
from tests.orders_world import BUY
from tests.world import OWNER_EMAIL, PASSWORD, Client, fresh_key, make_settings

PATIENT = Timings(send_window_s=10.0, broker_deadline_s=10.0, call_budget_s=60.0)
"""A busy machine must not turn a storm into orders that were not sent in time."""
WIRE_S = 0.1
SYMBOLS = ("AAPL", "KO", "PEP", "PFE", "BAC", "CSCO", "DIS", "WMT")
_AT_VENUE = statement(select(paper_orders.c.client_order_id))
_ACCOUNTS = statement(select(accounts.c.id, accounts.c.number, accounts.c.owner_user_id))


@dataclass(frozen=True)
class Sent:
    """One submission as it came to the venue's door."""

    client_order_id: str
    account_number: str
    symbol: str


class Witness:
    """A wire of some length between the service and its venue: what arrives at its end is written down."""

    def __init__(self, venue: Any, sent: list[Sent]) -> None:
        self._venue = venue
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        await asyncio.sleep(random.random() * WIRE_S)
        self._sent.append(Sent(order.client_order_id, order.account_number, order.symbol))
        view: BrokerOrderView = await self._venue.submit(order, timeout_s)
        return view


class Served:
    """One replica behind a real server; `sent` is what came to the venue's door, of all replicas."""

    def __init__(self, db_url: str, data_dir: Path, sent: list[Sent]) -> None:
        self.sent = sent
        self.db_url = db_url
        settings = make_settings(db_url, data_dir)
        app = create_app(settings, timings=PATIENT, paper_terms=PLAIN, wrap_broker=self._watch)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._server = uvicorn.Server(server_config(app))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self.http = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self._socket.getsockname()[1]}",
            timeout=60,
            verify=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        )

    def _watch(self, venue: Broker) -> Broker:
        witness: Any = Witness(venue, self.sent)
        return witness

    async def __aenter__(self) -> Self:
        self._thread.start()
        async with asyncio.timeout(60):
            while not self._server.started:
                assert self._thread.is_alive(), "the server did not start"
                await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join, 30)
        self._socket.close()
        assert not self._thread.is_alive()

    def as_seen_by(self, client: Client) -> Client:
        """The same caller at this replica."""
        return Client(self.http, client.token)

    async def sign_in(self, email: str = OWNER_EMAIL) -> Client:
        """A signed-in caller."""
        answer = await self.http.post("/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return Client(self.http, answer.json()["access_token"])

    async def traders(self, count: int) -> list[Client]:
        """New users, signed in, each with a paper account."""
        owner = await self.sign_in()
        found = []
        for number in range(count):
            email = f"storm-{number}@example.com"
            made = await owner.post(
                "/api/users", json={"email": email, "password": PASSWORD, "role": "trader"}
            )
            assert made.status_code in (200, 201), made.text
            found.append(await self.sign_in(email))
        return found


Serve = Callable[[], Awaitable[Served]]


@pytest.fixture
async def serve(db_url: str, tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts replicas over this test's database, each with a data directory of its own."""
    sent: list[Sent] = []
    numbers: Iterator[int] = iter(range(100))
    async with AsyncExitStack() as stack:

        async def begin() -> Served:
            return await stack.enter_async_context(
                Served(db_url, tmp_path / f"replica-{next(numbers)}", sent)
            )

        yield begin


async def ask(client: Client, order: dict[str, Any], key: str) -> httpx2.Response:
    """One call of a caller who knows that 503 means: nothing was done, ask again."""
    while True:
        answer = await client.execute(order, key=key)
        if answer.status_code != 503:
            return answer
        await asyncio.sleep(0.2)


async def final(client: Client, order: dict[str, Any], key: str) -> httpx2.Response:
    """The final answer of a key."""
    async with asyncio.timeout(30):
        while True:
            answer = await ask(client, order, key)
            if answer.status_code not in (202, 409):
                return answer
            await asyncio.sleep(0.05)


async def rows(db_url: str, stmt: Any) -> list[Any]:
    """Rows read beside the running replicas."""
    db = make_database(db_url, SystemClock())
    await db.start()
    try:
        async with db.read() as tx:
            return list(await tx.fetch(stmt))
    finally:
        await db.stop()


async def at_venue(db_url: str) -> Counter[str]:
    """How many orders of each client order id the venue holds."""
    return Counter(row["client_order_id"] for row in await rows(db_url, _AT_VENUE))


def one_execution(answers: list[httpx2.Response]) -> bytes:
    """The answers to one key: one execution, and replays byte for byte or "in flight". The body they agree on."""
    assert {answer.status_code for answer in answers} <= {200, 409}, Counter(a.text for a in answers)
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["type"] == "urn:paiid:problem:idempotency-in-flight"
            assert answer.headers["Retry-After"] == "1"
    told = [answer for answer in answers if answer.status_code == 200]
    executed = [answer for answer in told if "Idempotency-Replayed" not in answer.headers]
    assert len(executed) == 1
    assert {answer.headers.get("Idempotency-Replayed", "true") for answer in told} == {"true"}
    (body,) = {answer.content for answer in told}
    assert executed[0].json()["accepted"] is True
    return body


async def test_E09_one_key_a_hundred_times_at_once_over_http_is_one_order(serve: Serve) -> None:
    server = await serve()
    owner = await server.sign_in()
    key = fresh_key()
    answers = await asyncio.gather(*(ask(owner, BUY, key) for _ in range(100)))
    body = one_execution(answers)
    again = await final(owner, BUY, key)
    assert again.content == body
    assert again.headers["Idempotency-Replayed"] == "true"
    client_id = again.json()["orders"][0]["client_order_id"]
    assert [one.client_order_id for one in server.sent] == [client_id]
    assert await at_venue(server.db_url) == {client_id: 1}


async def test_E09_sixty_four_keys_of_eight_users_at_once_are_sixty_four_orders(serve: Serve) -> None:
    server = await serve()
    users = await server.traders(8)
    calls = [
        (user, {"symbol": symbol, "side": "buy", "qty": 1 + number}, fresh_key())
        for number, user in enumerate(users)
        for symbol in SYMBOLS
    ]
    doubled = [call for call in calls for _ in range(2)]
    random.shuffle(doubled)
    answers = await asyncio.gather(*(ask(*call) for call in doubled))
    by_key: dict[str, list[httpx2.Response]] = {}
    for (_, _, key), answer in zip(doubled, answers, strict=True):
        by_key.setdefault(key, []).append(answer)
    ids = set()
    for user, order, key in calls:
        body = one_execution(by_key[key])
        again = await final(user, order, key)
        assert again.content == body
        (placed,) = again.json()["orders"]
        assert (placed["symbol"], placed["qty"]) == (order["symbol"], order["qty"])
        ids.add(placed["client_order_id"])
    assert len(ids) == 64
    assert Counter(one.client_order_id for one in server.sent) == dict.fromkeys(ids, 1)
    assert await at_venue(server.db_url) == dict.fromkeys(ids, 1)


async def test_E02_two_users_storm_the_same_key_and_each_has_one_order_of_his_own(serve: Serve) -> None:
    server = await serve()
    first, second = await server.traders(2)
    key = fresh_key()
    mine, theirs = BUY, {**BUY, "symbol": "KO"}
    calls = [(first, mine), (second, theirs)] * 50
    answers = await asyncio.gather(*(ask(user, order, key) for user, order in calls))
    bodies = [one_execution(answers[0::2]), one_execution(answers[1::2])]
    orders = [
        (await final(first, mine, key)).json()["orders"][0],
        (await final(second, theirs, key)).json()["orders"][0],
    ]
    assert [order["symbol"] for order in orders] == ["AAPL", "KO"]
    assert bodies[0] != bodies[1]
    ids = [order["client_order_id"] for order in orders]
    assert Counter(one.client_order_id for one in server.sent) == dict.fromkeys(ids, 1)
    assert await at_venue(server.db_url) == dict.fromkeys(ids, 1)


class Trading:
    """Users who trade without a pause, and what each of their keys was told."""

    def __init__(self, users: list[Client]) -> None:
        self._users = users
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.asked: list[tuple[Client, dict[str, Any], str, httpx2.Response]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._trade(user)) for user in self._users for _ in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _trade(self, user: Client) -> None:
        while not self._stop.is_set():
            order = {"symbol": random.choice(SYMBOLS), "side": random.choice(["buy", "sell"]), "qty": 1}
            key = fresh_key()
            self.asked.append((user, order, key, await ask(user, order, key)))
            await asyncio.sleep(random.random() / 20)

    async def goes_on(self, *statuses: int) -> None:
        """Until, behind as many answers as may have been under way at this moment, each status was heard again."""
        begun = len(self.asked) + len(self._tasks)
        end = time.monotonic() + 30
        while not {answer.status_code for *_, answer in self.asked[begun:]} >= set(statuses):
            assert time.monotonic() < end, Counter(a.status_code for *_, a in self.asked[begun:])
            await asyncio.sleep(0.02)


async def halt_while_trading(
    owner: Client, trading: Trading, sent: list[Sent], scope: str, stopped: Callable[[Sent], bool]
) -> None:
    """Arm, see that nothing of the scope comes to the venue after the acknowledgement, resume."""
    armed = await owner.post("/api/admin/kill", json={"halt": True, "reason": "storm", "scope": scope})
    before = len(sent)
    assert armed.status_code == 200, armed.text
    assert armed.json()["level"] == "drained", armed.text
    await trading.goes_on(423)
    after = sent[before:]
    assert [one for one in after if stopped(one)] == []
    resume = {"halt": False, "reason": "over", "scope": scope, "epoch": armed.json()["epoch"]}
    resumed = await owner.post("/api/admin/kill", json=resume)
    assert resumed.status_code == 200, resumed.text
    await trading.goes_on(200)


async def assert_told_the_truth(db_url: str, trading: Trading, sent: list[Sent]) -> None:
    """Every key again: the same answer, and at the venue what it says, once."""
    expected: set[str] = set()
    for user, order, key, answer in trading.asked:
        again = await final(user, order, key)
        if answer.status_code in (200, 423):
            assert again.content == answer.content
        for placed in again.json()["orders"]:
            if placed["state"] == "ACCEPTED":
                expected.add(placed["client_order_id"])
    assert {answer.status_code for *_, answer in trading.asked} == {200, 423}
    assert await at_venue(db_url) == dict.fromkeys(expected, 1)
    counted = Counter(one.client_order_id for one in sent)
    assert set(counted.values()) == {1}
    assert expected <= set(counted)


async def test_K05_halts_of_every_scope_in_a_storm_of_orders_stop_theirs_and_only_theirs(
    serve: Serve,
) -> None:
    server = await serve()
    owner = await server.sign_in()
    users = await server.traders(4)
    user_ids = [(await user.get("/auth/me")).json()["id"] for user in users]
    held = {row["owner_user_id"]: row for row in await rows(server.db_url, _ACCOUNTS)}
    first, second = held[user_ids[0]], held[user_ids[1]]
    scopes: dict[str, Callable[[Sent], bool]] = {
        "symbol:AAPL": lambda one: one.symbol == "AAPL",
        f"user:{user_ids[0]}": lambda one: one.account_number == first["number"],
        f"account:{second['id']}": lambda one: one.account_number == second["number"],
        "global": lambda one: True,
    }
    async with Trading(users) as trading:
        await trading.goes_on(200)
        for scope, stopped in scopes.items():
            await halt_while_trading(owner, trading, server.sent, scope, stopped)
    await assert_told_the_truth(server.db_url, trading, server.sent)


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
async def test_E09_one_key_fifty_times_at_each_of_two_replicas_is_one_order(serve: Serve) -> None:
    here, there = await serve(), await serve()
    owner = await here.sign_in()
    elsewhere = there.as_seen_by(owner)
    keys = [fresh_key() for _ in range(3)]
    for key in keys:
        answers = await asyncio.gather(*(ask(one, BUY, key) for one in [owner, elsewhere] * 50))
        body = one_execution(answers)
        for one in (owner, elsewhere):
            again = await final(one, BUY, key)
            assert again.content == body
            assert again.headers["Idempotency-Replayed"] == "true"
    placed = Counter(one.client_order_id for one in here.sent)
    assert len(placed) == len(keys)
    assert set(placed.values()) == {1}
    assert await at_venue(here.db_url) == placed


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
async def test_K05_a_halt_acknowledged_by_one_replica_stops_the_orders_of_both(serve: Serve) -> None:
    here, there = await serve(), await serve()
    owner = await here.sign_in()
    users = await here.traders(2)
    both = [*users, *(there.as_seen_by(user) for user in users)]
    async with Trading(both) as trading:
        await trading.goes_on(200)
        for one in (owner, there.as_seen_by(owner), owner):
            await halt_while_trading(one, trading, here.sent, "global", lambda _: True)
        await halt_while_trading(owner, trading, here.sent, "symbol:KO", lambda sent: sent.symbol == "KO")
    await assert_told_the_truth(here.db_url, trading, here.sent)
