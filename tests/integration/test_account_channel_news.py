"""News of an account's events reach every replica at once by nudges, and within a poll without them; every writer gives them."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import paiid.trading as trading_package
from paiid.core.clock import SystemClock
from paiid.core.db import make_database
from paiid.domain.halts import Mode
from paiid.stream.events import Place
from tests.channel_world import Reader, Replica, Street, open_accounts, replica, until, write
from tests.conftest import MakeApp
from tests.halt_world import arm, resume
from tests.orders_world import BUY, Trading
from tests.reset_world import start as start_at_venue

NEVER_S = 600.0


@pytest.fixture
async def replicas(postgres_url: str, clock: SystemClock) -> AsyncIterator[Callable[..., Any]]:
    """Makes processes that share a PostgreSQL and a street, each with a pool of its own, reading."""
    async with AsyncExitStack() as stack:

        async def make(street: Street, **times: float) -> Replica:
            db = make_database(postgres_url, clock)
            await db.start()
            stack.push_async_callback(db.stop)
            made = replica(db, clock, street.stop(), **times)
            await made.journal.start()
            stack.push_async_callback(made.journal.stop)
            return made

        yield make


def _numbers(one: Replica, account: str) -> list[int]:
    return [event.sequence for event in one.hub.events(f"account:{account}")]


async def test_S1_a_nudge_over_the_bus_makes_another_replica_tell_it_without_waiting_for_its_poll(
    replicas: Callable[..., Any],
) -> None:
    street = Street()
    one, two = await replicas(street, poll_s=NEVER_S), await replicas(street, poll_s=NEVER_S)
    await open_accounts(one.db, "a", "b")
    for each in (one, two):
        await each.journal.open("a")
    await write(one.db, "a", 2)
    await write(one.db, "b", 2)
    one.journal.nudge(["a", "b"])
    await until(lambda: _numbers(one, "a") == [1, 2] == _numbers(two, "a"))
    assert one.hub.events("account:a") == two.hub.events("account:a"), "the same on every replica"
    await write(two.db, "a")
    two.journal.nudge(["a"])
    await until(lambda: _numbers(one, "a") == [1, 2, 3] == _numbers(two, "a"))


async def test_S1_without_the_bus_a_replica_finds_it_with_its_poll_and_at_once_when_the_bus_is_back(
    replicas: Callable[..., Any],
) -> None:
    street = Street()
    street.lost = True
    one, two = await replicas(street, poll_s=NEVER_S), await replicas(street, poll_s=0.1)
    three = await replicas(street, poll_s=NEVER_S)
    await open_accounts(one.db, "a")
    for each in (one, two, three):
        await each.journal.open("a")
    await write(one.db, "a", 3)
    one.journal.nudge(["a"])
    await until(lambda: _numbers(one, "a") == [1, 2, 3] == _numbers(two, "a"))
    assert _numbers(three, "a") == []
    street.lost = False
    for tell in street.stops[2]._changed:
        tell(True)
    await until(lambda: _numbers(three, "a") == [1, 2, 3])


async def test_S2_what_a_replica_had_not_told_when_it_died_another_one_tells(
    replicas: Callable[..., Any],
) -> None:
    street = Street()
    one, two = await replicas(street, poll_s=NEVER_S), await replicas(street, poll_s=NEVER_S)
    await open_accounts(one.db, "a")
    await one.journal.open("a")
    reader = Reader("a")
    reader.caught_up(await one.journal.catch_up("a", None), None)
    await write(one.db, "a", 2)
    one.journal.nudge(["a"])
    await until(lambda: len(_numbers(one, "a")) == 2)
    for told in one.hub.of("account:a"):
        reader.hear(told)
    await one.journal.stop()
    await write(one.db, "a", 2)
    await one.db.stop()
    await two.journal.open("a")
    reader.caught_up(await two.journal.catch_up("a", reader.place), reader.place)
    await write(two.db, "a")
    two.journal.nudge(["a"])
    await until(lambda: _numbers(two, "a") == [5])
    for told in two.hub.of("account:a"):
        reader.hear(told)
    assert reader.log == [Place(1, n) for n in range(1, 6)]
    assert (reader.held, reader.resets) == ({"AAPL": 5}, [])


async def test_calls_that_shared_a_commit_are_one_message_and_what_nobody_can_read_does_no_harm(
    replicas: Callable[..., Any],
) -> None:
    street = Street()
    one, two = await replicas(street, poll_s=NEVER_S), await replicas(street, poll_s=NEVER_S)
    await open_accounts(one.db, "a", "b")
    await two.journal.open("a")
    for body in (b"", b"{", b"[1]", b'{"a":1}', b"\xff"):
        two.journal._hear(body)
    await write(one.db, "a")
    street.stops[0].published.clear()
    for _ in range(5):
        one.journal.nudge(["a"])
        one.journal.nudge({"b"})
    await until(lambda: _numbers(two, "a") == [1])
    assert street.stops[0].published == [("accounts", b'["a","b"]')]


# -- the writers ------------------------------------------------------------------------------------


@asynccontextmanager
async def following(app: Any, account: str) -> AsyncIterator[tuple[Replica, Reader]]:
    """A journal that only nudges wake, told by every writer of a running app, and a reader of one account."""
    state = app.state
    one = replica(state.db, SystemClock(), poll_s=NEVER_S)
    await one.journal.open(account)
    reader = Reader(account)
    place = await one.journal._load_place(account)
    # A reader who has nothing begins with the state.
    reader.caught_up(await one.journal.catch_up(account, Place(place.epoch + 1, 0)), None)
    for writer in (state.desk, state.trading, state.halts, state.resets):
        writer._told = one.journal.nudge
    await one.journal.start()
    await until(lambda: one.journal._poll_at_s > 0)
    try:
        yield one, reader
    finally:
        await one.journal.stop()


async def agrees(app: Any, one: Replica, reader: Reader) -> None:
    """Whatever was told, in order, ends where the ledger is, and as REST answers."""
    account = reader.account
    async with asyncio.timeout(20):
        while one.journal._open[account].place != (end := await one.journal._load_place(account)):
            await asyncio.sleep(0.01)
    for each in one.hub.told.pop(f"account:{account}", []):
        reader.hear(each)
    assert reader.place == end
    client = await app.owner()
    shown = (await client.get(f"/api/trading/orders?status=open&account={reader.account}")).json()["data"]
    for order in shown:
        mine = reader.orders[order["id"]]
        assert {name: mine[name] for name in order if name != "legs"} == {
            name: value for name, value in order.items() if name != "legs"
        }
    still = {key for key, order in reader.orders.items() if order["status"] in ("NEW", "PARTIALLY_FILLED")}
    assert still == {order["id"] for order in shown}
    held = (await client.get(f"/api/positions?account={reader.account}")).json()
    assert {one["symbol"]: one["qty"] for one in held} == reader.held
    late = Reader(account)
    late.caught_up(await one.journal.catch_up(account, Place(99, 0)), Place(99, 0))
    assert late.held == reader.held, "the state says what the events have said"
    assert late.orders == {key: reader.orders[key] for key in still}
    assert (
        late.cash == (await client.get(f"/api/account?account={account}")).json(parse_float=Decimal)["cash"]
    )


async def test_S1_claims_outcomes_fills_and_cancels_are_told_as_they_happen(trading: Trading) -> None:
    account = (await trading.owner.get("/api/account")).json()["id"]
    async with following(trading.app, account) as (one, reader):
        await trading.hold("AAPL", 10)
        await agrees(trading.app, one, reader)
        assert reader.held == {"AAPL": 10}
        assert reader.log, "it was told event by event"
        refused = await trading.owner.execute({**BUY, "qty": 900_000})
        (order,) = refused.json()["orders"]
        await agrees(trading.app, one, reader)
        assert reader.orders[order["id"]]["state"] == "REFUSED", (
            "what only the claim has written, the claim tells"
        )
        resting = (await trading.owner.execute({**BUY, "type": "limit", "limit_price": 90})).json()["orders"][
            0
        ]
        await agrees(trading.app, one, reader)
        assert reader.orders[resting["id"]]["state"] == "ACCEPTED"
        await trading.owner.delete(f"/api/trading/orders/{resting['id']}")
        await trading.owner.wait_filled(resting["id"])
        await agrees(trading.app, one, reader)
        assert reader.orders[resting["id"]]["status"] == "CANCELED"


async def test_S1_halts_of_the_account_are_told_in_its_channel(trading: Trading) -> None:
    account = (await trading.owner.get("/api/account")).json()["id"]
    halts = trading.app.state.halts
    async with following(trading.app, account) as (one, reader):
        scope = f"account:{account}"
        view = await halts.arm(arm(scope, Mode.REDUCE_ONLY))
        await until(lambda: len(one.hub.events(scope)) == 1)
        await halts.resume(resume(scope, view.halt.epoch))
        await until(lambda: len(one.hub.events(scope)) == 2)
        assert [e.type for e in one.hub.events(scope)] == ["trading_alert"] * 2
        await agrees(trading.app, one, reader)


async def test_S2_a_paper_reset_is_told_at_once_as_a_reset(make_app: MakeApp) -> None:
    world = await start_at_venue(make_app)
    async with following(world.app, world.account) as (one, reader):
        await world.trade()
        await world.rest()
        await agrees(world.app, one, reader)
        assert reader.held == {"AAPL": 10}
        assert (await world.reset()).status_code == 200
        await until(lambda: len(one.hub.resets(f"account:{world.account}")) == 1)
        await agrees(world.app, one, reader)
        assert (reader.resets[1:], reader.held) == (["epoch"], {})


TELLS_ITSELF = {"cancel", "merging", "reconcile", "reset", "resolve"}
TOLD_BY_ITS_CALLER = {
    "accept": "the command line, another process: the poll finds it",
    "claim": "TradingService, once the group is committed",
    "halt_change": "HaltService and its errand",
    "opening": "EnvironmentAccounts",
    "record": "TradingService, once the group is committed",
}


def test_S1_every_place_that_opens_a_book_is_known_to_tell_of_its_events() -> None:
    """A writer that tells nobody would be a second late for its readers."""
    folder = Path(trading_package.__file__).parent
    found = {path.stem for path in folder.glob("*.py") if re.search(r"\bBook\(tx, ", path.read_text())}
    assert found == TELLS_ITSELF | TOLD_BY_ITS_CALLER.keys()
    for name in TELLS_ITSELF:
        assert re.search(r"self\._(told|published)\(", (folder / f"{name}.py").read_text()), name
