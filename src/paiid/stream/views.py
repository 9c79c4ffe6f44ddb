"""The messages of a stream outside of its channels, and what the status page says, as JSON objects."""

from collections.abc import Iterable

from paiid.core.bus import Bus
from paiid.core.instants import instant
from paiid.market.state import FeedState
from paiid.stream.clients import Client
from paiid.stream.limits import (
    ACCOUNTS_A_SOCKET,
    HEARTBEAT_S,
    MAX_MESSAGE,
    MESSAGE_BURST,
    MESSAGES_A_SECOND,
    PROTOCOL,
    SOCKETS_A_USER,
    SYMBOLS_A_SOCKET,
)
from paiid.stream.messages import BadMessage, Id

View = dict[str, object]


def feed_view(state: FeedState) -> View:
    """How market data come to this replica."""
    return {
        "status": state.status,
        "reason": state.reason,
        "source": state.source,
        "since": instant(state.since_us),
        "leads": state.leads,
        "epoch": state.epoch,
    }


def limits_view() -> View:
    """The limits a client should know of (docs/limits.md)."""
    return {
        "sockets": SOCKETS_A_USER,
        "symbols": SYMBOLS_A_SOCKET,
        "accounts": ACCOUNTS_A_SOCKET,
        "message_bytes": MAX_MESSAGE,
        "messages_burst": MESSAGE_BURST,
        "messages_per_s": int(MESSAGES_A_SECOND),
    }


def connection_view(client: Client, state: FeedState, now_us: int) -> View:
    """What a client is told first, and after each renewal of its credential."""
    who = client.principal
    return {
        "type": "connection",
        "protocol": PROTOCOL,
        "id": client.id,
        "session": {
            "user_id": who.user_id,
            "role": who.role,
            "credential": who.credential,
            "scopes": sorted(who.scopes),
            "expires_at": instant(client.known.expires_at_us),
        },
        "feed": feed_view(state),
        "heartbeat_s": int(HEARTBEAT_S),
        "limits": limits_view(),
        "ts_sent": instant(now_us),
    }


def confirmed_view(client: Client, id: Id, unverified: Iterable[str], now_us: int) -> View:
    """All channels a client has now, each with the place its subscription began at."""
    view: View = {
        "type": "subscription_confirmed",
        "channels": dict(client.places),
        "ts_sent": instant(now_us),
    }
    if id is not None:
        view["id"] = id
    doubtful = sorted(unverified)
    if doubtful:
        view["unverified"] = doubtful
    return view


def pong_view(id: Id, now_us: int) -> View:
    """The answer to a ping."""
    view: View = {"type": "pong", "ts_sent": instant(now_us)}
    if id is not None:
        view["id"] = id
    return view


def error_view(bad: BadMessage, now_us: int) -> View:
    """What was not carried out, and why."""
    view: View = {"type": "error", "code": bad.code, "message": bad.message, "ts_sent": instant(now_us)}
    if bad.channel is not None:
        view["channel"] = bad.channel
    if bad.id is not None:
        view["id"] = bad.id
    return view


def draining_view(reconnect_after_ms: int, now_us: int) -> View:
    """This process ends; come back then, to whichever is there."""
    return {"type": "draining", "reconnect_after_ms": reconnect_after_ms, "ts_sent": instant(now_us)}


def client_view(client: Client) -> View:
    """One open stream, as its owner sees it."""
    return {
        "id": client.id,
        "kind": client.kind,
        "opened_at": instant(client.opened_at_us),
        "address": client.address,
        "credential": client.principal.credential,
        "expires_at": instant(client.known.expires_at_us),
        "channels": sorted(client.held),
    }


def bus_view(bus: Bus) -> View:
    """Whether replicas hear each other."""
    return {"shared": bus.shared, "up": bus.up}
