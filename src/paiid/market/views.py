"""Market data as users read it: plain mappings for the encoder."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from paiid.core.instants import instant
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import MarketHours, Session
from paiid.domain.instruments import Instrument
from paiid.domain.money import plain
from paiid.domain.quotes import Quote

_PCT = Decimal("0.0001")
_TENTH = Decimal("0.1")


def quote_view(quote: Quote, delayed: bool, age_s: float | None = None) -> dict[str, Any]:
    """Prices in dollars a share, sizes in shares or contracts. `last` and `prev_close` are null where the source tells none;
    `change` is the one against the other, in dollars, and `change_pct` the same in percent, both null without either.

    `age_s`: how long ago a quote that comes from a cache was asked for, in seconds. `recorded_at` is there for a recording only.
    """
    last = quote.last if quote.last > 0 else None
    close = quote.prev_close if quote.prev_close > 0 else None
    change = last - close if last is not None and close is not None else None
    view: dict[str, Any] = {
        "symbol": quote.symbol,
        "bid": plain(quote.bid),
        "ask": plain(quote.ask),
        "bid_size": plain(quote.bid_size),
        "ask_size": plain(quote.ask_size),
        "last": None if last is None else plain(last),
        "prev_close": None if close is None else plain(close),
        "change": None if change is None else plain(change),
        "change_pct": None
        if change is None or close is None
        else plain((change / close * 100).quantize(_PCT)),
        "source": quote.source,
        "as_of": instant(quote.as_of_us),
        "stale": quote.stale,
        "delayed": delayed,
    }
    if quote.recorded_at_us is not None:
        view["recorded_at"] = instant(quote.recorded_at_us)
    if age_s is not None:
        view["cached"] = True
        view["age_s"] = plain(Decimal(max(age_s, 0)).quantize(_TENTH))
    return view


def bars_view(
    symbol: str,
    timeframe: Timeframe,
    bars: Sequence[Bar],
    source: str,
    as_of_us: int,
    *,
    stale: bool,
    cached: bool,
) -> dict[str, Any]:
    """Prices in dollars a share, volume in shares or contracts; `stale` and `cached` are there only where they are true."""
    view: dict[str, Any] = {
        "symbol": symbol,
        "timeframe": timeframe.value,
        "bars": [
            {
                "t": instant(bar.start_us),
                "open": plain(bar.open),
                "high": plain(bar.high),
                "low": plain(bar.low),
                "close": plain(bar.close),
                "volume": plain(bar.volume),
                "vwap": None if bar.vwap is None else plain(bar.vwap),
                "trades": bar.trades,
            }
            for bar in bars
        ],
        "source": source,
        "as_of": instant(as_of_us),
    }
    if stale:
        view["stale"] = True
    if cached:
        view["cached"] = True
    return view


def instrument_view(instrument: Instrument, source: str, *, cached: bool) -> dict[str, Any]:
    """What a search found."""
    view: dict[str, Any] = {
        "symbol": instrument.symbol,
        "name": instrument.name,
        "asset_class": instrument.asset_class,
        "tradable": instrument.tradable,
        "source": source,
    }
    if cached:
        view["cached"] = True
    return view


def clock_view(hours: MarketHours, now_us: int, source: str) -> dict[str, Any]:
    """`next_roll` ends the trading day. A market that never closes has neither `next_open` nor `next_close`.
    `is_extended` is true in the regular session as well."""
    return {
        "time": instant(now_us),
        "is_open": hours.is_open(now_us),
        "is_extended": hours.is_extended(now_us),
        "trading_day": hours.trading_day(now_us).isoformat(),
        "next_open": None if hours.never_closes else instant(hours.next_open_us(now_us)),
        "next_close": None if hours.never_closes else instant(hours.next_roll_us(now_us)),
        "next_roll": instant(hours.next_roll_us(now_us)),
        "source": source,
    }


def session_view(session: Session, source: str) -> dict[str, Any]:
    """One trading day; `certain` is false where the holidays are not known yet."""
    return {
        "date": session.day.isoformat(),
        "open": instant(session.open_us),
        "close": instant(session.close_us),
        "early_close": session.early,
        "certain": session.certain,
        "source": source,
    }
