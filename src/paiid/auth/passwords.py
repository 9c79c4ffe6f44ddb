"""Passwords: argon2id in a bounded pool of threads, so that a flood of logins cannot starve the service."""

import asyncio
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from paiid.core.clock import Clock
from paiid.domain.errors import Code, Problem, invalid_field

MIN_LENGTH = 8
MAX_LENGTH = 128
MEMORY_KIB = 19 * 1024
TIME_COST = 2
_THREADS = 2
_MOST_WAITING = 32


def check_password(password: str, field: str = "password") -> None:
    """8 to 128 characters, nothing else is asked. Raises Problem (422)."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise invalid_field(
            field,
            "length",
            f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters; this one has {len(password)}.",
        )


def generate_password(clock: Clock) -> str:
    """A password nobody guesses: 144 random bits."""
    return urlsafe_b64encode(clock.random_bytes(18)).decode()


class Passwords:
    """Hashes and verifies; at most two at a time, at most 32 waiting."""

    def __init__(self, clock: Clock) -> None:
        self._hasher = PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1, hash_len=32, salt_len=16, type=Type.ID
        )
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="paiid-password")
        self._waiting = 0
        # Compared with when there is no such user, so that both answers take the same time.
        self._nobody = self._hasher.hash(generate_password(clock))

    async def hash(self, password: str) -> str:
        """The text to store. Raises Problem (503) when too many wait."""
        return str(await self._run(self._hasher.hash, password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the one; None stands for nobody and takes as long. Raises Problem (503)."""
        right = bool(await self._run(self._matches, stored or self._nobody, password))
        return right and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)

    def _matches(self, stored: str, password: str) -> bool:
        if len(password) > MAX_LENGTH:
            # No stored password is so long; the work is done all the same.
            password = password[:MAX_LENGTH] + "\0"
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: object, *args: str) -> object:
        if self._waiting >= _MOST_WAITING:
            raise Problem(Code.OVERLOADED, "Too many people sign in at once; try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)  # type: ignore[arg-type]
        finally:
            self._waiting -= 1
