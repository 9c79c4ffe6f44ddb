"""The halts are told to every user as far as he may see them, on every replica, within a quarter of a second by the bus (P11)."""

import asyncio
import json
from typing import Any, cast

import pytest
from sqlalchemy import bindparam, delete, insert

from paiid.core.bus import Bus, NoBus
from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database, statement
from paiid.core.tables import grants
from paiid.domain.halts import Mode
from paiid.stream.events import Place
from paiid.trading import halt_channel as channel_module
from paiid.trading.halt import HaltService
from paiid.trading.halt_channel import HaltChannel
from paiid.trading.latch import Latch
from tests.channel_world import Counting, RecordingHub, Street, until
from tests.halt_world import add_account, add_user, arm, resume

NEVER_S = 600.0
USERS = ("own1", "usr1", "view1")
_GRANT = statement(insert(grants))
_REVOKE = statement(
    delete(grants).where(
        grants.c.user_id == bindparam("b_user"), grants.c.account_id == bindparam("b_account")
    )
)


class Told:
    """A halts' channel with the hub it tells."""

    def __init__(self, db: Database, bus: Bus | None = None, poll_s: float = NEVER_S) -> None:
        self.hub = RecordingHub()
        self.channel = HaltChannel(db, SystemClock(), self.hub.as_hub, bus or NoBus(), poll_s=poll_s)

    def scopes(self, user: str) -> list[list[str]]:
        """What each message to a user says is halted."""
        return [[one["scope"] for one in state["halts"]] for state in self.states(user)]

    def states(self, user: str) -> list[dict[str, Any]]:
        """Each message to a user."""
        return [json.loads(event.data) for event in self.hub.events(f"halts:{user}")]


async def test_K2_everyone_hears_what_concerns_him_and_the_owner_everything(
    peopled_db: Database, service: HaltService
) -> None:
    told = Told(peopled_db)
    for user in USERS:
        await told.channel.open(user)
    for scope in ("account:acc1", "account:acc2", "user:usr1", "symbol:AAPL", "global"):
        await service.arm(arm(scope, Mode.REDUCE_ONLY))
        await told.channel.look()
    await told.channel.look()
    assert told.scopes("own1")[-1] == ["account:acc1", "account:acc2", "global", "symbol:AAPL", "user:usr1"]
    assert told.scopes("usr1") == [
        ["account:acc1"],
        ["account:acc1", "user:usr1"],
        ["account:acc1", "symbol:AAPL", "user:usr1"],
        ["account:acc1", "global", "symbol:AAPL", "user:usr1"],
    ]
    assert told.scopes("view1") == [["symbol:AAPL"], ["global", "symbol:AAPL"]]
    assert [s["tradingHalted"] for s in told.states("view1")] == [False, True]
    events = told.hub.events("halts:usr1")
    assert [(e.epoch, e.sequence) for e in events] == [(1, 1), (1, 3), (1, 4), (1, 5)], (
        "the numbers are the halts' own: what is left out between them is not his to see"
    )
    assert {e.type for e in events} == {"trading_alert"}
    shown = told.states("usr1")[-1]["halts"][0]
    assert shown.keys() == {"scope", "mode", "epoch", "reason", "set_at"}
    assert (shown["mode"], shown["epoch"], shown["reason"]) == ("reduce_only", 1, "test")


async def test_K2_a_resume_is_told_with_the_instant_of_its_change(
    peopled_db: Database, service: HaltService
) -> None:
    armed = await service.arm(arm("global"))
    told = Told(peopled_db)
    await told.channel.open("usr1")
    first = await told.channel.catch_up("usr1", None)
    assert json.loads(first.events[0].data)["tradingHalted"] is True
    assert armed.halt is not None
    await service.resume(resume("global", armed.halt.epoch))
    await told.channel.look()
    (event,) = told.hub.events("halts:usr1")
    assert json.loads(event.data) == {"halts": [], "tradingHalted": False}
    assert (event.sequence, event.ts_event_us > armed.halt.set_at_us) == (2, True)


async def test_P11_a_halt_armed_on_one_replica_is_told_by_another_without_waiting_for_its_poll(
    postgres_url: str, clock: SystemClock, tmp_path: Any
) -> None:
    street = Street()
    databases = [make_database(postgres_url, clock) for _ in range(2)]
    for db in databases:
        await db.start()
    await add_user(databases[0], clock, "own1", "owner")
    await add_account(databases[0], clock, "acc1", "own1")
    replicas = [Told(db, street.stop()) for db in databases]
    one, two = replicas
    news: list[list[str]] = []
    service = HaltService(
        databases[0], clock, Latch(tmp_path), None, told=lambda ids: news.append(list(ids)),
        changed=one.channel.nudge,
    )  # fmt: skip
    try:
        for each in replicas:
            await each.channel.open("own1")
            await each.channel.start()
        # The reading at the start is over, so that only a nudge can bring what follows.
        await until(lambda: all(each.channel._known == 0 for each in replicas))
        arming = asyncio.create_task(service.arm(arm("global")))
        await until(lambda: two.scopes("own1") == [["global"]] and one.scopes("own1") == [["global"]])
        armed = await arming
        assert armed.halt is not None
        await service.resume(resume("global", armed.halt.epoch))
        await until(lambda: two.scopes("own1")[-1] == [] and one.scopes("own1")[-1] == [])
        await service.arm(arm("account:acc1"))
        await until(lambda: two.scopes("own1")[-1] == ["account:acc1"])
        assert news == [["acc1"]], "the account's own channel hears of it as well"
    finally:
        for each in replicas:
            await each.channel.stop()
        for db in databases:
            await db.stop()


