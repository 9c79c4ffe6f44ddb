"""The probes of docs/limits.md about registering and invites."""

import httpx2

from paiid.auth.throttle import Client as Caller
from tests.limit_probes import Outcome, Probed, _request, _throttled, outcome, probe
from tests.world import PASSWORD, Client, fresh_key


async def _register(client: Client, **body: object) -> httpx2.Response:
    told = {"email": f"{fresh_key()}@example.com", "password": PASSWORD, **body}
    return await client.post("/auth/register", json=told, headers={"Authorization": ""})


async def _invite(client: Client, **body: object) -> httpx2.Response:
    return await client.post("/api/users/invites", json=body)


@probe("invites-open")
async def _invites(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    answers = [outcome(await _invite(probed.owner)) for _ in range(limit + 1)]
    assert set(answers[:limit]) == {"201"}
    return answers[-2], answers[-1]


_throttled("register-address", lambda t, n: t.take_register(Caller("9.9.9.9")))
_throttled("register-overall", lambda t, n: t.take_register(Caller(f"9.9.0.{n}")))
_request("invite-code", lambda c, n: _register(c, invite="i" * n))
_request("invite-hours", lambda c, n: _invite(c, expires_in_hours=n))
