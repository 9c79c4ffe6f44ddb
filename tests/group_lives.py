"""Six-event lives of orders that hang together, as a broker tells them, and the rows a claim leaves for each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import insert

from paiid.brokers import BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.clock import SystemClock, new_id
from paiid.core.db import Database, statement
from paiid.core.tables import accounts
from paiid.domain.orders import Leg, OrderRequest, OrderStatus, ReplaceState, StopLoss, Submission, TakeProfit
from paiid.trading.book import Book
from paiid.trading.merge import accept
from paiid.trading.order_rows import blank_order, child_client_id, child_fields, money_or_none, parent_fields
from paiid.trading.records import OrderRow
from tests.ledger_world import START_US, account_row

NEW, PART, FILLED = OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED
CANCELED, HELD, REPLACED = OrderStatus.CANCELED, OrderStatus.HELD, OrderStatus.REPLACED
LOWER, HIGHER = "AAPL271217C00100000", "AAPL271217C00105000"
_ACCOUNTS = statement(insert(accounts))
D = Decimal


@dataclass(frozen=True)
class GroupLife:
    """What was asked, the first thing the broker says of it (the answer to the order), and six events.

    `told` are (view, print) in the order in which they happen; `outcome` is what must be true in the end, by symbol
    and client order id, reckoned by hand. `number` is the account's, the same for every life.
    """

    request: OrderRequest
    answer: BrokerOrderView
    told: tuple[tuple[BrokerOrderView, BrokerExecution | None], ...]
    orders: dict[str, tuple[str, str]]
    positions: dict[str, str]
    cash: str
    replaced_with: OrderRequest | None = None

    def update(self, account: str, at: int) -> BrokerUpdate:
        """One event, for one account; client ids name the account, so that they are its own."""
        view, execution = self.told[at]
        return BrokerUpdate(
            at + 1,
            _of(view, account),
            None if execution is None else replace(execution, account_number=account),
        )

    def numbers(self) -> list[int]:
        """The events by their place; one that is told twice has the same number twice."""
        return [self.told.index(one) for one in self.told]


def _of(view: BrokerOrderView, account: str) -> BrokerOrderView:
    return replace(
        view,
        account_number=account,
        client_order_id=f"{account}:{view.client_order_id}",
        legs=tuple(_of(leg, account) for leg in view.legs),
    )


def _view(name: str, side: str, qty: str, status: OrderStatus, filled: str, at: int, **more: Any) -> Any:
    fields: dict[str, Any] = {
        "account_number": "",
        "broker_order_id": f"b-{name}",
        "client_order_id": name,
        "symbol": "AAPL",
        "side": side,
        "qty": D(qty),
        "type": "limit",
        "time_in_force": "gtc",
        "limit_price": None,
        "stop_price": None,
        "status": status,
        "filled_qty": D(filled),
        "filled_avg_price": None,
        "submitted_at_us": START_US,
        "updated_at_us": START_US + at,
    }
    return BrokerOrderView(**(fields | more))


def _print(view: BrokerOrderView, name: str, qty: str, price: str, at: int) -> BrokerExecution:
    return BrokerExecution(
        "", name, view.broker_order_id, view.symbol, view.side, D(qty), D(price), D("0.01"), START_US + at
    )


def _request(side: str, qty: str, **more: Any) -> OrderRequest:
    fields: dict[str, Any] = {
        "symbol": "AAPL",
        "side": side,
        "type": "limit",
        "time_in_force": "gtc",
        "qty": D(qty),
        "limit_price": None,
        "stop_price": None,
    }
    return OrderRequest(**(fields | more))


def _bracket_views() -> tuple[OrderRequest, Callable[..., BrokerOrderView]]:
    request = _request(
        "buy", "10", limit_price=D(100), order_class="bracket",
        take_profit=TakeProfit(D(110)), stop_loss=StopLoss(D(95)),
    )  # fmt: skip

    def one(role: str, status: OrderStatus, filled: str, at: int, qty: str = "10") -> BrokerOrderView:
        """One of the three; the entry comes with its exits as they were then."""
        group: dict[str, Any] = {"order_class": "bracket", "group_role": role}
        if role == "entry":
            exits = HELD if status is NEW else NEW
            legs = (one("take_profit", exits, "0", at), one("stop_loss", exits, "0", at))
            return _view("a", "buy", qty, status, filled, at, limit_price=D(100), legs=legs, **group)
        group |= {"parent_broker_order_id": "b-a"}
        if role == "take_profit":
            return _view("a.tp", "sell", qty, status, filled, at, limit_price=D(110), **group)
        return _view("a.sl", "sell", qty, status, filled, at, type="stop", stop_price=D(95), **group)

    return request, one


def bracket() -> GroupLife:
    """The entry fills, the take profit fills in two parts, and the stop loss shrinks and is canceled."""
    request, one = _bracket_views()
    entry = one("entry", FILLED, "10", 2)
    part, rest = one("take_profit", PART, "4", 3), one("take_profit", FILLED, "10", 5)
    told = (
        (one("entry", NEW, "0", 1), None),
        (entry, _print(entry, "p-1", "10", "99.5", 2)),
        (part, _print(part, "p-2", "4", "110", 3)),
        (one("stop_loss", NEW, "0", 4, "6"), None),
        (rest, _print(rest, "p-3", "6", "110.5", 5)),
        (one("stop_loss", CANCELED, "0", 6, "6"), None),
    )
    orders = {"a": ("FILLED", "10"), "a.tp": ("FILLED", "10"), "a.sl": ("CANCELED", "0")}
    # -995 + 440 + 663 - 3 fees.
    return GroupLife(request, told[0][0], told, orders, {"AAPL": "0"}, "107.97")


def stopped_out() -> GroupLife:
    """The exits go live, the take profit gets a part, and the stop loss shrinks and fills."""
    request, one = _bracket_views()
    entry = one("entry", FILLED, "10", 1)
    part, stop = one("take_profit", PART, "4", 3), one("stop_loss", FILLED, "6", 5, "6")
    told = (
        (entry, _print(entry, "p-1", "10", "100", 1)),
        (one("take_profit", NEW, "0", 2), None),
        (part, _print(part, "p-2", "4", "110", 3)),
        (one("stop_loss", NEW, "0", 4, "6"), None),
        (stop, _print(stop, "p-3", "6", "94", 5)),
        (one("take_profit", CANCELED, "4", 6, "4"), None),
    )
    orders = {"a": ("FILLED", "10"), "a.tp": ("CANCELED", "4"), "a.sl": ("FILLED", "6")}
    # -1000 + 440 + 564 - 3 fees.
    return GroupLife(request, one("entry", NEW, "0", 0), told, orders, {"AAPL": "0"}, "3.97")


def spread() -> GroupLife:
    """Two units of a vertical, filled one after the other; the spread itself has no prints."""
    legs = (Leg(LOWER, "buy", 1, "buy_to_open"), Leg(HIGHER, "sell", 2, "sell_to_open"))
    request = _request("buy", "2", limit_price=D("1"), order_class="mleg", legs=legs)

    def leg(number: int, status: OrderStatus, filled: str, at: int) -> BrokerOrderView:
        of = legs[number - 1]
        return _view(
            f"a.leg{number}", of.side, str(2 * of.ratio_qty), status, filled, at, symbol=of.symbol,
            order_class="mleg", group_role="leg", parent_broker_order_id="b-a", ratio_qty=of.ratio_qty,
            position_intent=of.position_intent,
        )  # fmt: skip

    def whole(status: OrderStatus, filled: str, at: int) -> BrokerOrderView:
        parts = tuple(leg(n, status, str(int(filled) * legs[n - 1].ratio_qty), at) for n in (1, 2))
        return _view("a", "buy", "2", status, filled, at, limit_price=D("1"), order_class="mleg", legs=parts)

    first, second = leg(1, PART, "1", 2), leg(2, PART, "2", 3)
    third, fourth = leg(1, FILLED, "2", 4), leg(2, FILLED, "4", 5)
    told = (
        (whole(NEW, "0", 1), None),
        (first, _print(first, "p-1", "1", "5.10", 2)),
        (second, _print(second, "p-2", "2", "2.10", 2)),
        (third, _print(third, "p-3", "1", "5", 4)),
        (fourth, _print(fourth, "p-4", "2", "2.05", 4)),
        (whole(FILLED, "2", 6), None),
    )
    orders = {"a": ("FILLED", "2"), "a.leg1": ("FILLED", "2"), "a.leg2": ("FILLED", "4")}
    # -510 + 420 - 500 + 410 - 4 fees.
    return GroupLife(request, told[0][0], told, orders, {LOWER: "2", HIGHER: "-4"}, "-180.04")


def replaced() -> GroupLife:
    """Four of ten fill, what is left is put at another price, and fills; the first print is told once more."""
    request, wanted = (
        _request("buy", "10", limit_price=D(100)),
        _request("buy", "6", limit_price=D(101)),
    )

    def old(status: OrderStatus, filled: str, at: int, **more: Any) -> BrokerOrderView:
        return _view("a", "buy", "10", status, filled, at, limit_price=D(100), **more)

    def new(status: OrderStatus, filled: str, at: int) -> BrokerOrderView:
        return _view("r", "buy", "6", status, filled, at, limit_price=D(101), replaces="b-a")

    part, more, rest = old(PART, "4", 1), new(PART, "3", 4), new(FILLED, "6", 5)
    first = (part, _print(part, "p-1", "4", "100", 1))
    told = (
        first,
        (old(REPLACED, "4", 2, replaced_by="b-r", reason="replaced_by_user"), None),
        (new(NEW, "0", 3), None),
        (more, _print(more, "p-2", "3", "101", 4)),
        (rest, _print(rest, "p-3", "3", "100.5", 5)),
        first,
    )
    orders = {"a": ("REPLACED", "4"), "r": ("FILLED", "6")}
    # -400 - 303 - 301.50 - 3 fees.
    return GroupLife(request, old(NEW, "0", 0), told, orders, {"AAPL": "10"}, "-1004.53", wanted)


def trailing() -> GroupLife:
    """The best price moves three times, then the stop is met and the sale fills in two parts."""
    request = _request("sell", "10", type="trailing_stop", trail_price=D(5))

    def one(status: OrderStatus, filled: str, at: int, hwm: str | None) -> BrokerOrderView:
        best = None if hwm is None else D(hwm)
        return _view(
            "a", "sell", "10", status, filled, at, type="trailing_stop", trail_price=D(5), hwm=best,
            stop_price=None if best is None else best - 5,
        )  # fmt: skip

    part, rest = one(PART, "4", 5, "105"), one(FILLED, "10", 6, "105")
    told = (
        (one(NEW, "0", 1, None), None),
        (one(NEW, "0", 2, "100"), None),
        (one(NEW, "0", 3, "103"), None),
        (one(NEW, "0", 4, "105"), None),
        (part, _print(part, "p-1", "4", "100", 5)),
        (rest, _print(rest, "p-2", "6", "99", 6)),
    )
    # 400 + 594 - 2 fees.
    return GroupLife(request, told[0][0], told, {"a": ("FILLED", "10")}, {"AAPL": "-10"}, "993.98")


LIVES: dict[str, Callable[[], GroupLife]] = {
    "bracket": bracket,
    "stopped-out": stopped_out,
    "spread": spread,
    "replaced": replaced,
    "trailing": trailing,
}


def claimed(book: Book, account: str, name: str, request: OrderRequest) -> list[OrderRow]:
    """The rows that a claim writes: the order on the wire, and what hangs on it."""
    shared: dict[str, Any] = {
        "account_id": account,
        "origin": "ours",
        "state": Submission.DISPATCHING,
        "dispatch_deadline_at": book.now_us + 5_000_000,
    }
    client_id = f"{account}:{name}"
    parent = blank_order(
        book.now_us, **shared, **parent_fields(request, request.qty or D(0)), id=new_id(book.clock, "ord"),
        client_order_id=client_id, reserve_price=money_or_none(abs(request.limit_price or D(0))),
    )  # fmt: skip
    children = [
        blank_order(
            book.now_us, **shared, **fields, id=new_id(book.clock, "ord"), parent_id=parent.id,
            client_order_id=child_client_id(client_id, fields["group_role"], number),
        )
        for number, fields in enumerate(child_fields(request, request.qty or D(0)))
    ]  # fmt: skip
    for row in (parent, *children):
        book.add_order(row)
    return [parent, *children]


async def open_lives(
    db: Database, clock: SystemClock, names: Sequence[str], life: GroupLife, *, accepted: bool
) -> None:
    """An account for each name, with what a claim leaves in it: on the wire, or (`accepted`) answered."""
    async with db.begin() as tx:
        now = await tx.now_us()
        await tx.execute_many(_ACCOUNTS, [account_row(name, 0, now) for name in names])
        book = Book(tx, clock, now)
        await book.open(names)
        for name in names:
            first = claimed(book, name, "a", life.request)
            if accepted or life.replaced_with is not None:
                assert accept(book, first[0], _of(life.answer, name), "broker")
            if life.replaced_with is not None:
                # As the claim of a replacement leaves both.
                (second,) = claimed(book, name, "r", life.replaced_with)
                second.replaces, first[0].replaced_by = first[0].id, second.id
                first[0].replace_state = ReplaceState.REQUESTED.value
                book.change(first[0], "ledger")
        await book.flush()
