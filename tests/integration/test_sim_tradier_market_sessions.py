"""Sessions of the simulated Tradier's market stream, and what a client may say in one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT
from paiid.sim.tradier.markets.side import MarketOptions
from tests.tradier_ear import connected, hearing
from tests.tradier_markets_world import MarketsWorld, in_hand, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MarketsWorld]:
    async with in_hand(tmp_path) as one:
        yield one


async def test_a_session_is_made_with_the_token_and_names_the_stream(world: MarketsWorld) -> None:
    answer = await world.client.post("/v1/markets/events/session", content=b"")
    told = answer.json()["stream"]
    assert told["url"] == f"{world.client.base_url}/v1/markets/events"
    assert len(told["sessionid"]) == 36
    assert await world.session() != told["sessionid"]
    denied = await world.client.post(
        "/v1/markets/events/session", headers={"Authorization": "Bearer test-wrong"}
    )
    assert (denied.status_code, denied.json()["fault"]["faultstring"]) == (401, "Invalid Access Token")


async def test_while_a_user_streams_another_session_is_refused_and_a_second_stream_too(
    world: MarketsWorld,
) -> None:
    spare = await world.session()
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        refused = await world.client.post("/v1/markets/events/session")
        assert (refused.status_code, refused.json()) == (
            400,
            {"errors": {"error": "too many sessions requested"}},
        )
        async with connected(world) as second:
            await second.say({"symbols": ["AAPL"], "sessionid": spare})
            assert await second.error() == "too many sessions requested"
            assert await second.is_closed()
        await world.shown(150)
        assert (await ear.next("quote"))["bid"] == 150
    await until(lambda: world.stream.connections == {})
    assert await world.session()


async def test_a_client_may_renew_its_session_while_it_streams_where_that_is_allowed(tmp_path: Path) -> None:
    options = MarketOptions(poll_s=0.002, renew_while_streaming=True)
    async with in_hand(tmp_path, options=options) as world, hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        world.clock.ahead_s += 299
        again = await world.session()
        world.clock.ahead_s += 2
        world.show("50.00", "50.10", "MSFT")
        await ear.say({"symbols": ["MSFT"], "sessionid": again, "filter": ["quote"]})
        assert (await ear.next("quote", symbol="MSFT"))["bid"] == 50


async def test_a_session_must_be_used_within_five_minutes_and_a_stream_outlives_it(
    world: MarketsWorld,
) -> None:
    session = await world.session()
    async with connected(world) as ear:
        # Real time goes on as well.
        world.clock.ahead_s += 280
        await ear.say({"symbols": ["AAPL"], "sessionid": session, "filter": ["quote"]})
        await ear.next("quote")
        world.clock.ahead_s += 21
        await world.shown(150)
        assert (await ear.next("quote", bid=150))["symbol"] == "AAPL"
        await ear.say({"symbols": ["AAPL"], "sessionid": session, "filter": ["quote"]})
        assert (await ear.next_error()) == "invalid session"
        assert await ear.is_closed()
    for stale in (session, "0f0e0d0c-1111-4222-8333-444455556666", ""):
        async with connected(world) as ear:
            await ear.say({"symbols": ["AAPL"], "sessionid": stale})
            assert await ear.error() == "invalid session"
            assert await ear.is_closed()


async def test_a_session_that_was_deleted_is_good_no_more_and_the_stream_goes_on(world: MarketsWorld) -> None:
    spare = await world.session()
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        assert (await world.client.delete("/v1/markets/events/session")).status_code == 200
        await world.shown(150)
        assert (await ear.next("quote"))["bid"] == 150
    await until(lambda: world.stream.connections == {})
    async with connected(world) as ear:
        await ear.say({"symbols": ["AAPL"], "sessionid": spare})
        assert await ear.error() == "invalid session"


async def test_a_sandbox_has_no_stream(tmp_path: Path) -> None:
    async with in_hand(tmp_path, sandbox=True) as world:
        assert (await world.client.post("/v1/markets/events/session")).status_code == 403
        assert (await world.client.get("/v1/markets/events", params={"symbols": "AAPL"})).status_code == 404
        with pytest.raises(InvalidStatus) as denied:
            async with connected(world):
                pass
        assert denied.value.response.status_code == 404


# -- what a client says -----------------------------------------------------------------------------


async def test_a_payload_replaces_the_one_before(world: MarketsWorld) -> None:
    world.show("50.00", "50.10", "MSFT")
    session = await world.session()
    async with connected(world) as ear:
        await ear.say({"symbols": ["AAPL"], "sessionid": session, "filter": ["quote", "trade"]})
        assert (await ear.next("quote"))["symbol"] == "AAPL"
        await ear.say({"symbols": ["MSFT"], "sessionid": session, "filter": ["quote"]})
        assert (await ear.next("quote"))["symbol"] == "MSFT"
        world.show("150.00", "150.10")
        await world.shown(51, symbol="MSFT")
        told = await ear.hear()
        assert (told["type"], told["symbol"], told["bid"]) == ("quote", "MSFT", 51)


async def test_bad_symbols_are_told_and_the_others_are_heard(world: MarketsWorld) -> None:
    world.show("500.00", "500.10", "BRK.B")
    async with hearing(world, "1234", "BRK.B", "brk/b", "ZZZZ", "AAPL", events=["quote"]) as ear:
        told = [await ear.hear() for _ in range(5)]
    assert [one["error"] for one in told if "error" in one] == [
        f"{name} is not a valid symbol" for name in ("1234", "BRK.B", "ZZZZ")
    ]
    assert [one["symbol"] for one in told if "error" not in one] == ["AAPL", "BRK/B"]


WRONG: list[tuple[Any, str]] = [
    ("{", "the payload is not valid JSON"),
    ("[" * 3000, "the payload is not valid JSON"),
    (b"\xff\xfe", "the payload is not valid JSON"),
    ([], "the payload is not an object"),
    ({}, "symbols is not valid"),
    ({"symbols": []}, "symbols is required"),
    ({"symbols": "AAPL"}, "symbols is not valid"),
    ({"symbols": [7]}, "symbols is not valid"),
    ({"symbols": ["AAPL"], "filter": "quote"}, "filter is not valid"),
    ({"symbols": ["AAPL"], "filter": ["gossip"]}, "gossip is not a valid filter"),
    ({"symbols": ["AAPL"], "linebreak": "yes"}, "linebreak is not valid"),
]


async def test_what_is_no_payload_is_told_and_changes_nothing(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote"]) as ear:
        await ear.next("quote")
        for said, text in WRONG:
            await ear.say(said)
            assert await ear.error() == text, said
        await world.shown(150)
        assert (await ear.next("quote"))["bid"] == 150


async def test_a_client_that_says_nothing_is_sent_home(tmp_path: Path) -> None:
    async with in_hand(tmp_path, options=MarketOptions(payload_s=0.05)) as world, connected(world) as ear:
        assert await ear.error() == "no payload was received"
        assert await ear.is_closed()


async def test_lines_are_broken_where_that_is_asked_for(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote"], linebreak=True) as ear:
        assert (await ear.frame()).endswith("}\n")
    await until(lambda: world.stream.connections == {})
    async with hearing(world, events=["quote"]) as ear:
        assert (await ear.frame()).endswith("}")


async def test_the_ledger_tells_who_listened_to_how_much_and_no_session(world: MarketsWorld) -> None:
    async with hearing(world, "AAPL", "ZZZZ", events=["quote"]) as ear:
        assert await ear.error() == "ZZZZ is not a valid symbol"
    await until(lambda: world.book.of("data_end"))
    [told] = world.book.of("data_subscribe")
    assert told == {
        "kind": "data_subscribe", "connection": 1, "account": DEFAULT_ACCOUNT, "symbols": 1, "unknown": 1,
        "filter": ["quote"],
    }  # fmt: skip
    assert [one["kind"] for one in world.book.entries] == [
        "market_session", "data_connect", "data_subscribe", "data_end",
    ]  # fmt: skip
    assert "-4" not in str(world.book.entries)
