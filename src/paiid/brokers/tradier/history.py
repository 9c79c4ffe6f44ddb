"""What changed an account and was no order, from Tradier's history (tradier.md, section 5.5): data of the nightly clearing file,
without ids and times, and not told in the sandbox."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from typing import Any

import structlog

from paiid.brokers import ActivityKind, BrokerActivity, BrokerError, BrokerRejected, OutcomeUnknown
from paiid.brokers.tradier.order_words import canonical_symbol, told
from paiid.brokers.tradier.refusals import judge_read
from paiid.brokers.tradier.session import Session
from paiid.core.clock import Clock
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.domain.money import ZERO
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.tradier.lists import absent, as_list
from paiid.wires.tradier.wire import LIST_CAP
from paiid.wires.values import (
    decimal_of,
    fields_of,
    message_of,
    money_of,
    plain_digits,
    qty_of,
    text_of,
    word_of,
)

__all__ = ["History", "read_events"]

_EVERY_S = 900.0
"""The data come once a night."""
_FURTHEST = timedelta(days=730)
"""How far back is asked: for how long history is kept is told nowhere, and a question too far may be refused."""
_PAGE = 100
_MAX_PAGES = 200
_AFTER_THE_DAY = time(20, 0)
_KINDS: Mapping[str, ActivityKind] = {
    "dividend": "dividend",
    "fee": "fee",
    "tax": "fee",
    "interest": "interest",
    "ach": "transfer",
    "wire": "transfer",
    "check": "transfer",
    "transfer": "transfer",
    "journal": "journal",
}
_OPTION_CODES: tuple[tuple[str, str, ActivityKind], ...] = (
    ("exp", "expir", "expiration"),
    ("as", "assign", "assignment"),
    ("ex", "exerc", "exercise"),
)
"""What the event code of an option begins with, behind `OPT` or `OP`, and what the words have in them where it is none. Which
codes there are is not confirmed (section 5.5)."""
_UNRELATED = frozenset({"rate_limited", "invalid_credentials"})
_log = structlog.get_logger("paiid.tradier")


class History:
    """Activities of one account, asked for at most every quarter of an hour."""

    def __init__(self, clock: Clock, session: Session) -> None:
        self._clock = clock
        self._session = session
        self._known: tuple[BrokerActivity, ...] = ()
        self._first: date | None = None
        self._asked_s = 0.0

    async def fetch(self, after_us: int, deadline: Deadline) -> list[BrokerActivity]:
        """Since an instant, oldest first; none where the account has no history to ask for.

        Raises BrokerError only while nothing has been read yet: later, what is not told now comes with the next night.
        """
        if self._session.wire.keys.environment == "sandbox":
            return []
        today = eastern_date(self._clock.now_us())
        first = max(eastern_date(max(0, after_us)) - timedelta(days=1), today - _FURTHEST)
        now_s = self._clock.monotonic_s()
        covered = self._first is not None and self._first <= first
        if not covered or now_s - self._asked_s >= _EVERY_S:
            try:
                rows = await self._rows(first, deadline)
                self._known, self._first = tuple(read_events(rows, self._session.number or "")), first
            except BrokerRejected as refusal:
                if refusal.code in _UNRELATED and not covered:
                    raise
                _log.info("tradier_no_history", reason=str(refusal))
                self._first = self._first if covered else first
            except BrokerError as problem:
                if not covered:
                    raise
                _log.warning("tradier_history_not_read", reason=str(problem))
            self._asked_s = now_s
        return [one for one in self._known if one.at_us >= after_us]

    async def _rows(self, first: date, deadline: Deadline) -> list[Any]:
        rows: list[Any] = []
        before: list[Any] = []
        for page in range(1, _MAX_PAGES + 1):
            found = await self._page(first, page, deadline)
            if not found or found == before:
                return rows
            rows += found
            before = found
        raise OutcomeUnknown("the broker's history could not be read to its end")

    async def _page(self, first: date, page: int, deadline: Deadline) -> list[Any]:
        answer = await self._session.send(
            "GET",
            self._session.path("history"),
            deadline,
            priority=Priority.BACKGROUND,
            query={"page": str(page), "limit": str(_PAGE), "start": first.isoformat()},
            cap=LIST_CAP,
        )
        data = fields_of(judge_read(answer))
        if "history" not in data:
            raise OutcomeUnknown("the broker answered with no history")
        return as_list(data.get("history"), "event")


def read_events(rows: Sequence[Any], account_number: str) -> list[BrokerActivity]:
    """Rows that are no trades, oldest first. `rows` hold whole days: equal rows of a day are told apart by their number in it.
    Raises nothing; a row without a date is logged and left out."""
    seen: Counter[str] = Counter()
    found: list[BrokerActivity] = []
    for row in rows:
        data = fields_of(row)
        kind_word = word_of(data.get("type"))
        if kind_word == "trade":
            continue
        day = _day_of(data)
        if day is None:
            _log.error("tradier_activity_unusable", account=account_number, activity_type=kind_word)
            continue
        likeness = _likeness(data, day)
        seen[likeness] += 1
        found.append(_activity(data, kind_word, day, f"{likeness}-{seen[likeness]}", account_number))
    return sorted(found, key=lambda one: (one.at_us, one.activity_id))


def _activity(
    data: Mapping[str, Any], kind_word: str, day: date, activity_id: str, account_number: str
) -> BrokerActivity:
    detail = _detail_of(data, kind_word)
    kind = _kind_of(kind_word, detail)
    symbol = canonical_symbol(detail.get("symbol")) or ""
    # Only an option's own event moves what is held; without its symbol the comparison of positions tells.
    moved = qty_of(told(detail, "quantity")) if kind_word == "option" and symbol else None
    return BrokerActivity(
        account_number=account_number,
        activity_id=activity_id,
        kind=kind,
        symbol=symbol,
        qty=moved or ZERO,
        price=ZERO,
        cash=money_of(told(data, "amount")) or ZERO,
        at_us=eastern_us(day, _AFTER_THE_DAY),
        description=message_of(told(detail, "description")) or kind_word or "unknown",
    )


def _detail_of(data: Mapping[str, Any], kind_word: str) -> Mapping[str, Any]:
    """It stands under the name of the type, or under `adjustment`."""
    return fields_of(data.get(kind_word)) or fields_of(data.get("adjustment"))


def _kind_of(kind_word: str, detail: Mapping[str, Any]) -> ActivityKind:
    if kind_word == "option":
        code = word_of(detail.get("option_type")).removeprefix("opt").removeprefix("op")
        words = message_of(detail.get("description")).lower()
        for begins, stem, kind in _OPTION_CODES:
            if code.startswith(begins) or (code in ("call", "put", "") and stem in words):
                return kind
        return "other"
    kind_found = _KINDS.get(kind_word)
    if kind_found is None and kind_word != "adjustment":
        _log.warning("unknown_activity_type", activity_type=kind_word)
    return kind_found or "other"


def _day_of(data: Mapping[str, Any]) -> date | None:
    try:
        return date.fromisoformat((text_of(data.get("date")) or "")[:10])
    except ValueError:
        return None


def _likeness(data: Mapping[str, Any], day: date) -> str:
    """What a row says, whatever form its numbers and its date have."""
    content = json.dumps([day.isoformat(), _plain({**data, "date": None})], sort_keys=True)
    return f"{day.isoformat()}-{hashlib.sha256(content.encode()).hexdigest()[:32]}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items() if not absent(inner)}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    number = decimal_of(value)
    return str(value) if number is None else plain_digits(number)
