"""Tradier's updates over real sockets: what the list shows is told when it changes, the stream only wakes (contract E18)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from paiid.brokers import BrokerError, BrokerOrderView, BrokerUpdate
from paiid.brokers.tradier import TradierBroker, TradierTimings
from paiid.brokers.tradier.listener import Listener
from paiid.brokers.tradier.watcher import pause_between
from paiid.core.clock import SystemClock
from paiid.domain.orders import OrderStatus
from paiid.wires.governor import Governors
from tests.tradier_stage import NUMBER, ORDERS, TOKEN, Asked, TradierStage, listed, row, says, staged, told

_CAP_S = 30.0
_NEVER_S = 600.0
_SESSION = "/v1/accounts/events/session"
_PROFILE = "/v1/user/profile"
OUR_TAG = "pd-" + "0123456789abcdef" * 2
QUICK = TradierTimings(
    working_s=0.05, woken_working_s=0.05, idle_s=0.1, nudged_s=(0.01, 0.05), gap_s=0.02, again_s=(0.02, 0.05),
    first_pause_s=0.02, longest_pause_s=0.1, refused_pause_s=0.1, not_offered_pause_s=0.1, silence_s=5.0,
)  # fmt: skip
ONLY_WOKEN = replace(QUICK, working_s=_NEVER_S, woken_working_s=_NEVER_S, idle_s=_NEVER_S)
"""No look but the first, unless something asks for one."""


def filled(qty: float, price: float, **changes: Any) -> dict[str, Any]:
    """The numbers of an order that has filled."""
    return {"status": "filled", "exec_quantity": qty, "avg_fill_price": price, "last_fill_quantity": qty,
            "last_fill_price": price} | changes  # fmt: skip


class AccountStream:
    """The account stream as it is documented."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.open: list[ServerConnection] = []
        self.opened = 0
        self.paths: list[str] = []
        self.status: int | None = None
        self.url = ""
        self._server: Any = None

    async def start(self) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._handshake, ping_interval=None, compression=None
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/v1"

    async def stop(self) -> None:
        self.hang_up()
        self._server.close()
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """Every connection is gone without a word."""
        for one in self.open:
            one.transport.abort()

    async def tell(self, message: Any) -> None:
        """One frame to everybody."""
        frame = message if isinstance(message, str | bytes) else json.dumps(message)
        for one in self.open:
            await one.send(frame)

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        return None if self.status is None else connection.respond(self.status, "no")

    async def _serve(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            self.messages.append(json.loads(await connection.recv()))
            self.opened += 1
            self.open.append(connection)
            await connection.wait_closed()
        if connection in self.open:
            self.open.remove(connection)


class Reader:
    """Reads a broker's updates in the background."""

    def __init__(self, broker: TradierBroker, after: int = 0) -> None:
        self.told: list[BrokerUpdate] = []
        self.broker = broker
        self._task = asyncio.create_task(self._read(after))

    async def _read(self, after: int) -> None:
        async for update in self.broker.updates(after):
            self.told.append(update)

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(_CAP_S):
            while not what():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    @property
    def views(self) -> list[BrokerOrderView]:
        return [one.order for one in self.told if one.order is not None]

    @property
    def statuses(self) -> list[str]:
        return [one.status.value for one in self.views]

    @property
    def resyncs(self) -> int:
        return sum(one.resync is not None for one in self.told)

    async def until_status(self, status: OrderStatus) -> BrokerOrderView:
        await self.until(lambda: any(one.status is status for one in self.views))
        return next(one for one in reversed(self.views) if one.status is status)

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, BrokerError):
            await self._task


@pytest.fixture
async def stage() -> AsyncIterator[TradierStage]:
    async with staged() as one:
        yield one


@pytest.fixture
async def stream() -> AsyncIterator[AccountStream]:
    one = AccountStream()
    await one.start()
    yield one
    await one.stop()


