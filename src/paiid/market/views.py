"""Market data as users read it: plain mappings for the encoder."""

from decimal import Decimal
from typing import Any

from paiid.core.instants import instant
from paiid.domain.calendar import MarketHours, Session
from paiid.domain.money import plain
from paiid.domain.quotes import Quote

_PCT = Decimal("0.0001")


def quote_view(quote: Quote, delayed: bool) -> dict[str, Any]:
    """Prices in dollars, sizes in shares. `change` is the last price against the last close, in dollars, and
    `change_pct` the same in percent; both are null where there is no close to compare with."""
    change = quote.last - quote.prev_close if quote.prev_close > 0 else None
    return {
        "symbol": quote.symbol,
        "bid": plain(quote.bid),
        "ask": plain(quote.ask),
        "bid_size": plain(quote.bid_size),
        "ask_size": plain(quote.ask_size),
        "last": plain(quote.last),
        "prev_close": plain(quote.prev_close) if change is not None else None,
        "change": plain(change) if change is not None else None,
        "change_pct": plain((change / quote.prev_close * 100).quantize(_PCT)) if change is not None else None,
        "source": quote.source,
        "as_of": instant(quote.as_of_us),
        "stale": quote.stale,
        "delayed": delayed,
    }


def clock_view(hours: MarketHours, now_us: int, source: str) -> dict[str, Any]:
    """`next_roll` ends the trading day. A market that never closes has neither `next_open` nor `next_close`."""
    return {
        "time": instant(now_us),
        "is_open": hours.is_open(now_us),
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
