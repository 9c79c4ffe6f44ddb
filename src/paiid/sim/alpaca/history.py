"""What an account was worth in the past (`/v2/account/portfolio/history`): reckoned anew from its executions and
activities, at the prices that are still known."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.core.db import Tx
from paiid.domain.calendar import Session, eastern_date
from paiid.domain.instruments import multiplier_of
from paiid.domain.money import ZERO, round_cents, round_money
from paiid.domain.paper_account import PaperAccount
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.books import mark_of
from paiid.sim.alpaca.errors import invalid, unprocessable
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.queries import PrintFilter, list_activities, list_prints
from paiid.sim.alpaca.values import instant_of, one_of

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_STEPS = {"1Min": _MINUTE_US, "5Min": 5 * _MINUTE_US, "15Min": 15 * _MINUTE_US, "1H": 60 * _MINUTE_US}
_PERIOD = re.compile(r"([1-9][0-9]{0,3})([DWMA])\Z", re.ASCII)
_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}
_LONGEST_DAYS = 3660
_LONGEST_INTRADAY_DAYS = 31
_MOST_POINTS = 12_000


@dataclass(frozen=True, slots=True)
class Event:
    """One change: cash in dollars, and a signed quantity of a symbol at a price (0: none is told)."""

    at_us: int
    symbol: str
    qty: Decimal
    price: Decimal
    cash: Decimal


@dataclass(frozen=True, slots=True)
class Past:
    """Everything that ever changed an account, oldest first."""

    starting_cash: Decimal
    events: tuple[Event, ...]


async def load_past(tx: Tx, account: SimAccount, after_us: int | None = None) -> Past:
    """The past of an account, all of it or what came after an instant."""
    events: list[Event] = []
    for one in await list_prints(tx, account.number, PrintFilter(after_us=after_us, descending=False)):
        done = one.execution
        qty = done.qty if done.side == "buy" else -done.qty
        cash = -round_money(qty * done.price) * multiplier_of(done.symbol) - done.fee
        events.append(Event(done.executed_at_us, done.symbol, qty, done.price, cash))
    for activity in await list_activities(tx, account.number):
        if after_us is not None and activity.at_us <= after_us:
            continue
        events.append(
            Event(
                activity.at_us,
                activity.symbol,
                activity.qty,
                activity.price if activity.qty else ZERO,
                activity.cash,
            )
        )
    events.sort(key=lambda event: event.at_us)
    return Past(account.terms.starting_cash, tuple(events))


class Valuer:
    """Goes through the past once, asked for ever later instants.

    A price is the newest one known then: the account's own last execution, the last close once that is past, and the
    market's present price for the present.
    """

    def __init__(self, exchange: Exchange, past: Past) -> None:
        self._exchange = exchange
        self._events = past.events
        self._times = [event.at_us for event in past.events]
        self._done = 0
        self._cash = past.starting_cash
        self._held: dict[str, Decimal] = {}
        self._prices: dict[str, tuple[int, Decimal]] = {}
        self.now_us = exchange.clock.now_us()
        self._roll_us = exchange.hours.previous_roll_us(self.now_us)
        self._mark = mark_of(exchange)

    def equity(self, at_us: int) -> Decimal:
        """Dollars at this instant; no earlier one may have been asked for later."""
        upto = bisect_right(self._times, at_us)
        for event in self._events[self._done : upto]:
            self._cash += event.cash
            self._held[event.symbol] = self._held.get(event.symbol, ZERO) + event.qty
            if event.price > 0:
                self._prices[event.symbol] = (event.at_us, event.price)
        self._done = max(self._done, upto)
        return self._cash + sum(
            (
                qty * self._price(symbol, qty, at_us) * multiplier_of(symbol)
                for symbol, qty in self._held.items()
                if qty
            ),
            ZERO,
        )

    def _price(self, symbol: str, qty: Decimal, at_us: int) -> Decimal:
        if at_us >= self.now_us:
            mark = self._mark(symbol, qty)
            if mark is not None:
                return mark
        traded_us, price = self._prices.get(symbol, (0, ZERO))
        quote = self._exchange.market.newest(symbol) if at_us >= self._roll_us else None
        if quote is not None and quote.prev_close > 0 and traded_us < self._roll_us:
            return quote.prev_close
        return price


def equity_at_roll(exchange: Exchange, book: PaperAccount, since: Past) -> Decimal:
    """Dollars that the account was worth when the last trading day ended: what came `since` is taken back, and the rest
    valued at that day's close, as far as the market still tells it."""
    cash = book.cash - sum((event.cash for event in since.events), ZERO)
    held = {symbol: one.qty for symbol, one in book.holdings.items()}
    for event in since.events:
        held[event.symbol] = held.get(event.symbol, ZERO) - event.qty
    for symbol, qty in held.items():
        quote = exchange.market.newest(symbol) if qty else None
        if quote is not None:
            cash += qty * quote.prev_close * multiplier_of(symbol)
    return cash


@dataclass(frozen=True, slots=True)
class _Wanted:
    first: date
    last: date
    step_us: int | None
    """None: one point a day."""
    timeframe: str
    per_day: bool
    extended: bool


