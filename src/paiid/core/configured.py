"""The bus that the settings name, and what the replicas share."""

import hashlib

from paiid.core.build import build_id
from paiid.core.bus import Bus, NoBus
from paiid.core.clock import Clock
from paiid.core.limits import RateLimiter
from paiid.core.settings import Settings
from paiid.core.shared import Link, Shared, SharedCache, SharedThrottle, alone


def configured_bus(settings: Settings, clock: Clock, install_secret: bytes) -> Bus:
    """Redis, or none. Installations that share one server hear nothing of each other: the prefix comes from the install's secret, of
    which it says nothing."""
    if settings.redis_url is None:
        return NoBus()
    # Whoever runs alone need not wait for its client.
    from paiid.core.redis import RedisBus

    prefix = hashlib.sha256(b"bus:" + install_secret).hexdigest()[:16]
    return RedisBus(settings.redis_url, f"paiid:{prefix}", clock)


def configured_shared(settings: Settings, clock: Clock, install_secret: bytes) -> Shared:
    """Throttles and cache over Redis, or for this process alone. Two connections: a large value on its way must not hold up a question
    that somebody's sign-in waits for."""
    if settings.redis_url is None:
        return alone(clock)
    from paiid.core.redis_store import RedisStore

    counting, keeping = RedisStore(settings.redis_url, clock), RedisStore(settings.redis_url, clock)
    throttle = SharedThrottle(RateLimiter(clock), Link(counting, install_secret))
    cache = SharedCache(Link(keeping, install_secret), clock, build_id(settings))
    return Shared(throttle, cache, (counting, keeping))
