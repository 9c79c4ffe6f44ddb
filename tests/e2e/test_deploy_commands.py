"""Each recipe of `deploy/` as its host would run it: its commands, its variables, its probe, its end."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paiid.cli.serve import LEAVE_S
from tests.deploy_recipes import Recipe, compose, image, recipes
from tests.e2e.processes import Server, paiid

PASSWORD = "test-owner-password"
_ELSEWHERE = {"PATH", "PYTHONDONTWRITEBYTECODE", "DATA_DIR", "PORT"}
_GONE_S = 5.0
NOISE_S = 3.0


def _environ(recipe: Recipe, database: str, redis: str) -> dict[str, str]:
    """The recipe's variables with what the host fills in, on this machine alone."""
    filled = {
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "JWT_SECRET_KEY": "test-" + "k" * 40,
        "OWNER_EMAIL": "owner@example.com",
        "OWNER_PASSWORD": PASSWORD,
    }
    found = {name: value for name, value in recipe.environ.items() if name not in _ELSEWHERE}
    missing = {name for name, value in found.items() if value is None}
    assert missing <= set(filled)
    told = {name: value for name, value in found.items() if value is not None}
    return told | filled | {"HOST": "127.0.0.1"}


@contextlib.contextmanager
def _served(recipe: Recipe, data: Path, environ: dict[str, str]) -> Iterator[Server]:
    migrated = paiid(data, *recipe.migrate[1:], **environ)
    assert migrated.returncode == 0, migrated.stderr
    server = Server(data, *recipe.serve[2:], **environ)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


def _ask(server: Server, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and body, over a connection of its own."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, json.loads(refused.read())


def _told_until_refused(server: Server, path: str) -> set[int]:
    """Asks until no connection is taken any more; the statuses of the answers."""
    told = set()
    with contextlib.suppress(OSError):
        while True:
            told.add(_ask(server, path)[0])
    return told


def _health(command: list[str], port: int) -> int:
    """The exit code of a container's health check, with the interpreter that we have."""
    assert command[0] == "python"
    ran = subprocess.run(
        [sys.executable, *command[1:]], env={"PORT": str(port)}, capture_output=True, check=False, timeout=30
    )
    return ran.returncode


@pytest.mark.parametrize(
    "recipe", [one for one in recipes() if one.name != "compose"], ids=lambda one: one.name
)
def test_the_commands_of_a_host_serve_and_answer_its_probe(
    recipe: Recipe, postgres_url: str, valkey_url: str, tmp_path: Path
) -> None:
    with _served(recipe, tmp_path / "data", _environ(recipe, postgres_url, valkey_url)) as server:
        assert _ask(server, recipe.probe)[::2] == (200, {"ready": True})


def test_E13_a_replica_of_compose_that_is_told_to_end_says_so_before_it_stops_listening(
    postgres_url: str, valkey_url: str, tmp_path: Path
) -> None:
    (recipe,) = [one for one in recipes() if one.name == "compose"]
    checks = [image()["healthcheck"], compose()["services"]["paiid-1"]["healthcheck"]["test"][1:]]
    with _served(recipe, tmp_path / "data", _environ(recipe, postgres_url, valkey_url)) as server:
        assert [_health(check, server.port) for check in checks] == [0, 0]
        signed_in = _ask(server, "/auth/login", {"email": "owner@example.com", "password": PASSWORD})[2]
        order = {"orders": [{"symbol": "AAPL", "side": "buy", "qty": 1}]}
        bearer = {"authorization": f"Bearer {signed_in['access_token']}", "idempotency-key": "told-to-end-1"}
        # What a balancer keeps open is answered too.
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        kept.request("GET", recipe.probe)
        assert kept.getresponse().read() == b'{"ready":true}'
        began_s = time.monotonic()
        server.process.terminate()
        status, body = 200, None
        while status == 200:
            status, _, body = _ask(server, recipe.probe)
        assert (status, body) == (503, {"ready": False, "reason": "the process is ending"})
        status, headers, body = _ask(server, "/api/trading/execute", order, **bearer)
        assert (status, body["type"], headers["retry-after"]) == (503, "urn:paiid:problem:shutting-down", "2")
        kept.request("GET", recipe.probe)
        assert kept.getresponse().status == 503
        kept.close()
        assert _told_until_refused(server, recipe.probe) <= {503}
        assert time.monotonic() - began_s >= LEAVE_S, "a balancer had no time to leave"
        assert server.process.wait(timeout=20) == 0
        assert time.monotonic() - began_s < _GONE_S + NOISE_S
        assert all(_health(check, server.port) != 0 for check in checks)


def test_in_the_container_nothing_starts_with_half_of_its_variables(
    valkey_url: str, postgres_url: str, tmp_path: Path
) -> None:
    (recipe,) = [one for one in recipes() if one.name == "fly"]
    environ = _environ(recipe, postgres_url, valkey_url)
    del environ["JWT_SECRET_KEY"]
    refused = paiid(tmp_path / "data", *recipe.serve[1:], **environ)
    assert refused.returncode == 2
    assert refused.stderr.startswith("JWT_SECRET_KEY: ")
