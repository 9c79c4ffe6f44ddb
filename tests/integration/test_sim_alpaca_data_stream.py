"""The simulated market data stream: greeting, authentication, subscriptions, errors, and what the market's ticks become."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from paiid.domain.bars import Bar, Timeframe
from paiid.sim.alpaca.marketdata.side import DataOptions
from tests.sim_data_world import AUTH, AUTHENTICATED, DataListener, greeted, refused, subscribed
from tests.sim_world import KEYS, SimWorld, simulated, until

CALL = "AAPL291221C00100000"
NONE: dict[str, list[str]] = {
    name: []
    for name in ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors")
}  # fmt: skip


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path, data=DataOptions(poll_s=0.005)) as one:
        yield one


async def test_a_client_says_who_it_is_and_hears_what_it_subscribes_to(world: SimWorld) -> None:
    async with greeted(world) as one:
        assert await one.say(action="subscribe", quotes=["AAPL"]) == refused(401, "not authenticated")
        assert await one.say(**AUTH) == AUTHENTICATED
        assert await one.say(**AUTH) == refused(403, "already authenticated")
        assert await one.say(action="subscribe", quotes=["AAPL"], trades=["AAPL", "MSFT"]) == [
            {**NONE, "T": "subscription", "quotes": ["AAPL"], "trades": ["AAPL", "MSFT"],
             "corrections": ["AAPL", "MSFT"], "cancelErrors": ["AAPL", "MSFT"]}
        ]  # fmt: skip
        [told] = await one.say(action="subscribe", quotes=["MSFT", "AAPL"], bars=["*"])
        assert (told["quotes"], told["bars"]) == (["AAPL", "MSFT"], ["*"])
        [told] = await one.say(action="unsubscribe", trades=["AAPL"], quotes=["AAPL", "NONE"])
        assert (told["quotes"], told["trades"], told["bars"]) == (["MSFT"], ["MSFT"], ["*"])


async def test_keys_in_the_headers_are_enough_and_bad_ones_are_told(world: SimWorld) -> None:
    headers = {name.replace("-", "_"): value for name, value in KEYS.items()}
    async with greeted(world, **headers) as one:
        assert await one.hear() == AUTHENTICATED
        assert (await one.say(action="subscribe", quotes=["AAPL"]))[0]["quotes"] == ["AAPL"]
    async with greeted(world, **{**headers, "APCA_API_SECRET_KEY": "wrong"}) as one:
        assert await one.hear() == refused(402, "auth failed")


async def test_bad_keys_may_be_tried_again_until_the_time_is_up(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        # Longer than a busy machine takes for the three.
        simulated(sqlite_url, tmp_path, data=DataOptions(auth_timeout_s=2.5)) as world,
        greeted(world) as one,
    ):
        for wrong in ({**AUTH, "secret": "no"}, {"action": "auth"}, {**AUTH, "key": 7, "secret": [1]}):
            assert await one.say(**wrong) == refused(402, "auth failed")
        assert await one.hear() == refused(404, "auth timeout")
        with pytest.raises(ConnectionClosed):
            await one.hear()


WRONG: list[tuple[Any, int, str]] = [
    ([], 400, "invalid syntax"),
    ({}, 400, "invalid syntax"),
    ({"action": "dance"}, 400, "invalid syntax"),
    ({"action": ["auth"]}, 400, "invalid syntax"),
    ({"action": "subscribe"}, 400, "invalid syntax"),
    ({"action": "subscribe", "quotes": "AAPL"}, 400, "invalid syntax"),
    ({"action": "subscribe", "quotes": [7]}, 400, "invalid syntax"),
    ({"action": "subscribe", "quotes": ["A" * 33]}, 400, "invalid syntax"),
    ({"action": "subscribe", "gossip": ["AAPL"]}, 400, "invalid syntax"),
    ({"action": "subscribe", "news": ["AAPL"]}, 410, "invalid subscribe action for this feed"),
    ({"action": "unsubscribe", "orderbooks": ["AAPL"]}, 410, "invalid subscribe action for this feed"),
]


async def test_what_cannot_be_understood_is_told_and_changes_nothing(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        for message, code, text in WRONG:
            await one.send(message)
            assert await one.hear() == refused(code, text), message
        for frame in ("{", b"{", b"\xff\xfe", "[" * 5000):
            await one.socket.send(frame)
            assert await one.hear() == refused(400, "invalid syntax")
        [told] = await one.say(action="subscribe", quotes=["MSFT"])
        assert told["quotes"] == ["AAPL", "MSFT"]


async def test_an_unknown_feed_is_no_stream(world: SimWorld) -> None:
    for version, feed in (("v2", "opra"), ("v2", "stocks"), ("v1beta1", "sip")):
        with pytest.raises(InvalidStatus) as denied:
            async with greeted(world, feed, version=version):
                pass
        assert denied.value.response.status_code == 404


async def test_an_account_has_one_socket_on_a_feed_and_a_free_place_again_behind_it(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]), greeted(world) as second:
        assert await second.say(**AUTH) == refused(406, "connection limit exceeded")
        with pytest.raises(ConnectionClosed):
            await second.hear()
        async with subscribed(world, "iex", quotes=["AAPL"]):
            state = (await world.client.get("/sim")).json()
            assert list(state["data_connections"].values()) == [{"sip": 1, "iex": 1}]
    await until(lambda: _has_no_socket(world))
    async with subscribed(world, quotes=["AAPL"]):
        pass


async def _has_no_socket(world: SimWorld) -> bool:
    return (await world.client.get("/sim")).json()["data_connections"] == {}


async def test_the_plan_limits_symbols_and_feeds_and_can_be_set_while_it_runs(world: SimWorld) -> None:
    plan = (await world.client.post("/sim/data", json={"max_symbols": 2})).json()
    assert plan["max_symbols"] == 2
    async with subscribed(world, "iex", quotes=["AAPL"], trades=["MSFT"], bars=["*"]) as one:
        limit = refused(405, "symbol limit exceeded")
        assert await one.say(action="subscribe", quotes=["SPY"]) == limit
        assert await one.say(action="subscribe", trades=["*"]) == limit
        [told] = await one.say(action="subscribe", quotes=["MSFT"], dailyBars=["SPY"])
        assert (told["quotes"], told["trades"]) == (["AAPL", "MSFT"], ["MSFT"])
    await world.client.post("/sim/data", json={"feeds": ["iex"]})
    async with greeted(world, "sip") as one:
        assert await one.say(**AUTH) == refused(409, "insufficient subscription")
    for body in ({"max_symbols": -1}, {"max_connections": True}, {"feeds": ["x"]}, {"feeds": 7}, {"what": 1}):
        answer = await world.client.post("/sim/data", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, next(iter(body)))


async def test_each_tick_is_a_quote_and_a_trade_where_the_last_price_changed(world: SimWorld) -> None:
    async with subscribed(world, "iex", quotes=["AAPL"], trades=["AAPL"]) as one:
        world.show("100.10", "100.12")
        heard = await one.hear()
        while len(heard) < 2:
            heard += await one.hear()
        trade, quote = heard
        assert (trade["T"], trade["S"], trade["p"], trade["x"], trade["z"]) == ("t", "AAPL", 100.1, "V", "C")
        assert (quote["T"], quote["bp"], quote["ap"], quote["t"]) == ("q", 100.1, 100.12, trade["t"])
        latest = (await world.client.get("/v2/stocks/AAPL/quotes/latest?feed=iex")).json()["quote"]
        assert quote == {"T": "q", "S": "AAPL", **latest}
        world.show("100.10", "100.13")
        [quote] = await one.hear()
        assert (quote["T"], quote["ap"]) == ("q", 100.13)
        world.show("5.00", "5.01", "MSFT")
        await world.client.post("/sim/quotes", json={"symbol": "AAPL", "bid": "90", "ask": "91"})
        assert [(one["T"], one.get("bp")) for one in await one.hear()][-1] == ("q", 90)


async def test_orders_fill_at_what_the_stream_has_told(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        world.show("77.70", "77.77")
        [quote] = await one.next("q")
        await world.post("one")
        filled = await world.has_status("one", "filled")
        assert Decimal(filled["filled_avg_price"]) == Decimal(str(quote["ap"]))


async def test_a_star_is_every_share(world: SimWorld) -> None:
    world.show("5.00", "5.01", "MSFT")
    async with subscribed(world, quotes=["*"]) as one:
        world.show("6.00", "6.01", "MSFT")
        world.show("7.00", "7.01")
        told = await one.next("q", 2)
        assert sorted(quote["S"] for quote in told) == ["AAPL", "MSFT"]


async def test_messagepack_has_timestamps_and_takes_fragments(world: SimWorld) -> None:
    async with subscribed(world, packs=True, quotes=["AAPL"]) as one:
        names = [f"N{number}" for number in range(8000)]
        message = msgpack.packb({"action": "subscribe", "quotes": names})
        assert len(message) > 32_768
        await one.socket.send([message[at : at + 32_768] for at in range(0, len(message), 32_768)])
        [told] = await one.hear()
        assert told["quotes"] == ["AAPL", *names]
        world.show("100.10", "100.12")
        [quote] = await one.next("q")
        latest = (await world.client.get("/v2/stocks/AAPL/quotes/latest")).json()["quote"]
        assert isinstance(quote["t"], msgpack.Timestamp)
        assert f"{quote['t'].to_unix_nano() % 10**9:09}".rstrip("0") in latest["t"]
        assert (quote["bp"], quote["bs"]) == (100.1, 1_000_000)
        await one.socket.send(b"\xc1")
        assert await one.hear() == refused(400, "invalid syntax")


async def test_bars_come_as_the_minute_ends_and_the_day_with_it(sqlite_url: str, tmp_path: Path) -> None:
    options = DataOptions(poll_s=0.005, minute_s=0.1)
    async with simulated(sqlite_url, tmp_path, data=options) as world:
        async with subscribed(world, bars=["*"], dailyBars=["AAPL"]) as one:
            now_us = world.sim.exchange.clock.now_us()
            prices = [Decimal(number) for number in (10, 12, 9, 11)]
            world.hand.bars["AAPL", Timeframe.MINUTE_1] = [
                Bar(now_us + n * 100_000, *prices, Decimal(900), Decimal("10.5"), 3) for n in range(400)
            ]
            world.hand.bars["AAPL", Timeframe.DAY_1] = [Bar(now_us - 10**9, *prices, Decimal(9_000))]
            heard = await one.hear()
            while len({told["T"] for told in heard}) < 2:
                heard += await one.hear()
            minute = next(told for told in heard if told["T"] == "b")
            day = next(told for told in heard if told["T"] == "d")
            assert [minute[key] for key in ("S", "o", "h", "l", "c", "v", "vw", "n")] == [
                "AAPL", 10, 12, 9, 11, 900, 10.5, 3,
            ]  # fmt: skip
            assert (day["S"], day["v"]) == ("AAPL", 9000)


async def test_options_are_told_in_messagepack_only(world: SimWorld) -> None:
    world.market.show(CALL, Decimal("4.10"), Decimal(3), Decimal("4.20"), Decimal(4))
    async with greeted_option(world) as one:
        assert await one.say(**AUTH) == AUTHENTICATED
        [told] = await one.say(action="subscribe", quotes=[CALL, "AAPL"], trades=[CALL])
        assert told == {"T": "subscription", "quotes": [CALL, "AAPL"], "trades": [CALL]}
        wrong = refused(410, "invalid subscribe action for this feed")
        assert await one.say(action="subscribe", bars=[CALL]) == wrong
        assert await one.say(action="subscribe", quotes=["*"]) == wrong
        world.show("50.00", "50.10")
        world.market.show(CALL, Decimal("4.30"), Decimal(3), Decimal("4.40"), Decimal(4))
        [quote] = await one.next("q")
        assert (quote["S"], quote["bp"], quote["ap"], quote["c"], "z" in quote) == (
            CALL,
            4.3,
            4.4,
            "A",
            False,
        )
    shot = (await world.client.get("/v1beta1/options/snapshots", params={"symbols": CALL})).json()
    assert set(shot["snapshots"][CALL]) == {"latestQuote", "latestTrade"}
    assert shot["snapshots"][CALL]["latestQuote"]["bp"] == 4.3


def greeted_option(world: SimWorld) -> Any:
    return greeted(world, "indicative", version="v1beta1", packs=True)


async def test_the_test_feed_ticks_round_the_clock(world: SimWorld) -> None:
    async with subscribed(world, "test", quotes=["FAKEPACA", "AAPL"]) as one:
        first, second = await one.next("q", 2)
        assert first["S"] == second["S"] == "FAKEPACA"
        assert first["ap"] > first["bp"] > 0


async def test_the_delayed_feed_is_late_by_what_it_says(sqlite_url: str, tmp_path: Path) -> None:
    options = DataOptions(poll_s=0.005, delay_s=0.3, max_symbols=0)
    async with simulated(sqlite_url, tmp_path, data=options) as world:
        async with (
            subscribed(world, quotes=["AAPL"]) as now,
            subscribed(world, "delayed_sip", quotes=["*"]) as late,
        ):
            clock = world.sim.exchange.clock
            # From when it is shown: who hears it at once may be slow to hear it.
            begin_s = clock.monotonic_s()
            world.show("50.00", "50.10")
            [prompt] = await now.next("q")
            [told] = await late.next("q")
            assert told == prompt
            assert clock.monotonic_s() - begin_s > 0.25


async def test_a_client_that_reads_too_slowly_is_told_and_cut_off(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path, data=DataOptions(poll_s=0.005, max_queue=50)) as world:
        async with subscribed(world, quotes=["AAPL"]) as one:
            await world.fault("quote_burst", on="ticks", params={"quotes": 60})
            world.show("50.00", "50.10")
            assert await to_the_end(one) == refused(407, "slow client")


async def to_the_end(one: DataListener) -> list[dict[str, Any]]:
    """The last frame before the socket is closed."""
    heard: list[dict[str, Any]] = []
    try:
        while True:
            heard = await one.hear()
    except ConnectionClosed:
        return heard


async def test_a_client_that_reads_nothing_loses_its_socket(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path, data=DataOptions(poll_s=0.005, max_queue=4000)) as world:
        async with subscribed(world, quotes=["AAPL"]) as one:
            one.socket.transport.pause_reading()
            one.socket.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
            )
            await world.fault("quote_burst", rate=1, params={"quotes": 3900})
            bid = 10

            async def is_cut() -> bool:
                nonlocal bid
                bid += 1
                world.show(f"{bid}.00", f"{bid}.10")
                return await _has_no_socket(world)

            await until(is_cut)
            one.socket.transport.abort()


async def test_the_ledger_knows_who_listened_and_no_secret(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]):
        pass
    await until(lambda: world.ledger("data_end"))
    assert [one["outcome"] for one in await world.ledger("data_auth")] == ["authenticated"]
    assert (await world.ledger("data_subscribe"))[0]["counts"] == {"quotes": 1}
    entries = (await world.client.get("/sim/ledger?limit=1000")).text
    assert json.dumps(AUTH["secret"]) not in entries


async def test_everybody_is_sent_home_when_it_ends(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path) as world, subscribed(world, quotes=["AAPL"]) as one:
        world.sim.begin_stop()
        with pytest.raises(ConnectionClosed) as end:
            await one.hear()
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1001


async def test_two_clients_hear_the_same_and_one_that_leaves_does_no_harm(world: SimWorld) -> None:
    async with subscribed(world, quotes=["AAPL"]) as one:
        async with subscribed(world, "iex", quotes=["AAPL"]):
            pass
        world.show("50.00", "50.10")
        [quote] = await one.next("q")
        assert quote["bp"] == 50
        told: list[DataListener] = [one]
        await asyncio.gather(*(listener.socket.ping() for listener in told))
