"""An account's events are one channel: told in order and whole, the same on every replica, for those who come back as well."""

import json
import random
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.stream import journal as journal_module
from paiid.stream.events import Place
from tests.channel_world import (
    Counting,
    Reader,
    Reset,
    open_accounts,
    prune,
    replica,
    reset_account,
    until,
    write,
)


async def test_S1_what_is_committed_is_told_in_order_with_its_number_and_kind(
    db: Database, clock: SystemClock
) -> None:
    await open_accounts(db, "a")
    await write(db, "a")
    one = replica(db, clock)
    await one.journal.open("a")
    await write(db, "a", 3)
    await one.journal.look(["a"])
    events = one.hub.events("account:a")
    assert [(e.epoch, e.sequence, e.type) for e in events] == [
        (1, n, "position_update") for n in (2, 3, 4)
    ], "only what came after the channel was opened"
    assert json.loads(events[-1].data)["event"] == "position"
    assert json.loads(events[-1].data)["qty"] == 4
    assert all(e.source == "test" and e.ts_event_us > 0 for e in events)
    await one.journal.look()
    assert len(one.hub.of("account:a")) == 3, "nothing is told twice"


async def test_S1_five_thousand_events_of_many_accounts_come_whole_with_few_queries(
    db: Database, clock: SystemClock
) -> None:
    names = [f"a{n}" for n in range(60)]
    await open_accounts(db, *names)
    counting = Counting(db)
    one = replica(counting, clock)  # type: ignore[arg-type]
    for name in names:
        await one.journal.open(name)
    await write(db, "a0", 4100)
    for name in names[1:]:
        await write(db, name, 15)
    counting.statements = 0
    await one.journal.look()
    assert [e.sequence for e in one.hub.events("account:a0")] == list(range(1, 4101))
    for name in names[1:]:
        assert [e.sequence for e in one.hub.events(f"account:{name}")] == list(range(1, 16))
    assert counting.statements < 20, "accounts share their queries"
    counting.statements = 0
    await one.journal.look()
    assert counting.statements == 1, "nothing new costs one query for all accounts"


async def test_S2_a_reader_goes_on_from_his_place_on_a_replica_that_never_knew_him(
    db: Database, clock: SystemClock
) -> None:
    await open_accounts(db, "a")
    one = replica(db, clock)
    await one.journal.open("a")
    await write(db, "a", 4)
    two = replica(db, clock)
    await two.journal.open("a")
    given = await two.journal.catch_up("a", Place(1, 1))
    assert (given.reset, given.snapshot, given.place) == (None, None, Place(1, 4))
    assert [e.sequence for e in given.events] == [2, 3, 4]
    await one.journal.look()
    assert list(given.events) == one.hub.events("account:a")[1:], "the same bytes under the same numbers"
    assert (await two.journal.catch_up("a", Place(1, 4))).events == ()
    assert await two.journal.catch_up("a", None) == await two.journal.catch_up("a", Place(1, 4))


@pytest.mark.parametrize(
    ("since", "why"),
    [
        (Place(1, 6), "unknown_place"),
        (Place(1, -1), "unknown_place"),
        (Place(1, 2**80), "unknown_place"),
        (Place(2, 3), "unknown_place"),
        (Place(0, 3), "unknown_place"),
        (Place(-(2**70), 3), "unknown_place"),
    ],
)
async def test_S2_a_place_that_never_was_is_a_reset_with_the_state(
    db: Database, clock: SystemClock, since: Place, why: str
) -> None:
    await open_accounts(db, "a")
    await write(db, "a", 5)
    one = replica(db, clock)
    await one.journal.open("a")
    given = await one.journal.catch_up("a", since)
    assert given.reset is not None
    assert why in given.reset
    assert (given.place, given.events) == (Place(1, 5), ())
    assert json.loads(given.snapshot or b"")["positions"][0]["qty"] == 5


@pytest.mark.parametrize(
    ("first", "last", "kept"), [(1, 3, False), (3, 3, False), (1, 2, True), (5, 5, False)]
)
async def test_S2_rows_that_are_gone_are_a_reset_and_never_a_silent_gap(
    db: Database, clock: SystemClock, first: int, last: int, kept: bool
) -> None:
    await open_accounts(db, "a")
    await write(db, "a", 5)
    await prune(db, "a", first, last)
    one = replica(db, clock)
    await one.journal.open("a")
    given = await one.journal.catch_up("a", Place(1, 2))
    if kept:
        assert [e.sequence for e in given.events] == [3, 4, 5]
    else:
        assert given.reset is not None
        assert "not_kept" in given.reset
        assert given.snapshot is not None
        assert given.place == Place(1, 5)


