"""An answer of the AI services as server-sent events: whole checked sentences, and an end that stops the model."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from paiid.ai.limits import AT_ONCE_A_USER
from tests.anthropic_stand_in import KEY, Raw, Say, StandIn, stand_in, streamed
from tests.conftest import MakeApp
from tests.world import Client
from tests.ws_world import WITHIN_S, Events, Streams, served, until

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "How am I doing?"}]}
BEGUN = streamed(*Say("Your cash is {{f1}}. It is fine. And then").events()[:3])
"""A message with two whole sentences and a piece of a third."""
READ = Say(calls=(("read_account", {}),))


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """One database will do."""
    return sqlite_url


@asynccontextmanager
async def asking(streams: Streams, owner: Client, route: str, body: Any) -> AsyncIterator[Events]:
    """An open answer."""
    headers = {"Authorization": f"Bearer {owner.token}", "Accept": "text/event-stream"}
    async with httpx2.AsyncClient(base_url=streams.url, timeout=WITHIN_S, verify=False) as http:
        async with http.stream("POST", f"/api/ai/{route}", headers=headers, json=body) as answer:
            yield Events(answer)


@asynccontextmanager
async def world(make_app: MakeApp) -> AsyncIterator[tuple[Streams, Client, StandIn]]:
    """The app behind a socket with a model behind another."""
    async with stand_in() as api:
        app = await make_app({"anthropic_api_key": KEY, "anthropic_base_url": api.url})
        async with served(app) as streams:
            yield streams, await app.owner(), api


async def test_whole_sentences_come_as_they_pass_with_their_figures_before_them(make_app: MakeApp) -> None:
    async with world(make_app) as (streams, owner, api):
        api.script = [READ, Say("Your cash is {{f1}}. It is 5.\nThat is so.", pieces=1)]
        async with asking(streams, owner, "chat", HELLO) as events:
            assert events.answer.status_code == 200
            assert events.answer.headers["content-type"] == "text/event-stream"
            heard = await events.ended()
        assert [one["type"] for one in heard] == ["figures", "text", "text", "text", "done"]
        assert heard[0]["figures"][0]["label"] == "account cash"
        assert heard[1]["text"] == "Your cash is 100,000 dollars (account cash). "
        answer = heard[-1]["answer"]
        assert answer["text"] == "".join(one["text"] for one in heard[1:4]).strip()
        assert (answer["source"], answer["withheld"]) == ("anthropic", 1)
        # What is refused is refused before the stream begins.
        async with asking(streams, owner, "explain", {"kind": "position", "symbol": "MSFT"}) as events:
            assert events.answer.status_code == 404
            assert json.loads(await events.answer.aread())["type"].endswith("not-found")
        # A model that breaks off in the middle: what it said is replaced.
        api.script = [READ, Raw(BEGUN)]
        async with asking(
            streams, owner, "chat", {**HELLO, "messages": [{"role": "user", "content": "my account"}]}
        ) as events:
            heard = await events.ended()
        texts = [one for one in heard if one["type"] == "text"]
        assert [one.get("replaces", False) for one in texts[:3]] == [False, False, True]
        assert "And then" not in json.dumps(heard)
        assert (heard[-1]["answer"]["source"], heard[-1]["answer"]["reason"]) == ("rules", "malformed")
        assert heard[-1]["answer"]["text"].startswith("Your portfolio: worth")


async def test_who_goes_away_stops_the_model_and_pays_for_what_it_has_said(make_app: MakeApp) -> None:
    async with world(make_app) as (streams, owner, api):
        api.script = [READ, Raw(BEGUN, hold=True)]
        async with asking(streams, owner, "chat", HELLO) as events:
            assert (await events.hear("text"))[1]["text"].startswith("Your cash is")
            assert streams.app.state.ai.places._asking == 1
        await until(lambda: api.left == 1)
        await until(lambda: streams.app.state.ai.places._asking == 0)
        budget = (await owner.get("/api/ai/status")).json()["budget"]
        assert budget["tokens"]["reserved"] == 0
        assert 200 + 20 < budget["tokens"]["used"] < 300
        await until(lambda: streams.service.clients.counts() == {})


async def test_the_end_of_the_process_or_of_a_session_ends_an_answer_at_once(make_app: MakeApp) -> None:
    async with world(make_app) as (streams, owner, api):
        ai = streams.app.state.ai
        api.script = [Raw(BEGUN, hold=True)]
        async with asking(streams, owner, "chat", HELLO) as events:
            await api.holding.wait()
            again = await streams.app.owner()
            assert (await owner.post("/auth/logout")).status_code == 204
            assert (await events.hear("error"))[1]["code"] == "signed_out"
            await events.ended()
        await until(lambda: api.left == 1)

        api.holding.clear()
        again = await streams.app.owner()
        plain = asyncio.create_task(again.post("/api/ai/chat", json=HELLO))
        await api.holding.wait()
        api.holding.clear()
        async with asking(streams, again, "chat", HELLO) as events:
            await api.holding.wait()
            # One more than a user may have under way.
            assert AT_ONCE_A_USER == 2
            assert (await again.post("/api/ai/chat", json=HELLO)).status_code == 429
            ai.begin_draining()
            streams.service.begin_draining()
            heard = await events.ended()
            assert heard[-1]["type"] == "draining"
        answer = (await plain).json()
        assert (answer["source"], answer["reason"]) == ("rules", "draining")
        async with asking(streams, again, "chat", HELLO) as events:
            assert events.answer.status_code == 503
