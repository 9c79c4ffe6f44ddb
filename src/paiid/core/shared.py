"""What the replicas share by Redis, and each has for itself without: throttles, and what was costly to fetch (docs/adr/0033)."""

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from paiid.core.clock import Clock
from paiid.core.figures import Histogram, Tally
from paiid.core.limits import RateLimiter, too_many

__all__ = ["MAX_VALUE", "Cached", "Claimed", "Shared", "SharedCache", "SharedThrottle", "Store"]

MAX_VALUE = 1_048_576
"""Bytes of a cached value; longer ones are not kept."""
_AHEAD_US = 5_000_000
"""How far ahead of ours the clock of the replica may be that has fetched something."""
_MAC_BYTES = 32
_HEAD = struct.Struct(">qI")
# When it was fetched, in microseconds since the epoch, and for how many milliseconds from then on it holds.
_OVERHEAD = _MAC_BYTES + _HEAD.size

# The level of a bucket as one number (GCRA): the instant at which it will be full again, in the server's time. What stands
# there and cannot be ours, because it is no number or lies further ahead than an empty bucket would, becomes at most an empty
# bucket: nobody is kept out for longer than that.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local step = tonumber(ARGV[1])
local room = step * tonumber(ARGV[2])
local was = redis.pcall('GET', KEYS[1])
local full = type(was) == 'string' and tonumber(was) or now
if full ~= full or full < now then full = now end
if full > now + room then
  full = now + room
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil(room / 1000) + 1)
end
local wait = full + step - room - now
if wait > 0 then return math.ceil(wait) end
full = full + step
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return 0
"""
_GIVE_BACK = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local was = redis.pcall('GET', KEYS[1])
local full = type(was) == 'string' and tonumber(was) or now
full = full - tonumber(ARGV[1])
if full > now then
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
else
  redis.call('DEL', KEYS[1])
end
return 0
"""
# What is there; or it is for the one who asks first to fetch it, and for the others to ask again.
_READ = """
local size = redis.pcall('STRLEN', KEYS[1])
if type(size) ~= 'number' or size > tonumber(ARGV[1]) then return {-1} end
if size > 0 then return {2, redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])} end
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) then return {1} end
return {0}
"""


class Store(Protocol):
    """Answers in time or raises NoAnswer (`core/redis_store`)."""

    took: Histogram

    @property
    def up(self) -> bool:
        """Whether it is worth asking."""
        ...

    @property
    def failing(self) -> Mapping[str, str]:
        """Background work that has just broken."""
        ...

    async def ask(self, *commands: Sequence[str | bytes | int]) -> list[Any]:
        """The answers to these commands. Raises NoAnswer."""
        ...

    async def start(self) -> None:
        """Begin to connect."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class Link:
    """A store, and the names of our keys in it: they tell nothing of what they stand for, and nobody but this installation can make or
    sign them. `secret` is the install's own."""

    def __init__(self, store: Store, secret: bytes) -> None:
        self.store = store
        self._secret = hmac.digest(secret, b"shared-state", "sha256")
        # As the bus has it: an installation's keys are found by it, and what belongs together stands together.
        self._prefix = "paiid:" + hashlib.sha256(b"bus:" + secret).hexdigest()[:16]

    def key(self, kind: str, *parts: str) -> str:
        """Where something stands."""
        text = "\0".join((kind, *(f"{len(part)}:{part}" for part in parts)))
        return f"{self._prefix}:{kind}:{hmac.digest(self._secret, text.encode(), 'sha256').hex()[:32]}"

    def sign(self, key: str, body: bytes) -> bytes:
        """What proves that one of us has put these bytes there."""
        return hmac.digest(self._secret, key.encode() + b"\0" + body, "sha256")

    async def ask(self, *commands: Sequence[str | bytes | int]) -> list[Any] | None:
        """The answers; None: decide without."""
        # Whoever runs alone need not wait for the client.
        from paiid.core.redis_store import NoAnswer

        try:
            return await self.store.ask(*commands)
        except NoAnswer:
            return None


class SharedThrottle:
    """Buckets by (name, key), one for all replicas. Each replica counts what it lets through in its own as well, and asks Redis only where
    its own has a token: so a flood at one replica does not reach Redis, and where Redis does not answer, or has forgotten, its own is as
    empty as it should be. Without Redis its own is all there is."""

    def __init__(self, limiter: RateLimiter, link: Link | None = None) -> None:
        self._limiter = limiter
        self._link = link
        self.counts = Tally("outcome")
        """`shared`, `refused` by all, or decided `alone` because Redis did not answer."""

    async def take(self, name: str, key: str, per_minute: int, burst: int) -> None:
        """Use one token; `burst` is the size of the bucket. Raises Problem (429) when it is empty."""
        self._limiter.take(name, key, per_minute, burst)
        if self._link is None:
            return
        where = self._link.key("throttle", name, key)
        answers = await self._link.ask(("EVAL", _TAKE, 1, where, _step_us(per_minute), burst))
        if answers is None or not isinstance(answers[0], int):
            self.counts.add("alone")
        elif answers[0] > 0:
            self.counts.add("refused")
            self._limiter.give_back(name, key, burst)
            raise too_many(answers[0] / 1_000_000, burst)
        else:
            self.counts.add("shared")

    async def give_back(self, name: str, key: str, per_minute: int, burst: int) -> None:
        """Return a token that was taken before it was known to be harmless."""
        self._limiter.give_back(name, key, burst)
        if self._link is not None:
            where = self._link.key("throttle", name, key)
            await self._link.ask(("EVAL", _GIVE_BACK, 1, where, _step_us(per_minute)))


