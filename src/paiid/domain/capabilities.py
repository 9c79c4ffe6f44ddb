"""What a broker can hold itself: one table, which the refusals of contract E19 and `GET /api/accounts/{id}` both read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from paiid.domain.instruments import is_option
from paiid.domain.orders import OrderRequest, Reason

Kind = Literal["stock", "stock_fractional", "stock_notional", "option", "option_spread"]
"""What is ordered: whole shares, a fraction, an amount of dollars, contracts, a spread of 2 to 4 legs."""


@dataclass(frozen=True, slots=True)
class Holds:
    """One row of the table: any combination of what it lists can be held."""

    kind: Kind
    order_classes: frozenset[str]
    order_types: frozenset[str]
    times_in_force: frozenset[str]
    extended_hours: bool = False
    """Whether these orders may also trade before the opening and after the close."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A broker's table, and what is true of all its orders.

    `replaceable` are the kinds and classes whose orders it can replace. `notes` say of a value that is missing why
    it is (such as "opg"), where there is more to say than that it is missing.
    """

    rows: tuple[Holds, ...]
    short_selling: bool
    own_stop: bool
    """It has an account setting that suspends trading, for the level `broker_fenced` of K4."""
    lists_end_with_day: bool
    """Its order list forgets yesterday, so absence proves something on the same ET day only (E12)."""
    replaceable: frozenset[str] = frozenset()
    """Order classes of which an order can be replaced; empty: none."""
    notes: Mapping[str, str] = field(default_factory=dict)
    trailing_exits: bool = True
    """The stop loss of a bracket or oto may be a trailing stop."""
    cancels_all: bool = False
    """It can be asked in one request to cancel everything that is open in an account."""
    tells_prints: bool = True
    """It tells each print of an order. Where it does not, the ledger books what a view's cumulative quantity and average price
    say beyond what is booked (`trading/prints_of_views`)."""
    tells_fees: bool = True
    """It tells what it has charged for an order. Where it does not, a lack of cash that fees can explain is booked as such
    (`trading/untold_fees`)."""
    needs_intent: bool = False
    """Every order, for stocks too, must say whether it opens or closes; an order that would turn a position round is two."""
    replaces_in_place: bool = False
    """A change keeps the broker's id and our first client id: the order with the new terms is the old one at the broker."""
    replaces_qty: bool = True
    """A replace may change the quantity."""

    @property
    def asset_classes(self) -> frozenset[str]:
        """`stock`, `option`."""
        return frozenset(row.kind.partition("_")[0] for row in self.rows)

    @property
    def order_types(self) -> frozenset[str]:
        """Every type that some order can have."""
        return frozenset().union(*(row.order_types for row in self.rows))

    @property
    def order_classes(self) -> frozenset[str]:
        """Every class that some order can have."""
        return frozenset().union(*(row.order_classes for row in self.rows))

    @property
    def times_in_force(self) -> frozenset[str]:
        """Every time in force that some order can have."""
        return frozenset().union(*(row.times_in_force for row in self.rows))

    @property
    def fractional(self) -> bool:
        """Whether a part of a share can be ordered."""
        return any(row.kind == "stock_fractional" for row in self.rows)


def kind_of(order: OrderRequest) -> Kind:
    """Which kind of thing is ordered."""
    if order.order_class == "mleg":
        return "option_spread"
    if is_option(order.symbol):
        return "option"
    if order.notional is not None:
        return "stock_notional"
    whole = order.qty is None or order.qty == order.qty.to_integral_value()
    return "stock" if whole else "stock_fractional"


_KIND_REASONS: dict[Kind, tuple[str, str, str]] = {
    "stock": ("asset_class_not_supported", "asset_class", "This broker does not trade stocks here."),
    "stock_fractional": ("fractional_not_supported", "qty", "This broker holds whole shares only."),
    "stock_notional": ("notional_not_supported", "notional", "This broker takes no orders by amount; send qty."),
    "option": ("asset_class_not_supported", "asset_class", "This broker does not trade options here."),
    "option_spread": ("order_class_not_supported", "order_class", "This broker does not take spreads."),
}  # fmt: skip


def cannot_hold(order: OrderRequest, can: Capabilities) -> Reason | None:
    """The first thing about the order that this broker cannot hold, None where it can hold it whole (E19)."""
    kind = kind_of(order)
    rows = [row for row in can.rows if row.kind == kind]
    if not rows:
        code, name, words = _KIND_REASONS[kind]
        measured = order.qty if name == "qty" else order.notional if name == "notional" else kind
        return Reason(code, words, measured, "1" if name == "qty" else None, name)
    for name, value in (
        ("order_class", order.order_class),
        ("type", order.type),
        ("time_in_force", order.time_in_force),
    ):
        column = {"order_class": "order_classes", "type": "order_types"}.get(name, "times_in_force")
        fitting = [row for row in rows if value in getattr(row, column)]
        if not fitting:
            able: frozenset[str] = frozenset().union(*(getattr(row, column) for row in rows))
            return _missing(name, value, able, can.notes.get(value))
        rows = fitting
    if order.stop_loss is not None and order.stop_loss.type == "trailing_stop" and not can.trailing_exits:
        return Reason(
            "trailing_stop_loss_not_supported",
            can.notes.get("trailing_stop") or "This broker takes no stop loss that trails.",
            "trailing_stop",
            "stop, stop_limit",
            "stop_loss",
        )
    if order.extended_hours and not any(row.extended_hours for row in rows):
        return Reason(
            "extended_hours_not_supported",
            can.notes.get("extended_hours")
            or "This broker cannot hold such an order outside the regular session.",
            "true",
            "false",
            "extended_hours",
        )
    return None


def _missing(name: str, value: str, able: frozenset[str], note: str | None) -> Reason:
    return Reason(
        f"{name}_not_supported",
        note or f"This broker cannot hold {value} orders of this kind itself, and we never imitate them.",
        value,
        ", ".join(sorted(able)),
        name,
    )
