"""The figures of trading: the order path, what is in doubt, halts, and the brokers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from paiid.brokers import Broker
from paiid.core.figures import Figure, Gauge
from paiid.domain.halts import Mode
from paiid.system.figures_store import UNSETTLED, LedgerFigures
from paiid.system.ledger_watch import LedgerWatch
from paiid.system.probes import StreamState
from paiid.trading.halt import HaltService
from paiid.trading.stages import Stages
from paiid.wires.governor import Governor, Governors

__all__ = ["broker_figures", "halt_figures", "ledger_figures", "order_figures"]

Pairs = Iterable[tuple[tuple[str, ...], float]]
_SCOPES = ("global", "account", "user", "symbol")
_MODES = (Mode.REDUCE_ONLY.value, Mode.HALTED.value)


def order_figures(stages: Stages) -> list[Figure]:
    """The order path."""
    return [
        ("paiid_order_stage_seconds", "How long each stage of an order took.", stages.seconds),
        ("paiid_order_intents_total", "Calls that make orders, by how they ended.", stages.intents),
        ("paiid_order_outcomes_total", "Orders sent, by what the broker said.", stages.orders),
        ("paiid_order_lookups_total", "Look-ups of orders in doubt.", stages.lookups),
        ("paiid_order_settled_total", "What look-ups have made of orders in doubt.", stages.settled),
        ("paiid_order_cancels_total", "Cancels put to brokers.", stages.cancels),
        ("paiid_order_alarms_total", "What a person has to look at.", stages.alarms),
    ]


def halt_figures(halts: HaltService) -> list[Figure]:
    """Halts that this process armed, and its latch."""
    figures = halts.figures
    return [
        (
            "paiid_halt_arm_seconds",
            "From the wish to halt to effective (committed) and to drained (nothing left on the wire).",
            figures.seconds,
        ),
        ("paiid_halt_changes_total", "Halts armed, resumed, refused and latched.", figures.changes),
        (
            "paiid_halt_latched",
            "Whether this process is halted by its latch file.",
            Gauge(lambda: float(halts.latched)),
        ),
    ]


def ledger_figures(watch: LedgerWatch) -> list[Figure]:
    """What a look at the ledger every few seconds finds; the same on every replica."""

    def of(read: Callable[[LedgerFigures], float | Pairs]) -> Callable[[], float | Pairs | None]:
        return lambda: None if watch.figures is None else read(watch.figures)

    def unsettled(at: int) -> Callable[[LedgerFigures], Pairs]:
        return lambda found: [((state,), found.unsettled.get(state, (0, 0.0))[at]) for state in UNSETTLED]

    def halted(found: LedgerFigures) -> Pairs:
        return [((kind, mode), found.halts.get((kind, mode), 0)) for kind in _SCOPES for mode in _MODES]

    return [
        (
            "paiid_orders_unsettled",
            "Orders that are QUEUED, DISPATCHING or UNKNOWN.",
            Gauge(of(unsettled(0)), "state"),
        ),
        (
            "paiid_orders_unsettled_oldest_seconds",
            "The age of the oldest of them; 0 where there is none.",
            Gauge(of(unsettled(1)), "state"),
        ),
        ("paiid_halts_active", "Halts in force.", Gauge(of(halted), "scope", "mode")),
        (
            "paiid_halt_epoch",
            "The number of the newest change of a halt.",
            Gauge(of(lambda one: one.halt_epoch)),
        ),
        (
            "paiid_accounts",
            "Accounts by how their books compare with the broker's.",
            Gauge(of(lambda one: one.books.items()), "broker", "books"),
        ),
        ("paiid_replicas", "Replicas that were seen lately.", Gauge(of(lambda one: one.replicas))),
        ("paiid_builds", "Different builds among them.", Gauge(of(lambda one: one.builds))),
        (
            "paiid_clock_skew_worst_seconds",
            "The worst difference between a replica's clock and the database's.",
            Gauge(of(lambda one: one.worst_skew_s)),
        ),
        (
            "paiid_restores_pending",
            "Accounts that wait for their orders since a backup.",
            Gauge(of(lambda one: one.restores_pending)),
        ),
        ("paiid_ledger_look_age_seconds", "Since the ledger was last looked at.", Gauge(lambda: watch.age_s)),
        ("paiid_disk_free_bytes", "Free where the data lie.", Gauge(lambda: watch.disk_free)),
    ]


def broker_figures(governors: Governors, brokers: Mapping[str, Broker]) -> list[Figure]:
    """What was asked of brokers and sources of market data. A budget goes by the name of its bucket, never by its
    credential."""

    def each(read: Callable[[Governor], float]) -> Callable[[], Pairs]:
        return lambda: [((one.name,), read(one)) for one in governors.all()]

    def counts(what: str) -> Callable[[], Pairs]:
        return lambda: [
            ((one.name, priority.name.lower()), getattr(found, what))
            for one in governors.all()
            for priority, found in one.counts.items()
        ]

    def connected() -> Iterator[tuple[tuple[str, ...], float]]:
        for name, broker in brokers.items():
            states: Sequence[StreamState] = getattr(broker, "stream_state", ())
            if states:
                yield (name,), float(sum(state.connected for state in states))

    by_priority = ("budget", "priority")
    return [
        (
            "paiid_broker_budget_left",
            "Requests that may still be made now by the most urgent.",
            Gauge(each(lambda one: one.left), "budget"),
        ),
        ("paiid_broker_budget_limit", "Requests a minute.", Gauge(each(lambda one: one.limit), "budget")),
        (
            "paiid_broker_budget_waiting",
            "Requests that wait for a place.",
            Gauge(each(lambda one: one.waiting), "budget"),
        ),
        (
            "paiid_broker_requests_admitted_total",
            "Requests that got a place.",
            Gauge(counts("admitted"), *by_priority),
        ),
        (
            "paiid_broker_requests_refused_total",
            "Requests that got none in time.",
            Gauge(counts("refused"), *by_priority),
        ),
        (
            "paiid_broker_requests_waited_seconds_total",
            "Time that those admitted have waited.",
            Gauge(counts("waited_s"), *by_priority),
        ),
        ("paiid_broker_exchanges_total", "Exchanges by what came of them.", governors.exchanges.outcomes),
        ("paiid_broker_exchange_seconds", "How long exchanges took.", governors.exchanges.seconds),
        (
            "paiid_broker_streams_connected",
            "Update streams that are connected, on the replica that reads them.",
            Gauge(connected, "broker"),
        ),
    ]