async def test_S2_who_has_missed_more_than_is_told_one_by_one_gets_the_state(
    db: Database, clock: SystemClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MOST_REPLAYED", 6)
    monkeypatch.setattr(journal_module, "PAGE", 4)
    await open_accounts(db, "a")
    await write(db, "a", 7)
    one = replica(db, clock)
    await one.journal.open("a")
    assert [e.sequence for e in (await one.journal.catch_up("a", Place(1, 1))).events] == [2, 3, 4, 5, 6, 7]
    given = await one.journal.catch_up("a", Place(1, 0))
    assert given.reset is not None
    assert "too_many" in given.reset


async def test_S2_a_reset_of_the_account_is_told_before_its_event_in_a_new_epoch(
    db: Database, clock: SystemClock
) -> None:
    await open_accounts(db, "a")
    await write(db, "a", 2)
    one = replica(db, clock)
    await one.journal.open("a")
    reader = Reader("a")
    reader.caught_up(await one.journal.catch_up("a", Place(1, 0)), Place(1, 0))
    await write(db, "a")
    await reset_account(db, "a")
    await write(db, "a", symbol="MSFT", qty=7)
    await one.journal.look(["a"])
    for told in one.hub.of("account:a"):
        reader.hear(told)
    assert reader.resets == ["epoch"]
    assert reader.log == [Place(1, 1), Place(1, 2), Place(1, 3), Place(2, 4), Place(2, 5)]
    assert reader.held == {"MSFT": 7}
    assert [e.type for e in one.hub.events("account:a")] == [
        "position_update",
        "portfolio_update",
        "position_update",
    ]
    late = Reader("a")
    late.caught_up(await one.journal.catch_up("a", Place(1, 3)), Place(1, 3))
    assert (late.resets, late.place, late.held) == (["epoch"], Place(2, 5), {"MSFT": 7})
    again = await one.journal.catch_up("a", Place(2, 3))
    assert (again.reset, [e.sequence for e in again.events]) == (None, [4, 5])


async def test_S2_rows_pruned_before_they_were_told_are_a_reset_at_where_the_account_is(
    db: Database, clock: SystemClock
) -> None:
    await open_accounts(db, "a", "b")
    one = replica(db, clock)
    await one.journal.open("a")
    await one.journal.open("b")
    await write(db, "a", 6)
    await write(db, "b", 6)
    await prune(db, "a", 1, 6)
    await prune(db, "b", 3, 3)
    await one.journal.look()
    (lost,) = one.hub.of("account:a")
    assert lost == one.hub.resets("account:a")[0]
    assert lost.place == Place(1, 6)
    assert [e.sequence for e in one.hub.events("account:b")] == [1, 2]
    assert [r.place for r in one.hub.resets("account:b")] == [Place(1, 6)]
    await write(db, "a")
    await one.journal.look()
    assert [e.sequence for e in one.hub.events("account:a")] == [7]


async def test_S2_a_database_put_back_to_an_earlier_state_is_a_reset(
    db: Database, clock: SystemClock
) -> None:
    await open_accounts(db, "a")
    await write(db, "a", 3)
    one = replica(db, clock)
    await one.journal.open("a")
    one.journal._open["a"].place = Place(1, 9)
    await one.journal.look()
    assert [r.place for r in one.hub.resets("account:a")] == [Place(1, 3)]
    await write(db, "a")
    await one.journal.look()
    assert [e.sequence for e in one.hub.events("account:a")] == [4]


async def test_S2_nothing_can_fall_between_the_state_of_a_reset_and_the_events_after_it(
    db: Database, clock: SystemClock
) -> None:
    """Something is committed at the worst moment: after the state was read and before it is told."""
    await open_accounts(db, "a")
    await write(db, "a", 2)
    one = replica(db, clock)
    await one.journal.open("a")
    reading = one.journal._snapshot

    async def late(account: str) -> bytes:
        state = await reading(account)
        await write(db, account)
        return state

    one.journal._snapshot = late
    reader = Reader("a")
    reader.caught_up(await one.journal.catch_up("a", Place(9, 9)), Place(9, 9))
    one.journal._snapshot = reading
    assert reader.place == Place(1, 2)
    await one.journal.look()
    for told in one.hub.of("account:a"):
        reader.hear(told)
    assert (reader.place, reader.held) == (Place(1, 3), {"AAPL": 3})
    await write(db, "a", 3)
    await prune(db, "a", 4, 6)
    one.journal._snapshot = late
    await one.journal.look()
    await one.journal.look()
    for told in one.hub.of("account:a")[1:]:
        reader.hear(told)
    assert (reader.place, reader.held) == (Place(1, 7), {"AAPL": 7})


async def test_S1_a_database_that_was_away_is_read_on_from_where_it_was(
    db: Database, clock: SystemClock
) -> None:
    await open_accounts(db, "a")
    away = Counting(db)
    one = replica(away, clock, poll_s=0.05)  # type: ignore[arg-type]
    await one.journal.open("a")
    await one.journal.start()
    try:
        await write(db, "a", 2)
        one.journal.nudge(["a"])
        await until(lambda: len(one.hub.of("account:a")) == 2)
        away.away = True
        await write(db, "a", 3)
        one.journal.nudge(["a"])
        await until(lambda: one.journal.problem is not None)
        with pytest.raises(DatabaseUnavailable):
            await one.journal.catch_up("a", Place(1, 0))
        away.away = False
        await until(lambda: len(one.hub.of("account:a")) == 5)
        assert [e.sequence for e in one.hub.events("account:a")] == [1, 2, 3, 4, 5]
        assert one.journal.problem is None
    finally:
        await one.journal.stop()


async def test_a_channel_closed_and_opened_again_while_rows_are_read_tells_none_of_them_twice(
    db: Database, clock: SystemClock
) -> None:
    await open_accounts(db, "a")
    one = replica(db, clock)
    await one.journal.open("a")
    await write(db, "a", 2)
    reading = one.journal._advance

    async def meddle(*args: Any) -> None:
        one.journal.close("a")
        await one.journal.open("a")
        await reading(*args)

    one.journal._advance = meddle  # type: ignore[method-assign]
    await one.journal.look()
    assert one.hub.of("account:a") == []
    one.journal._advance = reading  # type: ignore[method-assign]
    await write(db, "a")
    await one.journal.look()
    assert [e.sequence for e in one.hub.events("account:a")] == [3]


async def test_an_account_that_is_not_there_is_a_key_error(db: Database, clock: SystemClock) -> None:
    one = replica(db, clock)
    with pytest.raises(KeyError):
        await one.journal.open("nowhere")
    with pytest.raises(KeyError):
        await one.journal.catch_up("nowhere", None)


async def test_a_watcher_hears_of_every_move_and_costs_no_rows(db: Database, clock: SystemClock) -> None:
    await open_accounts(db, "a", "b")
    one = replica(db, clock)
    moved: list[str] = []
    one.journal.watch("a", moved.append)
    await one.journal.look()
    assert moved == ["a"], "once, for what may have happened before"
    await one.journal.look()
    await write(db, "b")
    await one.journal.look()
    assert moved == ["a"]
    await write(db, "a", 3)
    one.journal.nudge(["a"])
    await one.journal.look(["a"])
    assert moved == ["a", "a"]
    assert one.hub.told == {}
    one.journal.unwatch("a")
    await write(db, "a")
    await one.journal.look()
    assert moved == ["a", "a"]


@pytest.mark.parametrize("seed", range(4))
async def test_S2_whatever_is_lost_every_log_is_contiguous_or_reset_and_ends_as_the_ledger(
    db: Database, clock: SystemClock, seed: int
) -> None:
    """Several accounts, random commits, nudges that get lost, rows that are pruned, resets, and readers that come and go between two
    replicas: each step of each reader is checked, and at the end he knows what the ledger says."""
    chance = random.Random(seed)
    names = [f"a{n}" for n in range(3)]
    await open_accounts(db, *names)
    replicas = [replica(db, clock), replica(db, clock)]
    readers = {name: [Reader(name) for _ in range(3)] for name in names}
    at: dict[Reader, tuple[Any, int]] = {}

    async def join(reader: Reader) -> None:
        place = chance.choice(replicas)
        if reader.account not in place.journal._open:
            await place.journal.open(reader.account)
        since = reader.place or Place(1, 0)
        given = await place.journal.catch_up(reader.account, since)
        reader.caught_up(given, since)
        heard = len(place.hub.of(f"account:{reader.account}"))
        at[reader] = (place, heard)

    def listen(reader: Reader) -> None:
        place, heard = at[reader]
        told = place.hub.of(f"account:{reader.account}")
        for one in told[heard:]:
            # What the catch-up has told already, as the hub does it.
            known = reader.place
            place_of = one.place if isinstance(one, Reset) else Place(one.epoch, one.sequence)
            if (place_of.epoch, place_of.sequence) > (known.epoch, known.sequence):
                reader.hear(one)
        at[reader] = (place, len(told))

    for _ in range(60):
        name = chance.choice(names)
        step = chance.random()
        if step < 0.5:
            await write(
                db, name, chance.randint(1, 4), chance.choice(["AAPL", "MSFT"]), chance.choice([1, -1])
            )
        elif step < 0.56:
            await reset_account(db, name)
        elif step < 0.62:
            first = chance.randint(1, 40)
            await prune(db, name, first, first + chance.randint(0, 3))
        elif step < 0.8:
            await chance.choice(replicas).journal.look(chance.sample(names, chance.randint(1, 3)))
        else:
            reader = chance.choice(readers[name])
            if reader in at and chance.random() < 0.5:
                listen(reader)
                del at[reader]
            else:
                await join(reader)
    for name in names:
        for reader in readers[name]:
            if reader not in at:
                await join(reader)
    for one in replicas:
        await one.journal.look()
    for name in names:
        state = json.loads(await replicas[0].journal._snapshot(name))
        held = {one["symbol"]: one["qty"] for one in state["positions"]}
        for reader in readers[name]:
            listen(reader)
            assert reader.held == held
            assert reader.place == await replicas[0].journal._load_place(name)
