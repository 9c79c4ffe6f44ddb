"""What Alpaca says of the market itself: assets, option contracts, its clock and its calendar (sections 12, 13)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from urllib.parse import quote

from paiid.brokers import BrokerRejected, OutcomeUnknown
from paiid.brokers.alpaca.sessions import Session
from paiid.brokers.alpaca.wire import LIST_CAP
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.values import (
    fields_of,
    flag_of,
    instant_of,
    money_of,
    qty_of,
    rows_of,
    text_of,
    word_of,
)

CONTRACT_PAGE = 1000
_MAX_PAGES = 100
_TIME = re.compile(r"(\d\d):?(\d\d)\Z", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asset:
    """What may be done with a symbol. Flags that are not told are no."""

    symbol: str
    name: str
    asset_class: str
    active: bool
    tradable: bool
    shortable: bool
    fractionable: bool
    easy_to_borrow: bool
    attributes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ListedContract:
    """An option contract as Alpaca lists it; `strike` in dollars."""

    symbol: str
    underlying: str
    option_type: str
    strike: Decimal
    expiration: date
    tradable: bool
    multiplier: Decimal
    open_interest: Decimal | None
    close_price: Decimal | None


@dataclass(frozen=True, slots=True)
class MarketClock:
    """Alpaca's own time and whether the regular session is open now; instants in microseconds."""

    at_us: int
    is_open: bool
    next_open_us: int | None
    next_close_us: int | None


@dataclass(frozen=True, slots=True)
class TradingDay:
    """A day with a session; minutes after midnight in New York."""

    day: date
    open_minute: int
    close_minute: int


async def fetch_asset(session: Session, symbol: str, deadline: Deadline) -> Asset | None:
    """`GET /v2/assets/{symbol}`; None: there is none. Raises BrokerError."""
    try:
        path = f"/v2/assets/{quote(symbol, safe='')}"
        reply = await session.wire.send("GET", path, deadline, priority=Priority.BACKGROUND)
    except BrokerRejected as refused:
        if refused.code in ("not_found", "unknown_symbol"):
            return None
        raise
    told = fields_of(reply.data)
    name = text_of(told.get("symbol"))
    if name is None:
        raise OutcomeUnknown("the broker's answer has no asset that can be read")
    return Asset(
        symbol=name.upper(),
        name=text_of(told.get("name")) or name,
        # The key is `class`, not `asset_class` as in orders.
        asset_class=word_of(told.get("class")) or word_of(told.get("asset_class")),
        active=word_of(told.get("status")) == "active",
        tradable=flag_of(told.get("tradable")) or False,
        shortable=flag_of(told.get("shortable")) or False,
        fractionable=flag_of(told.get("fractionable")) or False,
        easy_to_borrow=word_of(told.get("borrow_status")) == "easy_to_borrow"
        or flag_of(told.get("easy_to_borrow"))
        or False,
        attributes=frozenset(word for one in rows_of(told.get("attributes")) if (word := word_of(one))),
    )


async def fetch_option_contracts(
    session: Session, underlying: str, first: date, last: date, deadline: Deadline
) -> Sequence[ListedContract]:
    """The active contracts on a ticker that expire in these days, all pages. The bounds are always sent: without them
    Alpaca lists this week only. Raises BrokerError."""
    query = {
        "underlying_symbols": underlying,
        "status": "active",
        "expiration_date_gte": first.isoformat(),
        "expiration_date_lte": last.isoformat(),
        "limit": str(CONTRACT_PAGE),
    }
    found: dict[str, ListedContract] = {}
    for _ in range(_MAX_PAGES):
        reply = await session.wire.send(
            "GET", "/v2/options/contracts", deadline, query=query, cap=LIST_CAP, priority=Priority.BACKGROUND
        )
        told = fields_of(reply.data)
        if not isinstance(told.get("option_contracts"), list):
            raise OutcomeUnknown("the broker's answer has no list of contracts")
        for row in rows_of(told.get("option_contracts")):
            contract = _contract(row)
            if contract is not None:
                found[contract.symbol] = contract
        token = text_of(told.get("next_page_token"))
        if token is None:
            return tuple(found.values())
        if query.get("page_token") == token:
            break
        query["page_token"] = token
    raise OutcomeUnknown("the broker's list of contracts could not be read to its end")


def _contract(row: object) -> ListedContract | None:
    told = fields_of(row)
    symbol, strike = text_of(told.get("symbol")), money_of(told.get("strike_price"))
    expiration = _date_of(told.get("expiration_date"))
    if symbol is None or strike is None or expiration is None:
        return None
    return ListedContract(
        symbol=symbol.upper(),
        underlying=(text_of(told.get("underlying_symbol")) or text_of(told.get("root_symbol")) or "").upper(),
        option_type=word_of(told.get("type")),
        strike=strike,
        expiration=expiration,
        tradable=flag_of(told.get("tradable")) or False,
        multiplier=qty_of(told.get("multiplier")) or Decimal(100),
        open_interest=qty_of(told.get("open_interest")),
        close_price=money_of(told.get("close_price")),
    )


async def fetch_clock(session: Session, deadline: Deadline) -> MarketClock:
    """`GET /v2/clock`. Raises BrokerError."""
    reply = await session.wire.send("GET", "/v2/clock", deadline, priority=Priority.BACKGROUND)
    told = fields_of(reply.data)
    at_us, is_open = instant_of(told.get("timestamp")), flag_of(told.get("is_open"))
    if at_us is None or is_open is None:
        raise OutcomeUnknown("the broker's clock could not be read")
    return MarketClock(at_us, is_open, instant_of(told.get("next_open")), instant_of(told.get("next_close")))


async def fetch_calendar(
    session: Session, first: date, last: date, deadline: Deadline
) -> Sequence[TradingDay]:
    """`GET /v2/calendar`: the trading days among these. A day that cannot be read raises OutcomeUnknown, for a day that
    is missing is a holiday."""
    query = {"start": first.isoformat(), "end": last.isoformat()}
    reply = await session.wire.send(
        "GET", "/v2/calendar", deadline, query=query, cap=LIST_CAP, priority=Priority.BACKGROUND
    )
    if not isinstance(reply.data, list):
        raise OutcomeUnknown("the broker answered with no list")
    return tuple(_trading_day(row) for row in reply.data)


def _trading_day(row: object) -> TradingDay:
    told = fields_of(row)
    day = _date_of(told.get("date"))
    opens, closes = _minute_of(told.get("open")), _minute_of(told.get("close"))
    if day is None or opens is None or closes is None:
        raise OutcomeUnknown("a day of the broker's calendar could not be read")
    return TradingDay(day, opens, closes)


def _minute_of(value: object) -> int | None:
    """Two forms are in use: 09:30 and 0930."""
    found = _TIME.match(text_of(value) or "")
    return None if found is None else int(found[1]) * 60 + int(found[2])


def _date_of(value: object) -> date | None:
    words = text_of(value) or ""
    try:
        return date.fromisoformat(words) if _DATE.match(words) else None
    except ValueError:
        return None
