"""What the health page asks of the parts of this service that it depends on."""

from collections.abc import Sequence
from typing import Protocol, TypeGuard

from paiid.brokers import Broker, BrokerRejected
from paiid.core.bus import Bus
from paiid.core.db import Database
from paiid.core.shared import Shared
from paiid.market.upstream import Upstream
from paiid.system.checks import Down, Probe, Told
from paiid.system.store import find_account_number

__all__ = ["StreamState", "TellsStream", "broker_probe", "redis_probe", "streaming_probe", "tells_stream"]

_ANSWER_S = 1.5


class StreamState(Protocol):
    """How the update stream of one account is; instants in microseconds."""

    account_number: str | None
    connected: bool
    since_us: int | None
    last_event_us: int | None
    problem: str | None


class TellsStream(Protocol):
    """A broker with connections of its own to tell of."""

    @property
    def stream_state(self) -> Sequence[StreamState]:
        """One of each account, on the replica that reads them."""
        ...


def tells_stream(broker: object) -> TypeGuard[TellsStream]:
    """Whether it does."""
    return hasattr(broker, "stream_state")


def broker_probe(db: Database, broker: Broker) -> Probe:
    """Asks the broker for an account that we keep there. Raises Down, BrokerError, DatabaseUnavailable."""

    async def probe() -> str:
        async with db.read() as tx:
            number = await find_account_number(tx, broker.name)
        try:
            if number is not None:
                await broker.fetch_account(number, _ANSWER_S)
            elif not await broker.fetch_accounts(_ANSWER_S):
                return f"{broker.name}, where no account is kept yet"
        except BrokerRejected as refusal:
            if refusal.code == "invalid_credentials":
                raise Down(
                    f"{broker.name} does not take the keys: check them in the environment"
                ) from refusal
            raise
        return broker.name

    return probe


def streaming_probe(upstream: Upstream) -> Probe:
    """Whether quotes come to this replica, and how long ago anything was heard of the market. Raises Down."""

    async def probe() -> Told:
        state, ago_s = upstream.state, upstream.heard_ago_s
        figures = {} if ago_s is None else {"feed_newest_age_seconds": ago_s}
        heard = "nothing heard yet" if ago_s is None else f"last heard {ago_s:.1f} s ago"
        if state.status == "down":
            raise Down(f"market data are down: {state.reason}; {heard}")
        return Told(f"{upstream.health()}; {heard}", figures=figures)

    return probe


def redis_probe(bus: Bus, shared: Shared) -> Probe:
    """Whether the replicas hear each other, and count together. Raises Down."""

    async def probe() -> str:
        if not bus.up:
            raise Down(f"the bus is down; each replica goes on by itself; {shared.state}")
        if not shared.up:
            raise Down(f"replicas hear each other; {shared.state}")
        return f"replicas hear each other; {shared.state}"

    return probe