async def test_K2_without_a_nudge_the_poll_finds_it_and_a_database_that_was_away_is_read_again(
    peopled_db: Database, service: HaltService
) -> None:
    away = Counting(peopled_db)
    told = Told(cast("Database", away), poll_s=0.03)
    await told.channel.open("usr1")
    await told.channel.start()
    try:
        await service.arm(arm("symbol:AAPL"))
        await until(lambda: told.scopes("usr1") == [["symbol:AAPL"]])
        away.away = True
        await service.arm(arm("symbol:MSFT"))
        await until(lambda: told.channel.problem is not None)
        away.away = False
        await until(lambda: len(told.scopes("usr1")) == 2)
        assert told.channel.problem is None
    finally:
        await told.channel.stop()


async def test_S2_who_comes_back_gets_the_halts_as_they_are_unless_he_has_seen_just_that(
    peopled_db: Database, service: HaltService
) -> None:
    await service.arm(arm("symbol:AAPL"))
    await service.arm(arm("account:acc2"))
    told = Told(peopled_db)
    await told.channel.open("usr1")
    assert await told.channel.catch_up("usr1", Place(1, 2)) == await told.channel.catch_up(
        "usr1", Place(1, 2)
    )
    assert (await told.channel.catch_up("usr1", Place(1, 2))).events == ()
    given = await told.channel.catch_up("usr1", Place(1, 1))
    assert (given.reset, given.place, [e.sequence for e in given.events]) == (None, Place(1, 2), [2])
    for since in (Place(1, 3), Place(2, 1), Place(1, -1), Place(2**80, 2**80)):
        given = await told.channel.catch_up("usr1", since)
        assert given.reset is not None
        assert given.place == Place(1, 2)
        assert len(given.events) == 1
    await service.arm(arm("symbol:MSFT"))
    fresh = await told.channel.catch_up("usr1", None)
    assert fresh.place == Place(1, 3)
    assert told.scopes("usr1") == [["symbol:AAPL", "symbol:MSFT"]], "those who are there already hear it too"
    assert told.hub.events("halts:usr1") == list(fresh.events)


async def test_a_right_given_or_lost_changes_what_is_told_though_no_halt_has_changed(
    peopled_db: Database, service: HaltService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "RIGHTS_EVERY", 2)
    await service.arm(arm("account:acc2"))
    told = Told(peopled_db)
    await told.channel.open("usr1")
    await told.channel.look()
    row = {"user_id": "usr1", "account_id": "acc2", "access": "view", "created_at": 1, "created_by": "own1"}
    async with peopled_db.begin() as tx:
        await tx.execute(_GRANT, row)
    for _ in range(2):
        await told.channel.look()
    async with peopled_db.begin() as tx:
        await tx.execute(_REVOKE, {"b_user": "usr1", "b_account": "acc2"})
    for _ in range(2):
        await told.channel.look()
    given, taken = told.hub.resets("halts:usr1")
    assert given.place == taken.place == Place(1, 1)
    assert [one["scope"] for one in json.loads(given.snapshot or b"")["halts"]] == ["account:acc2"]
    assert json.loads(taken.snapshot or b"")["halts"] == []


async def test_looking_costs_one_statement_while_nothing_changes_and_few_for_any_number_of_users(
    peopled_db: Database, service: HaltService
) -> None:
    counting = Counting(peopled_db)
    told = Told(cast("Database", counting))
    await told.channel.look()
    assert counting.statements == 0, "nobody listens"
    for user in USERS:
        await told.channel.open(user)
    await told.channel.look()
    counting.statements = 0
    await told.channel.look()
    assert counting.statements == 1
    await service.arm(arm("global"))
    counting.statements = 0
    await told.channel.look()
    assert counting.statements == 2
    assert all(len(told.hub.of(f"halts:{user}")) == 1 for user in USERS)
    told.channel.close("usr1")
    await service.arm(arm("symbol:AAPL"))
    await told.channel.look()
    assert len(told.hub.of("halts:usr1")) == 1
    assert len(told.hub.of("halts:own1")) == 2
