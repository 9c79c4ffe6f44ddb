"""Whatever Tradier answers, a call of the desk ends in one of the outcomes that it promises, and a POST is sent at most once (E11)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from types import NoneType

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paiid.brokers import (
    BrokerError,
    BrokerOrder,
    BrokerOrderView,
    BrokerRejected,
    BrokerReplace,
    OutcomeUnknown,
)
from paiid.brokers.tradier.desk import Desk, Preview
from paiid.brokers.tradier.listing import DayList
from paiid.brokers.tradier.session import Session
from paiid.domain.calendar import AlwaysOpen
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors
from paiid.wires.tradier.keys import TradierKeys
from paiid.wires.tradier.wire import TradierWire
from tests.fake_clock import FakeClock
from tests.tradier_orders import bracket, buy
from tests.tradier_stage import (
    NUMBER,
    ORDERS,
    TOKEN,
    TradierStage,
    ok,
    staged,
)

_ONE = f"{ORDERS}/228175"
_D = Decimal


@pytest.fixture
async def stage() -> AsyncIterator[TradierStage]:
    async with staged() as one:
        yield one


@pytest.fixture
def desk(stage: TradierStage) -> Desk:
    return stage.desk()


# -- anything ----------------------------------------------------------------------------------------

_CHANGE = BrokerReplace("r1-0002", limit_price=_D("65.50"))
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(
    ["null", "ok", "228175", 228175, "filled", "rejected", "r1-0001", "Unauthorized Account: x", "InitialMargin", TOKEN]
)  # fmt: skip
_KEYS = st.sampled_from(
    ["order", "orders", "errors", "error", "id", "status", "result", "leg", "class", "side", "symbol", "quantity", "tag",
     "fault", "faultstring", "price", "exec_quantity", "avg_fill_price"]
) | st.text(max_size=6)  # fmt: skip
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4)
)
_NEAR = st.builds(
    lambda order, extra: {"order": order, **extra},
    st.dictionaries(_KEYS, _LEAVES, max_size=4) | st.just(ok()["order"]),
    st.dictionaries(_KEYS, _JSON, max_size=1),
)
_BODIES = st.binary(max_size=40) | (_JSON | _NEAR).map(lambda one: json.dumps(one).encode())
_STATUSES = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 429, 500, 503]) | st.integers(
    200, 599
)


_ANSWERS = st.tuples(_STATUSES, _BODIES)


@asynccontextmanager
async def answering(
    post: tuple[int, bytes], get: tuple[int, bytes]
) -> AsyncIterator[tuple[Desk, list[str], FakeClock]]:
    """A desk whose every request is answered so, and the methods of what it asked."""
    asked: list[str] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.method)
        status, content = get if request.method == "GET" else post
        return httpx2.Response(status, content=content)

    clock = FakeClock()
    keys = TradierKeys(TOKEN, account_id=NUMBER)
    wire = TradierWire(clock, keys, Governors(clock), httpx2.MockTransport(handle))
    session = Session(clock, wire)
    today = DayList(clock, session)
    try:
        yield Desk(clock, session, today, AlwaysOpen()), asked, clock
    finally:
        await today.stop()
        await wire.close()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(post=_ANSWERS, get=_ANSWERS, order=st.sampled_from([buy(), bracket()]))
async def test_E11_any_answer_ends_in_exactly_one_of_the_outcomes_and_a_post_is_sent_at_most_once(
    post: tuple[int, bytes], get: tuple[int, bytes], order: BrokerOrder
) -> None:
    status, body = post
    async with answering(post, get) as (desk, asked, clock):
        (ended,) = await asyncio.gather(desk.submit(order, Deadline(clock, 5.0)), return_exceptions=True)
    assert asked.count("POST") == 1
    if isinstance(ended, BrokerRejected):
        assert status in (400, 401, 403, 429) or (200 <= status < 300 and b"errors" in body)
    elif not isinstance(ended, OutcomeUnknown):
        assert isinstance(ended, BrokerOrderView), ended
        assert 200 <= status < 300
        assert ended.broker_order_id == str(json.loads(body)["order"]["id"])
        assert ended.account_number == NUMBER
    assert TOKEN not in str(ended)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    post=_ANSWERS, get=_ANSWERS, name=st.sampled_from(["replace", "cancel", "preview", "find", "find_by_id"])
)
async def test_any_answer_to_any_call_ends_in_what_the_call_promises(
    post: tuple[int, bytes], get: tuple[int, bytes], name: str
) -> None:
    async with answering(post, get) as (desk, asked, clock):
        deadline = Deadline(clock, 5.0)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "replace": lambda: desk.replace("228175", _CHANGE, deadline),
            "cancel": lambda: desk.cancel("228175", deadline),
            "preview": lambda: desk.preview(buy(), deadline),
            "find": lambda: desk.find("r1-0001", deadline),
            "find_by_id": lambda: desk.find_by_id("228175", deadline),
        }
        (ended,) = await asyncio.gather(calls[name](), return_exceptions=True)
    assert isinstance(ended, (BrokerError, BrokerOrderView, Preview, NoneType)), ended
    assert asked.count("PUT") == (name == "replace")
    assert asked.count("POST") == (name == "preview")
    assert TOKEN not in str(ended)
