"""The source of market data that the settings name, and the hours of its market."""

from collections.abc import Sequence

from paiid.core.clock import Clock
from paiid.core.settings import Settings
from paiid.core.variables import on_loopback
from paiid.domain.calendar import MarketHours, hours_of
from paiid.feeds import Feed
from paiid.wires.configured import tradier_keys
from paiid.wires.governor import Governors

_LIVE_URL = "https://api.alpaca.markets"


def configured_feed(settings: Settings, clock: Clock, governors: Governors) -> tuple[Feed, MarketHours]:
    """Not started yet. A real provider is never replaced by an invented market. Raises ReplayError for a recording that cannot be read."""
    # Whoever does not use a source need not wait for what it imports.
    if settings.market_data == "replay":
        from paiid.feeds.replay import ReplayFeed

        assert settings.replay_file is not None, "the settings have seen to it"
        replay = ReplayFeed(clock, settings.replay_file, settings.replay_speed)
        return replay, replay.hours
    if settings.market_data in settings.providers:
        make = {"alpaca": _alpaca, "tradier": _tradier}
        feeds = [make[name](settings, clock, governors) for name in settings.providers]
        first = (
            settings.alpaca_data_url if settings.market_data == "alpaca" else settings.tradier_api_base_url
        )
        return _first_of(clock, feeds), _hours_at(first, settings)
    from paiid.feeds.simulated import SimulatedFeed

    hours = hours_of(settings.sim_hours)
    return SimulatedFeed(clock, hours, settings.sim_seed), hours


def hours_beside(feed: Feed, settings: Settings) -> MarketHours:
    """The hours of the market of a feed that somebody else has made: a recording brings its own."""
    own: MarketHours | None = getattr(feed, "hours", None)
    return own or hours_of(settings.sim_hours)


def _first_of(clock: Clock, real: Sequence[Feed]) -> Feed:
    """Real providers in the order in which they are preferred; the next takes over where one is down."""
    from paiid.feeds.failover import FailoverFeed

    return real[0] if len(real) == 1 else FailoverFeed(clock, real)


def _hours_at(url: str, settings: Settings) -> MarketHours:
    """A provider on this machine is a simulated one, and keeps the hours that simulated markets have."""
    return hours_of(settings.sim_hours if on_loopback(url) else "exchange")


def _tradier(settings: Settings, clock: Clock, governors: Governors) -> Feed:
    from paiid.feeds.tradier import TradierFeed

    return TradierFeed(
        clock, tradier_keys(settings), governors, hours=_hours_at(settings.tradier_api_base_url, settings)
    )


def _alpaca(settings: Settings, clock: Clock, governors: Governors) -> Feed:
    from paiid.feeds.alpaca import AlpacaFeed
    from paiid.feeds.alpaca.keys import AlpacaDataKeys

    if settings.alpaca_paper_api_key is not None:
        key, secret, trading = (
            settings.alpaca_paper_api_key,
            settings.alpaca_paper_secret_key,
            settings.alpaca_api_base_url,
        )
    else:
        key, secret, trading = (
            settings.alpaca_live_api_key or "",
            settings.alpaca_live_secret_key,
            _LIVE_URL,
        )
    keys = AlpacaDataKeys(
        key,
        secret or "",
        data_url=settings.alpaca_data_url,
        stream_url=settings.alpaca_data_stream_url,
        trading_url=trading,
        venue=settings.alpaca_data_venue,
    )
    return AlpacaFeed(clock, keys, governors=governors)
