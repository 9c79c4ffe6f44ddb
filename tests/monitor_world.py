"""GitHub in a test's hands: signed deliveries, and payloads as short as they may be."""

import hashlib
import hmac
import json
import secrets
from typing import Any

import httpx2

from tests.world import Client

SECRET = "test-webhook-secret-000000"
PATH = "/api/github/webhook"
REPOSITORY = "octo/trader"
JSON = "application/json"


def signature(body: bytes, secret: str = SECRET) -> str:
    """As GitHub writes it."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def delivery_headers(body: bytes, event: str = "push", **changes: str | None) -> dict[str, str]:
    """Those of a delivery; a change of None leaves one out. Names are given with underscores."""
    headers: dict[str, str | None] = {
        "content_type": JSON,
        "x_hub_signature_256": signature(body),
        "x_github_event": event,
        "x_github_delivery": secrets.token_hex(16),
        **changes,
    }
    return {name.replace("_", "-"): value for name, value in headers.items() if value is not None}


async def deliver(
    client: Client, event: str, payload: Any, *, path: str = PATH, **changes: str | None
) -> httpx2.Response:
    """A signed delivery; a payload of bytes goes as it is."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return await client.post(path, content=body, headers=delivery_headers(body, event, **changes))


def payload(**parts: Any) -> dict[str, Any]:
    """What all payloads have, and more."""
    return {"repository": {"full_name": REPOSITORY}, "sender": {"login": "octocat"}, **parts}


def push(at_s: int, branch: str = "main", **parts: Any) -> dict[str, Any]:
    """A push; its time in seconds since the epoch."""
    told = payload(
        ref=f"refs/heads/{branch}",
        after=f"{at_s:040x}",
        compare="https://github.com/octo/trader/compare/a...b",
        head_commit={"message": "Mend it\n\nand more", "timestamp": "2020-01-01T00:00:00Z"},
        **parts,
    )
    told["repository"] = {"full_name": REPOSITORY, "pushed_at": at_s}
    return told


def numbered(kind: str, number: int, state: str, at: str, **parts: Any) -> dict[str, Any]:
    """A pull request (`pull_request`) or an issue (`issue`)."""
    action = parts.pop("action", "edited")
    told = {"number": number, "state": state, "title": f"Number {number}", "updated_at": at, **parts}
    return payload(action=action, **{kind: told})


def check(name: str, commit: str, at: str, conclusion: str | None) -> dict[str, Any]:
    """A check of a commit; without a conclusion it still runs."""
    run = {"name": name, "head_sha": commit, "status": "completed" if conclusion else "in_progress"}
    when = {"completed_at": at} if conclusion else {"started_at": at}
    return payload(action="completed", check_run={**run, **when, "conclusion": conclusion})


def deployed(environment: str, at: str, state: str | None) -> dict[str, Any]:
    """A deployment, or with a state what became of it."""
    told: dict[str, Any] = {
        "deployment": {"environment": environment, "sha": "a" * 40, "ref": "main", "created_at": at}
    }
    if state is not None:
        told["deployment_status"] = {
            "state": state,
            "created_at": at,
            "target_url": "https://example.com/app",
        }
    return payload(**told)
