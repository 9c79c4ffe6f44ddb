"""The bus over a real Valkey: what it carries, what it drops, and that no fate of the server holds anybody up."""

import asyncio
import time

import pytest
import structlog.testing

from paiid.core.clock import SystemClock
from paiid.core.redis import MAX_BODY, MOST_WAITING, RedisBus
from tests.bus_world import a_prefix, redis_bus, until
from tests.servers import ValkeyServer

QUICK = {"echo_s": 0.1, "deadline_s": 0.4}
NOTICED_S = 3.0
NOISE_S = 2.0
"""What a busy machine may add."""


async def test_messages_of_others_are_heard_in_order_and_ones_own_are_not(valkey_url: str) -> None:
    prefix = a_prefix()
    async with redis_bus(valkey_url, prefix) as one, redis_bus(valkey_url, prefix) as two:
        heard: list[bytes] = []
        own: list[bytes] = []
        two.subscribe("x", heard.append)
        one.subscribe("x", own.append)
        await until(lambda: one.up and two.up)
        sent = [b"%d\0\xff" % n for n in range(1000)]
        for body in sent:
            one.publish("x", body)
        one.publish("y", b"another channel")
        await until(lambda: len(heard) == 1000)
        assert heard == sent
        assert own == []
        assert one.sent == 1001
        assert one.dropped == two.dropped == 0
        assert two.heard == 1000


async def test_another_prefix_is_another_installation(valkey_url: str) -> None:
    async with redis_bus(valkey_url, a_prefix()) as one, redis_bus(valkey_url, a_prefix()) as two:
        heard: list[bytes] = []
        two.subscribe("x", heard.append)
        await until(lambda: one.up and two.up)
        one.publish("x", b"a")
        await until(lambda: one.sent == 1)
        await asyncio.sleep(0.05)
        assert heard == []


async def test_a_channel_subscribed_to_later_is_heard_too(valkey_url: str) -> None:
    prefix = a_prefix()
    async with redis_bus(valkey_url, prefix) as one, redis_bus(valkey_url, prefix) as two:
        await until(lambda: one.up and two.up)
        heard: list[bytes] = []
        two.subscribe("late", heard.append)

        def again() -> bool:
            one.publish("late", b"a")
            return bool(heard)

        await until(again)


async def test_start_returns_at_once_without_a_server_and_the_bus_comes_up_when_there_is_one(
    valkey: ValkeyServer,
) -> None:
    valkey.stop()
    async with redis_bus(valkey.url, "p", **QUICK) as bus:
        bus.publish("x", b"lost")
        assert not bus.up
        assert bus.dropped == 1
        await asyncio.sleep(0.2)
        assert not bus.up
        valkey.start()
        await until(lambda: bus.up)


@pytest.mark.parametrize("fate", ["killed", "frozen", "paused", "connections_killed"])
async def test_a_server_that_is_gone_or_frozen_is_noticed_within_3_s_and_comes_back_by_itself(
    valkey: ValkeyServer, fate: str
) -> None:
    """With the deadlines of real life, of which the promise is made."""
    async with redis_bus(valkey.url, "p") as one, redis_bus(valkey.url, "p") as two:
        heard: list[bytes] = []
        changes: list[bool] = []
        two.subscribe("x", heard.append)
        one.on_change(changes.append)
        await until(lambda: one.up and two.up)
        began = time.monotonic()
        if fate == "killed":
            valkey.stop()
        elif fate == "frozen":
            valkey.pause()
        elif fate == "paused":
            # Reads and pings are answered; what is published is not.
            valkey.say("CLIENT", "PAUSE", str(int((NOTICED_S + NOISE_S) * 1000)), "WRITE")
        else:
            valkey.say("CLIENT", "KILL", "TYPE", "pubsub")
            valkey.say("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: False in changes and not (one.up and fate in ("killed", "frozen")))
        assert time.monotonic() - began < NOTICED_S + NOISE_S
        one.publish("x", b"while it is away")
        if fate == "killed":
            valkey.start()
        elif fate == "frozen":
            valkey.resume()
        await until(lambda: one.up and two.up)

        def again() -> bool:
            one.publish("x", b"again")
            return b"again" in heard

        await until(again)


async def test_a_flush_changes_nothing(valkey: ValkeyServer) -> None:
    async with redis_bus(valkey.url, "p") as one, redis_bus(valkey.url, "p") as two:
        heard: list[bytes] = []
        two.subscribe("x", heard.append)
        await until(lambda: one.up and two.up)
        valkey.say("FLUSHALL")
        one.publish("x", b"a")
        await until(lambda: heard == [b"a"])
        assert one.up


async def test_a_frozen_server_never_makes_a_publisher_wait_and_what_waits_is_bounded(
    valkey: ValkeyServer,
) -> None:
    async with redis_bus(valkey.url, "p") as bus:
        await until(lambda: bus.up)
        valkey.pause()
        for _ in range(3 * MOST_WAITING):
            bus.publish("x", b"a")
        # Nothing was awaited, so nothing could be sent: the oldest went.
        assert bus.dropped == 2 * MOST_WAITING
        for _ in range(40):
            bus.publish("x", b"a" * MAX_BODY)
        assert bus.dropped >= 3 * MOST_WAITING + 40 - 8
        valkey.resume()


async def test_a_message_that_is_too_long_is_neither_sent_nor_heard(valkey: ValkeyServer) -> None:
    async with redis_bus(valkey.url, "p") as one, redis_bus(valkey.url, "p") as two:
        heard: list[int] = []
        two.subscribe("x", lambda body: heard.append(len(body)))
        await until(lambda: one.up and two.up)
        one.publish("x", b"a" * (MAX_BODY + 1))
        assert one.dropped == 1
        one.publish("x", b"a" * MAX_BODY)
        await until(lambda: heard == [MAX_BODY])
        # Somebody who is none of us.
        valkey.say("PUBLISH", "p:x", "a" * (MAX_BODY + 9))
        valkey.say("PUBLISH", "p:x", "short")
        await until(lambda: two.refused == 2)
        assert heard == [MAX_BODY]
        assert two.up


async def test_stop_is_quick_even_with_a_frozen_server(valkey: ValkeyServer) -> None:
    bus = RedisBus(valkey.url, "p", SystemClock(), **QUICK)
    await bus.start()
    await until(lambda: bus.up)
    valkey.pause()
    bus.publish("x", b"a" * MAX_BODY)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1.0 + NOISE_S):
        await bus.stop()
    assert not bus.up
    valkey.resume()


async def test_a_password_is_used_and_never_told() -> None:
    server = ValkeyServer(options=("--requirepass", "hush-hush"))
    try:
        server.start()
        with structlog.testing.capture_logs() as logs:
            url = server.url.replace("//", "//:hush-hush@")
            async with redis_bus(url, "p", **QUICK) as bus:
                await until(lambda: bus.up)
                server.stop()
                await until(lambda: not bus.up)
            async with redis_bus(url.replace("hush-hush", "hush-wrong"), "p", **QUICK):
                await asyncio.sleep(0.1)
        assert any(log["event"] == "bus_lost" for log in logs)
        assert "hush" not in str(logs)
    finally:
        server.remove()


@pytest.mark.parametrize(
    "url",
    ["http://:hush@h", "unix:///tmp/x", "redis://:hu/sh@h:1", "redis://h:hush", "", "redis://h?db=hush"],
)
def test_a_url_that_is_none_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(ValueError, match="not a Redis URL") as told:
        RedisBus(url, "p", SystemClock())
    assert "hush" not in str(told.value)
    assert told.value.__cause__ is None
