"""GitHub's payloads, reduced to what is kept. A payload is skipped over, not built: of 25 MB a few texts are wanted.

Field names: https://docs.github.com/en/webhooks/webhook-events-and-payloads. Nothing is taken for granted: what is
missing or of another kind is left out, and an event of which nothing useful is left is counted, not kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from paiid.domain.errors import Code, Problem
from paiid.monitor.texts import (
    MAX_NAME,
    flag_of,
    instant_of,
    number_of,
    repository_of,
    sha_of,
    text_of,
    url_of,
    word_of,
)

_NONE = msgspec.Raw(b"null")
_PREFIXES = ("refs/heads/", "refs/")


class _Payload(msgspec.Struct):
    """Everything that is looked at, of all kinds of events together; each value as it stands."""

    action: msgspec.Raw = _NONE
    repository: msgspec.Raw = _NONE
    sender: msgspec.Raw = _NONE
    ref: msgspec.Raw = _NONE
    after: msgspec.Raw = _NONE
    created: msgspec.Raw = _NONE
    deleted: msgspec.Raw = _NONE
    forced: msgspec.Raw = _NONE
    head_commit: msgspec.Raw = _NONE
    compare: msgspec.Raw = _NONE
    pull_request: msgspec.Raw = _NONE
    issue: msgspec.Raw = _NONE
    check_run: msgspec.Raw = _NONE
    check_suite: msgspec.Raw = _NONE
    deployment: msgspec.Raw = _NONE
    deployment_status: msgspec.Raw = _NONE


class _Part(msgspec.Struct):
    """Any object inside it."""

    full_name: msgspec.Raw = _NONE
    pushed_at: msgspec.Raw = _NONE
    login: msgspec.Raw = _NONE
    timestamp: msgspec.Raw = _NONE
    message: msgspec.Raw = _NONE
    number: msgspec.Raw = _NONE
    title: msgspec.Raw = _NONE
    state: msgspec.Raw = _NONE
    merged: msgspec.Raw = _NONE
    html_url: msgspec.Raw = _NONE
    url: msgspec.Raw = _NONE
    target_url: msgspec.Raw = _NONE
    name: msgspec.Raw = _NONE
    slug: msgspec.Raw = _NONE
    app: msgspec.Raw = _NONE
    status: msgspec.Raw = _NONE
    conclusion: msgspec.Raw = _NONE
    head_sha: msgspec.Raw = _NONE
    sha: msgspec.Raw = _NONE
    ref: msgspec.Raw = _NONE
    head: msgspec.Raw = _NONE
    base: msgspec.Raw = _NONE
    environment: msgspec.Raw = _NONE
    description: msgspec.Raw = _NONE
    created_at: msgspec.Raw = _NONE
    updated_at: msgspec.Raw = _NONE
    started_at: msgspec.Raw = _NONE
    completed_at: msgspec.Raw = _NONE


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an event. `subject` is what it is about within its kind: a branch, a number, a check, an
    environment; `occurred_at` GitHub's own time of it in microseconds, None where it tells none."""

    subject: str
    title: str | None
    state: str | None
    url: str | None
    occurred_at: int | None
    detail: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Told:
    """A payload: what all have, and what is kept of it, if anything is."""

    repository: str | None
    action: str | None
    sender: str | None
    kept: Kept | None


_S = TypeVar("_S", _Payload, _Part)


def _decode(raw: msgspec.Raw | bytes | bytearray, kind: type[_S]) -> _S:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return kind()