@contextlib.asynccontextmanager
async def reading(
    stage: TradierStage, timings: TradierTimings = QUICK, after: int = 0, **keys: Any
) -> AsyncIterator[Reader]:
    """A reader of a broker with the token of this stage."""
    clock = SystemClock()
    governors = Governors(clock)
    # These looks are many: on a slow machine no test may come to the end of a budget.
    governors.of("tradier standard", TOKEN, 100_000)
    broker = TradierBroker(clock, stage.keys(**keys), governors, timings=timings)
    reader = Reader(broker, after)
    try:
        yield reader
    finally:
        await reader.stop()
        await broker.stop()


def offers_stream(stage: TradierStage, stream: AccountStream) -> None:
    """A new session for everybody who asks."""
    stage.say(
        "POST",
        _SESSION,
        told(200, {"stream": {"url": "wss://elsewhere.example/x", "sessionid": "test-session-1"}}),
    )


def shows(stage: TradierStage, *rows: dict[str, Any]) -> None:
    """From now on the list has these orders."""
    stage.say("GET", ORDERS, told(200, listed(*rows)))


async def looked(stage: TradierStage, reader: Reader, more: int = 2) -> None:
    """Until the list was asked for so many times more."""
    many = len(stage.requests("GET")) + more
    await reader.until(lambda: len(stage.requests("GET")) >= many)


# -- looking ------------------------------------------------------------------------------------------


async def test_E18_updates_begin_with_a_resync_and_tell_changes_by_looking_alone(stage: TradierStage) -> None:
    shows(stage, row(tag=OUR_TAG))
    async with reading(stage) as reader:
        await reader.until(lambda: len(reader.told) >= 2)
        assert reader.told[0].resync == NUMBER
        assert reader.views[0].client_order_id == OUR_TAG
        shows(stage, row(tag=OUR_TAG, status="partially_filled", exec_quantity=4.0, avg_fill_price=65.2))
        await reader.until_status(OrderStatus.PARTIALLY_FILLED)
        shows(stage, row(tag=OUR_TAG, **filled(10.0, 65.3)))
        last = await reader.until_status(OrderStatus.FILLED)
        assert (last.filled_qty, str(last.filled_avg_price)) == (Decimal(10), "65.3")
        await looked(stage, reader)
        assert reader.statuses == ["NEW", "PARTIALLY_FILLED", "FILLED"]
        cursors = [one.cursor for one in reader.told]
        assert cursors == sorted(set(cursors))
        assert cursors[0] > 0
        assert all(one.execution is None for one in reader.told)


async def test_what_does_not_change_is_told_once(stage: TradierStage) -> None:
    shows(stage, row(), row(id=2, symbol="SPY"))
    async with reading(stage) as reader:
        await reader.until(lambda: len(reader.views) >= 2)
        await looked(stage, reader, 4)
        assert [one.broker_order_id for one in reader.views] == ["228175", "2"]


async def test_a_tag_of_somebody_elses_names_no_order(stage: TradierStage) -> None:
    shows(stage, row(tag="mybot"), row(id=2, tag="mybot"))
    async with reading(stage) as reader:
        await reader.until(lambda: len(reader.views) >= 2)
        assert [one.client_order_id for one in reader.views] == [None, None]


async def test_what_ended_before_anybody_read_is_not_told_and_what_ends_later_is(stage: TradierStage) -> None:
    shows(stage, row(**filled(10.0, 65.3)), row(id=2))
    async with reading(stage) as reader:
        await reader.until(lambda: len(reader.views) >= 1)
        shows(stage, row(**filled(10.0, 65.3)), row(id=2, status="canceled"), row(id=3, **filled(10.0, 65.4)))
        await reader.until(lambda: len(reader.views) >= 3)
        assert [(one.broker_order_id, one.status) for one in reader.views] == [
            ("2", "NEW"),
            ("2", "CANCELED"),
            ("3", "FILLED"),
        ]


