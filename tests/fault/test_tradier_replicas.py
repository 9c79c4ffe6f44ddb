"""Replicas on one token of Tradier: one market session, one account stream, one budget, whoever of them is killed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fault.conftest import MakeServer
from tests.fault.tradier_fleet import PATIENCE_S, TradierFleet, order_of
from tests.servers import ValkeyServer
from tests.tradier_counted import counted_tradier
from tests.world import fresh_key

WINDOW_S = 12.0
"""A minute of Tradier's."""
SYMBOLS = ("KO", "PEP", "SPY")
TOO_MANY = "too many sessions requested"


@asynccontextmanager
async def running_fleet(
    replicas: int, tmp_path: Path, template: Path, make_server: MakeServer, database_url: str, **environ: str
) -> AsyncIterator[TradierFleet]:
    """So many servers, ready to trade."""
    async with counted_tradier(tmp_path / "sim", template, window_s=WINDOW_S) as tradier:
        # A busy machine must neither let an order pass its window nor take a replica its word of what others have spent.
        patience = {"HORIZON_S": "12", "SEND_WINDOW_S": "4", "REDIS_DEADLINE_S": "0.5"}
        shared = {**tradier.environ(), **patience, "STREAM_HEARTBEAT_S": "1.0", **environ}
        servers = [make_server(database_url, f"replica-{at}", **shared) for at in range(replicas)]
        fleet = TradierFleet(tradier, database_url, servers)
        try:
            await fleet.start()
            yield fleet
        finally:
            await fleet.end()
            await asyncio.gather(*(one.kill() for one in servers))


@pytest.mark.long
async def test_S6_E18_when_the_replica_that_listens_is_killed_another_does_once_its_session_is_given_up(
    tmp_path: Path, template: Path, make_server: MakeServer, postgres_url: str, valkey: ValkeyServer
) -> None:
    async with running_fleet(3, tmp_path, template, make_server, postgres_url, REDIS_URL=valkey.url) as fleet:
        tradier = fleet.tradier
        others = [fleet.listen(at, *SYMBOLS) for at in (1, 2)]
        for one in others:
            await one.until(lambda it: it.referee.quotes.keys() >= set(SYMBOLS))
        async with fleet.trading(callers=3, pause_s=0.6):
            await fleet.until(lambda: fleet.accepted > 5, "orders before the kill")
            resets = [len(one.of("quotes:*")) for one in others]
            # Tradier goes on to count the session of the one that is gone.
            tradier.fault("too_many_sessions", rate=1)
            await fleet.servers[0].kill()
            polled = len(tradier.asked_for(*SYMBOLS))
            for one, before in zip(others, resets, strict=True):
                # A new leader's quotes, although it has no session: it asks for them.
                await one.until(lambda it, before=before: len(it.of("quotes:*")) > before)  # type: ignore[misc]
                await one.until(lambda it: it.referee.quotes.keys() >= set(SYMBOLS))
            await fleet.until(
                lambda: len(tradier.asked_for(*SYMBOLS)) >= polled + 3, "it asks again and again"
            )
            await fleet.feed_is_up()
            assert tradier.listeners[0] == 0
            done = fleet.accepted
            await fleet.until(lambda: fleet.accepted > done + 3, "orders without a session")
            tradier.sim.faults.remove()
            await fleet.until(lambda: tradier.listeners == (1, 1), "another one listens")
            done = fleet.accepted
            await fleet.until(lambda: fleet.accepted > done + 3, "orders after it")
        await fleet.judge()
        for one in others:
            assert (one.referee.faults, one.closed) == ([], [])
        assert tradier.most_listening() == (1, 1)
        # It was asked for while it was refused, and by nobody at another time.
        asked = [one["outcome"] for one in tradier.ledger("market_session")]
        assert set(asked[1:-1]) == {TOO_MANY}
        assert (asked[0], asked[-1]) == ("created", "created")
        assert tradier.refused() == []


async def test_E11_replicas_share_one_budget_and_without_the_bus_a_429_of_tradier_doubles_and_loses_nothing(
    tmp_path: Path, template: Path, make_server: MakeServer, postgres_url: str, valkey: ValkeyServer
) -> None:
    async with running_fleet(2, tmp_path, template, make_server, postgres_url, REDIS_URL=valkey.url) as fleet:
        tradier = fleet.tradier
        await fleet.bus_is(True)
        async with asyncio.timeout(PATIENCE_S):
            while await fleet.left_for_orders(1) > 0:
                await asyncio.gather(*(fleet.ask(fresh_key(), order_of(n), 0) for n in range(16)))
        # The other one knows that there is no place, though it has sent nothing and so was told nothing by Tradier.
        await fleet.ask(fresh_key(), order_of(0), 1)
        await fleet.settle_all()
        assert tradier.refused() == []
        async with asyncio.timeout(PATIENCE_S):
            while await fleet.left_for_orders(1) == 0:
                await asyncio.sleep(0.1)
        valkey.stop()
        await fleet.bus_is(False)
        async with asyncio.timeout(PATIENCE_S):
            while "rate_limited" not in fleet.reasons():
                # Another program with the same token, of which no replica hears.
                await tradier.spend_by_hand()
                await asyncio.gather(*(fleet.settle(fresh_key(), order_of(n), n % 2) for n in range(4)))
        assert tradier.refused("POST", "/orders")
        await fleet.judge()


async def test_E13_sigterm_with_both_streams_open_and_orders_on_the_wire_ends_in_good_order(
    tmp_path: Path, template: Path, make_server: MakeServer, sqlite_url: str
) -> None:
    async with running_fleet(1, tmp_path, template, make_server, sqlite_url) as fleet:
        tradier, (server,) = fleet.tradier, fleet.servers
        listener = fleet.listen(0, *SYMBOLS)
        await listener.until(lambda it: it.referee.quotes.keys() >= set(SYMBOLS))
        tradier.fault("slow", on="submit", rate=1, params={"before_ms": 300})
        calls = [asyncio.create_task(fleet.settle(fresh_key(), order_of(n))) for n in range(8)]
        await fleet.until(lambda: len(tradier.submitted()) == 8, "orders on the wire")
        server.signal(signal.SIGTERM)
        # Whoever is not gone after 4.8 s ends with another code.
        assert await server.wait() == 0, server.output()
        await fleet.until(lambda: tradier.listeners == (0, 0), "nobody listens")
        assert len(tradier.ledger("data_end", "stream_end")) == 2
        tradier.sim.faults.remove()
        await server.start()
        await asyncio.gather(*calls)
        await fleet.until(lambda: tradier.listeners == (1, 1), "it listens again")
        assert {one["outcome"] for one in tradier.ledger("market_session")} == {"created"}
        await fleet.judge()
