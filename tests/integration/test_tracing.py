"""Traces of an order and of a tick, as a collector on a socket gets them; and that a collector in trouble changes nothing."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.core.settings import Settings
from paiid.core.tracing import NO_TRACES
from paiid.sim.tradier.accounts import DEFAULT_TOKEN
from paiid.system.otel import OtelTracer, start_traces
from paiid.wires.exchanges import Exchanges
from paiid.wires.outbound import Broken, Reply
from tests.collector import Collector
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, loses_answer
from tests.feed_world import feed_world, tradier_on
from tests.world import fresh_key

_THEIRS = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


def tracer_to(collector: Collector, share: float = 1.0) -> OtelTracer:
    made = start_traces(
        Settings(testing=True, otel_exporter_otlp_endpoint=collector.url, otel_traces_sampler_arg=share)
    )
    assert isinstance(made, OtelTracer)
    return made


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_an_order_is_one_trace_from_the_request_to_the_record(
    make_app: MakeApp, collector: Collector
) -> None:
    tracer = tracer_to(collector)
    app = await make_app(tracer=tracer)
    owner = await app.owner()
    key = fresh_key()
    answer = await owner.post(
        "/api/trading/execute",
        json={"orders": [{"symbol": "AAPL", "side": "buy", "qty": 1}]},
        headers={"Idempotency-Key": key, "traceparent": f"00-{_THEIRS}-b7ad6b7169203331-00"},
    )
    assert answer.status_code == 200, answer.text
    await asyncio.to_thread(tracer.close)
    spans = [span for span in collector.spans() if span.trace_id.hex() == _THEIRS]
    by_name = {span.name: span for span in spans}
    # The flag said that the caller keeps nothing: what we keep is our own draw, of which all are kept here.
    assert set(by_name) == {
        "request", "order.total", "order.prepare", "order.claim", "order.send", "order.record",
    }, [span.name for span in spans]  # fmt: skip
    request = by_name["request"]
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    told = attributes(request)
    assert (told["route"], told["status"], told["method"]) == ("/api/trading/execute", 200, "POST")
    assert told["request_id"] == answer.headers["x-request-id"]
    assert by_name["order.total"].parent_span_id == request.span_id
    for name in ("order.prepare", "order.claim", "order.send", "order.record"):
        assert by_name[name].parent_span_id == by_name["order.total"].span_id, name
    assert attributes(by_name["order.send"])["broker"] == "paper"
    everything = b"".join(body for _, body in collector.bodies)
    assert key.encode() not in everything
    assert b"owner@" not in everything
    assert owner.token is not None
    assert owner.token.encode() not in everything


async def test_an_order_over_the_wire_has_its_exchange_with_the_broker_and_what_is_polled_has_no_trace(
    sqlite_url: str, tmp_path: Path, template: Path, collector: Collector
) -> None:
    tracer = tracer_to(collector)
    async with (
        tradier_on(tmp_path / "sim", template) as tradier,
        feed_world(sqlite_url, tmp_path / "data", tracer=tracer, **tradier.settings()) as world,
    ):
        order = await world.order(await world.account("tradier"))
        assert order["state"] == "ACCEPTED", order["reason"]
        assert tradier.statuses[200] > 3, "accounts, orders and quotes are asked for all the time"
    await asyncio.to_thread(tracer.close)
    spans = collector.spans()
    by_id = {span.span_id: span for span in spans}
    exchanges = [span for span in spans if span.name == "exchange"]
    assert all(span.parent_span_id in by_id for span in exchanges), "each is a part of something"
    sent = [span for span in exchanges if by_id[span.parent_span_id].name == "order.send"]
    # What is asked of the order right after it was taken belongs to the sending, too.
    told = [attributes(span) for span in sent]
    assert told.count({"budget": "tradier trading", "outcome": "2xx"}) == 1, told
    assert {one["budget"] for one in told} <= {"tradier trading", "tradier standard"}
    assert DEFAULT_TOKEN.encode() not in b"".join(body for _, body in collector.bodies)


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_a_look_up_of_an_order_in_doubt_is_a_trace_of_its_own_and_says_what_it_found(
    make_app: MakeApp, collector: Collector
) -> None:
    tracer, broker = tracer_to(collector), FakeBroker()
    broker.scripts.append(loses_answer(placed=True))
    app = await make_app(tracer=tracer, broker=broker)
    owner = await app.owner()
    answer = await owner.execute({"symbol": "AAPL", "side": "buy", "qty": 1})
    (order,) = answer.json()["orders"]
    async with asyncio.timeout(30):
        while (await owner.get(f"/api/trading/orders/{order['id']}")).json()["state"] != "ACCEPTED":
            await asyncio.sleep(0.05)
    await asyncio.to_thread(tracer.close)
    looked = [span for span in collector.spans() if span.name == "order.lookup"]
    assert [attributes(span) for span in looked] == [{"broker": "paper", "result": "found"}]
    assert looked[0].parent_span_id == b"", "whoever sent the order may be gone by then"


async def test_an_exchange_that_fails_says_how_in_its_span(collector: Collector) -> None:
    tracer = tracer_to(collector)
    exchanges = Exchanges(SystemClock(), tracer)

    async def break_off() -> Reply:
        raise Broken("the connection was reset")

    with tracer.span("order.send"), pytest.raises(Broken):
        await exchanges.measured("alpaca", break_off())
    with pytest.raises(Broken):
        await exchanges.measured("alpaca", break_off())
    await asyncio.to_thread(tracer.close)
    (span,) = [one for one in collector.spans() if one.name == "exchange"]
    assert attributes(span) == {"budget": "alpaca", "outcome": "broken"}
    assert span.status.message == "Broken"


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
async def test_a_tick_is_traced_from_the_board_to_the_flush(make_app: MakeApp, collector: Collector) -> None:
    tracer = tracer_to(collector)
    app = await make_app(tracer=tracer)
    owner = await app.owner()
    subscriber_saw = asyncio.Event()
    app.state.hub.on_flush(lambda *_: subscriber_saw.set())
    # Whoever asks for a quote makes its symbol wanted; the feed shows it, and the hub flushes for whoever listens.
    await owner.get("/api/market/quotes", params={"symbols": "AAPL"})

    async def listen() -> None:
        async with app.http.stream(
            "GET", "/api/stream/prices?symbols=AAPL", headers={"authorization": f"Bearer {owner.token}"}
        ) as answer:
            async for _ in answer.aiter_bytes():
                pass

    listening = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(20):
            while not [one for one in await asyncio.to_thread(collector.spans) if one.name == "tick"]:
                await asyncio.sleep(0.1)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    tick = next(one for one in collector.spans() if one.name == "tick")
    told = attributes(tick)
    assert (told["symbol"], told["source"]) == ("AAPL", "simulated")
    parts = [one for one in collector.spans() if one.parent_span_id == tick.span_id]
    assert {one.name for one in parts} == {"tick.show", "tick.flush"}


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("trouble", ["away", "hangs", "refuses"])
async def test_a_collector_in_trouble_changes_nothing(
    make_app: MakeApp, collector: Collector, trouble: str
) -> None:
    if trouble == "hangs":
        collector.held.set()
    elif trouble == "refuses":
        collector.status = 500
    url = "http://127.0.0.1:9" if trouble == "away" else collector.url
    tracer = start_traces(Settings(testing=True, otel_exporter_otlp_endpoint=url))
    app = await make_app(tracer=tracer)
    owner = await app.owner()
    for _ in range(5):
        answer = await owner.execute({"symbol": "AAPL", "side": "buy", "qty": 1}, key=fresh_key())
        assert answer.json()["accepted"] is True


@pytest.mark.parametrize(
    ("flag", "share", "kept"), [("00", 1.0, True), ("01", 0.0, False), ("01", 1.0, True)]
)
def test_whether_a_trace_is_kept_is_our_draw_and_not_the_callers_flag(
    collector: Collector, flag: str, share: float, kept: bool
) -> None:
    tracer = tracer_to(collector, share)
    # An id as small as this would pass any sampler that looks at the id.
    with tracer.resumed(f"00-{'0' * 31}1-b7ad6b7169203331-{flag}", "request") as span:
        assert (span.trace_id is not None) is kept
    tracer.close()


@pytest.mark.parametrize(
    "junk", [None, "", "00-zz-1-1", "x" * 5000, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
def test_a_traceparent_that_cannot_be_read_begins_a_trace_of_its_own(
    collector: Collector, junk: str | None
) -> None:
    tracer = tracer_to(collector)
    with tracer.resumed(junk, "request") as span:
        assert span.trace_id is not None
        assert span.trace_id != "0" * 32
    tracer.close()


def test_an_exception_is_noted_by_its_type_alone(collector: Collector) -> None:
    tracer = tracer_to(collector)
    with pytest.raises(ValueError, match="test-secret"), tracer.span("work"):
        raise ValueError("test-secret-000000")
    tracer.close()
    (span,) = collector.spans()
    assert span.status.message == "ValueError"
    assert b"test-secret" not in b"".join(body for _, body in collector.bodies)


def test_tracing_that_is_off_imports_nothing_of_it() -> None:
    assert start_traces(Settings()) is NO_TRACES
    assert (
        start_traces(Settings(testing=True, otel_exporter_otlp_endpoint="http://collector.example"))
        is NO_TRACES
    )
    code = (
        "import sys; from paiid.app import create_app; from paiid.core.settings import Settings;"
        "create_app(Settings()); found = [m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'sentry_sdk', 'anthropic'))];"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