async def portfolio_history(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/account/portfolio/history`."""
    wanted = _wanted(exchange, request)
    async with exchange.db.read() as tx:
        past = await load_past(tx, account)
    return Answer(_series(exchange, account, past, wanted))


def _wanted(exchange: Exchange, request: Request) -> _Wanted:
    query = request.query_params
    now_us = exchange.clock.now_us()
    end_text = query.get("end") or query.get("date_end")
    last = eastern_date(instant_of(end_text, "end")) if end_text else _present_day(exchange, now_us)
    start, period = query.get("start"), query.get("period")
    if start and period and end_text:
        raise invalid("only two of start, end and period are accepted")
    if start:
        first = eastern_date(instant_of(start, "start"))
        if period and not end_text:
            last = first + timedelta(days=_days(period) - 1)
    else:
        days = _days(period or "1M")
        first = _first_day(exchange, last, days) if (period or "1M").endswith("D") else last - timedelta(days)
    last = min(last, eastern_date(now_us) + timedelta(days=1))
    if first > last:
        raise unprocessable("start must be before end")
    length = (last - first).days + 1
    if length > _LONGEST_DAYS:
        raise unprocessable(f"period must not be over {_LONGEST_DAYS} days")
    default = "1Min" if length < 7 else "15Min" if length < 30 else "1D"
    timeframe = query.get("timeframe") or default
    one_of(timeframe, "timeframe", (*_STEPS, "1D"))
    if timeframe != "1D" and length > _LONGEST_INTRADAY_DAYS:
        raise unprocessable("timeframe must be 1D for a period of more than 30 days")
    reporting = query.get("intraday_reporting") or "market_hours"
    one_of(reporting, "intraday_reporting", ("market_hours", "extended_hours", "continuous"))
    extended = reporting != "market_hours" or query.get("extended_hours") == "true"
    reset = one_of(query.get("pnl_reset") or "per_day", "pnl_reset", ("per_day", "no_reset"))
    return _Wanted(first, last, _STEPS.get(timeframe), timeframe, reset == "per_day", extended)


def _present_day(exchange: Exchange, now_us: int) -> date:
    """The day of the session that is on, which may have begun the evening before; else today."""
    session = exchange.hours.coming_session(now_us)
    return session.day if session.open_us <= now_us else eastern_date(now_us)


def _days(period: str) -> int:
    found = _PERIOD.match(period)
    if found is None or int(found[1]) * _DAYS[found[2]] > _LONGEST_DAYS:
        raise invalid("invalid period")
    return int(found[1]) * _DAYS[found[2]]


def _first_day(exchange: Exchange, last: date, days: int) -> date:
    """The day that begins so many trading days."""
    sessions = exchange.hours.sessions(last - timedelta(days=2 * days + 15), last)
    return sessions[-days].day if len(sessions) >= days else last - timedelta(days=days - 1)


def _series(exchange: Exchange, account: SimAccount, past: Past, wanted: _Wanted) -> dict[str, Any]:
    valuer = Valuer(exchange, past)
    now_us = valuer.now_us
    sessions = [
        one for one in exchange.hours.sessions(wanted.first, wanted.last) if _begin(one, wanted) <= now_us
    ]
    base_us = _begin(sessions[0], wanted) if sessions else now_us
    base = before = valuer.equity(min(base_us, now_us))
    stamps: list[int] = []
    equities: list[Decimal] = []
    profits: list[Decimal] = []
    parts: list[Decimal] = []
    for session in sessions:
        for start_us, end_us in _buckets(session, wanted):
            if start_us > now_us or end_us < account.created_at_us:
                continue
            worth = valuer.equity(min(end_us, now_us))
            reference = before if wanted.per_day else base
            stamps.append(start_us // _SECOND_US)
            equities.append(round_cents(worth))
            profits.append(round_cents(worth - reference))
            parts.append(round_money((worth - reference) / reference) if reference else ZERO)
            if len(stamps) > _MOST_POINTS:
                raise unprocessable("too many points: ask for a shorter period or a longer timeframe")
        if equities:
            before = valuer.equity(min(_end(session, wanted), now_us))
    return {
        "timestamp": stamps,
        "equity": equities,
        "profit_loss": profits,
        "profit_loss_pct": parts,
        "base_value": round_cents(base),
        "base_value_asof": str(eastern_date(exchange.hours.previous_roll_us(base_us))),
        "timeframe": wanted.timeframe,
        "cashflow": {},
    }


def _begin(session: Session, wanted: _Wanted) -> int:
    return session.open_us - (_extra(session)[0] if wanted.extended and wanted.step_us else 0)


def _end(session: Session, wanted: _Wanted) -> int:
    return session.close_us + (_extra(session)[1] if wanted.extended and wanted.step_us else 0)


def _extra(session: Session) -> tuple[int, int]:
    """How long extended hours last before and after a session; a market that never closes has none."""
    hour_us = 60 * _MINUTE_US
    if session.close_us - session.open_us > 12 * hour_us:
        return 0, 0
    return 5 * hour_us + hour_us // 2, 4 * hour_us


def _buckets(session: Session, wanted: _Wanted) -> Iterator[tuple[int, int]]:
    begin_us, end_us = _begin(session, wanted), _end(session, wanted)
    if wanted.step_us is None:
        yield begin_us, end_us
        return
    for start_us in range(begin_us, end_us, wanted.step_us):
        yield start_us, min(start_us + wanted.step_us, end_us)
