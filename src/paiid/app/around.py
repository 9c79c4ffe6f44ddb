"""What stands around trading, wired: telemetry of user interfaces, GitHub monitoring, the AI services."""

from collections.abc import Awaitable, Callable
from typing import Any

from paiid.ai.model import load_sdk
from paiid.ai.reader import Services
from paiid.ai.service import AiService
from paiid.app.wired import Wired
from paiid.core.aside import Aside
from paiid.core.log import Redactor
from paiid.core.settings import Settings, known_secrets
from paiid.monitor.service import MonitorService
from paiid.monitor.views import MonitorViews
from paiid.system.telemetry import TelemetryService


async def load_ahead(settings: Settings) -> None:
    """Import what is heavy and will be wanted, while nothing trades yet that the import could hold up."""
    if settings.asks_anthropic:
        await load_sdk()


class Around:
    """Nothing of it is needed to trade."""

    def __init__(self, wired: Wired) -> None:
        self._wired = wired

    async def start(self, run: Callable[[Any], Awaitable[None]], state: Any) -> None:
        """Make the services, put them on the state for their routes, begin their background work."""
        if state.reports is not None:
            state.figures.append(
                ("paiid_error_reports_total", "Errors reported, by result.", state.reports.counts)
            )
        if state.spans is not None:
            state.figures.append(("paiid_spans_total", "Spans of traces, by result.", state.spans))
        w = self._wired
        aside = Aside(w.db)
        state.telemetry = TelemetryService(
            w.db, w.clock, w.leases, aside, w.shared.throttle, Redactor(known_secrets(w.settings))
        )
        state.monitor = MonitorService(
            w.db, w.clock, w.leases, aside, w.shared.throttle, w.settings.github_webhook_secret
        )
        state.monitor_views = MonitorViews(w.db, aside)
        state.figures += [
            (
                "paiid_telemetry_events_total",
                "Events of user interfaces, by what became of them.",
                state.telemetry.figures,
            ),
            (
                "paiid_webhook_deliveries_total",
                "Deliveries of GitHub's webhook, by what became of them.",
                state.monitor.figures,
            ),
        ]
        services = Services(w.portfolio, w.ledger, w.accounts, w.market, w.options, w.halts)
        state.ai = AiService(w.db, w.clock, w.settings, w.shared.throttle, services)
        state.figures += state.ai.figures.exposed()
        await run(state.ai)
        await run(state.telemetry.pruning)
        await run(state.monitor.pruning)
