"""The ledger beside the broker's own books: what differs, told so that a person can check it and a program compare it.

Everything here is arithmetic over two looks that `reconcile.py` has taken; nothing is fetched and nothing is changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from paiid.brokers import BrokerAccount, BrokerOrderView, BrokerPosition, Capabilities
from paiid.domain.money import CENT, ZERO, money_from_int, plain, qty_from_int
from paiid.domain.orders import TERMINAL_STATUSES, Submission
from paiid.trading.counters import is_spread
from paiid.trading.in_place import own_view, passed_to
from paiid.trading.prints_of_views import believable
from paiid.trading.records import AccountRow, OrderRow

DifferenceKind = Literal["position", "cash", "order", "fills"]
NOTHING_THERE = "none"
ALARM_PREFIXES = ("order.", "execution.", "restored.")
"""How a problem begins that an alarm, or a restore, has left: books that agree do not clear it."""

_YOUNG_US = 5_000_000
"""An order that changed this recently may be missing from a list that was made before."""
_TOLD_FIRST = 3
_LONGEST = 300
_RESOLVERS = frozenset({Submission.QUEUED, Submission.DISPATCHING, Submission.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which the two books differ: `subject` is a symbol, an order's id, or empty for cash.

    `ours` and `broker` are what each says, for people; `gap` is broker's minus ours, None where it is no number.
    """

    kind: DifferenceKind
    subject: str
    ours: str
    broker: str
    gap: Decimal | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Equal in two looks: the same difference, though trading goes on and both numbers have moved."""
        if self.gap is None:
            return (self.kind, self.subject, self.ours, self.broker)
        return (self.kind, self.subject, str(plain(self.gap)))

    def __str__(self) -> str:
        about = f"{self.kind} {self.subject}".strip()
        return f"{about}: ours {self.ours}, broker {self.broker}"

    def evidence(self) -> dict[str, Any]:
        """The difference as an audit row keeps it."""
        gap = None if self.gap is None else str(plain(self.gap))
        return {
            "kind": self.kind,
            "subject": self.subject,
            "ours": self.ours,
            "broker": self.broker,
            "gap": gap,
        }


@dataclass(frozen=True, slots=True)
class Ledger:
    """Our side, read in one transaction. `orders` are those open here and those the broker's list may mean; `booked`
    is what has been booked of an order before busts, in shares, where that is more than what it has now.
    `prints_since` counts the prints booked since the books last agreed, where cash has a gap to explain. `seq` is the account's event counter."""

    account: AccountRow
    positions: Mapping[str, Decimal]
    orders: tuple[OrderRow, ...]
    booked: Mapping[str, Decimal]
    prints_since: int
    now_us: int
    untold_fees: Decimal = ZERO
    """Dollars that fees can have taken since then, at a broker that does not tell them."""

    @property
    def seq(self) -> int:
        return self.account.event_seq

    def booked_of(self, order: OrderRow) -> Decimal:
        """Shares of an order that prints account for."""
        return max(qty_from_int(order.filled_qty), self.booked.get(order.id, ZERO))


@dataclass(frozen=True, slots=True)
class BrokersBooks:
    """The broker's side. `views` are its open orders by its ids, with those that hang on them; `looked_up` is what a
    look-up told of orders that are open here and were not in that list, by our ids: None, there is no such order."""

    account: BrokerAccount
    positions: Mapping[str, BrokerPosition]
    views: Mapping[str, BrokerOrderView]
    looked_up: Mapping[str, BrokerOrderView | None]

    def as_booked(self, orders: Sequence[OrderRow], can: Capabilities) -> "BrokersBooks":
        """The same with each order's view as the merge would take it: what it tells of orders that were changed where they
        stand is their own part, and what is told without its price is not told yet."""
        rows = {one.id: one for one in orders}
        named = {one.broker_order_id: one for one in orders}

        def own(view: BrokerOrderView | None) -> BrokerOrderView | None:
            row = None if view is None else named.get(view.broker_order_id)
            view = None if view is None else believable(view, can)
            return view if view is None or row is None else own_view(rows, row, view)

        views = {key: one for key, view in self.views.items() if (one := own(view)) is not None}
        return replace(self, views=views, looked_up={key: own(view) for key, view in self.looked_up.items()})

    def view_of(self, order: OrderRow) -> BrokerOrderView | None:
        """What it tells of an order of ours, None where it tells nothing."""
        return self.views.get(order.broker_order_id or "") or self.looked_up.get(order.id)

    def held(self, symbol: str) -> Decimal:
        """Shares or contracts, signed."""
        found = self.positions.get(symbol)
        return ZERO if found is None else found.qty

    def standing_still(self, other: "BrokersBooks") -> bool:
        """Whether two reads of it show the same: positions, cash, and how far each order is."""
        return (
            self.account.cash == other.account.cash
            and {s: p.qty for s, p in self.positions.items()}
            == {s: p.qty for s, p in other.positions.items()}
            and self._far() == other._far()
        )

    def _far(self) -> dict[str, tuple[object, ...] | None]:
        every: dict[str, BrokerOrderView | None] = {**self.views, **self.looked_up}
        return {key: None if view is None else (view.status, view.filled_qty) for key, view in every.items()}


