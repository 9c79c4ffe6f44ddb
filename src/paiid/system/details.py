"""The sections of `/api/health/detailed` beside load and dependencies: for those who are signed in."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from paiid.brokers import Broker
from paiid.core.db import Database
from paiid.core.instants import instant
from paiid.core.leases import Leases
from paiid.market.service import MarketService
from paiid.market.upstream import Upstream
from paiid.options.pool import PricingPool
from paiid.system.disk import DiskCheck
from paiid.system.probes import StreamState, tells_stream
from paiid.system.replicas import Replicas
from paiid.system.store import Replica, load_leases, load_reconcile_state

__all__ = ["Details", "market_details", "operator_details", "process_details"]

Details = Mapping[str, Callable[[], Awaitable[Any]]]
"""Sections by name; each raises DatabaseUnavailable."""


def _stream(state: StreamState) -> dict[str, Any]:
    return {
        "account": state.account_number,
        "connected": state.connected,
        "since": instant(state.since_us),
        "last_event_at": instant(state.last_event_us),
        "problem": state.problem,
    }


def _broker(broker: Broker) -> dict[str, Any]:
    # null is no limit, and no stream on a wire: the built-in venue has neither.
    streams = [_stream(one) for one in broker.stream_state] if tells_stream(broker) else None
    return {"name": broker.name, "budget_left": broker.budget_left, "streams": streams}


def operator_details(db: Database, broker: Broker, brokers: Mapping[str, Broker]) -> Details:
    """How the books stand, and the brokers: `broker` is the one where orders go by default."""

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

    async def default() -> dict[str, Any]:
        return _broker(broker)

    async def all_of_them() -> list[dict[str, Any]]:
        return [_broker(one) for one in brokers.values()]

    return {"reconcile": reconcile, "broker": default, "brokers": all_of_them}


def market_details(market: MarketService, upstream: Upstream) -> Details:
    """Where quotes come from, and how."""

    async def market_data() -> dict[str, Any]:
        state = upstream.state
        return {
            "source": market.source,
            "delayed": market.delayed,
            "status": state.status,
            "reason": state.reason or None,
            "since": instant(state.since_us),
            "heard_ago_seconds": upstream.heard_ago_s,
            "leads": state.leads,
            "filtered": upstream.counts,
        }

    return {"market_data": market_data}


def process_details(
    db: Database,
    leases: Leases,
    pool: PricingPool,
    replicas: Replicas,
    disk: DiskCheck,
    build: Mapping[str, str],
    worst_lag_s: Callable[[], float],
) -> Details:
    """This process beside the others: its build, the replicas, who holds which lease, pools, disks, the event loop."""

    async def builds() -> Mapping[str, str]:
        return build

    async def told_replicas() -> list[dict[str, Any]]:
        return [_replica(one, replicas.id) for one in replicas.known]

    async def told_leases() -> list[dict[str, Any]]:
        async with db.read() as tx:
            rows, now_us = await load_leases(tx), await tx.now_us()
        return [
            {
                "name": row["name"],
                "holder": row["holder"] if row["expires_at"] > now_us else None,
                "mine": row["holder"] == leases.holder and row["expires_at"] > now_us,
            }
            for row in rows
        ]

    async def pools() -> dict[str, Any]:
        counted = db.counted()
        return {
            "database": {
                "connections": counted.connections,
                "in_use": counted.in_use,
                "waiting": counted.waiting,
                "queued_writes": counted.queued,
            },
            "pricing": {"under_way": pool.under_way, "refused": pool.refused},
        }

    async def disks() -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "free_bytes": room.free_bytes,
                "free_inodes": room.free_inodes,
                "problem": room.problem,
            }
            for name, room in disk.rooms.items()
        ]

    async def event_loop() -> dict[str, float]:
        return {"worst_lag_seconds": round(worst_lag_s(), 4)}

    return {
        "build": builds,
        "replicas": told_replicas,
        "leases": told_leases,
        "pools": pools,
        "disk": disks,
        "event_loop": event_loop,
    }


def _replica(one: Replica, own_id: str) -> dict[str, Any]:
    return {
        "id": one.id,
        "build": one.build,
        "version": one.version,
        "schema": one.schema,
        "started_at": instant(one.started_at_us),
        "seen_at": instant(one.seen_at_us),
        "clock_skew_seconds": one.skew_us / 1_000_000,
        "state": one.state,
        "self": one.id == own_id,
    }
