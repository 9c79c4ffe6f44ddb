"""What changes an account without an order, as Alpaca names it (section 11), in our words."""

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from paiid.brokers import ActivityKind, BrokerActivity
from paiid.domain.money import ZERO
from paiid.wires.values import fields_of, instant_of, message_of, money_of, qty_of, text_of, word_of

_log = structlog.get_logger("paiid.alpaca")
_KINDS: dict[str, ActivityKind] = {
    "OPASN": "assignment",
    "OPEXP": "expiration",
    "OPEXC": "exercise",
    "OPCSH": "expiration",
    "FEE": "fee",
    "CFEE": "fee",
    "INT": "interest",
    "JNLC": "journal",
    "CSD": "transfer",
    "CSW": "transfer",
    "SSO": "split",
    "SSP": "split",
    "SPLIT": "split",
}
_MOVES = frozenset({"OPASN", "OPEXP", "OPEXC", "OPCSH", "OPTRD", "SSO", "SSP", "SPLIT"})
"""Those whose `qty` is what was added to the position; a dividend's is what it was paid for."""
_NEW_YORK = ZoneInfo("America/New_York")
_BEFORE_THE_DAY = time(0, 0)
_AFTER_THE_DAY = time(20, 0)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_FILL = "FILL"


def read_activity(data: object, account_number: str, fallback_us: int) -> BrokerActivity | None:
    """One row that is no fill; None for fills, for what was taken back, and for what has no id.

    Raises nothing. A type we do not know is `other`: its cash counts, and whether it moved shares the comparison of
    positions tells.
    """
    told = fields_of(data)
    name = (text_of(told.get("activity_type")) or "").upper()
    activity_id = text_of(told.get("id"))
    if name == _FILL:
        return None
    if activity_id is None:
        _log.error("alpaca_activity_unusable", account=account_number, activity_type=name)
        return None
    if word_of(told.get("status")) in ("canceled", "cancelled"):
        # It may or may not have been told as executed before: positions and cash are compared, a person decides.
        _log.error("alpaca_activity_canceled", account=account_number, activity=activity_id)
        return None
    kind = _kind_of(name, told)
    moved = qty_of(told.get("qty")) if name in _MOVES else None
    price = _price_of(name, kind, told)
    return BrokerActivity(
        account_number=account_number,
        activity_id=activity_id,
        kind=kind,
        symbol=(text_of(told.get("symbol")) or "").upper(),
        qty=moved or ZERO,
        price=price,
        cash=_cash_of(name, told, moved or ZERO, price),
        at_us=_at_us(told, kind, fallback_us),
        description=message_of(told.get("description")) or name,
    )


def _kind_of(name: str, told: Mapping[str, Any]) -> ActivityKind:
    if name == "OPTRD":
        # The shares of an exercise or of an assignment: only the words tell which.
        return "assignment" if "assign" in message_of(told.get("description")).lower() else "exercise"
    if name.startswith("DIV"):
        return "dividend"
    kind = _KINDS.get(name)
    if kind is None:
        _log.warning("unknown_activity_type", activity_type=name)
    return kind or "other"


def _price_of(name: str, kind: ActivityKind, told: Mapping[str, Any]) -> Decimal:
    """Dollars a share: of the shares of an exercise or assignment the strike, of a dividend what was paid on one."""
    source = "price" if name == "OPTRD" else "per_share_amount" if kind == "dividend" else None
    return abs((None if source is None else money_of(told.get(source))) or ZERO)


def _cash_of(name: str, told: Mapping[str, Any], moved: Decimal, price: Decimal) -> Decimal:
    told_cash = money_of(told.get("net_amount"))
    if told_cash is None:
        return money_of(-moved * price) or ZERO if name == "OPTRD" else ZERO
    return told_cash


def _at_us(told: Mapping[str, Any], kind: ActivityKind, fallback_us: int) -> int:
    """The instant, where one is told. A bare date counts from the side of the day on which it works: a split is there
    before the first print of its day, an expiry comes after the last."""
    for name in ("transaction_time", "created_at"):
        at = instant_of(told.get(name))
        if at is not None and kind != "split":
            return at
    found = _DATE.match(text_of(told.get("date")) or "")
    if found is None:
        return instant_of(told.get("transaction_time")) or fallback_us
    try:
        day = date(int(found[1]), int(found[2]), int(found[3]))
        at_time = _BEFORE_THE_DAY if kind == "split" else _AFTER_THE_DAY
        return int(datetime.combine(day, at_time, _NEW_YORK).timestamp()) * 1_000_000
    except (ValueError, OverflowError):
        return fallback_us
