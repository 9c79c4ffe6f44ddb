"""Tickets: how a browser, which cannot send headers with a WebSocket, proves who it is without a token in the address (A7)."""

import re
from base64 import urlsafe_b64encode

from paiid.auth.callers import Known
from paiid.auth.standing import load_standing
from paiid.auth.tokens import digest
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.limits import RateLimiter
from paiid.domain.errors import Code, Problem
from paiid.stream.limits import TICKETS_A_USER
from paiid.stream.ticket_store import Ticket, add_ticket, is_there, prune_tickets, use_ticket

_FORM = re.compile(r"pt_[A-Za-z0-9_-]{43}\Z", re.ASCII)


class Tickets:
    """Makes tickets and takes them, once each, on any replica."""

    def __init__(self, db: Database, clock: Clock, limiter: RateLimiter, ticket_s: float) -> None:
        self._db = db
        self._clock = clock
        self._limiter = limiter
        self._ticket_us = int(ticket_s * 1_000_000)

    async def make(self, known: Known) -> str:
        """A ticket for the caller's own credential, which it never outlives. Raises Problem (429), DatabaseUnavailable."""
        who = known.principal
        self._limiter.take("stream_ticket", who.user_id, *TICKETS_A_USER)
        text = "pt_" + urlsafe_b64encode(self._clock.random_bytes(32)).rstrip(b"=").decode()
        async with self._db.begin() as tx:
            ends_us = await tx.now_us() + self._ticket_us
            ticket = Ticket(
                digest(text), who.user_id, who.credential, who.credential_id, known.expires_at_us, ends_us
            )
            await add_ticket(tx, ticket)
        return text

    async def redeem(self, text: str) -> Known:
        """Whom the ticket stands for, with the rights of now. Raises Problem (401) for anything but a fresh one whose credential
        still stands, DatabaseUnavailable."""
        if not _FORM.match(text):
            raise _refusal()
        ticket_hash = digest(text)
        async with self._db.read(brief=True) as tx:
            if not await is_there(tx, ticket_hash):
                raise _refusal()
        async with self._db.begin() as tx:
            ticket = await use_ticket(tx, ticket_hash, await tx.now_us())
        if ticket is None:
            raise _refusal()
        now_us = self._clock.now_us()
        if ticket.credential_expires_at is not None and ticket.credential_expires_at <= now_us:
            raise _refusal()
        key = (ticket.credential, ticket.credential_id)
        async with self._db.read() as tx:
            known = (await load_standing(tx, [key], now_us)).get(key)
        if known is None or known.principal.user_id != ticket.user_id:
            raise _refusal()
        return Known(known.principal, ticket.credential_expires_at)

    async def prune(self) -> None:
        """Forget those that nobody used in time. Raises DatabaseUnavailable."""
        async with self._db.begin() as tx:
            await prune_tickets(tx, await tx.now_us())


def _refusal() -> Problem:
    """The same for all reasons."""
    return Problem(
        Code.INVALID_TOKEN,
        "The ticket is not valid: it works once, for 30 s. Get another from POST /api/stream/ticket.",
    )
