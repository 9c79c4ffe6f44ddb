"""Tables of streams: the one-use tickets by which a browser opens a WebSocket (contract A7)."""

from sqlalchemy import Index, Table

from paiid.core.tables.base import integer, metadata, text

# A ticket stands for the credential it was made with and never outlives it: `credential_expires_at` is the access
# token's own end. The row goes with the ticket's use.
stream_tickets = Table(
    "stream_tickets",
    metadata,
    text("ticket_hash", key=True),
    text("user_id"),
    text("credential"),
    text("credential_id"),
    integer("credential_expires_at", null=True),
    integer("expires_at"),
    Index(None, "expires_at"),
)
