"""What a client may say on a WebSocket, read strictly: each mistake has a stable code and says how to mend it (S7, A8)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paiid.core.json import decode
from paiid.domain.errors import Problem
from paiid.stream.events import Place
from paiid.stream.limits import CHANNELS_A_MESSAGE, MAX_ID

UNRESUMABLE = Place(0, 0)
"""A place that no channel was ever at, for epochs begin with 1: whoever goes on from it gets a `reset`."""
_LARGEST = 2**63 - 1
_PLACE = re.compile(r"([0-9]{1,19}):([0-9]{1,19})\Z", re.ASCII)
_ACCOUNT = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z", re.ASCII)
_MOST_CREDENTIAL = 2048
_MOST_CHANNEL = 96

Id = str | int | None


class BadMessage(Exception):
    """A message, or a part of it, that is not carried out. `code` is stable, `message` for people."""

    def __init__(self, code: str, message: str, *, channel: str | None = None, id: Id = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.channel = channel
        self.id = id


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Channels and symbols as the client wrote them; `resume` by channel as written."""

    channels: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    account: str | None = None
    resume: Mapping[str, Place] = field(default_factory=dict)
    id: Id = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The same, to be taken away."""

    channels: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    account: str | None = None
    id: Id = None


@dataclass(frozen=True, slots=True)
class Ping:
    """A question whether we are there."""

    id: Id = None


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Who the client is, by one of the two."""

    token: str | None = field(default=None, repr=False)
    ticket: str | None = field(default=None, repr=False)
    id: Id = None


ClientMessage = Subscribe | Unsubscribe | Ping | Authenticate


def read_message(text: str) -> ClientMessage:
    """Raises BadMessage for anything that is not exactly one of the four."""
    try:
        value = decode(text.encode("utf-8", "surrogatepass"))
    except Problem as problem:
        code = problem.code.slug.replace("body-", "message-").replace("-", "_")
        raise BadMessage(code, problem.detail.replace("The body", "The message")) from None
    if not isinstance(value, dict):
        raise BadMessage("not_an_object", 'A message is a JSON object, such as {"type":"ping"}.')
    said_id = _id(value.pop("id", None))
    try:
        kind = value.pop("type", None)
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise BadMessage("unknown_type", "`type` is one of subscribe, unsubscribe, ping, auth.")
        message = reader(value, said_id)
        if value:
            name = str(next(iter(value)))[:64]
            raise BadMessage("unknown_field", f"A message of this type has no field {name!r}; leave it out.")
    except BadMessage as bad:
        bad.id = said_id
        raise
    return message


def read_place(text: str) -> Place:
    """`epoch:sequence`; whatever is no such place, or larger than any can be, cannot be resumed from."""
    match = _PLACE.match(text)
    if match is None:
        return UNRESUMABLE
    epoch, sequence = int(match[1]), int(match[2])
    return Place(epoch, sequence) if epoch <= _LARGEST and sequence <= _LARGEST else UNRESUMABLE


def _id(value: Any) -> Id:
    if value is None or (isinstance(value, str) and len(value) <= MAX_ID):
        return value
    if type(value) is int and abs(value) <= _LARGEST:
        return value
    raise BadMessage("invalid_field", f"`id` is a text of at most {MAX_ID} characters, or a whole number.")


def _texts(value: dict[str, Any], name: str) -> tuple[str, ...]:
    found = value.pop(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadMessage("invalid_field", f"`{name}` is a list of texts.")
    if len(found) > CHANNELS_A_MESSAGE:
        raise BadMessage("too_many_channels", f"`{name}` has at most {CHANNELS_A_MESSAGE} entries.")
    if any(len(one) > _MOST_CHANNEL for one in found):
        raise BadMessage("invalid_field", f"An entry of `{name}` has at most {_MOST_CHANNEL} characters.")
    return tuple(found)


def _account(value: dict[str, Any]) -> str | None:
    found = value.pop("account", None)
    if found is None:
        return None
    if not isinstance(found, str) or not _ACCOUNT.match(found):
        raise BadMessage(
            "invalid_field", "`account` is the id of an account: 1 to 64 letters, digits or . _ : -"
        )
    return found


def _resume(value: dict[str, Any]) -> dict[str, Place]:
    found = value.pop("resume", {})
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise BadMessage("invalid_field", '`resume` is an object such as {"account:ID":"3:120"}.')
    if len(found) > CHANNELS_A_MESSAGE:
        raise BadMessage("too_many_channels", f"`resume` has at most {CHANNELS_A_MESSAGE} entries.")
    return {channel: read_place(place) for channel, place in found.items()}


def _credential(value: dict[str, Any], name: str) -> str | None:
    found = value.pop(name, None)
    if found is None:
        return None
    if not isinstance(found, str) or not 1 <= len(found) <= _MOST_CREDENTIAL:
        raise BadMessage("invalid_field", f"`{name}` is a text of 1 to {_MOST_CREDENTIAL} characters.")
    return found


def _some(channels: tuple[str, ...], symbols: tuple[str, ...]) -> None:
    if not channels and not symbols:
        raise BadMessage("nothing_named", "Name at least one of `channels` or `symbols`.")


def _subscribe(value: dict[str, Any], said_id: Id) -> Subscribe:
    channels, symbols = _texts(value, "channels"), _texts(value, "symbols")
    account, resume = _account(value), _resume(value)
    _some(channels, symbols)
    return Subscribe(channels, symbols, account, resume, said_id)


def _unsubscribe(value: dict[str, Any], said_id: Id) -> Unsubscribe:
    channels, symbols = _texts(value, "channels"), _texts(value, "symbols")
    account = _account(value)
    _some(channels, symbols)
    return Unsubscribe(channels, symbols, account, said_id)


def _ping(value: dict[str, Any], said_id: Id) -> Ping:
    return Ping(said_id)


def _auth(value: dict[str, Any], said_id: Id) -> Authenticate:
    token, ticket = _credential(value, "token"), _credential(value, "ticket")
    if (token is None) == (ticket is None):
        raise BadMessage("invalid_field", "`auth` has either `token` or `ticket`.")
    return Authenticate(token, ticket, said_id)


_READERS: Mapping[str, Callable[[dict[str, Any], Id], ClientMessage]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "ping": _ping,
    "auth": _auth,
}
