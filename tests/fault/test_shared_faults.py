"""A Redis that is frozen, killed, full, or none at all: sign-in goes on, each replica counts for itself, and it comes back by itself."""

import asyncio
import socketserver
import threading
from typing import Any

import pytest

from paiid.auth.throttle import LOGIN_PER_USER
from paiid.core.clock import SystemClock
from paiid.core.redis_store import DEADLINE_S, NoAnswer, RedisStore
from paiid.core.redis_wire import end_all
from tests.bus_world import until
from tests.conftest import MakeApp
from tests.servers import ValkeyServer
from tests.shared_world import a_secret, replica
from tests.world import OWNER_EMAIL, PASSWORD, App

_addresses = iter(f"10.9.{a}.{b}" for a in range(200) for b in range(200))


async def guess(app: App) -> int:
    """A wrong password from an address of its own."""
    body = {"email": OWNER_EMAIL, "password": "a wrong password"}
    answer = await app.http.post("/auth/login", json=body, headers={"x-forwarded-for": next(_addresses)})
    return answer.status_code


async def sign_in(app: App) -> int:
    """With the right one."""
    body = {"email": OWNER_EMAIL, "password": PASSWORD}
    return (await app.http.post("/auth/login", json=body)).status_code


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
async def test_A05_two_apps_have_one_throttle_and_each_its_own_while_redis_is_frozen_or_dead(
    make_app: MakeApp, valkey: ValkeyServer
) -> None:
    settings: dict[str, Any] = {"redis_url": valkey.url, "trusted_proxies": ("127.0.0.1",)}
    one, other = await make_app(settings), await make_app(settings)
    both = (one, other)
    for app in both:
        # A busy machine must not upset it: longer than in life.
        for store in app.state.shared._stores:
            store._deadline_s = 1.0
    await until(lambda: all(app.state.shared.up for app in both))
    assert one.state.shared.state == "throttles and caches are shared"
    assert await sign_in(one) == await sign_in(other) == 200

    burst = LOGIN_PER_USER[1]
    guesses = [await guess(both[n % 2]) for n in range(burst + 4)]
    # Some tokens may have come back meanwhile on a slow machine.
    assert guesses[:burst] == [401] * burst
    assert 429 in guesses[burst:]

    before = [app.state.shared._stores[0].missed for app in both]
    valkey.pause()
    # Who has signed in from there before is held to his address alone; and a stranger to what this replica has counted.
    assert await sign_in(one) == 200
    assert await sign_in(other) == 200
    assert {await guess(one), await guess(other)} == {401}
    for app, missed in zip(both, before, strict=True):
        assert not app.state.shared.up
        assert app.state.shared.state == "throttles and caches are per replica"
        assert app.state.shared.throttle.counts.of("alone") >= 3
        # Of all that was asked only the first has waited, or nobody where the store itself was the first to find out: the others were
        # told at once.
        assert app.state.shared._stores[0].missed <= missed + 1
    valkey.resume()
    await until(lambda: all(app.state.shared.up for app in both))
    assert await sign_in(one) == 200

    valkey.stop()
    await until(lambda: not one.state.shared.up and not other.state.shared.up)
    assert await sign_in(one) == await sign_in(other) == 200
    valkey.start()
    await until(lambda: all(app.state.shared.up for app in both))
    counted = one.state.shared.throttle.counts.of("shared")
    assert await sign_in(one) == 200
    assert one.state.shared.throttle.counts.of("shared") > counted


async def test_A05_what_a_replica_has_let_through_counts_on_when_redis_is_gone(valkey: ValkeyServer) -> None:
    secret = a_secret()
    async with replica(valkey.url, secret) as one, replica(valkey.url, secret) as other:
        assert await one.takes(3) == 3
        assert await other.takes(1) == 1
        valkey.stop()
        await until(lambda: not one.store.up and not other.store.up)
        assert await one.takes(9) == 2
        assert await other.takes(9) == 4
        assert one.throttle.counts.of("alone") == 2
        # A server that comes back has forgotten everything; who was refused here still is.
        valkey.start()
        await until(lambda: one.store.up)
        assert await one.takes(1) == 0


