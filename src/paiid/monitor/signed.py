"""A body whose signature is worked out while it comes in, without letting strangers make us hold many long ones."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from paiid.core.limits import MAX_BODY
from paiid.domain.errors import Code, Problem

LONG_BODIES = 2
"""Bodies of more than 64 KiB that are held at once in a process."""
LONG_BODIES_WAITING = 16
"""Requests that wait for such a place; more are refused."""
LONG_BODIES_OF_ADDRESS = 4
"""Of both together, those of one address: a stranger must not fill the waiting room."""
_WAIT_S = 3.0
"""The longest they wait: GitHub gives up after 10 s."""
CLOSE = {"Connection": "close"}
"""What is still on its way of a body that was refused must not be read."""
_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DELIVERY = re.compile(r"[0-9A-Za-z-]{8,64}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the headers tell: the signature as lower-case hex, the kind of event, and the delivery's id."""

    signature: str
    event: str
    delivery_id: str


@dataclass(frozen=True, slots=True)
class Signed:
    """A body that the secret has signed, and a digest by which the same bytes are known again."""

    body: bytearray
    digest: str


def read_envelope(headers: Mapping[str, Sequence[str]]) -> Envelope:
    """Each header of these names must be there once. Raises Problem (401, 400)."""
    found = headers.get("x-hub-signature-256", ())
    if not found:
        old = (
            " A signature by SHA-1 (X-Hub-Signature) is not accepted." if "x-hub-signature" in headers else ""
        )
        raise _unsigned("The header X-Hub-Signature-256 is missing." + old)
    match = _SIGNATURE.fullmatch(found[0]) if len(found) == 1 else None
    if match is None:
        raise _unsigned("X-Hub-Signature-256 must be there once, as `sha256=` and 64 hexadecimal digits.")
    return Envelope(
        match[1],
        _one(headers, "x-github-event", _EVENT),
        # The same id in another case is the same id.
        _one(headers, "x-github-delivery", _DELIVERY).lower(),
    )


def _one(headers: Mapping[str, Sequence[str]], name: str, shape: re.Pattern[str]) -> str:
    found = headers.get(name, ())
    if len(found) != 1 or not shape.fullmatch(found[0]):
        raise Problem(Code.INVALID_REQUEST, f"The header {name} is missing, or not as GitHub sends it.")
    return found[0]


def _unsigned(why: str) -> Problem:
    return Problem(Code.UNAUTHENTICATED, why)


class LongBodies:
    """The places for bodies of more than 64 KiB: a few at once, of one address only one."""

    def __init__(self, wait_s: float = _WAIT_S) -> None:
        self._wait_s = wait_s
        self._free = asyncio.Semaphore(LONG_BODIES)
        self._addresses: dict[str, tuple[asyncio.Lock, int]] = {}
        self._present = 0

    @asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """To be held from before the first byte beyond 64 KiB to the end of the body's use. Raises Problem (503)."""
        lock, users = self._addresses.get(address, (asyncio.Lock(), 0))
        if users >= LONG_BODIES_OF_ADDRESS or self._present >= LONG_BODIES + LONG_BODIES_WAITING:
            raise _crowded()
        self._addresses[address] = lock, users + 1
        self._present += 1
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(self._wait_s):
                        await stack.enter_async_context(lock)
                        await stack.enter_async_context(self._free)
                except TimeoutError:
                    raise _crowded() from None
                yield
        finally:
            self._present -= 1
            users = self._addresses[address][1] - 1
            if users:
                self._addresses[address] = lock, users
            else:
                del self._addresses[address]


def _crowded() -> Problem:
    return Problem(Code.OVERLOADED, "Too many long bodies at once; try again in a moment.", headers=CLOSE)


@asynccontextmanager
async def received(
    places: LongBodies,
    chunks: AsyncIterator[bytes],
    declared: int | None,
    address: str,
    secret: bytes,
    envelope: Envelope,
) -> AsyncIterator[Signed]:
    """The body once it is there and the secret has signed exactly its bytes. `declared` is its length by the headers.

    Raises Problem (401 for another signature, 503, and what the chunks raise: 408, 413)."""
    signer = hmac.new(secret, digestmod=hashlib.sha256)
    body = bytearray()
    async with AsyncExitStack() as stack:
        is_long = False
        if declared is not None and declared > MAX_BODY:
            is_long = True
            await stack.enter_async_context(places.place(address))
        async for chunk in chunks:
            if not is_long and len(body) + len(chunk) > MAX_BODY:
                is_long = True
                await stack.enter_async_context(places.place(address))
            signer.update(chunk)
            body += chunk
        if not hmac.compare_digest(signer.hexdigest(), envelope.signature):
            raise _unsigned("The signature is not that of this body under this secret.")
        yield Signed(body, hashlib.sha256(envelope.signature.encode()).hexdigest())
