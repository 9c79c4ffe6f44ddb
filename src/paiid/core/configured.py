"""The bus that the settings name."""

import hashlib

from paiid.core.bus import Bus, NoBus
from paiid.core.clock import Clock
from paiid.core.settings import Settings


def configured_bus(settings: Settings, clock: Clock, install_secret: bytes) -> Bus:
    """Redis, or none. Installations that share one server hear nothing of each other: the prefix comes from the install's secret, of
    which it says nothing."""
    if settings.redis_url is None:
        return NoBus()
    # Whoever runs alone need not wait for its client.
    from paiid.core.redis import RedisBus

    prefix = hashlib.sha256(b"bus:" + install_secret).hexdigest()[:16]
    return RedisBus(settings.redis_url, f"paiid:{prefix}", clock)
