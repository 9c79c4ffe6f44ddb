"""The figures of a process as such: requests, sign-ins, database, bus, leases, event loop, health."""

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paiid import __version__
from paiid.auth.service import AuthService
from paiid.core.accounting import Accounting
from paiid.core.build import build_id
from paiid.core.bus import Bus
from paiid.core.db import Database
from paiid.core.figures import Figure, Gauge, Histogram, Tally
from paiid.core.leases import Leases
from paiid.core.loop_lag import LoopLag
from paiid.core.settings import Settings
from paiid.core.shared import Shared

__all__ = ["database_figures", "health_figures", "http_figures", "process_figures", "shared_figures"]

Pairs = Iterator[tuple[tuple[str, ...], float]]


def http_figures(accounting: Accounting, auth: AuthService) -> list[Figure]:
    """What was asked of this process over HTTP."""
    return [
        (
            "paiid_http_requests_total",
            "Requests answered, by the template of their route.",
            accounting.requests,
        ),
        (
            "paiid_http_request_seconds",
            "How long answers took; streams of events and WebSockets are left out.",
            accounting.seconds,
        ),
        ("paiid_http_requests_in_flight", "Requests under way.", Gauge(lambda: accounting.in_flight)),
        ("paiid_auth_sign_ins_total", "Sign-ins and refreshes by how they ended.", auth.sessions.sign_ins),
    ]


def database_figures(db: Database) -> list[Figure]:
    """The pool, and the shared commits."""
    found = db.counted()
    return [
        ("paiid_db_connections", "Connections that are open.", Gauge(lambda: db.counted().connections)),
        ("paiid_db_connections_in_use", "Connections at work.", Gauge(lambda: db.counted().in_use)),
        (
            "paiid_db_waiting",
            "Transactions that wait for a connection, or for their turn to write.",
            Gauge(lambda: db.counted().waiting),
        ),
        ("paiid_db_writer_queue", "Calls that wait to share a commit.", Gauge(lambda: db.counted().queued)),
        ("paiid_db_commit_seconds", "How long a COMMIT took.", found.commits),
        ("paiid_db_commit_group_calls", "How many calls shared a commit.", found.groups),
    ]


def process_figures(
    settings: Settings,
    db: Database,
    bus: Bus,
    leases: Leases,
    lag: LoopLag,
    failing: Callable[[], Mapping[str, str]],
) -> list[Figure]:
    """The process, and what it shares with others."""
    build = (__version__, build_id(settings), platform.python_version(), db.dialect)
    return [
        (
            "paiid_build_info",
            "What runs here; always 1.",
            Gauge(lambda: [(build, 1.0)], "version", "build", "python", "database"),
        ),
        ("paiid_event_loop_lag_seconds", "How late the event loop was, ten times a second.", lag.seconds),
        (
            "paiid_event_loop_lag_worst_seconds",
            "The worst of the last 10 s.",
            Gauge(lambda: lag.worst_s),
        ),
        (
            "paiid_background_failing",
            "Background tasks that have broken just now.",
            Gauge(lambda: [((name,), 1.0) for name in failing()], "task"),
        ),
        (
            "paiid_leases_held",
            "Jobs that this replica does for all.",
            Gauge(lambda: [((name,), 1.0) for name in leases.held()], "lease"),
        ),
        (
            "paiid_bus_up",
            "Whether the replicas hear each other; absent where there is no bus.",
            Gauge(lambda: float(bus.up) if bus.shared else None),
        ),
        *(
            (f"paiid_bus_messages_{what}_total", words, Gauge(lambda what=what: _of(bus, what)))  # type: ignore[misc]
            for what, words in (
                ("sent", "Messages that the bus has taken."),
                ("heard", "Messages of other replicas."),
                ("dropped", "Messages that could not be sent, or of which it is not known."),
                ("refused", "Messages heard that are too long, or not in our form."),
            )
        ),
    ]


def shared_figures(shared: Shared) -> list[Figure]:
    """Throttles and the cache. Of what needs Redis there is nothing to tell without it."""
    cache = shared.cache
    throttles, caches = [*shared.took, Histogram(), Histogram()][:2]
    return [
        ("paiid_shared_throttle_total", "Throttle decisions, by who made them.", shared.throttle.counts),
        (
            "paiid_shared_cache_total",
            "Look-ups in the cache that replicas share.",
            Tally("outcome") if cache is None else cache.counts,
        ),
        ("paiid_shared_throttle_seconds", "How long Redis took to answer the throttles.", throttles),
        ("paiid_shared_cache_seconds", "How long Redis took to answer the cache.", caches),
    ]


def _of(bus: Bus, what: str) -> float | None:
    found = getattr(bus, what, None)
    return found if isinstance(found, int) else None


def health_figures(full: Callable[[], Mapping[str, Any]], reason: Callable[[], str | None]) -> list[Figure]:
    """The background checks. `full` is the answer of `/ready/full`, `reason` why the process is not ready."""

    def checks(value: Callable[[Mapping[str, Any]], float | None]) -> Pairs:
        for name, check in full()["checks"].items():
            found = value(check)
            if found is not None:
                yield (name,), found

    def up(check: Mapping[str, Any]) -> float | None:
        return None if check["status"] == "unconfigured" else float(check["status"] != "down")

    def seconds(check: Mapping[str, Any]) -> float | None:
        took_ms = check["latency_ms"]
        return None if took_ms is None else took_ms / 1000

    return [
        ("paiid_ready", "Whether requests may be sent here.", Gauge(lambda: float(reason() is None))),
        (
            "paiid_dependency_up",
            "Whether a background check finds its subject up; absent what is not configured.",
            Gauge(lambda: checks(up), "check"),
        ),
        (
            "paiid_dependency_check_seconds",
            "How long the last successful check took.",
            Gauge(lambda: checks(seconds), "check"),
        ),
    ]
