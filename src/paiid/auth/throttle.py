"""How often somebody may try to sign in or register: enough for people, too little for guessing, and never locked out (contract A5)."""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from paiid.auth import session_store
from paiid.core.db import Database
from paiid.core.shared import SharedThrottle
from paiid.domain.errors import Problem

LOGIN_PER_ADDRESS = (10, 10)
LOGIN_PER_USER = (10, 20)
LOGIN_OVERALL = (120, 120)
REFRESH_PER_ADDRESS = (120, 120)
REGISTER_PER_ADDRESS = (5, 10)
REGISTER_OVERALL = (60, 60)
"""Tokens a minute and size of the bucket; a login that succeeds gives its tokens back."""

Bucket = tuple[str, str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end, as far as we know."""

    address: str
    user_agent: str | None = None
    request_id: str | None = None

    @property
    def throttle_key(self) -> str:
        """The address; of IPv6 the /64, for one subscriber has a whole one."""
        try:
            parsed = ipaddress.ip_address(self.address)
        except ValueError:
            return self.address
        if parsed.version == 6:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        return str(parsed)


class Throttle:
    """The buckets of signing in, one for all replicas where they share any."""

    def __init__(self, db: Database, shared: SharedThrottle) -> None:
        self._db = db
        self._shared = shared

    async def take_login(self, email: str, client: Client) -> list[Bucket]:
        """Count an attempt; what it took. Raises Problem (429), DatabaseUnavailable.

        Whoever guesses at a user from many addresses empties buckets that the user needs too. So that he is not
        locked out for as long as that goes on, an address he signed in from before is held to its own bucket only.
        """
        address: Bucket = ("login_address", client.throttle_key, LOGIN_PER_ADDRESS)
        shared: list[Bucket] = [("login_user", email, LOGIN_PER_USER), ("login", "all", LOGIN_OVERALL)]
        await self._take(address)
        try:
            for bucket in shared:
                await self._take(bucket)
        except Problem:
            if not await self._signed_in_from(email, client):
                raise
            return [address]
        return [address, *shared]

    async def take_refresh(self, client: Client) -> None:
        """Count a refresh. Raises Problem (429)."""
        await self._take(("refresh_address", client.throttle_key, REFRESH_PER_ADDRESS))

    async def take_register(
        self, client: Client, is_invited: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """Count a registration, whatever comes of it. Raises Problem (429), DatabaseUnavailable.

        Whoever floods it from many addresses shuts out those who come by themselves, and nobody who was invited.
        """
        await self._take(("register_address", client.throttle_key, REGISTER_PER_ADDRESS))
        try:
            await self._take(("register", "all", REGISTER_OVERALL))
        except Problem:
            if is_invited is None or not await is_invited():
                raise

    async def give_back(self, taken: Sequence[Bucket]) -> None:
        """It was harmless."""
        for name, key, limits in taken:
            await self._shared.give_back(name, key, *limits)

    async def _take(self, bucket: Bucket) -> None:
        name, key, limits = bucket
        await self._shared.take(name, key, *limits)

    async def _signed_in_from(self, email: str, client: Client) -> bool:
        async with self._db.read() as tx:
            seen = await session_store.list_addresses(tx, email)
        return any(Client(address).throttle_key == client.throttle_key for address in seen)
