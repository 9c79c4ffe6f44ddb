"""`paiid.client` as a bot uses it: one order whatever dies, and streams that go on where they were, over kills of either side."""

import asyncio
import json
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from paiid.client import ApiError, NewOrder, PaiidClient, SignedOut, Stream, StreamEvent
from tests.e2e.processes import Server, environment

ROOT = Path(__file__).parents[2]
WITHIN_S = 45.0
"""Only guards against hanging."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def started(data: Path, port: int | None = None) -> Server:
    server = Server(data, "--migrate", port=port)
    server.wait_until_ready()
    return server


@pytest.fixture
async def server(data: Path) -> AsyncIterator[Server]:
    one = await asyncio.to_thread(started, data)
    yield one
    one.kill()


async def signed_in(server: Server, data: Path, **options: Any) -> PaiidClient:
    client = PaiidClient(f"http://127.0.0.1:{server.port}", **options)
    await client.sign_in("owner@localhost", (data / "owner-password").read_text().strip())
    return client


class Listener:
    """Collects what a stream tells."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.events: list[StreamEvent] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.stream:
            self.events.append(event)

    def of(self, prefix: str) -> list[StreamEvent]:
        return [one for one in self.events if one.channel.startswith(prefix)]

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not seen():
                if self.task.done():
                    await self.task
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def statuses(events: list[StreamEvent]) -> dict[str, Any]:
    """The last status of each order as the stream told it."""
    return {
        one.data["id"]: one.data["status"]
        for one in events
        if one.type == "order_update" and one.data["event"] == "order"
    }


async def test_S2_a_bot_misses_nothing_of_its_account_over_a_power_cut_of_the_service(
    data: Path, server: Server, tmp_path: Path
) -> None:
    client = await signed_in(server, data, key_file=tmp_path / "keys")
    listener = Listener(client.stream(["account", "quotes:AAPL"]))
    buy = [NewOrder(symbol="AAPL", side="buy", qty=1)]
    await listener.until(lambda: len(listener.of("quotes:")) > 0)
    done = [await client.execute(buy)]
    await listener.until(lambda: "FILLED" in statuses(listener.events).values())

    server.kill()
    unheard = asyncio.create_task(client.execute(buy))
    second = await asyncio.to_thread(started, data, server.port)
    try:
        done.append(await unheard)
        quotes_before = len(listener.of("quotes:"))
        done.append(await client.execute(buy))
        ids = {one.orders[0].id for one in done}
        await listener.until(
            lambda: {one for one, status in statuses(listener.events).items() if status == "FILLED"} == ids
        )
        await listener.until(lambda: len(listener.of("quotes:")) > quotes_before)
        held = await client.positions()
        assert [(one["symbol"], one["qty"]) for one in held] == [("AAPL", 3)]
        told = listener.of("account:")
        assert [one.sequence for one in told] == list(
            range(told[0].sequence or 0, (told[-1].sequence or 0) + 1)
        )
        assert not [one for one in told if one.type == "reset"]
        assert listener.stream.holes == 0
        assert listener.stream.reconnections >= 1
    finally:
        await listener.end()
        await client.close()
        assert await asyncio.to_thread(second.end) == 0


async def test_S2_a_bot_that_was_killed_takes_up_its_streams_where_it_left_them(
    data: Path, server: Server
) -> None:
    client = await signed_in(server, data)
    buy = [NewOrder(symbol="SPY", side="buy", qty=1)]
    first = Listener(client.stream(["account"]))
    await first.until(lambda: bool(first.stream.places))
    await client.execute(buy)
    await first.until(lambda: "FILLED" in statuses(first.events).values())
    await first.end()
    places = json.loads(json.dumps(first.stream.places))
    await client.execute(buy)
    second = Listener(client.stream(["account"], resume=places))
    await second.until(lambda: "FILLED" in statuses(second.events).values())
    told = second.of("account:")
    last = int(places[told[0].channel].partition(":")[2])
    assert told[0].sequence == last + 1, "the first it hears is the first it missed"
    forged = Listener(client.stream(["account"], resume={told[0].channel: "1:999999999"}))
    await forged.until(lambda: any(one.type == "reset" for one in forged.events))
    state = next(one for one in forged.events if one.type == "reset").data
    assert [(one["symbol"], one["qty"]) for one in state["positions"]] == [("SPY", 2)]
    await forged.end()
    await second.end()
    await client.close()


async def test_a_channel_that_is_not_there_and_a_session_that_has_ended_are_told(
    data: Path, server: Server
) -> None:
    client = await signed_in(server, data)
    with pytest.raises(ApiError, match="not_found"):
        async for _ in client.stream(["account:nobodys"]):
            pass
    listener = Listener(client.stream(["quotes:SPY"]))
    await listener.until(lambda: bool(listener.of("quotes:")))
    await client.session.request("POST", "/auth/logout")
    with pytest.raises(SignedOut):
        await listener.until(lambda: False)
    await client.close()


async def test_the_bot_of_the_examples_buys_once_however_often_it_is_killed(
    data: Path, server: Server, tmp_path: Path
) -> None:
    password = (data / "owner-password").read_text().strip()
    command = [
        sys.executable,
        str(ROOT / "examples" / "bot.py"),
        f"http://127.0.0.1:{server.port}",
        "owner@localhost",
        password,
        "AAPL",
    ]
    for _ in range(2):
        with (tmp_path / "bot.log").open("wb") as out:
            bot = subprocess.Popen(
                command, cwd=tmp_path, env=environment(data), stdout=out, stderr=subprocess.STDOUT
            )
        try:
            async with asyncio.timeout(WITHIN_S):
                while (
                    b"AAPL ACCEPTED" not in (told := (tmp_path / "bot.log").read_bytes())
                    or b"AAPL 2" not in told
                ):
                    assert bot.poll() is None, told.decode()
                    await asyncio.sleep(0.05)
        finally:
            bot.kill()
            bot.wait()
    client = await signed_in(server, data)
    assert [(one["symbol"], one["qty"]) for one in await client.positions()] == [("AAPL", 1)]
    await client.close()


async def test_the_bot_of_the_readme_works_as_it_stands_there(
    data: Path, server: Server, tmp_path: Path
) -> None:
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("```python")[1].split("```")[0]
    block = block.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.port}")
    block = block.replace('"bot-keys.jsonl"', repr(str(tmp_path / "keys")))
    told: list[tuple[str, str, Any]] = []
    space: dict[str, Any] = {"print": lambda *words: told.append(words)}
    exec(f"async def bot(password):\n{textwrap.indent(block, '    ')}", space)  # what the reader is shown
    bot = asyncio.create_task(space["bot"]((data / "owner-password").read_text().strip()))
    async with asyncio.timeout(WITHIN_S):
        while not {"order_update", "market_data"} <= {kind for kind, *_ in told}:
            assert not bot.done()
            await asyncio.sleep(0.02)
    bot.cancel()
    await asyncio.gather(bot, return_exceptions=True)
