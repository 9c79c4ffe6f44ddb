"""The budgets of requests as an operator sees them: in the health figures and in Prometheus' own format."""

import asyncio
import re

import httpx2
import pytest

from paiid.core.clock import SystemClock
from paiid.core.db import Database
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors, Priority, Spent
from paiid.wires.outbound import Broken, NotBegun, Reply, TooLong
from tests.conftest import MakeApp
from tests.world import App

TOKEN = "test-token-0000000000000000000000000001"
_SAMPLE = re.compile(r'[a-z_]+\{budget="[a-z0-9 ]+"(,priority="[a-z]+")?\} [0-9.e+-]+\Z')


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    made: App = await make_app()
    clock = SystemClock()
    governors: Governors = made.state.governors
    trading = governors.of("tradier trading", TOKEN, 60)
    governors.of("tradier trading", "test-token-2", 120)
    for _ in range(48):
        await trading.admit(Priority.ENTRY, Deadline(clock, 1))
    with pytest.raises(Spent):
        await trading.admit(Priority.ENTRY, Deadline(clock, 0))
    await trading.admit(Priority.CANCEL, Deadline(clock, 1))
    return made


async def test_the_details_have_each_budget_without_its_credential(app: App) -> None:
    owner = await app.owner()
    answer = await owner.get("/api/health/detailed")
    assert answer.json()["budgets"] == [
        {"name": "tradier trading", "limit": 60, "left": 11, "left_for_orders": 0, "waiting": 0, "refused": 1},
        {"name": "tradier trading 2", "limit": 120, "left": 120, "left_for_orders": 96, "waiting": 0, "refused": 0},
    ]  # fmt: skip
    assert "test-token" not in answer.text


async def test_the_figures_for_prometheus_are_in_its_format_and_name_no_credential(app: App) -> None:
    answer = await app.anonymous.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    assert 'paiid_broker_budget_left{budget="tradier trading"} 11.0' in lines
    assert 'paiid_broker_budget_limit{budget="tradier trading 2"} 120.0' in lines
    assert 'paiid_broker_budget_waiting{budget="tradier trading"} 0.0' in lines
    assert 'paiid_broker_requests_admitted_total{budget="tradier trading",priority="entry"} 48.0' in lines
    assert 'paiid_broker_requests_refused_total{budget="tradier trading",priority="entry"} 1.0' in lines
    waited = 'paiid_broker_requests_waited_seconds_total{budget="tradier trading",priority="cancel"} '
    assert any(line.startswith(waited) for line in lines)
    assert any(_SAMPLE.match(line) for line in lines)
    assert [one for one in lines if one.startswith("paiid_broker_") and not _SAMPLE.match(one)] == []
    labels = "".join(line.rpartition(" ")[0] for line in lines)
    for size in range(6, len(TOKEN)):
        assert TOKEN[-size:] not in labels


async def test_figures_are_for_who_may_read_and_for_programs_on_this_machine_that_ask_for_themselves(
    app: App,
) -> None:
    forwarded: list[dict[str, str]] = [
        {"x-forwarded-for": "203.0.113.7"}, {"x-forwarded-for": "127.0.0.1"}, {"x-forwarded-for": ""}, {"forwarded": "for=10.0.0.1"},
        {"x-real-ip": "127.0.0.1"}, {"via": "1.1 proxy"}, {"x-forwarded-proto": "https"}, {"x-forwarded-host": "localhost"},
    ]  # fmt: skip
    for headers in forwarded:
        assert (await app.anonymous.get("/metrics", headers=headers)).status_code == 401, headers
    bad = {"authorization": "Bearer test-not-a-token"}
    assert (await app.anonymous.get("/metrics", headers=bad)).status_code == 401, "a bad token is no token"
    viewer = await app.user("viewer")
    assert (await viewer.get("/metrics", headers=forwarded[0])).status_code == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("203.0.113.7", 401),
        ("10.0.0.1", 401),
        ("testclient", 401),
    ],
)
async def test_without_a_token_only_loopback_is_this_machine(app: App, address: str, status: int) -> None:
    transport = httpx2.ASGITransport(app=app.application, client=(address, 50_000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        assert (await client.get("/metrics")).status_code == status


async def test_what_becomes_of_an_exchange_is_counted_under_the_name_of_its_budget(app: App) -> None:
    governors: Governors = app.state.governors
    governor = governors.of("tradier trading", TOKEN, 60)

    async def exchange(outcome: int | Exception) -> Reply:
        if isinstance(outcome, int):
            return Reply(outcome, {}, b"")
        raise outcome

    assert (await governor.measured(exchange(429))).status == 429
    for failure in (NotBegun("no"), Broken("nobody knows"), TooLong("too long")):
        with pytest.raises(type(failure)):
            await governor.measured(exchange(failure))
    with pytest.raises(asyncio.CancelledError):
        await governor.measured(asyncio.ensure_future(_cancelled()))
    lines = (await app.anonymous.get("/metrics")).text.splitlines()
    for outcome, count in (("4xx", 1), ("not_begun", 1), ("broken", 2), ("cut_short", 1)):
        sample = f'paiid_broker_exchanges_total{{budget="tradier trading",outcome="{outcome}"}} {count}.0'
        assert sample in lines
    assert 'paiid_broker_exchange_seconds_count{budget="tradier trading"} 5.0' in lines


async def _write(db: Database) -> None:
    async with db.begin():
        pass


async def _cancelled() -> Reply:
    raise asyncio.CancelledError


async def test_each_kind_of_database_tells_of_its_connections_and_commits(app: App) -> None:
    db = app.state.db
    async with db.read(), db.begin():
        counted = db.counted()
        assert counted.connections >= counted.in_use >= 2
        if db.dialect == "sqlite":
            # There is one writer: whoever else wants to write waits for its turn.
            other = asyncio.create_task(_write(db))
            await asyncio.sleep(0)
            assert db.counted().waiting >= 1
    if db.dialect == "sqlite":
        await other
    (before,) = [total[-1][1] for _, total, _ in counted.commits.items()]
    async with db.begin() as tx:
        await tx.now_us()
    (after,) = [total[-1][1] for _, total, _ in db.counted().commits.items()]
    assert after > before


async def test_where_no_broker_is_asked_there_is_nothing_to_tell(make_app: MakeApp) -> None:
    app: App = await make_app()
    app.state.governors = None
    owner = await app.owner()
    assert (await owner.get("/api/health/detailed")).json()["budgets"] == []
    assert (await app.anonymous.get("/metrics")).status_code == 200
