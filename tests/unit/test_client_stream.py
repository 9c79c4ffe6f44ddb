"""The client's stream against a service that says what a test writes: holes, doubles, resets, farewells."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from paiid.client import ApiError, PaiidClient, SignedOut, StreamEvent
from paiid.client import stream as module

Script = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]
ACCOUNT = "account:mine"


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.01)


def event(sequence: int, epoch: int = 1, channel: str = ACCOUNT, **more: Any) -> dict[str, Any]:
    return {
        "type": "order_update", "channel": channel, "epoch": epoch, "sequence": sequence, "ts_event": "t", "ts_sent": "t",
        "source": "ledger", "data": {"n": sequence}, **more,
    }  # fmt: skip


def confirmed(**places: Any) -> dict[str, Any]:
    return {"type": "subscription_confirmed", "channels": places or {ACCOUNT: [1, 0]}}


class Service:
    """One script a connection; the last one is played for all that follow. `subscribed` has what each client said."""

    def __init__(self, *scripts: list[dict[str, Any] | int]) -> None:
        self.scripts = list(scripts)
        self.subscribed: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.refuse: list[int] = []

    async def play(self, connection: ServerConnection) -> None:
        said = json.loads(await connection.recv())
        self.subscribed.append(said)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        for step in script:
            if isinstance(step, int):
                await connection.close(step)
                return
            await connection.send(json.dumps(step))
        await connection.wait_closed()

    def let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        self.tokens.append(request.headers["authorization"])
        return connection.respond(self.refuse.pop(0), "{}") if self.refuse else None  # type: ignore[arg-type]

    @asynccontextmanager
    async def client(self, refresh: int = 200) -> AsyncIterator[PaiidClient]:
        """Signed in; a refresh answers with this status and the next token."""

        def answer(request: httpx2.Request) -> httpx2.Response:
            pair = {"access_token": "second", "refresh_token": "r2"}
            return httpx2.Response(
                refresh, json=pair if refresh == 200 else {"type": "x", "detail": "ended"}, request=request
            )

        async with serve(self.play, "127.0.0.1", 0, process_request=self.let_in) as server:
            port = server.sockets[0].getsockname()[1]
            async with PaiidClient(
                f"http://127.0.0.1:{port}", token="first", transport=httpx2.MockTransport(answer)
            ) as client:
                client.session._refresh = "r1"
                yield client


async def heard(
    service: Service, count: int, *, resume: dict[str, str] | None = None, **options: Any
) -> tuple[list[StreamEvent], dict[str, str], int]:
    """The first events, the places then, and how many holes there were."""
    async with asyncio.timeout(10), service.client(**options) as client:
        stream = client.stream(["account"], resume=resume)
        found: list[StreamEvent] = []
        async for one in stream:
            found.append(one)
            if len(found) == count:
                break
        return found, stream.places, stream.holes


async def test_S1_a_hole_is_never_handed_on_the_stream_goes_back_to_the_last_it_had() -> None:
    service = Service(
        [confirmed(), event(1), event(2), event(4), event(5)],
        [event(3), event(4), confirmed(**{ACCOUNT: [1, 4]})],
    )
    found, places, holes = await heard(service, 4)
    assert [one.sequence for one in found] == [1, 2, 3, 4]
    assert (places, holes) == ({ACCOUNT: "1:4"}, 1)
    assert [one["resume"] for one in service.subscribed] == [{}, {ACCOUNT: "1:2"}]


async def test_S4_what_was_merged_is_no_hole_and_is_told() -> None:
    quotes = {"channel": "quotes:SPY", "type": "market_data"}
    service = Service([event(7, merged=0, **quotes), event(10, merged=2, **quotes)])
    found, _, holes = await heard(service, 2)
    assert [(one.sequence, one.merged) for one in found] == [(7, 0), (10, 2)]
    assert holes == 0


async def test_S1_an_event_that_comes_twice_is_handed_on_once() -> None:
    service = Service([confirmed(), event(1), event(1), event(2), event(1), event(3)])
    found, _, holes = await heard(service, 3)
    assert ([one.sequence for one in found], holes) == ([1, 2, 3], 0)


async def test_S2_a_reset_is_handed_on_and_the_next_event_follows_it() -> None:
    reset = {
        "type": "reset",
        "channel": ACCOUNT,
        "epoch": 2,
        "sequence": 9,
        "reason": "epoch",
        "data": {"orders": []},
    }
    service = Service([confirmed(), event(1), reset, event(10, epoch=2)])
    told: list[str] = []

    async def on_reset(one: StreamEvent) -> None:
        told.append(one.channel)

    async with asyncio.timeout(10), service.client() as client:
        stream = client.stream(["account"], on_reset=on_reset)
        found = []
        async for one in stream:
            found.append((one.type, one.sequence))
            if len(found) == 3:
                break
    assert found == [("order_update", 1), ("reset", 9), ("order_update", 10)]
    assert (told, stream.places, stream.holes) == ([ACCOUNT], {ACCOUNT: "2:10"}, 0)


async def test_S6_a_reset_of_all_quotes_begins_each_of_them_anew() -> None:
    quotes = {"channel": "quotes:SPY", "type": "market_data", "merged": 0}
    reset = {
        "type": "reset",
        "channel": "quotes:*",
        "epoch": 8,
        "sequence": None,
        "reason": "leader",
        "data": None,
    }
    service = Service([event(5, **quotes), reset, event(3, epoch=8, **quotes), event(4, epoch=8, **quotes)])
    found, places, holes = await heard(service, 4)
    assert [one.sequence for one in found] == [5, None, 3, 4]
    assert (places, holes) == ({"quotes:SPY": "8:4"}, 0)


@pytest.mark.parametrize(
    "farewell", [[{"type": "draining", "reconnect_after_ms": 1}], [1012], [4408], [1006]]
)
async def test_S2_after_a_farewell_it_comes_back_and_resumes(farewell: list[Any]) -> None:
    service = Service([confirmed(), event(1), *farewell], [event(2)])
    found, _, _ = await heard(service, 2, resume={ACCOUNT: "1:0"})
    assert [one.sequence for one in found] == [1, 2]
    assert [one["resume"] for one in service.subscribed] == [{ACCOUNT: "1:0"}, {ACCOUNT: "1:1"}]


async def test_A03_an_ended_token_is_refreshed_whether_the_socket_says_so_or_the_handshake() -> None:
    service = Service([confirmed(), event(1), 4401], [event(2)])
    found, _, _ = await heard(service, 2)
    assert [one.sequence for one in found] == [1, 2]
    assert service.tokens == ["Bearer first", "Bearer second"]
    service = Service([event(1)])
    service.refuse = [401]
    await heard(service, 1)
    assert service.tokens == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("script", "refuse", "error"),
    [
        ([confirmed(), 4401], [], SignedOut),
        ([confirmed(), 4403], [], ApiError),
        ([{"type": "error", "code": "not_found", "message": "no", "channel": "account:x"}], [], ApiError),
        ([confirmed()], [400], ApiError),
        ([confirmed()], [401], SignedOut),
    ],
)
async def test_what_waiting_cannot_mend_is_an_error(
    script: list[Any], refuse: list[int], error: type[Exception]
) -> None:
    service = Service(script)
    service.refuse = refuse
    with pytest.raises(error):
        await heard(service, 1, refresh=401)


async def test_what_passes_is_waited_out() -> None:
    service = Service([event(1)])
    service.refuse = [503, 429, 500]
    found, _, _ = await heard(service, 1)
    assert found[0].sequence == 1
    assert len(service.tokens) == 4


async def test_entered_it_is_subscribed_and_loses_nothing_that_was_said_before_it_is_read() -> None:
    service = Service([event(1), confirmed(halts=[1, 0]), confirmed(**{ACCOUNT: [1, 1]}), event(2)])
    async with asyncio.timeout(10), service.client() as client:
        async with client.stream(["account"]) as stream:
            assert service.subscribed
            found = []
            async for one in stream:
                found.append(one.sequence)
                if len(found) == 2:
                    break
    assert found == [1, 2]
