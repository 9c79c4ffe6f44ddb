"""Clients of the hub over the account channels: whoever comes when he likes reads a whole log, or is told that he begins anew."""

import asyncio
import json
import random

import pytest

from paiid.core.bus import NoBus
from paiid.core.clock import SystemClock
from paiid.core.db import Database
from paiid.stream.events import Place
from paiid.stream.hub import Hub
from paiid.stream.journal import Journal
from paiid.trading.channel_snapshot import ChannelSnapshot
from tests.channel_world import open_accounts, prune, reset_account, until, write
from tests.stream_world import FakeSink, Reader


def held_by(sink: FakeSink, channel: str) -> dict[str, int]:
    """What a client believes is held, from the snapshots and events he was sent."""
    held: dict[str, int] = {}
    for message in sink.told(channel):
        data = message["data"]
        if message["type"] == "reset":
            held = {one["symbol"]: one["qty"] for one in data["positions"]}
        elif data["event"] == "position":
            held[data["symbol"]] = data["qty"]
    return {symbol: qty for symbol, qty in held.items() if qty != 0}


@pytest.mark.parametrize("seed", range(3))
async def test_S2_clients_that_come_while_everything_moves_read_whole_logs(
    db: Database, clock: SystemClock, seed: int
) -> None:
    """Commits, nudges of which some are lost, pruned rows, resets, and clients who join at places true, old and forged; every message
    is checked as a careful client would, and at the end everybody knows what is held."""
    chance = random.Random(seed)
    names = ["a0", "a1"]
    await open_accounts(db, *names)
    hub = Hub(clock, flush_s=0.001)
    journal = Journal(db, clock, hub, NoBus(), ChannelSnapshot(db), poll_s=0.05, gather_s=0.001)
    hub.register("account", journal)
    clients: list[tuple[FakeSink, dict[str, Place]]] = []
    await hub.start()
    await journal.start()

    async def write_some(name: str) -> None:
        for _ in range(25):
            step = chance.random()
            if step < 0.05:
                await reset_account(db, name)
            elif step < 0.1:
                first = chance.randint(1, 30)
                await prune(db, name, first, first + 2)
            else:
                symbol, qty = chance.choice(["AAPL", "MSFT"]), chance.choice([1, -1])
                await write(db, name, chance.randint(1, 5), symbol, qty)
                if chance.random() < 0.7:
                    journal.nudge([name])
            await asyncio.sleep(0)

    async def join_some() -> None:
        for _ in range(12):
            sink = FakeSink(chance.choice(["frames", "batches", "sse"]))
            subscriber = hub.attach(sink)
            # The beginning of all, or a place that never was.
            begins = {name: chance.choice([Place(1, 0), Place(1, 0), Place(99, 7)]) for name in names}
            for name, since in begins.items():
                await hub.subscribe(subscriber, f"account:{name}", since)
            clients.append((sink, begins))
            await asyncio.sleep(0)

    try:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(write_some(name))
            group.create_task(join_some())
        ends = {name: await journal._load_place(name) for name in names}
        await until(lambda: all(journal._open[name].place == ends[name] for name in names))
        hub.flush()
        for name in names:
            state = json.loads(await journal._snapshot(name))
            wanted = {one["symbol"]: one["qty"] for one in state["positions"]}
            for sink, begins in clients:
                reader = Reader()
                reader.subscribed(f"account:{name}", begins[name])
                for message in sink.told(f"account:{name}"):
                    reader.take(message)
                assert held_by(sink, f"account:{name}") == wanted
                assert reader.places[f"account:{name}"] == (ends[name].epoch, ends[name].sequence)
    finally:
        await journal.stop()
        await hub.stop()