async def test_answers_stay_with_their_questions_when_some_came_too_late(valkey: ValkeyServer) -> None:
    async with replica(valkey.url, a_secret(), deadline_s=DEADLINE_S) as one:
        valkey.pause()
        late = await asyncio.gather(
            *[one.store.ask(("ECHO", f"late {n}")) for n in range(20)], return_exceptions=True
        )
        assert all(isinstance(answer, NoAnswer) for answer in late)
        assert not one.store.up
        with pytest.raises(NoAnswer):
            await one.store.ask(("ECHO", "not even sent"))
        one.store._deadline_s = 5.0
        valkey.resume()
        await until(lambda: one.store.up)
        answers = await asyncio.gather(*[one.store.ask(("ECHO", f"{n}"), ("PING",)) for n in range(50)])
        assert answers == [[f"{n}".encode(), b"PONG"] for n in range(50)]


@pytest.mark.parametrize("fault", ["full", "no right"])
async def test_a_server_that_refuses_is_as_good_as_none_and_used_again_when_it_does_not(
    valkey: ValkeyServer, fault: str
) -> None:
    async with replica(valkey.url, a_secret()) as one:
        say = {
            "full": ("CONFIG", "SET", "maxmemory", "1"),
            "no right": ("ACL", "SETUSER", "default", "-eval"),
        }[fault]
        mend = {
            "full": ("CONFIG", "SET", "maxmemory", "0"),
            "no right": ("ACL", "SETUSER", "default", "+eval"),
        }[fault]
        assert valkey.say(*say).startswith(b"+OK")
        assert await one.takes(6) == 5
        assert one.throttle.counts.of("alone") == 5
        assert one.throttle.counts.of("shared") == 0
        assert valkey.say(*mend).startswith(b"+OK")
        await until(lambda: one.store.up)
        assert await one.takes(3, key="somebody else") == 3
        assert one.throttle.counts.of("shared") == 3


async def test_a_server_whose_password_we_do_not_have_is_as_good_as_none() -> None:
    server = ValkeyServer(options=("--requirepass", "test-password"))
    try:
        server.start()
        async with replica(server.url, a_secret(), wait=False) as one:
            await asyncio.sleep(0.15)
            assert await one.takes(6) == 5
            assert not one.store.up
        async with replica(server.url.replace("//", "//:test-password@"), a_secret()) as one:
            assert await one.takes(6) == 5
            assert one.throttle.counts.of("shared") == 5
    finally:
        server.remove()


class _Nonsense(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3)


async def test_what_is_no_redis_at_all_is_as_good_as_none(caplog: pytest.LogCaptureFixture) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Nonsense) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        url = f"redis://:test-password@127.0.0.1:{server.server_address[1]}/0"
        async with replica(url, a_secret(), wait=False) as one:
            assert await one.takes(6) == 5
            await asyncio.sleep(0.15)
            assert not one.store.up
            assert one.store.failing == {}
        server.shutdown()
    assert "test-password" not in caplog.text


async def test_who_asked_and_went_away_leaves_nothing_behind(valkey: ValkeyServer) -> None:
    async with replica(valkey.url, a_secret()) as one:
        valkey.pause()
        asking = [asyncio.create_task(one.throttle.take("login", str(n), 6, 5)) for n in range(10)]
        await asyncio.sleep(0.02)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        valkey.resume()
        await until(lambda: not one.store._asked and not one.store._waiting)
        assert one.store._bytes == 0
        assert await one.takes(2) == 2


async def test_it_stops_while_the_server_is_frozen(valkey: ValkeyServer) -> None:
    store = RedisStore(valkey.url, SystemClock())
    await store.start()
    await until(lambda: store.up)
    valkey.pause()
    asked = asyncio.create_task(store.ask(("SET", "k", b"x" * 4_000_000)))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await store.stop()
    with pytest.raises(NoAnswer):
        await asked


async def test_work_that_swallows_its_cancellation_is_ended_all_the_same() -> None:
    swallowed = []

    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(True)
        await asyncio.Event().wait()

    async def broken() -> None:
        raise OSError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_all(tasks)
    assert len(swallowed) == 2
    assert all(task.done() for task in tasks)
