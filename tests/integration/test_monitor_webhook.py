"""GitHub's webhook: what is not signed by the secret, or was taken, or is junk, changes nothing."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from paiid.cli.httpserver import GuardedProtocol
from paiid.cli.serve import server_config
from paiid.core.db import Database, statement
from paiid.core.limits import MAX_BODY, MAX_WEBHOOK_BODY
from paiid.core.tables import github_counts, github_events, webhook_deliveries
from paiid.domain.errors import Code, Problem
from paiid.monitor.payloads import EVENTS, read_payload
from paiid.monitor.signed import LongBodies, read_envelope, received
from tests.conftest import MakeApp
from tests.monitor_world import (
    PATH,
    REPOSITORY,
    SECRET,
    deliver,
    delivery_headers,
    numbered,
    payload,
    push,
    signature,
)
from tests.world import App

_TABLES = {
    table.name: statement(select(table)) for table in (webhook_deliveries, github_events, github_counts)
}
_AT_S = 1_780_000_000


async def kept(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Everything of GitHub that the database has."""
    async with db.read() as tx:
        return {name: [dict(row) for row in await tx.fetch(stmt)] for name, stmt in _TABLES.items()}


NOTHING: dict[str, list[Any]] = {name: [] for name in _TABLES}


def slug(answer: Any) -> str:
    """The code of a refusal."""
    return f"{answer.status_code} {answer.json()['type'].rpartition(':')[2]}"