def read_payload(event: str, body: bytes | bytearray) -> Told:
    """Raises Problem (400) for a body that is no JSON object."""
    try:
        payload = msgspec.json.decode(body, type=_Payload)
    except RecursionError:
        raise Problem(Code.BODY_TOO_DEEP, "The payload is nested too deeply.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Problem(Code.INVALID_JSON, "The payload is not a JSON object.") from None
    repository = _decode(payload.repository, _Part)
    read = _READERS.get(event)
    name = repository_of(repository.full_name)
    return Told(
        name,
        word_of(payload.action),
        text_of(_decode(payload.sender, _Part).login, MAX_NAME),
        read(payload, repository) if read is not None and name is not None else None,
    )


def _first(*found: int | None) -> int | None:
    return next((one for one in found if one is not None), None)


def _branch(raw: msgspec.Raw) -> str | None:
    found = text_of(raw, MAX_NAME)
    if found is None:
        return None
    prefix = next((one for one in _PREFIXES if found.startswith(one)), "")
    return found.removeprefix(prefix) or None


def _push(payload: _Payload, repository: _Part) -> Kept | None:
    branch = _branch(payload.ref)
    if branch is None:
        return None
    head = _decode(payload.head_commit, _Part)
    state = next(
        (
            word
            for word, flag in (
                ("deleted", payload.deleted),
                ("created", payload.created),
                ("forced", payload.forced),
            )
            if flag_of(flag)
        ),
        None,
    )
    # A commit's own time is its author's, who may have made it days before.
    at_us = _first(instant_of(repository.pushed_at), instant_of(head.timestamp))
    detail = {"commit": sha_of(payload.after)}
    return Kept(branch, text_of(head.message), state or "updated", url_of(payload.compare), at_us, detail)


def _numbered(raw: msgspec.Raw) -> Kept | None:
    part = _decode(raw, _Part)
    number = number_of(part.number)
    if number is None:
        return None
    state = "merged" if flag_of(part.merged) else word_of(part.state)
    at_us = _first(instant_of(part.updated_at), instant_of(part.created_at))
    detail = {
        "head": text_of(_decode(part.head, _Part).ref, MAX_NAME),
        "base": text_of(_decode(part.base, _Part).ref, MAX_NAME),
    }
    return Kept(str(number), text_of(part.title), state, url_of(part.html_url), at_us, detail)


def _pull_request(payload: _Payload, _: _Part) -> Kept | None:
    return _numbered(payload.pull_request)


def _issue(payload: _Payload, _: _Part) -> Kept | None:
    kept = _numbered(payload.issue)
    if kept is None or word_of(payload.action) not in ("deleted", "transferred"):
        return kept
    # The issue it tells of is the one there was, still open.
    return Kept(kept.subject, kept.title, word_of(payload.action), kept.url, kept.occurred_at, kept.detail)


def _check(part: _Part, name: str | None, url: str | None) -> Kept | None:
    if name is None:
        return None
    at_us = _first(
        instant_of(part.completed_at),
        instant_of(part.updated_at),
        instant_of(part.started_at),
        instant_of(part.created_at),
    )
    state = word_of(part.conclusion) or word_of(part.status)
    return Kept(name, None, state, url, at_us, {"commit": sha_of(part.head_sha)})


def _check_run(payload: _Payload, _: _Part) -> Kept | None:
    part = _decode(payload.check_run, _Part)
    return _check(part, text_of(part.name, MAX_NAME), url_of(part.html_url))


def _check_suite(payload: _Payload, _: _Part) -> Kept | None:
    part = _decode(payload.check_suite, _Part)
    app = _decode(part.app, _Part)
    return _check(part, text_of(app.slug, MAX_NAME) or text_of(app.name, MAX_NAME), None)


def _deployment(payload: _Payload, _: _Part) -> Kept | None:
    return _deployed(_decode(payload.deployment, _Part), None)


def _deployment_status(payload: _Payload, _: _Part) -> Kept | None:
    return _deployed(_decode(payload.deployment, _Part), _decode(payload.deployment_status, _Part))


def _deployed(part: _Part, status: _Part | None) -> Kept | None:
    told = part if status is None else status
    environment = text_of(told.environment, MAX_NAME) or text_of(part.environment, MAX_NAME)
    if environment is None:
        return None
    return Kept(
        environment,
        text_of(told.description) or text_of(part.description),
        "created" if status is None else word_of(status.state),
        url_of(told.target_url),
        _first(instant_of(told.updated_at), instant_of(told.created_at)),
        {"commit": sha_of(part.sha), "ref": _branch(part.ref)},
    )


_READERS: Mapping[str, Callable[[_Payload, _Part], Kept | None]] = {
    "push": _push,
    "pull_request": _pull_request,
    "issues": _issue,
    "check_run": _check_run,
    "check_suite": _check_suite,
    "deployment": _deployment,
    "deployment_status": _deployment_status,
}
EVENTS = frozenset(_READERS)
"""Those that are kept."""