@dataclass(frozen=True, slots=True)
class Look:
    """Both sides at about one moment. `exact`: the broker keeps cash to the millionth, as the built-in venue does."""

    ours: Ledger
    theirs: BrokersBooks
    exact: bool

    @property
    def cash_gap(self) -> Decimal:
        """Broker's cash minus ours."""
        return self.theirs.account.cash - money_from_int(self.ours.account.cash)

    @property
    def rounding(self) -> Decimal:
        """The part of the cash gap that rounding to the cent explains, at most a cent a print since the last agreement,
        or, of a lack, fees that nobody told; else 0."""
        most = ZERO if self.exact else CENT * self.ours.prints_since
        return self.cash_gap if abs(self.cash_gap) <= most or self.is_fee else ZERO

    @property
    def is_fee(self) -> bool:
        """Whether more is lacking than rounding explains, and no more than fees do."""
        most = ZERO if self.exact else CENT * self.ours.prints_since
        return most < -self.cash_gap <= self.ours.untold_fees

    def differences(self) -> tuple[Difference, ...]:
        """Everything in which they differ; positions and cash before orders."""
        return (
            *_positions(self.ours, self.theirs),
            *_cash(self),
            *_ours_at_broker(self.ours, self.theirs),
            *_theirs_in_ledger(self.ours, self.theirs),
        )


def _positions(ours: Ledger, theirs: BrokersBooks) -> Iterator[Difference]:
    for symbol in sorted(ours.positions.keys() | theirs.positions.keys()):
        mine, held = ours.positions.get(symbol, ZERO), theirs.held(symbol)
        if mine != held:
            yield Difference("position", symbol, str(plain(mine)), str(plain(held)), held - mine)


def _cash(look: Look) -> Iterator[Difference]:
    if look.cash_gap != look.rounding:
        mine = plain(money_from_int(look.ours.account.cash))
        yield Difference("cash", "", str(mine), str(plain(look.theirs.account.cash)), look.cash_gap)


def _ours_at_broker(ours: Ledger, theirs: BrokersBooks) -> Iterator[Difference]:
    """Orders that work here: are they there, and has everything been booked that has filled there?"""
    for order in ours.orders:
        if not order.open or order.state is not Submission.ACCEPTED:
            # What is on its way or in doubt belongs to the resolver.
            continue
        view = theirs.view_of(order)
        if view is None and order.id in theirs.looked_up and order.updated_at < ours.now_us - _YOUNG_US:
            yield Difference("order", order.id, _status(order), NOTHING_THERE)
        short = None if is_spread(order) else _fills(order, view, ours)
        if short is not None:
            yield short
        elif view is not None and view.status in TERMINAL_STATUSES and _prints_are_in(order, view, ours):
            yield Difference("order", order.id, _status(order), view.status.value)


def told_qty(order: OrderRow, view: BrokerOrderView | None) -> Decimal:
    """What the broker has told as filled of an order, in shares."""
    told = qty_from_int(order.broker_filled_qty)
    return told if view is None else max(told, view.filled_qty)


def _fills(order: OrderRow, view: BrokerOrderView | None, ours: Ledger) -> Difference | None:
    booked, told = ours.booked_of(order), told_qty(order, view)
    if told <= booked or _with_predecessors(order, ours) >= told:
        return None
    return Difference("fills", order.id, str(plain(booked)), str(plain(told)), told - booked)


def _with_predecessors(order: OrderRow, ours: Ledger) -> Decimal:
    """Own prints and those of the order it took the place of, which its told quantity may include."""
    old = next((one for one in ours.orders if one.id == order.replaces), None)
    counted = old is not None and not passed_to(old, order)
    return ours.booked_of(order) + (ours.booked_of(old) if old is not None and counted else ZERO)


def _prints_are_in(order: OrderRow, view: BrokerOrderView, ours: Ledger) -> bool:
    # A spread has no prints of its own; its end is told by itself.
    return is_spread(order) or view.filled_qty <= _with_predecessors(order, ours)


def _theirs_in_ledger(ours: Ledger, theirs: BrokersBooks) -> Iterator[Difference]:
    """Orders that work there: are they here, and do they work here?"""
    by_broker_id = {one.broker_order_id: one for one in ours.orders if one.broker_order_id is not None}
    by_client_id = {one.client_order_id: one for one in ours.orders}
    for broker_order_id, view in theirs.views.items():
        if view.status in TERMINAL_STATUSES:
            continue
        order = by_broker_id.get(broker_order_id) or by_client_id.get(view.client_order_id or "")
        parent = by_broker_id.get(view.parent_broker_order_id or "")
        if order is None:
            if parent is None or parent.state is Submission.ACCEPTED:
                yield Difference("order", broker_order_id, NOTHING_THERE, view.status.value)
        elif order.state not in _RESOLVERS and not order.open:
            yield Difference("order", order.id, _status(order), view.status.value)


def _status(order: OrderRow) -> str:
    return order.state.value if order.status is None else order.status.value


def seen_twice(first: Sequence[Difference], second: Sequence[Difference]) -> tuple[Difference, ...]:
    """Those of the second look that the first has shown, too: a print on its way between two books is none."""
    before = {one.key for one in first}
    return tuple(one for one in second if one.key in before)


def problem_text(found: Sequence[Difference]) -> str | None:
    """The first few differences for people, at most 300 characters; None for none."""
    if not found:
        return None
    words = "; ".join(str(one) for one in found[:_TOLD_FIRST])
    more = len(found) - _TOLD_FIRST
    tail = f"; and {more} more" if more > 0 else ""
    return words[: _LONGEST - len(tail)] + tail


def is_alarm(problem: str | None) -> bool:
    """Whether an alarm has left it, and not a comparison."""
    return problem is not None and problem.startswith(ALARM_PREFIXES)