class TestOne:
    """One app over SQLite."""

    @pytest.fixture
    def db_url(self, sqlite_url: str) -> str:
        """SQLite."""
        return sqlite_url

    @pytest.fixture
    async def app(self, make_app: MakeApp) -> App:
        """With the secret."""
        return await make_app({"github_webhook_secret": SECRET})

    async def test_without_a_secret_nothing_is_accepted_not_even_what_an_empty_one_signed(
        self, make_app: MakeApp
    ) -> None:
        app = await make_app()
        for secret in (SECRET, ""):
            body = json.dumps(push(_AT_S)).encode()
            answer = await deliver(app.anonymous, "push", body, x_hub_signature_256=signature(body, secret))
            assert slug(answer) == "503 not-configured"
        assert await kept(app.state.db) == NOTHING

    async def test_only_the_secrets_own_signature_of_exactly_these_bytes_is_taken(self, app: App) -> None:
        body = json.dumps(push(_AT_S)).encode()
        right = signature(body)
        sha1 = "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
        again = json.dumps(json.loads(body), separators=(",", ":")).encode()
        for changes, told in (
            ({"x_hub_signature_256": None}, "401 unauthenticated"),
            ({"x_hub_signature_256": None, "x_hub_signature": sha1}, "401 unauthenticated"),
            ({"x_hub_signature_256": sha1}, "401 unauthenticated"),
            ({"x_hub_signature_256": ""}, "401 unauthenticated"),
            ({"x_hub_signature_256": "sha256="}, "401 unauthenticated"),
            ({"x_hub_signature_256": right.removeprefix("sha256=")}, "401 unauthenticated"),
            ({"x_hub_signature_256": right[:-1]}, "401 unauthenticated"),
            ({"x_hub_signature_256": right + "0"}, "401 unauthenticated"),
            ({"x_hub_signature_256": right[:-1] + ("0" if right[-1] != "0" else "1")}, "401 unauthenticated"),
            ({"x_hub_signature_256": signature(body, SECRET + "x")}, "401 unauthenticated"),
            # Of the same JSON, written in another way.
            ({"x_hub_signature_256": signature(again)}, "401 unauthenticated"),
            ({"content_type": "application/x-www-form-urlencoded"}, "415 unsupported-media-type"),
            ({"content_type": None}, "415 unsupported-media-type"),
            ({"content_encoding": "gzip"}, "415 unsupported-media-type"),
            ({"x_github_event": None}, "400 invalid-request"),
            ({"x_github_event": "push; drop"}, "400 invalid-request"),
            ({"x_github_delivery": None}, "400 invalid-request"),
            ({"x_github_delivery": "../../etc"}, "400 invalid-request"),
        ):  # fmt: skip
            answer = await deliver(app.anonymous, "push", body, **changes)
            assert slug(answer) == told, changes
        twice = [*delivery_headers(body).items(), ("x-hub-signature-256", right)]
        assert slug(await app.http.post(PATH, content=body, headers=twice)) == "401 unauthenticated"
        # The signature of other bytes, on other bytes still: the body is what counts.
        answer = await deliver(app.anonymous, "push", again, x_hub_signature_256=right)
        assert slug(answer) == "401 unauthenticated"
        assert await kept(app.state.db) == NOTHING
        assert (await deliver(app.anonymous, "push", body)).status_code == 200

    async def test_a_delivery_is_taken_once_under_its_id_and_its_bytes_under_any_id(self, app: App) -> None:
        body = json.dumps(push(_AT_S)).encode()
        first = await deliver(app.anonymous, "push", body, x_github_delivery="0aF0-1111")
        assert first.json() == {"delivery": "0af0-1111", "event": "push", "kept": True}
        before = await kept(app.state.db)
        for path in (PATH, "/api/monitor/webhook"):
            for id in ("0aF0-1111", "0Af0-1111", "2222-2222"):
                again = await deliver(app.anonymous, "push", body, path=path, x_github_delivery=id)
                assert slug(again) == "409 delivery-taken"
                assert "taken already at 20" in again.json()["detail"]
        other = await deliver(app.anonymous, "push", push(_AT_S + 1), x_github_delivery="0aF0-1111")
        assert slug(other) == "409 delivery-taken"
        assert await kept(app.state.db) == before
        assert (await deliver(app.anonymous, "push", push(_AT_S + 1))).status_code == 200

    async def test_a_ping_is_answered_and_other_events_are_counted_without_being_kept(self, app: App) -> None:
        ping = await deliver(app.anonymous, "ping", {"zen": "Keep it logically awesome.", "hook_id": 1})
        assert (ping.status_code, ping.json()["kept"]) == (200, False)
        assert (await deliver(app.anonymous, "star", payload(action="created"))).json()["kept"] is False
        assert (await deliver(app.anonymous, "membership", {"action": "added"})).status_code == 200
        found = await kept(app.state.db)
        assert found["github_events"] == []
        assert {(row["repository"], row["event"], row["total"]) for row in found["github_counts"]} == {
            (REPOSITORY, "star", 1), ("-", "membership", 1)
        }  # fmt: skip
        assert app.state.monitor.figures.of("ignored") == 3

    async def test_what_is_signed_and_is_junk_is_refused_or_kept_as_what_can_be_kept(self, app: App) -> None:
        deep = b"[" * 5000 + b"]" * 5000
        for body in (
            b"",
            b"[]",
            b'"x"',
            b"null",
            b"{",
            b"\xff\xfe",
            b'{"a":NaN}',
            b"{}{}",
            b'{"a":"\\ud800"}',
        ):
            answer = await deliver(app.anonymous, "push", body)
            assert slug(answer) == "400 invalid-json", body
        assert slug(await deliver(app.anonymous, "push", b'{"x":' + deep + b"}")) == "400 body-too-deep"
        assert await kept(app.state.db) == NOTHING
        name = b'{"repository":{"full_name":"octo/trader"},'
        for rest in (
            b'"pull_request":7}',
            b'"pull_request":{"number":"7"}}',
            b'"pull_request":{"number":1e999999}}',
            b'"pull_request":{"number":' + b"9" * 4000 + b"}}",
            b'"pull_request":{"number":true}}',
            b'"pull_request":{"number":-1,"title":"\\u0000"}}',
        ):
            answer = await deliver(app.anonymous, "pull_request", name + rest)
            assert (answer.status_code, answer.json()["kept"]) == (200, False), rest
        told = numbered(
            "pull_request",
            7,
            "open",
            "2026-13-45T00:00:00Z",
            title="\u202eevil\u0000 \x1b[31m title\n\n" + "a" * 1000,
            html_url="javascript:alert(1)",
            merged="true",
            head={"ref": 5},
        )
        assert (await deliver(app.anonymous, "pull_request", told)).json()["kept"] is True
        told = numbered("pull_request", 8, "OPEN'--", "9999-12-31T00:00:00Z", html_url="https://user:pw@x.y/")
        told["repository"]["full_name"] = "../../x/y"
        assert (await deliver(app.anonymous, "pull_request", told)).json()["kept"] is False
        (row,) = (await kept(app.state.db))["github_events"]
        assert row["title"].startswith("evil [31m title aaa")
        assert len(row["title"]) == 200
        assert (row["url"], row["state"], row["detail"]) == (None, "open", "{}")
        assert row["occurred_at"] == row["received_at"], "without a time that can be meant it is when it came"

    async def test_a_payload_of_25_mib_is_taken_over_a_real_socket_and_no_other_route_takes_one(
        self, app: App
    ) -> None:
        config = server_config(app.application, GuardedProtocol)
        config.lifespan, config.host, config.port, config.loop = "off", "127.0.0.1", 0, "none"
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            body = json.dumps(push(_AT_S)).encode()
            long = body + b" " * (MAX_WEBHOOK_BODY - len(body))
            assert await _post(port, PATH, long, length=len(long)) == 200
            # In chunks nobody knows beforehand how long it is.
            chunked = json.dumps(push(_AT_S + 1)).encode() + b" " * (3 * MAX_BODY)
            assert await _post(port, PATH, chunked) == 200
            assert await _post(port, PATH, chunked, signed=body) == 401
            assert await _post(port, PATH, b"", length=len(long) + 1) == 413
            for path in ("/api/trading/execute", "/api/telemetry", "/api/monitor/webhook/"):
                assert await _post(port, path, b"", length=MAX_BODY + 1) == 413, path
            assert await _post(port, "/api/telemetry", chunked) == 413
        finally:
            await server.shutdown()


