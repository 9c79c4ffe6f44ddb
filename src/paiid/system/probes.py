"""What the health page asks of the parts of this service that it depends on."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

from paiid.brokers import Broker, BrokerRejected
from paiid.core.bus import Bus
from paiid.core.db import Database
from paiid.core.instants import instant
from paiid.market.service import MarketService
from paiid.market.upstream import Upstream
from paiid.system.health import Down, Probe
from paiid.system.store import find_account_number, load_reconcile_state

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


def _tells_stream(broker: object) -> TypeGuard[TellsStream]:
    return hasattr(broker, "stream_state")


def _stream(state: StreamState) -> dict[str, Any]:
    return {
        "account": state.account_number,
        "connected": state.connected,
        "since": instant(state.since_us),
        "last_event_at": instant(state.last_event_us),
        "problem": state.problem,
    }


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
    """Whether quotes come to this replica. Raises Down."""

    async def probe() -> str:
        state = upstream.state
        if state.status == "down":
            raise Down(f"market data are down: {state.reason}")
        return upstream.health()

    return probe


def bus_probe(bus: Bus) -> Probe:
    """Whether the replicas hear each other. Raises Down."""

    async def probe() -> str:
        if not bus.up:
            raise Down("the bus is down; each replica goes on by itself")
        return "replicas hear each other"

    return probe


def operator_details(
    db: Database, broker: Broker, market: MarketService, upstream: Upstream
) -> Mapping[str, Callable[[], Awaitable[Any]]]:
    """Sections of `/detailed` beside load and dependencies. Each raises DatabaseUnavailable."""

    async def reconcile() -> dict[str, Any]:
        async with db.read() as tx:
            found = await load_reconcile_state(tx)
        return {
            "state": "differs" if found.problems else "in_doubt" if found.orders_in_doubt else "agrees",
            "accounts": found.accounts,
            "problems": found.problems,
            "never_compared": found.never_compared,
            "oldest_at": instant(found.oldest_at_us),
            "orders_in_doubt": found.orders_in_doubt,
        }

    async def market_data() -> dict[str, Any]:
        state = upstream.state
        return {
            "source": market.source,
            "delayed": market.delayed,
            "status": state.status,
            "reason": state.reason or None,
            "since": instant(state.since_us),
            "leads": state.leads,
            "filtered": upstream.counts,
        }

    async def told_broker() -> dict[str, Any]:
        # null is no limit, and no stream on a wire: the built-in venue has neither.
        streams = [_stream(one) for one in broker.stream_state] if _tells_stream(broker) else None
        return {"name": broker.name, "budget_left": broker.budget_left, "streams": streams}

    return {"reconcile": reconcile, "market_data": market_data, "broker": told_broker}
