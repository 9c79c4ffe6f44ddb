"""Rights while a stream is open: tickets, expiry, logout, lost roles and grants, on one replica and on another (A3, A4, A7)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from paiid.core.db import Database, DatabaseUnavailable
from paiid.stream.limits import StreamTimings
from paiid.stream.ticket_store import prune_tickets, use_ticket
from tests.auth_world import Driven
from tests.conftest import MakeApp
from tests.world import App, Client
from tests.ws_world import QUICK, Socket, Streams, served, ticket_of, until


@pytest.fixture
async def replicas(make_app: MakeApp) -> AsyncIterator[list[Streams]]:
    """Two, over one database; of the second nothing is told at once."""
    async with AsyncExitStack() as stack:
        made = [
            await make_app({"api_token": "static-token-static-token-static-token"}, clock=Driven())
            for _ in range(2)
        ]
        yield [await stack.enter_async_context(served(app)) for app in made]


one_database = pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
"""For what is about the process and not about the database."""


async def account_of(client: Client) -> str:
    user_id: str = (await client.get("/auth/me")).json()["id"]
    return f"paper-{user_id.removeprefix('usr_')}"


async def ended(socket: Socket, code: int, word: str) -> None:
    """It is closed so, and was told why."""
    found, heard = await socket.closed()
    assert (found, heard[-1]["code"]) == (code, word)


async def test_A07_a_ticket_works_once_on_any_replica_and_only_for_its_time(replicas: list[Streams]) -> None:
    one, other = replicas
    owner = await one.app.owner()
    ticket = await ticket_of(owner)
    offered = ["paiid.v1", f"ticket.{ticket}"]

    async def comes_in(streams: Streams) -> bool:
        async with streams.socket() as socket:
            await socket.say(type="auth", ticket=ticket)
            return (await socket.hear("connection", "error"))["type"] == "connection"

    found = await asyncio.gather(*[comes_in(streams) for streams in (one, other) * 4])
    assert found.count(True) == 1
    assert await other.refused(subprotocols=offered) == (401, "invalid-token")
    # Of another replica it works as well, and after 31 s nowhere.
    async with other.socket(subprotocols=["paiid.v1", f"ticket.{await ticket_of(owner)}"]) as socket:
        await socket.opened()
    late = await ticket_of(owner)
    db: Database = one.app.state.db
    async with db.begin() as tx:
        from paiid.auth.tokens import digest

        assert await use_ticket(tx, digest(late), await tx.now_us() + 31_000_000) is None
        # It is some moments old by now, on a slow machine seconds.
        assert await prune_tickets(tx, await tx.now_us() + 20_000_000) == 0
        assert await prune_tickets(tx, await tx.now_us() + 31_000_000) == 1


@one_database
async def test_A07_a_ticket_dies_with_its_credential(replicas: list[Streams]) -> None:
    one, other = replicas
    trader, viewer = await one.app.user("trader"), await one.app.user("viewer")
    ticket = await ticket_of(trader)
    assert (await trader.post("/auth/logout")).status_code == 204
    assert await other.refused(subprotocols=["paiid.v1", f"ticket.{ticket}"]) == (401, "invalid-token")
    # Ten seconds before the access token ends, and one second after: the ticket's own time is not over.
    one.app.state.clock.ahead_s = 15 * 60 - 10
    ticket = await ticket_of(viewer)
    other.app.state.clock.ahead_s = 15 * 60 + 1
    assert await other.refused(subprotocols=["paiid.v1", f"ticket.{ticket}"]) == (401, "invalid-token")


@one_database
async def test_A09_tickets_are_rationed_by_user(replicas: list[Streams]) -> None:
    owner, viewer = await replicas[0].app.owner(), await replicas[0].app.user("viewer")
    # A second gives one back, and thirty-one calls may take longer than that.
    replicas[0].app.state.clock.hold()
    answers = [(await owner.post("/api/stream/ticket")).status_code for _ in range(31)]
    assert answers == [201] * 30 + [429]
    assert (await viewer.post("/api/stream/ticket")).status_code == 201


async def lose_by_logout(app: App, owner: Client, caller: Client) -> None:
    assert (await caller.post("/auth/logout")).status_code == 204


async def lose_by_role(app: App, owner: Client, caller: Client) -> None:
    user_id = (await caller.get("/auth/me")).json()["id"]
    assert (await owner.request("PATCH", f"/api/users/{user_id}", json={"role": "viewer"})).status_code == 200


async def lose_by_disable(app: App, owner: Client, caller: Client) -> None:
    user_id = (await caller.get("/auth/me")).json()["id"]
    assert (await owner.request("PATCH", f"/api/users/{user_id}", json={"disabled": True})).status_code == 200


async def lose_by_revoke(app: App, owner: Client, caller: Client) -> None:
    (token,) = (await owner.get("/auth/tokens")).json()
    assert (await owner.delete(f"/auth/tokens/{token['id']}")).status_code == 204


LOSSES: list[tuple[Any, int, str]] = [
    (lose_by_logout, 4401, "signed_out"),
    (lose_by_role, 4403, "role_changed"),
    (lose_by_disable, 4401, "signed_out"),
    (lose_by_revoke, 4401, "signed_out"),
]


async def test_A03_a_lost_right_closes_the_sockets_of_that_credential_on_every_replica(
    replicas: list[Streams],
) -> None:
    one, other = replicas
    owner = await one.app.owner()
    async with one.socket(token=owner.token) as stays:
        await stays.opened()
        for lose, code, word in LOSSES:
            caller = await one.app.user("trader")
            if lose is lose_by_revoke:
                made = await owner.post("/auth/tokens", json={"name": "t", "scopes": ["read"]})
                caller = Client(one.app.http, made.json()["token"])
            async with (
                one.socket(token=caller.token) as here,
                other.socket(token=caller.token) as there,
                other.events("/api/stream/prices?symbols=AAPL", caller.token) as events,
            ):
                await here.opened()
                await there.opened()
                await events.hear("subscription_confirmed")
                await lose(one.app, owner, caller)
                await ended(here, code, word)
                await ended(there, code, word)
                assert (await events.ended())[-1]["code"] == word
        await stays.say(type="ping")
        await stays.hear("pong")
    await until(lambda: not list(one.service.clients) and not list(other.service.clients))


@one_database
async def test_A03_on_the_replica_itself_it_is_at_once_and_does_not_wait_for_the_next_look(
    make_app: MakeApp,
) -> None:
    app = await make_app()
    async with served(app, StreamTimings(watch_every_s=3600)) as streams:
        trader = await app.user("trader")
        async with streams.socket("/api/stream/orders", trader.token) as socket:
            await socket.opened()
            assert (await trader.post("/auth/logout")).status_code == 204
            await ended(socket, 4401, "signed_out")


async def test_A10_a_lost_grant_takes_the_channel_away_and_leaves_the_rest(replicas: list[Streams]) -> None:
    one, other = replicas
    owner, viewer = await one.app.owner(), await one.app.user("viewer")
    account = await account_of(owner)
    viewer_id = (await viewer.get("/auth/me")).json()["id"]
    grant = f"/api/accounts/{account}/grants/{viewer_id}"
    assert (await owner.request("PUT", grant, json={"access": "view"})).status_code == 200
    path = f"/api/stream/positions?account={account}"
    async with (
        one.socket(path, viewer.token) as here,
        other.socket(path, viewer.token) as there,
        other.events(path, viewer.token) as events,
    ):
        for socket in (here, there):
            assert f"account:{account}" in await socket.confirmed()
        await events.hear("subscription_confirmed")
        assert (await owner.delete(grant)).status_code == 204
        for socket in (here, there):
            told = [await socket.hear("error") for _ in range(2)]
            assert {one["channel"] for one in told} == {f"account:{account}", f"portfolio:{account}"}
            await socket.say(type="subscribe", symbols=["AAPL"])
            assert not {f"account:{account}", f"portfolio:{account}"} & await socket.confirmed()
        assert {one.get("code") for one in await events.ended()} >= {"not_found"}
    await until(lambda: not other.account.opened)


@one_database
async def test_A03_a_token_that_ends_closes_its_stream_unless_it_is_renewed(replicas: list[Streams]) -> None:
    one = replicas[0]
    owner, trader = await one.app.owner(), await one.app.user("trader")
    async with (
        one.socket(token=owner.token) as renewed,
        one.socket(token=owner.token) as left,
        one.events("/api/stream/orders", owner.token) as events,
    ):
        await renewed.opened()
        await left.opened()
        await events.hear("subscription_confirmed")
        one.app.state.clock.ahead_s = 14 * 60 + 30
        assert (await left.hear("error"))["code"] == "token_expiring"
        await renewed.say(type="auth", token=trader.token, id=1)
        assert (await renewed.hear("error", code="other_user"))["id"] == 1
        fresh = await one.app.owner()
        await renewed.say(type="auth", ticket=await ticket_of(fresh), id=2)
        assert (await renewed.hear("connection"))["session"]["expires_at"] is not None
        one.app.state.clock.ahead_s = 15 * 60 + 1
        await ended(left, 4401, "token_expired")
        assert (await events.ended())[-1]["code"] == "token_expired"
        await renewed.say(type="ping")
        await renewed.hear("pong")
        # Renewed by another session, it ends with that one.
        assert (await fresh.post("/auth/logout")).status_code == 204
        await ended(renewed, 4401, "signed_out")


@one_database
async def test_A03_all_credentials_are_looked_at_together_and_a_lost_database_ends_nothing(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await make_app()
    async with served(app, QUICK) as streams, AsyncExitStack() as stack:
        owner, trader = await app.owner(), await app.user("trader")
        sockets = []
        for _ in range(5):
            for client in (owner, trader):
                sockets.append(
                    await stack.enter_async_context(streams.socket("/api/stream/orders", client.token))
                )
        for socket in sockets:
            await socket.opened()
        watch = streams.service._watch
        await watch._background.stop()
        asked: list[str] = []
        for part, name in ((app.state.auth, "load_standing"), (app.state.accounts, "load_granted")):
            real = getattr(part, name)

            def counted(*given: Any, real: Any = real, name: str = name) -> Any:
                asked.append(name)
                return real(*given)

            monkeypatch.setattr(part, name, counted)
        await watch._look(list(streams.service.clients))
        assert asked == ["load_standing", "load_granted"], "one look each, for ten sockets"
        db: Database = app.state.db
        read = db.read

        def away(**_: Any) -> Any:
            raise DatabaseUnavailable("away")

        monkeypatch.setattr(db, "read", away)
        await watch._look(list(streams.service.clients))
        await sockets[0].say(type="subscribe", channels=["portfolio"])
        assert (await sockets[0].hear("error", "subscription_confirmed"))["type"] in (
            "error",
            "subscription_confirmed",
        )
        assert len(list(streams.service.clients)) == 10
        assert await streams.refused(subprotocols=["paiid.v1", "ticket.pt_" + "a" * 43]) in (
            (401, "invalid-token"),
            (503, "database-unavailable"),
        )
        monkeypatch.setattr(db, "read", read)


@one_database
async def test_S7_the_end_of_a_process_is_told_and_every_stream_closed(make_app: MakeApp) -> None:
    app = await make_app()
    async with served(app) as streams:
        owner = await app.owner()
        async with (
            streams.socket(token=owner.token) as socket,
            streams.socket() as anonymous,
            streams.events("/api/stream/orders", owner.token) as events,
        ):
            await socket.opened()
            await events.hear("subscription_confirmed")
            # From a thread, as a signal handler's.
            await asyncio.to_thread(streams.service.begin_draining)
            code, heard = await socket.closed()
            assert (code, heard[-1]["type"]) == (1012, "draining")
            assert 0 <= heard[-1]["reconnect_after_ms"] < 3000
            assert (await events.ended())[-1]["type"] == "draining"
            await anonymous.say(type="auth", token=owner.token)
            assert (await anonymous.closed())[0] == 1012
            assert await streams.refused(token=owner.token) == (503, "shutting-down")
            async with streams.events("/api/stream/orders", owner.token) as late:
                assert late.answer.status_code == 503
            assert (await owner.get("/api/stream/status")).json()["draining"] is True
        await until(lambda: not streams.server.server_state.tasks)