async def test_E18_what_ended_since_the_cursor_of_an_earlier_read_is_told(stage: TradierStage) -> None:
    old, new = "2026-10-05T13:00:00.000Z", "2026-10-05T15:00:00.000Z"
    shows(
        stage,
        row(id=1, **filled(10.0, 65.3, transaction_date=old)),
        row(id=2, **filled(10.0, 65.3, transaction_date=new)),
    )
    after_us = 1_791_212_400_000_000  # 15:00 of that day
    async with reading(stage, after=after_us) as reader:
        await reader.until(lambda: bool(reader.views))
        await looked(stage, reader)
        assert [one.broker_order_id for one in reader.views] == ["2"]
        assert reader.told[0].cursor > after_us


async def test_a_fill_without_its_price_is_looked_at_again_soon_and_told_once_it_has_one(
    stage: TradierStage,
) -> None:
    part = {"status": "partially_filled", "exec_quantity": 4.0, "avg_fill_price": 65.2}
    stage.say(
        "GET",
        ORDERS,
        told(200, listed(row(**part))),
        told(200, listed(row(**part))),
        told(200, listed(row(status="filled", exec_quantity=10.0, avg_fill_price=0.0))),
        told(200, listed(row(status="filled", exec_quantity=10.0, avg_fill_price=0.0))),
        told(200, listed(row(**filled(10.0, 65.3)))),
    )
    # Looks that nothing asks for would come far too late.
    async with reading(stage, ONLY_WOKEN) as reader:
        await reader.until(lambda: len(reader.views) >= 1)
        reader.broker.nudge()
        await reader.until_status(OrderStatus.FILLED)
        assert [(one.status, one.filled_qty) for one in reader.views] == [
            ("PARTIALLY_FILLED", Decimal(4)),
            ("FILLED", Decimal(10)),
        ]


async def test_an_order_that_the_list_forgets_while_it_works_is_to_be_fetched(stage: TradierStage) -> None:
    shows(stage, row(), row(id=2))
    async with reading(stage) as reader:
        await reader.until(lambda: len(reader.views) >= 2)
        assert reader.resyncs == 1
        shows(stage, row())
        await reader.until(lambda: reader.resyncs == 2)
        await looked(stage, reader)
        assert reader.resyncs == 2


async def test_looks_that_come_to_nothing_are_tried_again_and_break_nothing(stage: TradierStage) -> None:
    bad = [says(500, "An error occurred while communicating with the backend."), told(200, "<html>"), told(200, b""),
           told(200, {"orders": 7}), told(200, []), says(401, "Invalid Access Token"), told(429, {"fault": {}})]  # fmt: skip
    stage.say("GET", ORDERS, *bad[:-1], told(200, listed(row())))
    async with reading(stage) as reader:
        await reader.until(lambda: bool(reader.views))
        assert reader.statuses == ["NEW"]


async def test_a_row_that_cannot_be_read_keeps_nothing_else_from_being_told(stage: TradierStage) -> None:
    shows(stage, {"id": 1, "side": "hold"}, row())
    async with reading(stage) as reader:
        await reader.until(lambda: bool(reader.views))
        assert [one.broker_order_id for one in reader.views] == ["228175"]


async def test_what_hangs_on_an_order_is_told_as_an_order_of_its_own(stage: TradierStage) -> None:
    def bracket(**entry: Any) -> dict[str, Any]:
        return {
            "id": 900, "status": "open", "class": "otoco", "duration": "day", "tag": OUR_TAG,
            "leg": [row(id=901, **entry), row(id=902, side="sell", price=70.0, status="pending"),
                    row(id=903, side="sell", type="stop", stop_price=60.0, status="pending")],
        }  # fmt: skip

    shows(stage, bracket())
    async with reading(stage) as reader:
        await reader.until(lambda: len(reader.views) >= 3)
        assert [(one.broker_order_id, one.status.value, len(one.legs)) for one in reader.views] == [
            ("900", "NEW", 2),
            ("902", "HELD", 0),
            ("903", "HELD", 0),
        ]
        shows(stage, bracket(**filled(10.0, 65.2)))
        await reader.until(lambda: len(reader.views) >= 6)
        assert [(one.broker_order_id, one.status.value) for one in reader.views[3:]] == [
            ("900", "FILLED"),
            ("902", "NEW"),
            ("903", "NEW"),
        ]
        over = bracket(**filled(10.0, 65.2))
        over["leg"][1] |= {"status": "canceled"}
        shows(stage, over)
        await reader.until(lambda: len(reader.views) >= 8)
        await looked(stage, reader)
        # The stop loss is as it was told, and is not told again.
        assert [one.broker_order_id for one in reader.views[6:]] == ["900", "902"]


