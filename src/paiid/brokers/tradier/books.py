"""What an account at Tradier is and holds: the profile, balances, positions (tradier.md, section 5), and the orders that work."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import structlog

from paiid.brokers import BrokerAccount, BrokerOrderView, BrokerPosition, BrokerRejected, OutcomeUnknown
from paiid.brokers.tradier.day_view import DayView
from paiid.brokers.tradier.order_words import canonical_symbol, told
from paiid.brokers.tradier.refusals import judge_read
from paiid.brokers.tradier.session import ProfileAccount, Session
from paiid.core.clock import Clock
from paiid.domain.instruments import multiplier_of
from paiid.domain.money import ZERO
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.tradier.lists import absent, as_list
from paiid.wires.tradier.wire import LIST_CAP
from paiid.wires.values import decimal_of, fields_of, money_of, qty_of, word_of

__all__ = ["Books", "open_orders", "read_account", "read_position"]

_PROFILE_S = 300.0
"""How long the profile is believed: what is in it changes by paperwork."""
_MAX_OPTIONS_LEVEL = 3
_log = structlog.get_logger("paiid.tradier")


class Books:
    """Reads one account. What cannot be read where absence means something raises OutcomeUnknown."""

    def __init__(self, clock: Clock, session: Session) -> None:
        self._clock = clock
        self._session = session
        self._profile: ProfileAccount | None = None
        self._profile_s = 0.0

    async def account(self, deadline: Deadline) -> BrokerAccount:
        """Cash, buying power and terms. Raises BrokerRejected (unknown_account) where the token has no such account, or
        several and none is named; other BrokerErrors."""
        profile = await self._own_profile(deadline)
        answer = await self._session.send(
            "GET", self._session.path("balances"), deadline, priority=Priority.BACKGROUND
        )
        balances = fields_of(judge_read(answer)).get("balances")
        environment = self._session.wire.keys.environment
        account = read_account(balances, profile, live=environment == "live")
        if account is None:
            raise OutcomeUnknown("the broker's answer has no balances that can be read")
        return account

    async def _own_profile(self, deadline: Deadline) -> ProfileAccount:
        now_s = self._clock.monotonic_s()
        if self._profile is not None and now_s - self._profile_s < _PROFILE_S:
            return self._profile
        number = await self._session.learn_number(deadline, priority=Priority.BACKGROUND)
        accounts = await self._session.fetch_profile(deadline, priority=Priority.BACKGROUND)
        found = next((one for one in accounts if one.number == number), None)
        if found is None:
            names = ", ".join(one.number for one in accounts) or "none"
            raise BrokerRejected(
                "unknown_account",
                f"The token of Tradier has no account {number} (it has: {names}): check TRADIER_ACCOUNT_ID.",
            )
        self._profile, self._profile_s = found, now_s
        return found

    async def positions(self, deadline: Deadline) -> list[BrokerPosition]:
        """All holdings other than zero. Raises BrokerError."""
        answer = await self._session.send(
            "GET",
            self._session.path("positions"),
            deadline,
            # A halt that closes everything waits for them.
            priority=Priority.READ,
            cap=LIST_CAP,
        )
        data = fields_of(judge_read(answer))
        rows = data.get("positions")
        if "positions" not in data or not (isinstance(rows, dict) or absent(rows) or rows == []):
            raise OutcomeUnknown("the broker answered with no list of positions")
        found: dict[str, BrokerPosition] = {}
        for row in as_list(rows, "position"):
            position = read_position(row)
            if position is None:
                raise OutcomeUnknown("the broker's list of positions has one that could not be read")
            found[position.symbol] = _joined(found.get(position.symbol), position)
        return [one for one in found.values() if one.qty != ZERO]


def open_orders(look: DayView) -> list[BrokerOrderView]:
    """All that still work, the oldest first: each order, then what hangs on it as an order of its own. Raises OutcomeUnknown
    where one could not be read."""
    look.require_whole()
    # In which order Tradier lists them is told nowhere.
    oldest_first = sorted(look.views, key=lambda one: one.submitted_at_us)
    members = [one for view in oldest_first for one in (view, *view.legs)]
    return [one for one in members if one.status not in TERMINAL_STATUSES]


def read_account(balances: object, profile: ProfileAccount, *, live: bool) -> BrokerAccount | None:
    """An account; None where its cash cannot be read. Raises nothing."""
    data = fields_of(balances)
    cash = money_of(told(data, "total_cash"))
    if cash is None:
        _log.error("tradier_account_unusable", account=profile.number)
        return None
    account_type = word_of(data.get("account_type")) or profile.type
    # Only the part that is named after the type is told.
    part = fields_of(data.get(account_type))
    level = decimal_of(profile.option_level) or ZERO
    return BrokerAccount(
        number=profile.number,
        cash=cash,
        status="blocked" if profile.status == "closed" else "active",
        margin=account_type in ("margin", "pdt"),
        options_level=max(0, min(_MAX_OPTIONS_LEVEL, int(level))),
        mode="live" if live else "paper",
        equity=money_of(told(data, "total_equity")),
        buying_power=_buying_power_of(part),
    )


def _buying_power_of(part: Mapping[str, Any]) -> Decimal | None:
    return money_of(told(part, "stock_buying_power", "cash_available"))


def read_position(row: object) -> BrokerPosition | None:
    """A holding; None where symbol or quantity cannot be read. Its cost is told as a whole, with the contract's size in it,
    and for a short with a sign that is not confirmed (section 5.3)."""
    data = fields_of(row)
    symbol, qty = canonical_symbol(data.get("symbol")), qty_of(told(data, "quantity"))
    if symbol is None or qty is None:
        return None
    cost = money_of(told(data, "cost_basis"))
    if cost is None:
        _log.error("tradier_position_without_cost", symbol=symbol)
    size = abs(qty) * multiplier_of(symbol)
    return BrokerPosition(symbol, qty, _price(cost or ZERO, size))


def _joined(known: BrokerPosition | None, more: BrokerPosition) -> BrokerPosition:
    """Should a holding come in several rows, they are one."""
    if known is None:
        return more
    qty = known.qty + more.qty
    value = known.qty * known.avg_entry_price + more.qty * more.avg_entry_price
    return replace(more, qty=qty, avg_entry_price=_price(value, qty))


def _price(value: Decimal, size: Decimal) -> Decimal:
    return (money_of(abs(value / size)) if size else None) or ZERO
