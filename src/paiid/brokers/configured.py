"""The brokers that the settings name, for the service and for commands beside it."""

from paiid.brokers import Broker
from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.leases import Leases
from paiid.core.settings import Settings
from paiid.domain.calendar import hours_of
from paiid.wires.configured import tradier_keys
from paiid.wires.governor import Governors


def alpaca_broker(settings: Settings, clock: Clock, governors: Governors) -> Broker | None:
    """Alpaca with the keys that may be used; None without any. Live keys count with LIVE_TRADING only."""
    if not settings.trades_at_alpaca:
        return None
    # Whoever has no keys need not wait for its HTTP and WebSocket clients at the start.
    from paiid.brokers.alpaca import AlpacaBroker
    from paiid.brokers.alpaca.keys import LIVE_API_URL, LIVE_STREAM_URL, AlpacaKeys

    keys: list[AlpacaKeys] = []
    if settings.alpaca_paper_api_key is not None and settings.alpaca_paper_secret_key is not None:
        keys.append(
            AlpacaKeys(
                "paper",
                settings.alpaca_paper_api_key,
                settings.alpaca_paper_secret_key,
                settings.alpaca_api_base_url,
                settings.alpaca_stream_url,
            )
        )
    if settings.trades_live_at_alpaca and settings.alpaca_live_secret_key is not None:
        assert settings.alpaca_live_api_key is not None
        keys.append(
            AlpacaKeys(
                "live",
                settings.alpaca_live_api_key,
                settings.alpaca_live_secret_key,
                LIVE_API_URL,
                LIVE_STREAM_URL,
            )
        )
    return AlpacaBroker(clock, keys, governors=governors)


def tradier_broker(settings: Settings, clock: Clock, governors: Governors) -> Broker | None:
    """Tradier with the token, where orders may go there; None otherwise. A live token counts with LIVE_TRADING only."""
    if not settings.trades_at_tradier:
        return None
    from paiid.brokers.tradier import TradierBroker

    # A Tradier on this machine is a simulated one, and keeps the hours that simulated markets have.
    simulated = settings.tradier_environment == "simulated"
    hours = hours_of(settings.sim_hours if simulated else "exchange")
    return TradierBroker(clock, tradier_keys(settings), governors, hours=hours)


def real_brokers(settings: Settings, clock: Clock, governors: Governors) -> list[Broker]:
    """Those outside this process, which share its budgets of requests with the feeds."""
    made = (alpaca_broker(settings, clock, governors), tradier_broker(settings, clock, governors))
    return [one for one in made if one is not None]


def configured_brokers(settings: Settings, db: Database, clock: Clock) -> dict[str, Broker]:
    """All of them by name, for a command that only asks: the built-in venue matches nothing here.

    Start what is used, and stop it.
    """
    venue = PaperBroker(db, clock, lambda _: None, hours_of(settings.sim_hours), Leases(db, "command"))
    brokers: dict[str, Broker] = {venue.name: venue}
    brokers.update((one.name, one) for one in real_brokers(settings, clock, Governors(clock)))
    return brokers
