"""Every limit of a stream by name; docs/limits.md tells them to users, and a test meets each from both sides (contract A9)."""

from dataclasses import dataclass

SOCKETS_A_USER = 64
"""WebSockets and event streams that one user has open, on all replicas."""
SYMBOLS_A_SOCKET = 256
"""Symbols whose quotes one socket gets."""
ACCOUNTS_A_SOCKET = 16
"""Accounts whose channels one socket gets."""
CHANNELS_A_MESSAGE = 512
"""Channels and symbols that one message names."""
MAX_MESSAGE = 64 * 1024
"""Bytes of a message from a client; the connection is closed with 1009 beyond it."""
MAX_ID = 64
"""Characters of the id by which a client knows its answer."""
MESSAGE_BURST = 100
"""Messages at once."""
MESSAGES_A_SECOND = 5.0
"""Messages for ever: 50 in 10 s."""
BAD_MESSAGES = 20
"""Messages that could not be understood, over the life of a socket."""
WAITING_SOCKETS = 1024
"""Sockets that have not said who they are."""
WAITING_PER_ADDRESS = 64
"""Of these, sockets of one address."""
TICKETS_A_USER = (60, 30)
"""Tickets a minute, and at once."""
ERRORS_A_MESSAGE = 20
"""Channels of one message that are refused with words of their own."""
HEARTBEAT_S = 15.0
"""From one heartbeat to the next (contract S3)."""
PROTOCOL = "paiid.v1"
"""The WebSocket subprotocol."""


@dataclass(frozen=True, slots=True)
class StreamTimings:
    """How long things take; tests make them short."""

    auth_within_s: float = 5.0
    """From the opening of a WebSocket to the message that says who it is."""
    ticket_s: float = 30.0
    """The life of a ticket."""
    watch_every_s: float = 1.0
    """From one look at all rights to the next."""
    instrument_within_s: float = 2.0
    """For asking the source whether the symbols of a message exist."""
    expiry_notice_s: float = 60.0
    """Before its access token ends a client is told."""
    prune_every_s: float = 60.0
    """From one removal of old tickets to the next."""
    reconnect_within_ms: int = 3000
    """Over this time the clients of a process that ends come back."""


class Closing:
    """Close codes of a WebSocket; below 4000 they are those of RFC 6455 and its registry."""

    BINARY = 1003
    POLICY = 1008
    CRASHED = 1011
    RESTART = 1012
    TRY_LATER = 1013
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    TOO_MANY = 4429
