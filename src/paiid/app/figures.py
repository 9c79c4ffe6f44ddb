"""Which figures a process tells Prometheus: one line for each part that has some."""

from collections.abc import Callable, Mapping

from paiid.app.wired import Wired
from paiid.core.figures import Figure
from paiid.core.loop_lag import LoopLag
from paiid.stream.clients import Clients
from paiid.system.health import Health
from paiid.system.ledger_watch import LedgerWatch
from paiid.system.market_figures import feed_figures, option_figures, stream_figures
from paiid.system.process_figures import (
    database_figures,
    health_figures,
    http_figures,
    process_figures,
    shared_figures,
)
from paiid.system.trading_figures import broker_figures, halt_figures, ledger_figures, order_figures

__all__ = ["figures_of"]


def figures_of(
    w: Wired,
    health: Health,
    clients: Clients,
    lag: LoopLag,
    watch: LedgerWatch,
    failing: Callable[[], Mapping[str, str]],
) -> list[Figure]:
    """All that the service has by itself; whatever stands around it appends its own."""
    return [
        *health_figures(health.full, lambda: health.reason),
        *http_figures(w.accounting, w.auth),
        *order_figures(w.desk.stages),
        *ledger_figures(watch),
        *halt_figures(w.halts),
        *broker_figures(w.governors, w.brokers),
        *feed_figures(w.upstream, w.feed, w.market.board),
        *stream_figures(w.streams.hub, clients),
        *option_figures(w.pool),
        *database_figures(w.db),
        *process_figures(w.settings, w.db, w.bus, w.leases, lag, failing),
        *shared_figures(w.shared),
    ]
