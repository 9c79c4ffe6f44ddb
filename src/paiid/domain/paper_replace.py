"""What an order of the paper venue may become when it is replaced: which fields may change, and how."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from paiid.domain.orders import Leg, OrderClass, OrderRequest, OrderStatus, TimeInForce
from paiid.domain.paper import SHARE, PaperRefused, Working

_DAYS = ("day", "gtc")


class Wanted(Protocol):
    """What is to change, None what stays; `brokers.BrokerReplace` is one. `qty` is the new total, what has filled of
    the order included."""

    @property
    def qty(self) -> Decimal | None: ...
    @property
    def limit_price(self) -> Decimal | None: ...
    @property
    def stop_price(self) -> Decimal | None: ...
    @property
    def trail_price(self) -> Decimal | None: ...
    @property
    def trail_percent(self) -> Decimal | None: ...
    @property
    def time_in_force(self) -> TimeInForce | None: ...


def check_replaceable(
    working: Working, status: OrderStatus, order_class: OrderClass, *, is_leg: bool
) -> None:
    """Whether the order can be replaced at all. Raises PaperRefused `not_replaceable`."""
    words = None
    if status in (
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.EXPIRED,
        OrderStatus.REPLACED,
        OrderStatus.REJECTED,
    ):
        words = f"The order is already in {status.value} state."
    elif working.notional is not None:
        words = "An order by notional cannot be replaced: cancel it and send another."
    elif order_class == "oto":
        words = "Orders of the class oto cannot be replaced: cancel and send another."
    elif is_leg:
        words = "A leg goes with its spread: replace that."
    elif working.triggered and working.type != "stop_limit":
        words = "The stop has been triggered: it is a market order now."
    if words is not None:
        raise PaperRefused("not_replaceable", words)


def replaced(working: Working, wanted: Wanted, *, grouped: bool) -> OrderRequest:
    """The order that takes this one's place, with what is left to do of it. Raises PaperRefused: `nothing_to_change`,
    `invalid_qty`, `invalid_price`, `not_replaceable` (a time in force that cannot change)."""
    trails = working.type == "trailing_stop"
    for name, given, has in (
        ("limit_price", wanted.limit_price, working.limit_price is not None),
        ("stop_price", wanted.stop_price, working.stop_price is not None and not trails),
        ("trail_price", wanted.trail_price, trails),
        ("trail_percent", wanted.trail_percent, trails),
    ):
        if given is not None and not has:
            raise PaperRefused("invalid_price", f"A {working.type} order has no {name} to replace.")
    if wanted.trail_price is not None and wanted.trail_percent is not None:
        raise PaperRefused("invalid_price", "A trailing stop has one of trail_price and trail_percent.")
    if wanted.stop_price is not None and working.triggered:
        raise PaperRefused("not_replaceable", "stop_price: the stop has been triggered.")
    if not _anything(working, wanted):
        raise PaperRefused("nothing_to_change", "The order is like that already.")
    _check_time(working, wanted, grouped=grouped)
    trail_price, trail_percent = working.trail_price, working.trail_percent
    if wanted.trail_price is not None or wanted.trail_percent is not None:
        trail_price, trail_percent = wanted.trail_price, wanted.trail_percent
    return OrderRequest(
        symbol=working.symbol,
        side=working.side,
        type=working.type,
        time_in_force=wanted.time_in_force or working.time_in_force,
        qty=_qty_left(working, wanted.qty),
        limit_price=working.limit_price if wanted.limit_price is None else wanted.limit_price,
        stop_price=None if trails else wanted.stop_price or working.stop_price,
        trail_price=trail_price,
        trail_percent=trail_percent,
        extended_hours=working.extended_hours,
    )


def _anything(working: Working, wanted: Wanted) -> bool:
    return any(
        given is not None and given != there
        for given, there in (
            (wanted.qty, working.qty),
            (wanted.limit_price, working.limit_price),
            (wanted.stop_price, working.stop_price),
            (wanted.trail_price, working.trail_price),
            (wanted.trail_percent, working.trail_percent),
            (wanted.time_in_force, working.time_in_force),
        )
    )


def _check_time(working: Working, wanted: Wanted, *, grouped: bool) -> None:
    time = wanted.time_in_force
    if time is None or time == working.time_in_force:
        return
    if grouped:
        raise PaperRefused("not_replaceable", "time_in_force: orders that hang together keep theirs.")
    if time not in _DAYS or working.time_in_force not in _DAYS:
        raise PaperRefused(
            "not_replaceable",
            f"time_in_force: day and gtc can change, not {working.time_in_force} to {time}.",
        )


def _qty_left(working: Working, total: Decimal | None) -> Decimal:
    """What is left of the new total. Raises PaperRefused."""
    if total is None or total == working.qty:
        return working.left
    if working.unit != SHARE or not total.is_finite() or total != total.to_integral_value():
        raise PaperRefused("invalid_qty", "qty: fractions cannot be replaced; the new total is whole shares.")
    if total <= working.filled_qty:
        raise PaperRefused(
            "invalid_qty",
            f"qty: the new total, {total}, must be more than what has filled, {working.filled_qty}.",
        )
    return total - working.filled_qty


def keeps_peak(old: Working, new: Working) -> Working:
    """A trailing stop goes on from the best price that it has seen, unless its trail has changed."""
    if old.type != "trailing_stop":
        return new
    if (old.trail_price, old.trail_percent) != (new.trail_price, new.trail_percent):
        return new
    return replace(new, hwm=old.hwm, stop_price=old.stop_price)


def spread_request(working: Working, legs: Sequence[Leg], wanted: Wanted) -> OrderRequest:
    """The spread that takes this one's place: `limit_price` and `qty` may change. Raises PaperRefused."""
    for name, given in (
        ("stop_price", wanted.stop_price),
        ("trail_price", wanted.trail_price),
        ("trail_percent", wanted.trail_percent),
    ):
        if given is not None:
            raise PaperRefused("invalid_price", f"A spread has no {name} to replace.")
    return replace(replaced(working, wanted, grouped=True), order_class="mleg", legs=tuple(legs))