async def test_a_listing_that_somebody_else_asked_for_is_told_without_another_one(
    stage: TradierStage,
) -> None:
    async with reading(stage, ONLY_WOKEN) as reader:
        await reader.until(lambda: reader.resyncs >= 1 and len(stage.requests("GET")) >= 1)
        shows(stage, row(tag=OUR_TAG))
        assert await reader.broker.fetch_order(NUMBER, OUR_TAG, 5.0) is not None
        await reader.until(lambda: bool(reader.views))


async def test_an_order_that_somebody_read_by_itself_is_told(stage: TradierStage) -> None:
    stage.say("GET", f"{ORDERS}/77", told(200, {"order": row(id=77, duration="gtc")}))
    async with reading(stage, ONLY_WOKEN) as reader:
        await reader.until(lambda: reader.resyncs >= 1 and len(stage.requests("GET")) >= 1)
        assert await reader.broker.fetch_order_by_id(NUMBER, "77", 5.0) is not None
        await reader.until(lambda: [one.broker_order_id for one in reader.views] == ["77"])
        stage.say("GET", f"{ORDERS}/78", told(200, {"order": row(id=78, parent_id=79)}))
        legs = [row(id=77), row(id=78, side="sell", price=70.0, status="pending")]
        stage.say(
            "GET",
            f"{ORDERS}/79",
            told(200, {"order": {"id": 79, "class": "oto", "duration": "gtc", "leg": legs}}),
        )
        assert await reader.broker.fetch_order_by_id(NUMBER, "78", 5.0) is not None
        await reader.until(lambda: [one.broker_order_id for one in reader.views] == ["77", "78"])


async def test_after_a_cancel_the_list_is_looked_at_soon(stage: TradierStage) -> None:
    shows(stage, row())
    stage.say("DELETE", f"{ORDERS}/228175", told(200, {"order": {"id": 228175, "status": "ok"}}))
    async with reading(stage, ONLY_WOKEN) as reader:
        await reader.until(lambda: bool(reader.views))
        shows(stage, row(status="canceled"))
        await reader.broker.cancel(NUMBER, "228175", 5.0)
        await reader.until_status(OrderStatus.CANCELED)


async def test_the_number_is_learned_from_the_profile_before_anything_is_told(stage: TradierStage) -> None:
    profile = {"profile": {"account": {"account_number": NUMBER, "status": "active", "type": "margin"}}}
    stage.say("GET", _PROFILE, says(500, "no"), told(200, profile))
    shows(stage, row())
    async with reading(stage, account_id=None) as reader:
        await reader.until(lambda: bool(reader.views))
        assert (reader.told[0].resync, reader.views[0].account_number) == (NUMBER, NUMBER)


async def test_two_readers_are_both_told(stage: TradierStage) -> None:
    shows(stage, row())
    async with reading(stage) as reader:
        second = Reader(reader.broker)
        await reader.until(lambda: bool(reader.views) and bool(second.views))
        shows(stage, row(**filled(10.0, 65.3)))
        await second.until_status(OrderStatus.FILLED)
        await reader.until_status(OrderStatus.FILLED)
        await second.stop()
        shows(stage, row(**filled(10.0, 65.3)), row(id=2))
        await reader.until(lambda: "2" in [one.broker_order_id for one in reader.views])


