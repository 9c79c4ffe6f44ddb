"""What watches the service, attacked: by strangers at the webhook, by viewers who ask too often, by clocks, by secrets in disguise."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from paiid.core.aside import Aside
from paiid.core.clock import Clock, SystemClock
from paiid.core.db import Database, make_database
from paiid.core.figures import Gauge
from paiid.core.leases import Leases
from paiid.core.limits import RateLimiter
from paiid.core.log import HIDDEN, Redactor
from paiid.core.settings import Settings, known_secrets
from paiid.core.shared import SharedThrottle
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import ALL_SCOPES, Principal
from paiid.monitor.service import DELIVERIES_US, Incoming, MonitorService
from paiid.monitor.signed import LONG_BODIES, LONG_BODIES_OF_ADDRESS, LongBodies
from paiid.monitor.views import MOST_WAITING, MonitorViews
from paiid.system.otel import start_traces
from paiid.system.sentry import start_reports
from paiid.system.telemetry import Filter, TelemetryService
from paiid.system.telemetry_bodies import EventBody
from tests.collector import Collector
from tests.conftest import MakeApp
from tests.fake_clock import FakeClock
from tests.monitor_world import SECRET, delivery_headers, push

_OWNER = Principal("usr_test", "test@example.com", "owner", "session", "ses_test", ALL_SCOPES)
_DAY_S = 86_400


# -- strangers at the webhook ----------------------------------------------------------------------


async def test_one_address_cannot_fill_the_room_in_which_long_bodies_wait() -> None:
    places, go_on = LongBodies(wait_s=60), asyncio.Event()

    async def hold(address: str) -> None:
        async with places.place(address):
            await go_on.wait()

    flood = [asyncio.create_task(hold("10.0.0.1")) for _ in range(40)]
    await asyncio.sleep(0)
    refused = [one for one in flood if one.done()]
    assert len(refused) == 40 - LONG_BODIES_OF_ADDRESS
    for one in refused:
        assert isinstance(problem := one.exception(), Problem)
        assert problem.code is Code.OVERLOADED
    # The other place is free for whoever else comes.
    assert LONG_BODIES > 1
    go_on.set()
    await hold("10.0.0.2")
    await asyncio.gather(*flood, return_exceptions=True)
    assert (places._present, places._addresses) == (0, {})


# -- viewers who ask too often -----------------------------------------------------------------------


class _Busy:
    """A database whose reads take a turn of the loop, and that knows how many it had at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator["_Busy"]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        yield self
        self.now -= 1

    async def fetch(self, *_: Any) -> list[Any]:
        return []

    async def fetch_one(self, *_: Any) -> None:
        return None


async def test_however_many_look_at_events_one_of_the_databases_readers_is_theirs() -> None:
    busy, clock = _Busy(), FakeClock()
    db = cast(Database, busy)
    aside = Aside(db)
    views = MonitorViews(db, aside)
    throttle = SharedThrottle(RateLimiter(clock))
    telemetry = TelemetryService(db, clock, Leases(db, "rep_test"), aside, throttle, Redactor())
    asked = MOST_WAITING + 5
    answers = await asyncio.gather(
        *[views.repositories(None, "", 10) for _ in range(asked)],
        *[telemetry.page(Filter("nothing"), "", 50) for _ in range(5)],
        telemetry.stats(Filter()),
        return_exceptions=True,
    )
    assert busy.most == 1
    refused = [one for one in answers if isinstance(one, Problem)]
    # One is at it, and so many wait.
    assert len(refused) == asked - MOST_WAITING - 1
    assert {one.code for one in refused} == {Code.OVERLOADED}
    assert ([], None) in answers[: MOST_WAITING + 1]


class TestScrapes:
    """Over SQLite."""

    @pytest.fixture
    def db_url(self, sqlite_url: str) -> str:
        """SQLite."""
        return sqlite_url

    async def test_many_scrapes_at_once_are_worked_out_one_after_the_other(self, make_app: MakeApp) -> None:
        app = await make_app()
        now = most = 0

        def lines() -> Iterator[tuple[tuple[str, ...], float]]:
            nonlocal now, most
            now += 1
            most = max(most, now)
            yield from [((str(n),), 1.0) for n in range(1500)]
            now -= 1

        app.state.figures = [("paiid_test", "For this test.", Gauge(lines, "n"))]
        answers = await asyncio.gather(*[app.http.get("/metrics") for _ in range(4)])
        assert [one.status_code for one in answers] == [200] * 4
        assert most == 1


# -- secrets in disguise, and texts that take long to look through ---------------------------------


def test_a_long_text_of_nothing_but_beginnings_of_tokens_is_looked_through_in_one_pass() -> None:
    redactor = Redactor()
    began_s = time.process_time()
    for text in ("eyJ" * 100_000, "eyJ" * 50_000 + "." + "a" * 150_000):
        assert redactor.clean(text) == text
    # Going over the rest from each beginning takes half a minute.
    assert time.process_time() - began_s < 5
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJl"
    for text in (f"x{token}", f"eyJ{token} ", "Bearer%20" + token):
        assert "c2ln" not in redactor.clean(text)


