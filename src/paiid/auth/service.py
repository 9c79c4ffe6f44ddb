"""One door to everything about callers: who they are, their sessions, the users, the tokens."""

from collections.abc import Callable, Collection

from paiid.auth import session_store, store
from paiid.auth.api_tokens import ApiTokens
from paiid.auth.callers import Callers, Known
from paiid.auth.invites import Invites
from paiid.auth.owner import ensure_owner
from paiid.auth.passwords import Passwords
from paiid.auth.registration import Registration
from paiid.auth.sessions import Sessions
from paiid.auth.standing import CredentialKey, load_standing
from paiid.auth.throttle import Throttle
from paiid.auth.tokens import TokenMaker
from paiid.auth.users import OnUser, Users
from paiid.core.clock import Clock
from paiid.core.db import Database, UniqueViolation
from paiid.core.settings import Settings
from paiid.core.shared import SharedThrottle
from paiid.domain.identity import Principal

_JWT_SECRET = "jwt_secret_key"  # noqa: S105 - the name of a row
_KEEP_ENDED_US = 90 * 86_400 * 1_000_000


class AuthService:
    """`sessions`, `users`, `api_tokens`, `invites` and `registration` do the work; `authenticate` is what every request asks."""

    def __init__(
        self, db: Database, clock: Clock, settings: Settings, shared: SharedThrottle, on_user_created: OnUser
    ) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._passwords = Passwords(clock)
        self._tokens = TokenMaker(settings.jwt_algorithm)
        self._callers = Callers(db, clock, self._tokens, settings.api_token)
        throttle = Throttle(db, shared)
        self.sessions = Sessions(
            db,
            clock,
            throttle,
            self._passwords,
            self._tokens,
            self._callers,
            settings.jwt_access_token_expire_minutes,
            settings.jwt_refresh_token_expire_days,
        )
        self.users = Users(db, clock, shared, self._passwords, self._callers, on_user_created)
        self.api_tokens = ApiTokens(db, clock, self._callers)
        self.invites = Invites(db, clock)
        self.registration = Registration(db, clock, throttle, self._passwords, self.users, self.invites)

    async def start(self) -> None:
        """Read or make the signing key, make the first owner, forget sessions that ended 90 days ago.

        Raises DatabaseUnavailable; ValueError, Problem or OSError for settings that do not work.
        """
        await self._ensure_secret(store.MANAGEMENT_LOCK, "-")
        key = self._settings.jwt_secret_key
        if key is None:
            key = await self._ensure_secret(_JWT_SECRET, self._clock.random_bytes(64).hex())
        self._tokens.use_keys(key, self._settings.jwt_secret_key_previous)
        await ensure_owner(self._db, self._clock, self._settings, self._passwords, self.users)
        async with self._db.begin() as tx:
            await session_store.prune_sessions(tx, self._clock.now_us() - _KEEP_ENDED_US)

    async def stop(self) -> None:
        """Finish what is under way."""
        await self._callers.stop()
        self._passwords.close()

    async def authenticate(self, token: str, *, to_halt: bool = False) -> Principal:
        """Whom a bearer text stands for. Raises Problem (401), DatabaseUnavailable (see Callers)."""
        return await self._callers.authenticate(token, to_halt=to_halt)

    async def identify(self, token: str) -> Known:
        """The same, with the end of an access token or API token: for what stays open longer than a request."""
        return await self._callers.identify(token)

    async def load_standing(self, keys: Collection[CredentialKey]) -> dict[CredentialKey, Known]:
        """Those of many credentials that stand now, with the rights they have now: one query for each kind that is
        among them. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            return await load_standing(tx, keys, self._clock.now_us())

    def on_change(self, tell: Callable[[str], None]) -> None:
        """Be told at once, on the event loop, of each user whose rights have changed on this replica."""
        self._callers.on_change(tell)

    async def _ensure_secret(self, name: str, fresh: str) -> str:
        """The value of this installation, made once: of several processes one is first."""
        async with self._db.read() as tx:
            found = await store.find_secret(tx, name)
        if found is not None:
            return found
        try:
            async with self._db.begin() as tx:
                await store.add_secret(tx, name, fresh, await tx.now_us())
            return fresh
        except UniqueViolation:
            async with self._db.read() as tx:
                found = await store.find_secret(tx, name)
        if found is None:
            raise LookupError(f"the secret {name} vanished")
        return found