async def test_stop_ends_readers_with_an_error_and_nothing_is_asked_any_more(stage: TradierStage) -> None:
    async with reading(stage) as reader:
        await looked(stage, reader)
        await reader.broker.stop()
        with pytest.raises(BrokerError):
            await reader.until(lambda: False)


# -- the account stream -------------------------------------------------------------------------------


async def test_an_event_wakes_a_look_and_tells_nothing_by_itself(
    stage: TradierStage, stream: AccountStream
) -> None:
    offers_stream(stage, stream)
    shows(stage, row())
    async with reading(stage, ONLY_WOKEN, stream_url=stream.url) as reader:
        await reader.until(lambda: bool(stream.open) and reader.resyncs == 2)
        assert stream.messages == [
            {"events": ["order"], "sessionid": "test-session-1", "excludeAccounts": []}
        ]
        assert stream.paths == ["/v1/accounts/events"]
        (asked,) = stage.requests("POST", _SESSION)
        assert asked.headers["content-length"] == "0"
        await reader.until(lambda: bool(reader.views))
        shows(stage, row(**filled(10.0, 65.3)))
        await stream.tell({"id": 228175, "event": "order", "status": "canceled", "account": NUMBER})
        view = await reader.until_status(OrderStatus.FILLED)
        assert view.filled_qty == 10
        (state,) = reader.broker.stream_state
        assert state.connected
        assert state.problem is None
        assert state.account_number == NUMBER
        assert state.last_event_us is not None


@pytest.mark.parametrize(
    "frame", ["{", b"\xff\xfe", "[1]", '{"event":"order"}\n{"event":"heartbeat"}', "null"]
)
async def test_a_frame_that_nobody_understands_wakes_as_well(
    stage: TradierStage, stream: AccountStream, frame: str | bytes
) -> None:
    offers_stream(stage, stream)
    async with reading(stage, ONLY_WOKEN, stream_url=stream.url) as reader:
        await reader.until(lambda: bool(stream.open) and reader.resyncs == 2)
        shows(stage, row())
        await stream.tell(frame)
        await reader.until(lambda: bool(reader.views))
        assert reader.broker.stream_state[0].connected


async def test_heartbeats_ask_for_nothing(stage: TradierStage, stream: AccountStream) -> None:
    offers_stream(stage, stream)
    began, woken = asyncio.Event(), asyncio.Event()
    events: list[str] = []

    def hear() -> None:
        events.append("woken")
        woken.set()

    session = stage.session(stream_url=stream.url)
    listener = Listener(SystemClock(), session, QUICK, began.set, hear)
    task = asyncio.create_task(listener.run())
    async with asyncio.timeout(_CAP_S):
        await began.wait()
        while not stream.open:
            await asyncio.sleep(0.01)
        for _ in range(5):
            await stream.tell(
                {"event": "heartbeat", "status": "active", "timestamp": "2026-10-05T14:32:00.000Z"}
            )
        assert listener.state.last_event_us is None
        await stream.tell({"event": "order", "id": 228175})
        await woken.wait()
    assert events == ["woken"]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert listener.state.problem == "stopped"


async def test_E18_a_connection_that_is_lost_comes_back_with_a_new_session_and_a_resync(
    stage: TradierStage, stream: AccountStream
) -> None:
    offers_stream(stage, stream)
    async with reading(stage, stream_url=stream.url) as reader:
        # Its word that it begins must have been told, or the next one would be told together with it.
        await reader.until(lambda: bool(stream.open) and reader.resyncs == 2)
        stream.hang_up()
        await reader.until(lambda: stream.opened == 2 and reader.resyncs >= 3)
        assert len(stage.requests("POST", _SESSION)) == 2