async def _post(
    port: int, path: str, body: bytes, *, length: int | None = None, signed: bytes | None = None
) -> int:
    """The status; without a length the body goes in chunks. `signed` is what the signature is of, if not the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = delivery_headers(body if signed is None else signed)
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\n{head}{framing}\r\n\r\n".encode())
    try:
        if length is not None:
            writer.write(body)
        else:
            for at in range(0, len(body), 50_000):
                part = body[at : at + 50_000]
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            writer.write(b"0\r\n\r\n")
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


class TestReplicas:
    """Two over one PostgreSQL."""

    @pytest.fixture
    def db_url(self, postgres_url: str) -> str:
        """PostgreSQL."""
        return postgres_url

    async def test_of_one_delivery_that_comes_to_two_replicas_at_once_exactly_one_is_taken(
        self, make_app: MakeApp
    ) -> None:
        apps = [await make_app({"github_webhook_secret": SECRET}) for _ in range(2)]
        for number in range(5):
            body = json.dumps(push(_AT_S + number)).encode()
            ids = (
                ["same-0000000" + str(number)] * 4
                if number % 2
                else [f"other-{number}-{n}" for n in range(4)]
            )
            answers = await asyncio.gather(
                *[
                    deliver(apps[n % 2].anonymous, "push", body, x_github_delivery=id)
                    for n, id in enumerate(ids)
                ]
            )
            assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
        found = await kept(apps[0].state.db)
        assert len(found["github_events"]) == 5
        assert [row["total"] for row in found["github_counts"]] == [5]
        assert len(found["webhook_deliveries"]) == 10


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_fields = st.dictionaries(
    st.sampled_from(
        [
            "number",
            "title",
            "state",
            "merged",
            "html_url",
            "name",
            "app",
            "head_sha",
            "environment",
            "created_at",
            "updated_at",
            "ref",
            "login",
            "full_name",
            "pushed_at",
            "message",
            "timestamp",
            "conclusion",
            "status",
            "head",
            "description",
        ]
    ),
    _json_values,
)
_payloads = st.dictionaries(
    st.sampled_from(
        [
            "action",
            "repository",
            "sender",
            "ref",
            "after",
            "created",
            "deleted",
            "head_commit",
            "compare",
            "pull_request",
            "issue",
            "check_run",
            "check_suite",
            "deployment",
            "deployment_status",
            "other",
        ]
    ),
    _fields | _json_values,
)


@settings(max_examples=60)
@given(st.sampled_from(sorted(EVENTS)), _payloads, st.booleans())
def test_of_any_payload_only_short_visible_texts_are_read(
    event: str, told: dict[str, Any], named: bool
) -> None:
    if named:
        told["repository"] = {"full_name": REPOSITORY}
    # Surrogates go as escapes, NaN and Infinity as GitHub never writes them: a refusal, no more.
    body = json.dumps(told).encode()
    if b"NaN" in body or b"Infinity" in body:
        with contextlib.suppress(Problem):
            read_payload(event, body)
        return
    found = read_payload(event, body)
    assert found.kept is None or found.repository is not None
    texts: list[Any] = [found.action, found.sender]
    if found.kept is not None:
        one = found.kept
        texts += [one.subject, one.title, one.state, one.url, *one.detail.values()]
        assert one.occurred_at is None or 0 < one.occurred_at < 1 << 62
    for text in texts:
        assert text is None or (0 < len(text) <= 500 and text.replace("\u200d", "").isprintable())


async def _parts(*parts: bytes | Problem) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, Problem):
            raise part
        yield part


async def test_of_one_address_one_long_body_is_held_and_its_place_is_given_back_however_it_ends() -> None:
    places = LongBodies(wait_s=0.01)
    long = b"a" * (MAX_BODY + 1)
    secret = SECRET.encode()
    envelope = read_envelope({n: [v] for n, v in delivery_headers(long).items()})

    async def read(*parts: bytes | Problem, declared: int | None = None, address: str = "10.0.0.1") -> int:
        async with received(places, _parts(*parts), declared, address, secret, envelope) as signed:
            return len(signed.body)

    slow = Problem(Code.BODY_TIMEOUT, "too slow")
    for _ in range(3):
        for parts, code in (((long[:10], slow), "body-timeout"), ((long[:10], long), "unauthenticated")):
            with pytest.raises(Problem) as caught:
                await read(*parts, declared=len(long) if parts[1] is slow else None)
            assert caught.value.code.slug == code
    assert await read(long[:100], long[100:]) == len(long)
    async with places.place("10.0.0.1"):
        with pytest.raises(Problem, match="Too many long bodies"):
            await read(long)
        assert await read(long, address="10.0.0.2") == len(long)
        with pytest.raises(Problem) as caught:
            await read(b"short", slow)
        assert caught.value.code is Code.BODY_TIMEOUT, "a short body needs no place"
    assert (places._present, places._addresses) == (0, {})
