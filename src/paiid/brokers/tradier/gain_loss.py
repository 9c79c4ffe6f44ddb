"""Positions that were closed, as Tradier's nightly books tell them (tradier.md, section 5.6)."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from paiid.brokers import OutcomeUnknown
from paiid.brokers.tradier.order_words import canonical_symbol, told
from paiid.brokers.tradier.refusals import judge_read
from paiid.brokers.tradier.session import Session
from paiid.domain.money import ZERO
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.tradier.lists import as_list
from paiid.wires.tradier.wire import LIST_CAP
from paiid.wires.values import decimal_of, fields_of, money_of, qty_of, text_of

__all__ = ["ClosedPosition", "fetch_gain_loss"]

_PAGE = 100
_MAX_PAGES = 100


@dataclass(frozen=True, slots=True)
class ClosedPosition:
    """One closing. Money in dollars; `qty` is negative where a short was closed; `days_held` None: not told."""

    symbol: str
    qty: Decimal
    cost: Decimal
    proceeds: Decimal
    gain_loss: Decimal
    opened_on: date | None
    closed_on: date | None
    days_held: int | None


async def fetch_gain_loss(
    session: Session, first: date, last: date, deadline: Deadline
) -> list[ClosedPosition]:
    """Positions closed in these days. Raises BrokerError, also where the environment has no such books and where a row
    cannot be read."""
    found: list[ClosedPosition] = []
    before: list[Any] = []
    for page in range(1, _MAX_PAGES + 1):
        answer = await session.send(
            "GET",
            session.path("gainloss"),
            deadline,
            priority=Priority.BACKGROUND,
            query={
                "page": str(page),
                "limit": str(_PAGE),
                "sortBy": "closeDate",
                "sort": "asc",
                "start": first.isoformat(),
                "end": last.isoformat(),
            },
            cap=LIST_CAP,
        )
        data = fields_of(judge_read(answer))
        if "gainloss" not in data:
            raise OutcomeUnknown("the broker answered with no closed positions")
        rows = as_list(data.get("gainloss"), "closed_position")
        if not rows or rows == before:
            return found
        for row in rows:
            one = read_closed(row)
            if one is None:
                raise OutcomeUnknown("the broker tells of a closed position that could not be read")
            found.append(one)
        before = rows
    raise OutcomeUnknown("the broker's closed positions could not be read to their end")


def read_closed(row: object) -> ClosedPosition | None:
    """One row; None where symbol or quantity cannot be read. Raises nothing."""
    data = fields_of(row)
    symbol, qty = canonical_symbol(data.get("symbol")), qty_of(told(data, "quantity"))
    if symbol is None or qty is None:
        return None
    cost, proceeds = (money_of(told(data, name)) or ZERO for name in ("cost", "proceeds"))
    gain = money_of(told(data, "gain_loss"))
    days = decimal_of(told(data, "term"))
    return ClosedPosition(
        symbol=symbol,
        qty=qty,
        cost=cost,
        proceeds=proceeds,
        gain_loss=proceeds - cost if gain is None else gain,
        opened_on=_day_of(data.get("open_date")),
        closed_on=_day_of(data.get("close_date")),
        days_held=None if days is None else int(days),
    )


def _day_of(value: object) -> date | None:
    try:
        return date.fromisoformat((text_of(value) or "")[:10])
    except ValueError:
        return None
