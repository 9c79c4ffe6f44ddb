"""Several replicas, one upstream: who leads, who follows, and what becomes of both (contract S6, docs/adr/0018)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from paiid.market.ticks import DEMAND, LEAD, TICKS, Lead, Ticks, Wanted, decode, encode
from tests.bus_world import QUICK, Town, town, until
from tests.market_world import FakeFeed
from tests.servers import ValkeyServer

BIDS = {"AAPL": "10", "SPY": "20", "TLT": "30"}


def move(place: Town, bids: dict[str, str]) -> None:
    for symbol, bid in bids.items():
        place.set(symbol, bid, "99")


async def three(place: Town) -> None:
    """One replica for each of the three symbols, settled, and showing."""
    for symbol in BIDS:
        await place.add(symbol)
    await place.until_settled()
    move(place, BIDS)
    await place.until_all_show(BIDS)


async def test_S6_one_listens_for_all_and_every_replica_shows_the_same_under_the_same_places(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        await three(place)
        for n in range(50):
            move(place, {"AAPL": f"11.{n:02}"})
            await asyncio.sleep(0.002)
        await place.until_all_show({"AAPL": "11.49"})
        assert place.most_listening == 1
        leader = place.leader
        assert leader is not None
        assert set(leader.feed.following) == set(BIDS), "the demand of the three united"
        for other in place.replicas:
            for symbol in BIDS:
                assert other.board.find(symbol) == leader.board.find(symbol)
            if other is not leader:
                assert other.feed.fetched == 0, "only the leader asks"
                assert not other.feed.following


async def test_S6_when_the_leader_dies_another_takes_over_with_a_new_epoch_and_nothing_newest_is_lost(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        await three(place)
        dead = await place.until_settled()
        epoch = dead.upstream.state.epoch
        place.replicas.remove(dead)
        await dead.die()
        move(place, {"AAPL": "11"})
        new = await place.until_settled()
        assert new.upstream.state.epoch > epoch
        # The dead one's clients are gone with it, so what only they wanted need not be followed.
        wanted = {"AAPL": "12", "SPY": "22", "TLT": "33"}
        mine = {
            symbol: bid
            for symbol, bid in wanted.items()
            if any(symbol in one.demand.subscribed() for one in place.replicas)
        }
        move(place, wanted)
        await place.until_all_show(mine)
        for other in place.replicas:
            epochs = [one for one, _ in other.epochs]
            assert epochs[-1] == new.upstream.state.epoch
            assert other.epochs[-1][1], "why is told"
            assert all(one.epoch in epochs for one in other.shown)
            _assert_places_grow(other.shown)


def _assert_places_grow(shown: list) -> None:  # type: ignore[type-arg]
    places: dict[tuple[str, int], int] = {}
    for one in shown:
        key = (one.quote.symbol, one.epoch)
        assert one.sequence > places.get(key, 0)
        places[key] = one.sequence


async def test_S6_a_lease_that_was_renewed_is_heard_of_so_that_nobody_goes_alone_before_it_can_be_taken(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        # It says nothing between one renewal and the next.
        await place.add("AAPL", pace=replace(QUICK, beat_s=60.0))
        await place.until_settled()
        other = await place.add("SPY")
        await place.until_settled()
        epochs = list(other.epochs)
        await asyncio.sleep(1.5 * QUICK.silent_s)
        assert other.epochs == epochs


async def test_S6_a_leader_that_stops_hands_over_at_once(postgres_url: str, valkey_url: str) -> None:
    slow = replace(QUICK, lease_s=60.0, renew_s=0.2, silent_s=5.0)
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        for symbol in BIDS:
            await place.add(symbol, pace=slow)
        old = await place.until_settled()
        place.replicas.remove(old)
        await old.upstream.stop()
        # Sooner than the lease would have run out, and than the leader would have been missed.
        await place.until_settled()
        assert all(state.status != "degraded" for one in place.replicas for state in one.states)


async def test_S6_a_leader_whose_database_is_away_gives_up_in_time_and_goes_on_by_itself(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        one = await place.add("AAPL")
        await until(lambda: one.status == "up")
        began = len(one.epochs)
        assert one.db is not None
        leases, one.upstream.lead.leases = one.upstream.lead.leases, None
        one.upstream.lead.leases = _NoDatabase()  # type: ignore[assignment]
        await until(lambda: one.status == "degraded")
        assert "database" in one.upstream.state.reason
        assert not one.feed.listening
        move(place, {"AAPL": "11"})
        await place.until_all_show({"AAPL": "11"})
        one.upstream.lead.leases = leases
        await until(lambda: one.status == "up")
        epochs = [epoch for epoch, _ in one.epochs]
        assert len(epochs) == len(set(epochs)) == began + 2, "leading, by itself, and leading anew"


class _NoDatabase:
    """Leases that cannot be had."""

    async def take(self, name: str, ttl_s: float) -> None:
        from paiid.core.db import DatabaseUnavailable

        raise DatabaseUnavailable("away")

    async def release(self, name: str) -> None:
        await self.take(name, 0)


async def test_S6_the_feed_being_slow_does_not_cost_the_lease(postgres_url: str, valkey_url: str) -> None:
    class Slow(FakeFeed):
        async def fetch_quotes(self, symbols):  # type: ignore[no-untyped-def]
            await asyncio.sleep(30)

    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        one = await place.add("AAPL", feed=Slow(heartbeat_s=1.0))
        await until(lambda: one.leads)
        two = await place.add("SPY")
        await place.until_settled()
        await asyncio.sleep(1.5 * QUICK.lease_s)
        assert one.leads
        assert not two.leads


async def test_S6_without_a_bus_a_second_process_asks_by_itself_and_says_so(postgres_url: str) -> None:
    async with town(db_url=postgres_url) as place:
        one = await place.add("AAPL")
        await until(lambda: one.status == "up")
        two = await place.add("SPY")
        await until(lambda: two.status == "degraded")
        assert "bus" in two.upstream.state.reason
        assert not two.feed.listening
        move(place, BIDS)
        await until(lambda: two.bid("SPY") == "20")
        assert two.upstream.state.epoch != one.upstream.state.epoch


@pytest.mark.parametrize("fate", ["killed", "frozen"])
async def test_S6_without_redis_followers_ask_by_themselves_and_come_back_afterwards(
    postgres_url: str, valkey: ValkeyServer, fate: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey.url) as place:
        await three(place)
        leader = await place.until_settled()
        followers = [one for one in place.replicas if one is not leader]
        epoch = leader.upstream.state.epoch
        valkey.stop() if fate == "killed" else valkey.pause()
        await until(lambda: all(one.status == "degraded" for one in followers))
        move(place, {"AAPL": "11", "SPY": "21", "TLT": "31"})
        for one in place.replicas:
            symbol = one.demand.subscribed()[0]
            await until(lambda one=one, symbol=symbol: one.bid(symbol) in ("11", "21", "31"))
        await until(lambda: leader.status == "up")
        assert leader.leads
        valkey.start() if fate == "killed" else valkey.resume()
        await place.until_settled()
        assert leader.upstream.state.epoch == epoch, "it has led all the time"
        bids = {"AAPL": "12", "SPY": "22", "TLT": "32"}
        move(place, bids)
        await place.until_all_show(bids)
        for one in place.replicas:
            _assert_places_grow(one.shown)


async def test_S6_a_flush_of_redis_changes_nothing(postgres_url: str, valkey: ValkeyServer) -> None:
    async with town(db_url=postgres_url, bus_url=valkey.url) as place:
        await three(place)
        before = [list(one.epochs) for one in place.replicas]
        valkey.say("FLUSHALL")
        move(place, {"AAPL": "11"})
        await place.until_all_show({"AAPL": "11"})
        assert [one.epochs for one in place.replicas] == before


async def test_S5_a_feed_that_falls_silent_is_down_for_everyone_and_up_again(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        await three(place)
        leader = await place.until_settled()
        leader.feed.go_silent()
        await until(lambda: all(one.status == "down" for one in place.replicas))
        assert all("silent" in one.upstream.state.reason for one in place.replicas)
        leader.feed.beat()
        await until(lambda: all(one.status == "up" for one in place.replicas))
        leader.feed.lose("the vendor hung up")
        await until(lambda: all(one.status == "down" for one in place.replicas))
        assert {one.upstream.state.reason for one in place.replicas} == {"the vendor hung up"}
        leader.feed.beat()
        await place.until_settled()


async def test_S5_what_the_stream_missed_in_twenty_losses_is_fetched(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        await three(place)
        leader = await place.until_settled()
        before = [list(one.epochs) for one in place.replicas]
        for n in range(20):
            leader.feed.lose("gone again")
            await until(lambda n=n: leader.upstream.counts.get("feed_lost") == n + 1)
            move(place, {"AAPL": f"12.{n:02}"})
            leader.feed.beat()
            await asyncio.sleep(0.005)
        bids = {"AAPL": "12.19", "SPY": "20"}
        await place.until_all_show(bids)
        await place.until_settled()
        assert leader.leads
        assert [one.epochs for one in place.replicas] == before


async def test_a_replica_that_joins_is_told_the_newest_of_all(postgres_url: str, valkey_url: str) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        await three(place)
        late = await place.add()
        await place.until_all_show(BIDS)
        leader = place.leader
        assert leader is not None
        assert late.board.find("AAPL") == leader.board.find("AAPL")


async def test_demand_is_united_and_what_nobody_wants_any_more_is_forgotten(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        await three(place)
        leader = await place.until_settled()
        other = next(one for one in place.replicas if one is not leader)
        other.demand.drop(other.demand.subscribed())
        await until(lambda: len(leader.feed.following) == 2)
        await until(lambda: all(len(one.board.symbols()) == 2 for one in place.replicas))
        other.demand.touch("QQQ")
        await until(lambda: "QQQ" in leader.feed.following)
        # The leader's clients go: what others want is still followed.
        leader.demand.drop(leader.demand.subscribed())
        await until(lambda: len(leader.feed.following) == 2)


async def test_more_than_the_feed_can_stream_is_asked_for_and_subscribers_come_first(
    postgres_url: str, valkey_url: str
) -> None:
    class Counts(FakeFeed):
        most = 0

        def follow(self, symbols: Sequence[str]) -> None:
            Counts.most = max(Counts.most, len(symbols))
            super().follow(symbols)

    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        one = await place.add(feed=Counts(heartbeat_s=1.0, most_streamed=2))
        await until(lambda: one.leads)
        two = await place.add("AAPL")
        one.demand.touch("SPY")
        one.demand.touch("TLT")
        one.demand.add(["QQQ"])
        move(place, {**BIDS, "QQQ": "40"})
        await until(lambda: set(one.feed.following) == {"AAPL", "QQQ"})
        await place.until_all_show({**BIDS, "QQQ": "40"})
        assert two.bid("TLT") == "30", "asked for, numbered and published as all others"
        assert Counts.most == 2, "the feed was never told more"


async def test_sockets_of_a_user_are_known_on_the_other_replicas(postgres_url: str, valkey_url: str) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        one, two, three_ = [await place.add() for _ in range(3)]
        one.sockets["ann"] = 3
        two.sockets["ann"] = 4
        await until(lambda: three_.upstream.sockets_elsewhere("ann") == 7)
        await until(lambda: one.upstream.sockets_elsewhere("ann") == 4)
        assert three_.upstream.sockets_elsewhere("bob") == 0
        del one.sockets["ann"]
        await until(lambda: three_.upstream.sockets_elsewhere("ann") == 4)


async def test_garbage_and_forged_messages_are_counted_and_ignored(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        await three(place)
        leader = await place.until_settled()
        follower = next(one for one in place.replicas if one is not leader)
        epoch = leader.upstream.state.epoch
        tick = encode(Ticks(epoch, []))
        forged = [
            (LEAD, b""),
            (LEAD, b"\xc1" * 100),
            (LEAD, encode(Lead(2**53 - 1, "up", "", "hand"))),
            (LEAD, encode(Lead(epoch, "sideways", "", "hand"))),  # type: ignore[arg-type]
            (TICKS, b"\xdd\xff\xff\xff\xff"),
            (TICKS, b"\x91" * 100_000),
            (TICKS, tick[:-1]),
            (TICKS, _a_tick(epoch, bid="1E+999999999")),
            (TICKS, _a_tick(epoch, bid="NaN")),
            (TICKS, _a_tick(epoch, bid="-1")),
            (TICKS, _a_tick(epoch, bid="x")),
            (TICKS, _a_tick(epoch, symbol="A" * 1000)),
            (TICKS, _a_tick(epoch, sequence=2**60)),
            (DEMAND, encode(Wanted("x", 0, False, ["A" * 30], [], {}))),
            (DEMAND, encode(Wanted("x", 0, False, ["AAPL"] * 100_000, [], {}))),
            (DEMAND, encode(Wanted("x", 0, False, [], [], {"u": -1}))),
        ]
        stranger = await place.add(start=False)
        place.replicas.remove(stranger)
        await stranger.bus.start()
        await until(lambda: stranger.bus.up)
        try:
            for channel, body in forged:
                stranger.bus.publish(channel, body)
            await until(
                lambda: follower.upstream.counts.get("bus_refused", 0) == len(forged),
                f"{follower.upstream.counts}",
            )
            # An old leader's late words.
            stranger.bus.publish(LEAD, encode(Lead(epoch - 1, "down", "", "hand")))
            stranger.bus.publish(TICKS, _a_tick(epoch - 1))
            await until(lambda: follower.upstream.counts.get("old_epoch") == 2)
        finally:
            await stranger.bus.stop()
        assert follower.bid("AAPL") == "10"
        move(place, {"AAPL": "11"})
        await place.until_all_show({"AAPL": "11"})
        assert await place.until_settled() is leader
        assert leader.upstream.state.epoch == epoch


def _a_tick(epoch: int, *, bid: str = "1", symbol: str = "AAPL", sequence: int = 1000) -> bytes:
    import msgspec

    row = [sequence, symbol, bid, "2", "1", "1", "1", "1", 1, 1, "hand", False, 0, None]
    return msgspec.msgpack.encode([epoch, [row], [], []])


def test_what_is_forged_above_would_be_taken_if_it_were_well_formed() -> None:
    assert str(decode(Ticks, _a_tick(1, bid="1.50")).ticks[0].bid) == "1.50"


async def test_S6_a_leader_that_is_called_old_goes_beyond_whoever_calls_it_so(
    postgres_url: str, valkey_url: str
) -> None:
    async with town(db_url=postgres_url, bus_url=valkey_url) as place:
        await three(place)
        leader = await place.until_settled()
        forged = leader.upstream.state.epoch + 1_000_000
        stranger = await place.add(start=False)
        place.replicas.remove(stranger)
        await stranger.bus.start()
        await until(lambda: stranger.bus.up)
        stranger.bus.publish(LEAD, encode(Lead(forged, "up", "", "hand")))
        await until(lambda: leader.upstream.state.epoch > forged)
        await stranger.bus.stop()
        await place.until_settled()
        move(place, {"AAPL": "11"})
        await place.until_all_show({"AAPL": "11"})