def _step_us(per_minute: int) -> int:
    return 60_000_000 // per_minute


@dataclass(frozen=True, slots=True)
class Cached:
    """What another replica, or this one, has fetched, and how many seconds ago at least."""

    body: bytes
    age_s: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """There is nothing yet. `ours`: it is for us to fetch it, and to say so with `put` or `release`; else somebody does just now."""

    ours: bool


class SharedCache:
    """Bytes by key, for so long and no longer. What was not signed by this installation, does not belong to that key, or comes from a clock
    that is far ahead, is not there."""

    def __init__(self, link: Link, clock: Clock, version: str) -> None:
        """`version` names the form of the values: builds that write other forms do not see each other's."""
        self._link = link
        self._clock = clock
        self._version = version
        self.counts = Tally("outcome")
        """`hit`, `miss`, `put`, `too_large`, `too_late`, `alone` (no answer), `refused` (not ours, or of a clock far off)."""

    async def find(self, key: str, claim_s: float) -> Cached | Claimed:
        """The value; or whose turn it is to fetch it, which it is for `claim_s` at most."""
        where = self._where(key)
        command = ("EVAL", _READ, 2, where, where + ":claim", MAX_VALUE + _OVERHEAD, int(claim_s * 1000))
        answers = await self._link.ask(command)
        told = answers[0] if answers else None
        if not isinstance(told, list) or len(told) != (3 if told[:1] == [2] else 1):
            self.counts.add("alone")
            return Claimed(ours=True)
        if told[0] == 2:
            return self._read(where, told[1], told[2]) or Claimed(ours=True)
        self.counts.add("refused" if told[0] == -1 else "miss")
        return Claimed(ours=told[0] != 0)

    async def put(self, key: str, body: bytes, ttl_s: float, fetched_us: int) -> None:
        """Keep it for `ttl_s`, counted from when it was fetched."""
        ttl_ms = int(ttl_s * 1000)
        left_ms = ttl_ms - max(0, self._clock.now_us() - fetched_us) // 1000
        if len(body) > MAX_VALUE or left_ms <= 0:
            self.counts.add("too_large" if len(body) > MAX_VALUE else "too_late")
            await self.release(key)
            return
        where = self._where(key)
        signed = _HEAD.pack(fetched_us, ttl_ms) + body
        value = self._link.sign(where, signed) + signed
        done = await self._link.ask(("SET", where, value, "PX", left_ms), ("DEL", where + ":claim"))
        self.counts.add("alone" if done is None else "put")

    async def release(self, key: str) -> None:
        """It could not be fetched; others may try."""
        await self._link.ask(("DEL", self._where(key) + ":claim"))

    def _where(self, key: str) -> str:
        return self._link.key("cache", self._version, key)

    def _read(self, where: str, value: object, left_ms: object) -> Cached | None:
        """Its age by the time it has left, which is one clock's, and by when it was fetched, of which our clock may know more: the greater."""
        if isinstance(value, bytes) and len(value) >= _OVERHEAD and isinstance(left_ms, int) and left_ms > 0:
            mac, signed = value[:_MAC_BYTES], value[_MAC_BYTES:]
            if hmac.compare_digest(mac, self._link.sign(where, signed)):
                fetched_us, ttl_ms = _HEAD.unpack_from(signed)
                age_us = self._clock.now_us() - fetched_us
                if -_AHEAD_US <= age_us < ttl_ms * 1000:
                    self.counts.add("hit")
                    return Cached(signed[_HEAD.size :], max(age_us / 1e6, (ttl_ms - left_ms) / 1000, 0.0))
        self.counts.add("refused")
        return None


class Shared:
    """Both of one process."""

    def __init__(self, throttle: SharedThrottle, cache: SharedCache | None, stores: Sequence[Store]) -> None:
        self.throttle = throttle
        self.cache = cache
        self._stores = stores

    @property
    def configured(self) -> bool:
        """Whether there is anything to share by."""
        return bool(self._stores)

    @property
    def up(self) -> bool:
        """Whether all of it is shared just now."""
        return self.configured and all(one.up for one in self._stores)

    @property
    def state(self) -> str:
        """How it is, for the health page."""
        return f"throttles and caches are {'shared' if self.up else 'per replica'}"

    @property
    def took(self) -> Sequence[Histogram]:
        """Seconds of the answers, by connection: of the throttles, of the cache."""
        return [one.took for one in self._stores]

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has just broken, for the health page."""
        return {name: what for one in self._stores for name, what in one.failing.items()}

    async def start(self) -> None:
        """Begin to connect."""
        for one in self._stores:
            await one.start()

    async def stop(self) -> None:
        """Disconnect."""
        for one in self._stores:
            await one.stop()


def alone(clock: Clock) -> Shared:
    """For one process, or several without Redis."""
    return Shared(SharedThrottle(RateLimiter(clock)), None, ())
