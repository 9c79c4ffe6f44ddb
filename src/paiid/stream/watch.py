"""Rights while a stream is open: what is lost is taken away within 2 s, on every replica (contract A3)."""

import asyncio
from collections.abc import Collection, Iterable

from paiid.accounts.service import AccountService
from paiid.auth.service import AuthService
from paiid.auth.standing import CredentialKey
from paiid.core.clock import Clock
from paiid.core.db import DatabaseUnavailable
from paiid.core.tasks import Background
from paiid.stream.clients import Client, Clients
from paiid.stream.limits import Closing, StreamTimings
from paiid.stream.messages import BadMessage
from paiid.stream.subscriptions import Subscriptions
from paiid.stream.tickets import Tickets
from paiid.stream.views import error_view


class RightsWatch:
    """Looks at all credentials and grants in use each second, with one query a kind and not one a socket; and at once where this
    replica itself has changed them."""

    def __init__(
        self,
        clock: Clock,
        auth: AuthService,
        accounts: AccountService,
        clients: Clients,
        subscriptions: Subscriptions,
        tickets: Tickets,
        timings: StreamTimings,
    ) -> None:
        self._clock = clock
        self._auth = auth
        self._accounts = accounts
        self._clients = clients
        self._subscriptions = subscriptions
        self._tickets = tickets
        self._timings = timings
        self._background = Background(clock)
        self._soon: set[asyncio.Task[None]] = set()
        auth.on_change(self.changed)
        accounts.on_change(self.changed)

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._background.failing

    def start(self) -> None:
        """Begin to watch."""
        self._background.begin("stream-rights", self._run)

    async def stop(self) -> None:
        """End."""
        await self._background.stop()
        for task in self._soon:
            task.cancel()
        await asyncio.gather(*self._soon, return_exceptions=True)

    def changed(self, user_id: str) -> None:
        """The user's rights have changed: look at his streams now."""
        clients = self._clients.of_user(user_id)
        if clients:
            task = asyncio.create_task(self._look(clients), name="paiid-stream-rights")
            self._soon.add(task)
            task.add_done_callback(self._soon.discard)

    async def _run(self) -> None:
        next_prune_s = self._clock.monotonic_s()
        while True:
            await self._look(list(self._clients))
            if self._clock.monotonic_s() >= next_prune_s:
                next_prune_s = self._clock.monotonic_s() + self._timings.prune_every_s
                await self._prune()
            await self._clock.sleep(self._timings.watch_every_s)

    async def _prune(self) -> None:
        try:
            await self._tickets.prune()
        except DatabaseUnavailable:
            return  # the next time will do

    # -- one look -----------------------------------------------------------------------------------

    async def _look(self, clients: Collection[Client]) -> None:
        self._expire(clients)
        # Who renews his credential, or gets an account, while the database is asked was not asked about.
        keys = {client: client.key for client in clients if not client.ended}
        held = {client: frozenset(client.held) for client in keys}
        if not keys:
            return
        try:
            await self._check_credentials(keys)
            await self._check_grants(held)
        except DatabaseUnavailable:
            # Nobody can take a right away there either; those known last stand.
            return

    def _expire(self, clients: Iterable[Client]) -> None:
        now_us = self._clock.now_us()
        notice_us = int(self._timings.expiry_notice_s * 1_000_000)
        for client in clients:
            ends_us = client.known.expires_at_us
            if client.ended or ends_us is None:
                continue
            if now_us >= ends_us:
                self._end(
                    client,
                    Closing.UNAUTHENTICATED,
                    "token_expired",
                    "Your token has expired; connect with a new one.",
                )
            elif now_us >= ends_us - notice_us and not client.told_of_expiry:
                client.told_of_expiry = True
                self._tell(
                    client,
                    "token_expiring",
                    "Your token ends within a minute, and this stream with it. On a WebSocket, send `auth` with a new one.",
                )

    async def _check_credentials(self, keys: dict[Client, CredentialKey]) -> None:
        standing = await self._auth.load_standing(set(keys.values()))
        for client, key in keys.items():
            if client.ended or client.key != key:
                continue
            now = standing.get(key)
            if now is None:
                self._end(
                    client,
                    Closing.UNAUTHENTICATED,
                    "signed_out",
                    "This session has ended or the token was revoked.",
                )
            elif now.principal.role != client.principal.role:
                self._end(client, Closing.FORBIDDEN, "role_changed", "Your role has changed; connect again.")

    async def _check_grants(self, held: dict[Client, frozenset[str]]) -> None:
        about = {
            client: [
                (name, client.held[name]) for name in names
                if name in client.held and client.held[name].is_about_account
            ]
            for client, names in held.items()
        }  # fmt: skip
        user_ids = {client.principal.user_id for client, wishes in about.items() if wishes}
        if not user_ids:
            return
        granted = await self._accounts.load_granted(user_ids)
        for client, wishes in about.items():
            for channel, wish in wishes:
                if not client.ended and (client.principal.user_id, wish.name) not in granted:
                    self._subscriptions.take_away(client, channel)
                    self._tell(client, "not_found", "You may not see this account any more.", channel)
                    if client.kind != "websocket" and not any(
                        one.is_about_account for one in client.held.values()
                    ):
                        # It was opened for this account, and cannot ask for another.
                        self._clients.end(client, Closing.FORBIDDEN, "forbidden")

    def _end(self, client: Client, code: int, word: str, why: str) -> None:
        self._tell(client, word, why)
        self._clients.end(client, code, word)

    def _tell(self, client: Client, word: str, why: str, channel: str | None = None) -> None:
        self._clients.tell(client, error_view(BadMessage(word, why, channel=channel), self._clock.now_us()))