async def test_a_stream_that_says_nothing_for_too_long_is_given_up(
    stage: TradierStage, stream: AccountStream
) -> None:
    offers_stream(stage, stream)
    async with reading(stage, replace(QUICK, silence_s=0.2), stream_url=stream.url) as reader:
        await reader.until(lambda: stream.opened >= 3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (told(400, {"errors": {"error": "too many sessions requested"}}), "too many sessions"),
        (says(401, "Invalid Access Token"), "token is not taken"),
        (says(404, "no such thing"), "no account stream here"),
        (
            says(500, "An error occurred while communicating with the backend."),
            "communicating with the backend",
        ),
        (told(200, {"stream": {"sessionid": None}}), "no session that can be read"),
        (told(200, "<html>"), "unreadable"),
    ],
)
async def test_without_a_session_looking_alone_tells_everything(
    stage: TradierStage, answer: Any, words: str
) -> None:
    stage.say("POST", _SESSION, answer)
    shows(stage, row())
    async with reading(stage) as reader:
        await reader.until(lambda: words in str(reader.broker.stream_state[0].problem))
        await reader.until(lambda: bool(reader.views))
        shows(stage, row(**filled(10.0, 65.3)))
        await reader.until_status(OrderStatus.FILLED)
        await reader.until(lambda: len(stage.requests("POST", _SESSION)) >= 2)
        assert not reader.broker.stream_state[0].connected
        assert TOKEN not in str(reader.broker.stream_state)


@pytest.mark.parametrize(("status", "words"), [(429, "no place"), (404, "no account stream"), (503, "503")])
async def test_a_handshake_that_is_refused_is_tried_again(
    stage: TradierStage, stream: AccountStream, status: int, words: str
) -> None:
    offers_stream(stage, stream)
    stream.status = status
    async with reading(stage, stream_url=stream.url) as reader:
        await reader.until(lambda: words in str(reader.broker.stream_state[0].problem))
        stream.status = None
        await reader.until(lambda: reader.broker.stream_state[0].connected)


async def test_an_error_that_the_stream_tells_ends_the_connection(
    stage: TradierStage, stream: AccountStream
) -> None:
    offers_stream(stage, stream)
    async with reading(stage, stream_url=stream.url) as reader:
        await reader.until(lambda: bool(stream.open))
        await stream.tell({"error": "session not found"})
        await reader.until(lambda: stream.opened == 2)


async def test_a_redirect_of_the_handshake_is_not_followed(stage: TradierStage) -> None:
    stage.say("POST", _SESSION, told(200, {"stream": {"sessionid": "test-session-1"}}))

    async def leads_away(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")

    stage.say("GET", "/v1/accounts/events", leads_away)
    async with reading(stage) as reader:
        await reader.until(lambda: "302" in str(reader.broker.stream_state[0].problem))
        assert stage.requests("GET", "/elsewhere") == []


# -- the budget ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "alone_s", "woken_s"),
    [(90, 2.0, 5.0), (60, 2.0, 5.0), (30, 4.0, 5.0), (10, 12.0, 12.0), (1, 15.0, 15.0)],
)
def test_looks_come_the_more_seldom_the_less_is_left_of_the_budget(
    left: int, alone_s: float, woken_s: float
) -> None:
    assert pause_between(TradierTimings(), woken=False, left=left) == alone_s
    assert pause_between(TradierTimings(), woken=True, left=left) == woken_s
    assert pause_between(TradierTimings(), woken=False, left=0) == 15.0


async def test_where_nothing_is_left_for_the_background_what_others_ask_is_still_told(
    stage: TradierStage,
) -> None:
    # Of 120 requests two fifths are left to what is urgent.
    stage.say("GET", ORDERS, told(200, listed(row()), x_ratelimit_allowed="120", x_ratelimit_available="51"))
    async with reading(stage, replace(QUICK, idle_s=_NEVER_S)) as reader:
        await reader.until(lambda: bool(reader.views))
        shows(stage, row(**filled(10.0, 65.3)))
        assert await reader.broker.fetch_order_by_id(NUMBER, "228175", 5.0) is not None
        await reader.until_status(OrderStatus.FILLED)
