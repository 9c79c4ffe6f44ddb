"""Who opens a stream: by header, by a ticket in the subprotocol, or by the first message (contract A7)."""

from collections.abc import Sequence

from paiid.auth.callers import Known
from paiid.auth.service import AuthService
from paiid.domain.errors import Code, Problem
from paiid.stream.limits import PROTOCOL
from paiid.stream.messages import Authenticate
from paiid.stream.tickets import Tickets

_TICKET = "ticket."


def bearer_of(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The bearer text of the Authorization header; None without one. Raises Problem (401)."""
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        return None
    if len(found) > 1:
        raise Problem(Code.UNAUTHENTICATED, "There are two Authorization headers; send one.")
    scheme, _, token = found[0].decode("latin-1").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Problem(Code.UNAUTHENTICATED, "The Authorization header must be `Bearer` and a token.")
    return token


def ticket_of(subprotocols: Sequence[str]) -> str | None:
    """The ticket among the subprotocols offered; None without one. Raises Problem (400)."""
    tickets = [one.removeprefix(_TICKET) for one in subprotocols if one.startswith(_TICKET)]
    if not tickets:
        return None
    if len(tickets) > 1 or PROTOCOL not in subprotocols:
        raise Problem(
            Code.INVALID_REQUEST, f"Offer the subprotocols `{PROTOCOL}` and `ticket.` with one ticket."
        )
    return tickets[0]


class Credentials:
    """Verifies them, and that they may read."""

    def __init__(self, auth: AuthService, tickets: Tickets) -> None:
        self._auth = auth
        self._tickets = tickets

    async def of_handshake(
        self, headers: Sequence[tuple[bytes, bytes]], subprotocols: Sequence[str]
    ) -> Known | None:
        """Who opens the WebSocket; None where the first message will say. Raises Problem (400, 401, 403), DatabaseUnavailable."""
        bearer, ticket = bearer_of(headers), ticket_of(subprotocols)
        if bearer is not None and ticket is not None:
            raise Problem(Code.INVALID_REQUEST, "Send a ticket or the Authorization header, not both.")
        if bearer is not None:
            return self._reading(await self._auth.identify(bearer))
        if ticket is not None:
            return self._reading(await self._tickets.redeem(ticket))
        return None

    async def of_message(self, said: Authenticate) -> Known:
        """Who says so. Raises Problem (401, 403), DatabaseUnavailable."""
        if said.ticket is not None:
            return self._reading(await self._tickets.redeem(said.ticket))
        return self._reading(await self._auth.identify(said.token or ""))

    async def of_header(self, headers: Sequence[tuple[bytes, bytes]]) -> Known:
        """Who asks for a stream of events. Raises Problem (401, 403), DatabaseUnavailable."""
        bearer = bearer_of(headers)
        if bearer is None:
            raise Problem(
                Code.UNAUTHENTICATED, "Send `Authorization: Bearer` with an access token or an API token."
            )
        return self._reading(await self._auth.identify(bearer))

    @staticmethod
    def _reading(known: Known) -> Known:
        if "read" not in known.principal.scopes:
            raise Problem(Code.SCOPE_MISSING, "This token lacks the scope read; make one that has it.")
        return known
