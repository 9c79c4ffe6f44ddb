"""The conversation on an open stream: channels, limits, whatever a client may send, and where it goes on (S1, S2, S7, A9, A10)."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from websockets.frames import Frame, Opcode

from paiid.domain.instruments import Instrument
from paiid.feeds import FeedUnavailable
from paiid.stream.limits import ACCOUNTS_A_SOCKET, BAD_MESSAGES, MESSAGE_BURST, SYMBOLS_A_SOCKET
from tests.auth_world import Driven
from tests.conftest import MakeApp
from tests.halt_world import add_account
from tests.world import Client
from tests.ws_world import Streams, served, until


class Listing:
    """Symbols of a test: all that begin with A to M, unless the source is away."""

    away = False
    slow = False

    async def instrument(self, symbol: str) -> Instrument | None:
        if self.slow:
            await asyncio.sleep(30)
        if self.away:
            raise FeedUnavailable("away")
        return Instrument(symbol, symbol, "stock") if symbol[0] <= "M" else None


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """One database will do: nothing here is about it."""
    return sqlite_url


@pytest.fixture
async def streams(make_app: MakeApp) -> AsyncIterator[Streams]:
    app = await make_app(clock=Driven())
    async with served(app) as one:
        yield one


@pytest.fixture
def listing(streams: Streams) -> Listing:
    made = Listing()
    streams.service.subscriptions._instruments = made
    return made


@pytest.fixture
async def owner(streams: Streams) -> Client:
    return await streams.app.owner()


async def own(client: Client) -> tuple[str, str]:
    """The ids of a caller and of his own paper account."""
    user_id: str = (await client.get("/auth/me")).json()["id"]
    return user_id, f"paper-{user_id.removeprefix('usr_')}"


async def test_S7_each_address_has_its_channels_and_halts_and_feed_come_unasked(
    streams: Streams, owner: Client, listing: Listing
) -> None:
    user_id, account = await own(owner)
    everybody = {f"halts:{user_id}", "feed"}
    for path, more in (
        ("/api/ws", set()),
        ("/api/stream/prices?symbols=aapl,MSFT", {"quotes:AAPL", "quotes:MSFT"}),
        ("/api/stream/orders", {f"account:{account}"}),
        ("/api/stream/positions", {f"account:{account}", f"portfolio:{account}"}),
        (f"/api/stream/portfolio?account={account}", {f"portfolio:{account}"}),
    ):
        async with streams.socket(path, owner.token) as socket:
            assert await socket.confirmed() == everybody | more, path


async def test_S7_channels_are_added_and_taken_away_and_the_whole_set_is_confirmed(
    streams: Streams, owner: Client, listing: Listing
) -> None:
    user_id, account = await own(owner)
    async with streams.socket(token=owner.token) as socket:
        await socket.opened()
        await socket.say(
            type="subscribe", symbols=["aapl", "AAPL"], channels=["account", "quotes:AAPL"], id="x"
        )
        told = await socket.hear("subscription_confirmed")
        assert told["id"] == "x"
        assert set(told["channels"]) == {f"halts:{user_id}", "feed", "quotes:AAPL", f"account:{account}"}
        assert told["channels"]["quotes:AAPL"] == [7, 0]
        streams.quotes.say("AAPL", bid=1)
        streams.account.say(account, order=1)
        heard = {
            event["channel"]: event
            for event in [await socket.hear("market_data", "order_update") for _ in range(2)]
        }
        assert heard["quotes:AAPL"]["data"] == {"bid": 1}
        assert (heard[f"account:{account}"]["epoch"], heard[f"account:{account}"]["sequence"]) == (7, 1)
        await socket.say(type="unsubscribe", symbols=["AAPL", "IBM"], channels=["halts", "account"])
        assert await socket.confirmed() == {"feed"}
        assert streams.quotes.opened == set()
        streams.quotes.say("AAPL", bid=2)
        await socket.say(type="ping")
        assert (await socket.hear("market_data", "pong"))["type"] == "pong"


async def test_S5_feed_tells_everybody_that_it_is_down(streams: Streams, owner: Client) -> None:
    async with (
        streams.socket(token=owner.token) as socket,
        streams.events("/api/stream/orders", owner.token) as events,
    ):
        await socket.opened()
        await events.hear("subscription_confirmed")
        streams.set_feed("down", "the source is silent")
        for told in (await socket.hear("trading_alert"), (await events.hear("trading_alert"))[1]):
            while told["data"]["feed"]["status"] == "up":
                told = await socket.hear("trading_alert")
            assert told["channel"] == "feed"
            assert told["data"]["feed"]["reason"] == "the source is silent"


async def test_A10_another_users_account_is_the_same_as_none(streams: Streams, owner: Client) -> None:
    trader = await streams.app.user("trader")
    user_id, account = await own(owner)
    async with streams.socket(f"/api/stream/orders?account={account}", trader.token) as socket:
        refused = await socket.hear("error")
        await socket.hear("subscription_confirmed")
        for channel in (f"account:{account}", "account:nobody", f"portfolio:{account}", f"halts:{user_id}"):
            await socket.say(type="subscribe", channels=[channel], id=channel)
            told = await socket.hear("error")
            assert (told["code"], told["channel"], told["id"]) == ("not_found", channel, channel)
            assert told["message"].replace("channel", "account") == refused["message"]
            assert not {f"account:{account}", f"portfolio:{account}"} & await socket.confirmed()
        await socket.say(type="subscribe", channels=["account"], account=account)
        assert (await socket.hear("error"))["code"] == "not_found"
    streams.account.say(account, order=1)
    assert streams.account.opened == set()


async def test_A09_symbols_and_accounts_of_a_socket_are_bounded(
    streams: Streams, owner: Client, listing: Listing
) -> None:
    user_id, _ = await own(owner)
    symbols = [f"A{a}{b}" for a in "ABCDEFGHIJKLMNOPQR" for b in "ABCDEFGHIJKLMNOP"]
    async with streams.socket(token=owner.token) as socket:
        await socket.opened()
        await socket.say(type="subscribe", symbols=symbols[:SYMBOLS_A_SOCKET])
        assert len(await socket.confirmed()) == SYMBOLS_A_SOCKET + 2
        await socket.say(type="subscribe", symbols=symbols)
        heard = [await socket.hear("error") for _ in range(21)]
        assert {one["code"] for one in heard[:20]} == {"too_many_symbols"}
        assert heard[20]["code"] == "more_errors"
        assert len(await socket.confirmed()) == SYMBOLS_A_SOCKET + 2
        await socket.say(type="unsubscribe", symbols=symbols[:1])
        await socket.say(type="subscribe", symbols=symbols[-1:])
        await socket.confirmed()
        assert f"quotes:{symbols[-1]}" in await socket.confirmed()
        names = [f"acc{n}" for n in range(ACCOUNTS_A_SOCKET + 1)]
        for name in names:
            await add_account(streams.app.state.db, streams.app.state.clock, name, user_id)
        streams.app.state.accounts.forget(user_id)
        await socket.say(
            type="subscribe", channels=[f"account:{n}" for n in names[:-1]] + [f"portfolio:{names[0]}"]
        )
        assert (
            len([one for one in await socket.confirmed() if one.startswith("account:")]) == ACCOUNTS_A_SOCKET
        )
        await socket.say(type="subscribe", channels=[f"portfolio:{names[-1]}"])
        assert (await socket.hear("error"))["code"] == "too_many_accounts"


async def test_unknown_symbols_are_told_and_a_source_that_is_away_refuses_nothing(
    streams: Streams, owner: Client, listing: Listing
) -> None:
    async with streams.socket("/api/stream/prices?symbols=AAPL,ZZZ", owner.token) as socket:
        told = await socket.hear("error")
        assert (told["code"], told["channel"]) == ("unknown_symbol", "quotes:ZZZ")
        assert "quotes:ZZZ" not in await socket.confirmed()
        await socket.say(type="subscribe", symbols=["???", "ZZZZ", "IBM"])
        assert {(await socket.hear("error"))["code"] for _ in range(2)} == {
            "invalid_symbol",
            "unknown_symbol",
        }
        assert "quotes:IBM" in await socket.confirmed()
        for way in ("away", "slow"):
            setattr(listing, way, True)
            if way == "slow":
                streams.service.subscriptions._within_s = 0.05
            symbol = "ZZA" if way == "away" else "ZZB"
            await socket.say(type="subscribe", symbols=[symbol])
            confirmed = await socket.hear("subscription_confirmed")
            assert confirmed["unverified"] == [symbol]
            assert f"quotes:{symbol}" in confirmed["channels"]


BAD: list[tuple[str, str]] = [
    ("{", "invalid_json"),
    ('{"type":"ping","type":"ping"}', "duplicate_json_key"),
    ('{"type":"ping","extra":1}', "unknown_field"),
    ("[" * 5000 + "]" * 5000, "message_too_deep"),
    ('{"type":"subscribe","symbols":["A"],"x":' + "[" * 40 + "]" * 40 + "}", "message_too_deep"),
    (json.dumps({"type": "subscribe", "symbols": ["AAPL"] * 6000}), "too_many_channels"),
    ('{"type":"auth","token":"nonsense"}', "invalid_token"),
    ('{"type":"subscribe","channels":["quotes:"]}', "unknown_channel"),
    ('{"type":"subscribe","channels":["\\ud83d\\ude00"]}', "unknown_channel"),
]  # fmt: skip


async def test_A09_what_cannot_be_understood_is_told_and_too_much_of_it_ends_the_socket(
    streams: Streams, owner: Client
) -> None:
    async with streams.socket(token=owner.token) as socket:
        await socket.opened()
        for text, code in BAD:
            await socket.connection.send(text)
            assert (await socket.hear("error"))["code"] == code
        await socket.say(type="ping")
        await socket.hear("pong")
    async with streams.socket(token=owner.token) as socket:
        await socket.opened()
        for _ in range(BAD_MESSAGES + 1):
            await socket.connection.send("{")
        code, heard = await socket.closed()
        assert (code, heard[-1]["code"]) == (1008, "too_many_errors")


async def test_A09_ten_thousand_messages_a_second_end_the_socket_and_disturb_nobody(
    streams: Streams, owner: Client
) -> None:
    async with streams.socket(token=owner.token) as other, streams.socket(token=owner.token) as socket:
        await other.opened()
        await socket.opened()
        # Time gives messages back, and ten thousand of them may take long to be read.
        streams.app.state.clock.hold()
        frame = Frame(Opcode.TEXT, b'{"type":"ping"}').serialize(mask=True)
        socket.connection.transport.write(frame * 10_000)
        code, heard = await socket.closed()
        assert (code, heard[-1]["code"]) == (4429, "too_many_messages")
        assert sum(one["type"] == "pong" for one in heard) <= MESSAGE_BURST
        await other.say(type="ping")
        await other.hear("pong")


async def test_A09_frames_that_are_too_big_binary_broken_or_no_text_end_the_socket(
    streams: Streams, owner: Client
) -> None:
    big = json.dumps({"type": "subscribe", "symbols": ["AAPL"] * 100_000})
    for sent, code in (
        (Frame(Opcode.BINARY, b"{}").serialize(mask=True), 1003),
        (Frame(Opcode.TEXT, b"x" * 1_000_000).serialize(mask=True), 1009),
        (Frame(Opcode.TEXT, big.encode()).serialize(mask=True), 1009),
        (Frame(Opcode.TEXT, b"\xff\xfe{}").serialize(mask=True), 1007),
        (Frame(Opcode.CONT, b"{}").serialize(mask=True), 1002),
        (b"\x83\x80\x00\x00\x00\x00", 1002),
    ):
        async with streams.socket(token=owner.token) as socket:
            await socket.opened()
            socket.connection.transport.write(sent)
            assert (await socket.closed())[0] == code
    async with streams.socket(token=owner.token) as socket:
        await socket.opened()
        pieces = [b'{"ty', b'pe":"p', b'ing"}']
        frames = [
            Frame(Opcode.TEXT if n == 0 else Opcode.CONT, piece, fin=n == 2).serialize(mask=True)
            for n, piece in enumerate(pieces)
        ]
        socket.connection.transport.write(b"".join(frames))
        await socket.hear("pong")
    await until(lambda: not list(streams.service.clients))


async def test_S7_a_batch_is_an_array(streams: Streams, owner: Client, listing: Listing) -> None:
    async with streams.socket("/api/stream/prices?symbols=AAPL&batch=1", owner.token) as socket:
        async with asyncio.timeout(10):
            first = json.loads(await socket.connection.recv())
        assert isinstance(first, list)
        assert first[0]["type"] == "connection"


PLACES = ["0:0", "-1:5", "7:-1", "7:99999999999999999999", "99999999999999999999:1", "9223372036854775807:9223372036854775807",
          "7:4", "6:1", "x", "'; --", "7", "", "1e3:1", "７:1"]  # fmt: skip


async def test_S2_a_forged_place_is_a_reset_and_a_true_one_goes_on(streams: Streams, owner: Client) -> None:
    _, account = await own(owner)
    for n in range(3):
        streams.account.say(account, n=n)
    channel = f"account:{account}"
    async with streams.socket(token=owner.token) as socket:
        await socket.opened()
        for place in PLACES:
            await socket.say(type="subscribe", channels=["account"], resume={channel: place})
            told = await socket.hear("reset", "order_update")
            assert (place, told["type"], told["data"]) == (place, "reset", {"state": "all"})
            await socket.say(type="unsubscribe", channels=["account"])
        for name in ("account", channel):
            await socket.say(type="subscribe", channels=["account"], resume={name: "7:1"})
            assert [(await socket.hear("reset", "order_update"))["sequence"] for _ in range(2)] == [2, 3]
            await socket.say(type="unsubscribe", channels=["account"])
    for place in PLACES:
        if not place or not place.isascii():
            continue  # none was named, or no client would send it
        async with streams.events("/api/stream/orders", owner.token, last_event_id=place) as events:
            found, told = await events.hear("reset", "order_update")
            assert (place, found, told["data"]) == (place, "7:3", {"state": "all"})
    async with streams.events("/api/stream/orders", owner.token, last_event_id="7:1") as events:
        assert [(await events.hear("reset", "order_update"))[0] for _ in range(2)] == ["7:2", "7:3"]
        streams.account.say(account, n=4)
        assert (await events.hear("order_update"))[0] == "7:4"


async def test_S2_quotes_go_on_with_the_newest_of_each_symbol(
    streams: Streams, owner: Client, listing: Listing
) -> None:
    for n in range(5):
        streams.quotes.say("AAPL", n=n)
    path = "/api/stream/prices?symbols=AAPL,IBM"
    async with streams.events(path, owner.token, last_event_id="7:400") as events:
        found, told = await events.hear("market_data", "reset")
        assert (found, told["type"], told["data"]) == ("7:5", "market_data", {"n": 4})
    async with streams.events(path, owner.token, last_event_id="3:4") as events:
        assert (await events.hear("market_data", "reset"))[1]["type"] == "reset"
        assert (await events.hear("market_data"))[1]["data"] == {"n": 4}
    async with streams.events("/api/stream/market-indices", owner.token) as events:
        told = (await events.hear("subscription_confirmed", "error"))[1]
        assert (told.get("code"), told.get("channel")) == ("unknown_symbol", "quotes:SPY")
