"""The figures of market data, of the streams to clients, and of the pool that prices options."""

from collections.abc import Iterable

from paiid.core.figures import Figure, Gauge
from paiid.feeds import Feed
from paiid.market.board import Board
from paiid.market.tick_filter import REASONS
from paiid.market.upstream import Upstream
from paiid.options.pool import THREADS, PricingPool
from paiid.stream.clients import Clients
from paiid.stream.hub import Hub

__all__ = ["feed_figures", "option_figures", "stream_figures"]

Pairs = Iterable[tuple[tuple[str, ...], float]]
_HEARD = "quotes_heard"
_UP = {"up": 1.0, "degraded": 0.5, "down": 0.0}
_KINDS = ("websocket", "events")


def feed_figures(upstream: Upstream, feed: Feed, board: Board) -> list[Figure]:
    """How market data come to this replica."""

    def filtered() -> Pairs:
        counts = upstream.counts
        return [((reason,), counts.get(reason, 0)) for reason in REASONS]

    def else_happened() -> Pairs:
        known = {_HEARD, *REASONS}
        return [((what,), count) for what, count in upstream.counts.items() if what not in known]

    return [
        (
            "paiid_feed_up",
            "1 by the upstream, 0.5 where this replica asks by itself, 0 where nothing new comes.",
            Gauge(lambda: [((upstream.state.source,), _UP[upstream.state.status])], "source"),
        ),
        (
            "paiid_feed_leads",
            "Whether this replica listens for all.",
            Gauge(lambda: float(upstream.state.leads)),
        ),
        (
            "paiid_feed_heard_age_seconds",
            "Since the source, or the replica that listens for all, was last heard.",
            Gauge(lambda: upstream.heard_ago_s),
        ),
        (
            "paiid_quotes_heard_total",
            "Quotes that the source has told.",
            Gauge(lambda: upstream.counts.get(_HEARD, 0)),
        ),
        ("paiid_quotes_shown_total", "Quotes that passed the filter here.", Gauge(lambda: board.count)),
        ("paiid_quotes_filtered_total", "Quotes kept away, by reason.", Gauge(filtered, "reason")),
        ("paiid_feed_events_total", "What else happened on the way.", Gauge(else_happened, "what")),
        (
            "paiid_feed_failovers_total",
            "How often another source has taken over.",
            Gauge(lambda: getattr(feed, "switches", 0)),
        ),
    ]


def stream_figures(hub: Hub, clients: Clients) -> list[Figure]:
    """The streams of this replica."""

    def open_now() -> Pairs:
        found = clients.by_kind()
        return [((kind,), found[kind]) for kind in _KINDS]

    figures = hub.figures
    return [
        ("paiid_stream_clients", "Streams that are open.", Gauge(open_now, "transport")),
        ("paiid_stream_opened_total", "Streams that were opened.", figures.opened),
        ("paiid_stream_events_total", "Messages written to clients.", figures.events),
        ("paiid_stream_sent_bytes_total", "Bytes written to clients.", figures.bytes),
        (
            "paiid_stream_merged_total",
            "Values that a client did not get because a newer one took their place.",
            figures.merged,
        ),
        ("paiid_stream_resets_total", "Channels that began anew.", figures.resets),
        (
            "paiid_stream_closed_total",
            "Streams ended from our side, by close code; 4408 is a client that did not read.",
            figures.closed,
        ),
        (
            "paiid_stream_slowest_client_seconds",
            "For how long the client furthest behind has not read.",
            Gauge(hub.slowest_s),
        ),
    ]


def option_figures(pool: PricingPool) -> list[Figure]:
    """The threads that price options."""
    return [
        ("paiid_options_pool_threads", "Threads that price.", Gauge(lambda: THREADS)),
        ("paiid_options_pool_work", "Pieces of work that run or wait.", Gauge(lambda: pool.under_way)),
        ("paiid_options_pool_refused_total", "Pieces of work without a place.", Gauge(lambda: pool.refused)),
    ]
