"""What the stream tells: quotes with numbers, everything else with texts (tradier.md, section 9.4)."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from paiid.domain.instruments import is_option
from paiid.sim.tradier.markets.looks import Look
from paiid.sim.tradier.markets.names import exchange_of, lots, quote_exchange, wire_symbol
from paiid.sim.tradier.shapes import encode, number

__all__ = [
    "EVENTS",
    "MarketSession",
    "Summary",
    "Tick",
    "quote_tick",
    "shares_of_trade",
    "summary_tick",
    "timesale_tick",
    "trade_tick",
]

EVENTS = ("trade", "quote", "summary", "timesale", "tradex")
"""What a filter can name."""
MarketSession = Literal["pre", "normal", "post"]
_SHARES = 100


@dataclass(slots=True, eq=False)
class Tick:
    """One message of the market. `event` is its type, also in a fault's wish; `symbol` is ours, not the one on the wire."""

    event: str
    symbol: str
    body: dict[str, Any]
    _encoded: bytes | None = None

    def encoded(self) -> bytes:
        """Its JSON; made once for all who hear it."""
        if self._encoded is None:
            self._encoded = encode(self.body)
        return self._encoded


@dataclass(frozen=True, slots=True)
class Summary:
    """The day so far, in dollars; what is not known is not told."""

    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    previous: Decimal | None


def shares_of_trade(symbol: str) -> int:
    """How much every trade is said to be about: the market does not tell."""
    return 1 if is_option(symbol) else _SHARES


def quote_tick(look: Look) -> Tick:
    """A side that there is not has a price of 0."""
    quote = look.quote
    body = {
        "type": "quote",
        "symbol": wire_symbol(quote.symbol),
        "bid": number(quote.bid),
        "bidsz": lots(quote.symbol, quote.bid_size) if quote.bid > 0 else 0,
        "bidexch": quote_exchange(quote.symbol, "bid"),
        "biddate": str(look.at_ms),
        "ask": number(quote.ask),
        "asksz": lots(quote.symbol, quote.ask_size) if quote.ask > 0 else 0,
        "askexch": quote_exchange(quote.symbol, "ask"),
        "askdate": str(look.at_ms),
    }
    return Tick("quote", quote.symbol, body)


def trade_tick(look: Look, volume: int, *, extended: bool) -> Tick:
    """A trade at the last price; outside the regular session it is a `tradex`. `volume` is the day's, this trade included."""
    quote, event = look.quote, "tradex" if extended else "trade"
    price = _text(quote.last)
    body = {
        "type": event,
        "symbol": wire_symbol(quote.symbol),
        "exch": exchange_of(quote.symbol),
        "price": price,
        "size": str(shares_of_trade(quote.symbol)),
        "cvol": str(volume),
        "date": str(look.at_ms),
        "last": price,
    }
    return Tick(event, quote.symbol, body)


def timesale_tick(look: Look, seq: int, session: MarketSession) -> Tick:
    """The same trade with the quote around it; `seq` is its number within the symbol."""
    quote = look.quote
    body = {
        "type": "timesale",
        "symbol": wire_symbol(quote.symbol),
        "exch": exchange_of(quote.symbol),
        "bid": _text(quote.bid),
        "ask": _text(quote.ask),
        "last": _text(quote.last),
        "size": str(shares_of_trade(quote.symbol)),
        "date": str(look.at_ms),
        "seq": seq,
        "flag": "",
        "cancel": False,
        "correction": False,
        "session": session,
    }
    return Tick("timesale", quote.symbol, body)


def summary_tick(symbol: str, summary: Summary) -> Tick:
    """The day so far."""
    told = {
        "open": summary.open,
        "high": summary.high,
        "low": summary.low,
        "prevClose": summary.previous,
    }
    known = {name: _text(one) for name, one in told.items() if one is not None}
    return Tick("summary", symbol, {"type": "summary", "symbol": wire_symbol(symbol), **known})


def _text(value: Decimal) -> str:
    return str(number(value))
