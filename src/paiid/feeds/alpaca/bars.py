"""Historical bars of stocks and options."""

from collections.abc import Sequence
from datetime import time, timedelta

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.domain.instruments import is_option
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.snapshots import is_asked_for
from paiid.feeds.alpaca.values import count_of, price_of, rfc3339, size_of, text_of
from paiid.feeds.alpaca.wire import LIST_CAP, Wire
from paiid.wires.values import fields_of, instant_of, rows_of

MOST_BARS = 50_000
_PAGE = 10_000
_MAX_PAGES = 12
_DAYS = (Timeframe.DAY_1, Timeframe.WEEK_1, Timeframe.MONTH_1)
_EARLIEST_US = 946_684_800_000_000
"""2000: before all that Alpaca has, and safe to be written as a date."""
_LATEST_US = 4_102_444_800_000_000


async def fetch_bars(
    wire: Wire, venue: str, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
) -> Sequence[Bar]:
    """The newest `limit` (at most 50,000) bars that begin in [start, end), oldest first. Raises FeedUnavailable."""
    limit = min(limit, MOST_BARS)
    start_us, end_us = max(start_us, _EARLIEST_US), min(end_us, _LATEST_US)
    if limit <= 0 or end_us <= start_us or not is_asked_for(symbol):
        return ()
    options = is_option(symbol)
    query = {
        "symbols": symbol,
        "timeframe": timeframe.value,
        "start": rfc3339(start_us),
        # The end is inclusive at Alpaca.
        "end": rfc3339(end_us - 1),
        # The newest first, so that the first pages are those that are wanted.
        "sort": "desc",
        "limit": str(min(limit, _PAGE)),
    }
    if not options:
        query |= {"adjustment": "raw", "feed": "iex" if venue == "iex" else "sip"}
    found: dict[int, Bar] = {}
    for _ in range(_MAX_PAGES):
        answer = await wire.get(
            "/v1beta1/options/bars" if options else "/v2/stocks/bars", query, cap=LIST_CAP
        )
        if not answer.ok:
            if answer.status == 404 or "invalid symbol" in answer.message.lower():
                return ()
            raise FeedUnavailable(f"Alpaca's market data refused the question for bars ({answer.status})")
        told = fields_of(answer.data)
        if "bars" not in told:
            raise FeedUnavailable("Alpaca's market data answered without bars")
        bars = told["bars"]
        for row in rows_of(bars.get(symbol) if isinstance(bars, dict) else bars):
            bar = _read_bar(row, timeframe)
            if bar is not None and start_us <= bar.start_us < end_us:
                found[bar.start_us] = bar
        token = text_of(told.get("next_page_token"))
        if token is None or len(found) >= limit or query.get("page_token") == token:
            break
        query["page_token"] = token
    return tuple(found[at] for at in sorted(found)[-limit:])


def _read_bar(row: object, timeframe: Timeframe) -> Bar | None:
    told = fields_of(row)
    start_us = instant_of(told.get("t"))
    prices = [price_of(told.get(name)) for name in "ohlc"]
    volume = size_of(told.get("v"))
    if start_us is None or volume is None:
        return None
    opened, high, low, close = prices
    if not opened or not high or not low or not close:
        return None
    if timeframe in _DAYS:
        start_us = _midnight_us(start_us, timeframe)
    return Bar(start_us, opened, high, low, close, volume, price_of(told.get("vw")), count_of(told.get("n")))


def _midnight_us(at_us: int, timeframe: Timeframe) -> int:
    """Midnight Eastern of the first calendar day."""
    day = eastern_date(at_us)
    if timeframe is Timeframe.WEEK_1:
        day -= timedelta(days=day.weekday())
    elif timeframe is Timeframe.MONTH_1:
        day = day.replace(day=1)
    return eastern_us(day, time())