_ODD = "te\"st\\se'cret\u00e9-00001"
_SETTINGS = Settings(
    testing=True, github_webhook_secret=_ODD, api_token="test-static-token-000000000000000000001",
    database_url="postgresql://u:p%40ss%3Aw%2Ford-000@127.0.0.1/x", redis_url="redis://:r%40dis%2Fpw-01@127.0.0.1/0",
)  # fmt: skip
_FORMS = (
    _ODD, repr(_ODD)[1:-1], json.dumps(_ODD)[1:-1], "p@ss:w/ord-000", "p%40ss%3Aw%2Ford-000", "r@dis/pw-01",
    repr(_ODD.encode())[2:-1], "test-static-token-000000000000000000001",
)  # fmt: skip


def test_a_secret_is_hidden_in_every_form_that_the_text_of_an_exception_may_have_it_in() -> None:
    redactor = Redactor(known_secrets(_SETTINGS))
    for form in _FORMS:
        assert redactor.clean(f"of {form}.") == f"of {HIDDEN}."


def test_notes_groups_causes_and_long_texts_bring_no_secret_to_sentry() -> None:
    def raised(error: BaseException, *notes: str) -> BaseException:
        for note in notes:
            error.add_note(note)
        try:
            raise error
        except BaseException as caught:
            return caught

    first = raised(KeyError(_ODD), *_FORMS)
    first.__cause__ = second = raised(ValueError(repr({"a": _ODD})))
    # A ring, which nobody must walk for ever.
    second.__context__ = first
    group = ExceptionGroup(_FORMS[3], [cast(Exception, first), ExceptionGroup("in", [ValueError(_FORMS[6])])])
    with Collector() as collector:
        reports = start_reports(Settings(**{**_plain(_SETTINGS), "sentry_dsn": collector.dsn}), SystemClock())
        assert reports is not None
        reports.report({"event": "crash"}, raised(group))
        reports.report({"event": "crash"}, raised(ValueError("x" * 1_000_000)))
        reports.close()
        collector.wait(2)
        told = collector.events()
    assert len(told) == 2
    texts = list(_texts(told))
    assert [(form, text) for form in _FORMS for text in texts if form in text] == []
    assert max(map(len, texts)) < 20_000


def _plain(settings: Settings) -> dict[str, Any]:
    names = ("testing", "github_webhook_secret", "api_token", "database_url", "redis_url")
    return {name: getattr(settings, name) for name in names}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    else:
        yield str(value)


def test_spans_that_are_too_many_for_a_collector_that_hangs_are_counted() -> None:
    with Collector() as collector:
        collector.held.set()
        tracer = start_traces(Settings(testing=True, otel_exporter_otlp_endpoint=collector.url))
        assert tracer.sent is not None
        made = 0
        # On a slow machine the collector is given up for some of them before the queue is full.
        while tracer.sent.of("dropped") == 0 and made < 100_000:
            with tracer.span("one"):
                made += 1
        assert made > 4_096
        assert tracer.sent.of("dropped") == 1
        collector.held.clear()
        collector._let_go.set()
        tracer.close()


# -- clocks --------------------------------------------------------------------------------------------


def _telemetry(db: Database, clock: Clock, name: str) -> TelemetryService:
    throttle = SharedThrottle(RateLimiter(clock))
    return TelemetryService(db, clock, Leases(db, name), Aside(db), throttle, Redactor())


def _event(clock: Clock, action: str) -> EventBody:
    now = datetime.fromtimestamp(clock.now_us() / 1e6, UTC).isoformat()
    return EventBody(component="c", action=action, timestamp=now)


async def test_a_replica_whose_clock_runs_ahead_forgets_no_delivery_and_no_event(postgres_url: str) -> None:
    right = SystemClock()
    ahead = FakeClock(right.now_us() + DELIVERIES_US + 20 * _DAY_S * 1_000_000)
    db = make_database(postgres_url, ahead)
    await db.start()
    throttle = SharedThrottle(RateLimiter(ahead))
    monitor = MonitorService(db, ahead, Leases(db, "rep_ahead"), Aside(db), throttle, SECRET)
    body = json.dumps(push(1_780_000_000)).encode()
    headers = {name: [value] for name, value in delivery_headers(body).items()}

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    async def take() -> None:
        await monitor.take(Incoming(headers, "10.0.0.1", len(body), chunks()))

    try:
        await _telemetry(db, right, "rep_right").take(_OWNER, [_event(right, "a")])
        await take()
        assert await monitor.prune() == 0
        assert await _telemetry(db, ahead, "rep_ahead").prune() == 0
        with pytest.raises(Problem) as caught:
            await take()
        assert caught.value.code is Code.DELIVERY_TAKEN
    finally:
        await db.stop()


async def test_all_events_are_exported_and_deleted_although_clocks_disagree(sqlite_url: str) -> None:
    behind, ahead = FakeClock(), FakeClock()
    ahead.advance(3600)
    db = make_database(sqlite_url, behind)
    await db.start()
    try:
        await _telemetry(db, ahead, "rep_ahead").take(_OWNER, [_event(ahead, "ahead")])
        one = _telemetry(db, behind, "rep_behind")
        await one.take(_OWNER, [_event(behind, "behind")])
        lines = b"".join([page async for page in one.export(Filter())]).splitlines()
        assert [json.loads(line)["action"] for line in lines] == ["behind", "ahead"]
        assert await one.delete(_OWNER, None, None) == 2
    finally:
        await db.stop()
