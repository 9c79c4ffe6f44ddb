"""`paiid.client` against the service: one order whatever is lost on the way, and errors that say what to do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from paiid.brokers import OutcomeUnknown
from paiid.client import (
    ApiError,
    Execution,
    KeyFile,
    NewOrder,
    PaiidClient,
    SignedOut,
    StillUnknown,
    Unreachable,
)
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, loses_answer
from tests.orders_world import QUICK
from tests.world import OWNER_EMAIL, PASSWORD, App

ONE = [NewOrder(symbol="AAPL", side="buy", qty=1)]
Lose = Callable[[httpx2.Request], str | None]


class Lossy(httpx2.AsyncBaseTransport):
    """Between client and service: what `lose` says of a request, `request` or `answer`, gets lost."""

    def __init__(self, app: App) -> None:
        self._inner = httpx2.ASGITransport(
            app=app.application, raise_app_exceptions=False, client=("127.0.0.1", 50000)
        )
        self.lose: Lose = lambda _: None
        self.sent: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(f"{request.method} {request.url.path}")
        lost = self.lose(request)
        if lost == "request":
            raise httpx2.ConnectError("lost on the way there", request=request)
        answer = await self._inner.handle_async_request(request)
        if lost == "answer":
            await answer.aread()
            raise httpx2.ReadTimeout("lost on the way back", request=request)
        return answer


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app()


@pytest.fixture
async def line(app: App) -> Lossy:
    return Lossy(app)


@pytest.fixture
async def client(line: Lossy, tmp_path: Path) -> AsyncIterator[PaiidClient]:
    async with PaiidClient("http://testserver", key_file=tmp_path / "keys", transport=line) as one:
        await one.sign_in(OWNER_EMAIL, PASSWORD)
        yield one


def first(times: int, what: str, path: str = "/api/trading/execute") -> Lose:
    """Lose that many of the requests there."""
    left = [times]

    def lose(request: httpx2.Request) -> str | None:
        if request.url.path != path or left[0] == 0:
            return None
        left[0] -= 1
        return what

    return lose


async def all_orders(client: PaiidClient) -> list[str]:
    return [one["id"] for one in (await client.get("/api/trading/orders"))["data"]]


@pytest.mark.parametrize("what", ["request", "answer"])
async def test_E14_whatever_is_lost_on_the_way_there_is_one_order_and_its_final_answer(
    client: PaiidClient, line: Lossy, what: str
) -> None:
    line.lose = first(2, what)
    done = await client.execute(ONE)
    assert (done.accepted, done.replayed) == (True, what == "answer")
    assert await all_orders(client) == [done.orders[0].id]
    assert line.sent.count("POST /api/trading/execute") == 3


async def test_E14_what_an_earlier_run_began_is_recovered_under_its_key_and_executed_once(
    app: App, line: Lossy, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    async with PaiidClient("http://testserver", key_file=keys, transport=line) as first_run:
        await first_run.sign_in(OWNER_EMAIL, PASSWORD)
        line.lose = first(99, "answer")
        with pytest.raises(Unreachable):
            await first_run.execute(ONE, key="mine-0001", patience_s=0.1)
        line.lose = first(99, "request")
        with pytest.raises(Unreachable):
            await first_run.execute(ONE, key="mine-0002", patience_s=0.1)
        line.lose = lambda _: None
    async with PaiidClient("http://testserver", key_file=keys, transport=Lossy(app)) as second_run:
        await second_run.sign_in(OWNER_EMAIL, PASSWORD)
        found = await second_run.recover()
        assert [(one.key, one.accepted, one.replayed) for one in found] == [
            ("mine-0001", True, True),
            ("mine-0002", True, False),
        ]
        assert sorted(await all_orders(second_run)) == sorted(one.orders[0].id for one in found)
        assert await second_run.recover() == []


async def test_a_refusal_before_anything_was_executed_is_an_error_with_fields_and_leaves_no_key(
    client: PaiidClient, tmp_path: Path
) -> None:
    with pytest.raises(ApiError) as caught:
        await client.execute([NewOrder(symbol="AAPL", side="buy", qty=Decimal("-1"))])
    assert (caught.value.status, caught.value.code) == (422, "validation")
    assert [one.field for one in caught.value.errors] == ["orders.0.qty"]
    assert await client.recover() == []


async def test_what_depends_on_the_state_is_an_answer_that_was_not_accepted(client: PaiidClient) -> None:
    done = await client.execute([NewOrder(symbol="AAPL", side="buy", qty=1_000_000)])
    assert not done.accepted
    assert done.orders[0].state == "REFUSED"
    assert done.orders[0].reason is not None
    assert await client.recover() == []


async def test_K05_a_halt_refuses_and_the_answer_says_so(client: PaiidClient) -> None:
    assert (await client.halt("the client's test"))["tradingHalted"] is True
    done = await client.execute(ONE)
    assert (done.accepted, done.orders[0].state) == (False, "REFUSED")


async def test_numbers_keep_their_digits_both_ways(client: PaiidClient) -> None:
    limit = Decimal("100.10")
    done = await client.execute(
        [NewOrder(symbol="AAPL", side="buy", qty=2, type="limit", limit_price=limit, time_in_force="day")]
    )
    order = await client.order(done.orders[0].id)
    assert order.fields["limit_price"] == limit
    assert isinstance(order.fields["limit_price"], Decimal)
    assert (await client.cancel(order.id)).id == order.id


async def test_A02_an_expired_access_token_is_refreshed_once_for_all_who_wait(
    client: PaiidClient, line: Lossy
) -> None:
    before = client.session.access_token
    client.session._access = "expired"
    found = await asyncio.gather(*(client.positions() for _ in range(8)))
    assert found == [[]] * 8
    assert line.sent.count("POST /auth/refresh") == 1
    assert client.session.access_token not in ("expired", before)


async def test_A02_a_lost_answer_to_a_refresh_does_not_sign_out(client: PaiidClient, line: Lossy) -> None:
    client.session._access = "expired"
    line.lose = first(1, "answer", "/auth/refresh")
    with pytest.raises(Unreachable):
        await client.positions()
    assert await client.positions() == []


async def test_A03_who_was_signed_out_is_told_and_his_key_waits(client: PaiidClient, line: Lossy) -> None:
    other = PaiidClient("http://testserver", transport=line)
    await other.sign_in(OWNER_EMAIL, PASSWORD)
    await other.sign_out()
    await other.close()
    with pytest.raises(SignedOut):
        await client.execute(ONE)
    await client.sign_in(OWNER_EMAIL, PASSWORD)
    assert [one.accepted for one in await client.recover()] == [True]


async def test_E14_an_unknown_outcome_keeps_its_key_until_it_is_known(
    make_app: MakeApp, tmp_path: Path
) -> None:
    broker = FakeBroker()
    broker.scripts.append(loses_answer(placed=True))
    broker.lookup_error = OutcomeUnknown("the broker is away")
    app = await make_app(broker=broker, timings=QUICK)
    keys = tmp_path / "keys"
    async with PaiidClient("http://testserver", key_file=keys, transport=Lossy(app)) as client:
        await client.sign_in(OWNER_EMAIL, PASSWORD)
        with pytest.raises(StillUnknown) as caught:
            await client.execute(ONE, patience_s=0.2)
        broker.lookup_error = None
        found = await client.recover()
        assert [(one.key, one.accepted) for one in found] == [(caught.value.key, True)]


async def test_one_process_a_file(client: PaiidClient, tmp_path: Path) -> None:
    from paiid.client import KeyFileError

    with pytest.raises(KeyFileError):
        KeyFile(tmp_path / "keys")


def test_an_execution_reads_what_the_readme_shows() -> None:
    body = (
        b'{"accepted":true,"account":"a","orders":[{"id":"o","state":"ACCEPTED","status":"NEW","symbol":"AAPL",'
        b'"side":"buy","qty":1.5,"filled_qty":0,"filled_avg_price":null,"reason":null}]}'
    )
    found = Execution.read("key-0001", body, replayed=False)
    assert found.orders[0].qty == Decimal("1.5")
