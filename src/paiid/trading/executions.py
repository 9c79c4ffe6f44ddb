"""Prints booked into orders, cash and positions, so that the set of prints decides and never their arrival (E18).

What is a sum (filled quantity and value, fees, cash) is the same in any order. What average cost makes of a
position is not: a print that comes after a later one, a bust and a correction have the position reckoned again from
all its prints in the order in which they were executed.

Every row adds up: a bust is the print with the opposite sign; a correction is the print as it should have been, and
beside it stands a row that takes the wrong one back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from paiid.brokers import BrokerExecution
from paiid.domain.instruments import multiplier_of
from paiid.domain.money import money_to_int, qty_to_int, round_money
from paiid.trading.answers import execution_view, money, position_event
from paiid.trading.book import Book
from paiid.trading.execution_store import (
    find_execution,
    load_odd,
    load_of_symbol,
    newest_of_symbol,
    sum_told_qty,
)
from paiid.trading.merge import alarm
from paiid.trading.records import ExecutionRow, OrderRow, PositionRow, average_price, value_of

_Key = tuple[str, str]


class Prints:
    """The prints of one transaction. `settle` brings the positions in step with them and must come last."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._fresh: dict[_Key, ExecutionRow] = {}
        self._corrections: dict[_Key, ExecutionRow] = {}
        self._busted: set[str] = set()
        self._late: set[_Key] = set()
        self._newest: dict[_Key, tuple[int, str]] = {}
        self._touched: dict[_Key, list[ExecutionRow]] = {}
        self._paid: set[str] = set()

    async def load(self, orders: Sequence[OrderRow]) -> None:
        """What earlier transactions busted or corrected of these orders."""
        for row in await load_odd(self._book.tx, [order.id for order in orders]):
            self._note_odd(row)

    async def add(self, order: OrderRow, execution: BrokerExecution) -> None:
        """Book one print that is not booked yet. Busts and corrections are loud."""
        sign = -1 if execution.kind == "bust" else 1
        row = ExecutionRow(
            id=self._book.new_id("exe"),
            account_id=order.account_id,
            order_id=order.id,
            execution_id=execution.execution_id,
            kind=execution.kind,
            corrects=execution.corrects,
            symbol=execution.symbol,
            side=execution.side,
            qty=qty_to_int(execution.qty) * sign,
            price=money_to_int(execution.price),
            fee=money_to_int(round_money(execution.fee)) * sign,
            executed_at=execution.executed_at_us,
            booked_at=self._book.now_us,
        )
        await self._book_row(order, row)
        if execution.kind != "fill":
            alarm(self._book, order, f"execution.{execution.kind}", {"execution_id": execution.execution_id})
        if execution.kind == "correction" and execution.corrects is not None:
            wrong = await self._find(order.account_id, execution.corrects)
            if wrong is not None:
                await self._take_back(order, wrong, row)
        correction = self._corrections.get((order.account_id, row.execution_id))
        if correction is not None:
            # The correction came before the print that it corrects.
            await self._take_back(order, row, correction)

    async def add_activity(self, account_id: str, moved: ExecutionRow | None) -> None:
        """Something that was no order has changed the account's cash, and by `moved` a position of it."""
        self._paid.add(account_id)
        if moved is not None:
            await self._move(moved)

    async def told_qty(self, order: OrderRow) -> int | None:
        """What was told as filled before busts and corrections; None where the order has had neither."""
        if order.id not in self._busted:
            return None
        fresh = (row for row in self._fresh.values() if row.order_id == order.id and row.kind == "fill")
        return await sum_told_qty(self._book.tx, order.id) + sum(row.qty for row in fresh)

    async def settle(self) -> None:
        """Positions and their events, once for each that was touched."""
        for key, rows in self._touched.items():
            account_id, symbol = key
            position = self._book.position(account_id, symbol)
            if key in self._late:
                await self._reckon(position, rows)
            position.version += 1
            self._book.touch_position(position)
            self._book.tell(account_id, "position", "ledger", position_event(position))
        for account_id in sorted(self._paid | {account_id for account_id, _ in self._touched}):
            account = self._book.accounts[account_id]
            self._book.tell(
                account_id, "cash", "ledger", {"account": account_id, "cash": money(account.cash)}
            )

    async def _book_row(self, order: OrderRow, row: ExecutionRow) -> None:
        book = self._book
        book.book_execution(row)
        self._fresh[(row.account_id, row.execution_id)] = row
        self._note_odd(row)
        value = value_of(row.qty, row.price)
        order.filled_qty += row.qty
        order.filled_value += value
        order.filled_avg_price = average_price(order.filled_value, order.filled_qty)
        order.fees += row.fee
        account = book.accounts[order.account_id]
        dollars = value * multiplier_of(row.symbol)
        account.cash += (-dollars if row.side == "buy" else dollars) - row.fee
        book.touch_account(account)
        book.tell(order.account_id, "fill", "broker", execution_view(row))
        await self._move(row)

    async def _move(self, row: ExecutionRow) -> None:
        key = (row.account_id, row.symbol)
        position = self._book.position(*key)
        self._touched.setdefault(key, []).append(row)
        if key not in self._newest:
            self._newest[key] = await newest_of_symbol(self._book.tx, *key)
        if row.kind != "fill" or place(row) < self._newest[key] or row.order_id in self._busted:
            self._late.add(key)
        self._newest[key] = max(self._newest[key], place(row))
        carry(position, row)

    async def _reckon(self, position: PositionRow, fresh: Sequence[ExecutionRow]) -> None:
        """The position from all its prints. Where they do not account for the quantity held (it was not all
        built up here), what was booked in the order of arrival stands."""
        stored = await load_of_symbol(self._book.tx, position.account_id, position.symbol)
        again = replace(position, qty=0, cost_basis=0, realized_pl=0)
        # An activity of this transaction is in the database already, a print of it is not.
        for row in in_force({row.id: row for row in (*stored, *fresh)}.values()):
            carry(again, row)
        if again.qty == position.qty:
            position.cost_basis, position.realized_pl = again.cost_basis, again.realized_pl

    async def _find(self, account_id: str, execution_id: str) -> ExecutionRow | None:
        found = self._fresh.get((account_id, execution_id))
        return found or await find_execution(self._book.tx, account_id, execution_id)

    async def _take_back(self, order: OrderRow, wrong: ExecutionRow, correction: ExecutionRow) -> None:
        """The row beside a correction; its id is the wrong print's, so that it can stand there only once."""
        reversal = replace(
            wrong,
            id=self._book.new_id("exe"),
            execution_id=f"reversal:{wrong.execution_id}",
            kind="bust",
            corrects=wrong.execution_id,
            qty=-wrong.qty,
            fee=-wrong.fee,
            executed_at=correction.executed_at,
            booked_at=self._book.now_us,
        )
        if await self._find(order.account_id, reversal.execution_id) is None:
            await self._book_row(order, reversal)

    def _note_odd(self, row: ExecutionRow) -> None:
        if row.kind == "fill":
            return
        self._busted.add(row.order_id)
        if row.kind == "correction" and row.corrects is not None:
            self._corrections[(row.account_id, row.corrects)] = row


def place(row: ExecutionRow) -> tuple[int, str]:
    """Where a print stands among those of its symbol: by time, and where that is equal by its id."""
    return row.executed_at, row.execution_id


def signed_qty(row: ExecutionRow) -> int:
    """What the print does to the position, in scaled shares."""
    return row.qty if row.side == "buy" else -row.qty


def in_force(rows: Iterable[ExecutionRow]) -> list[ExecutionRow]:
    """The prints in the order of their execution; a print and the bust of it are as if they had never been."""
    ordered = sorted(rows, key=place)
    busts = {row.corrects: row for row in ordered if row.kind == "bust" and row.corrects is not None}
    gone: set[str] = set()
    for row in ordered:
        bust = busts.get(row.execution_id)
        if bust is not None and (bust.qty, bust.price, bust.side) == (-row.qty, row.price, row.side):
            gone |= {row.execution_id, bust.execution_id}
    return [row for row in ordered if row.execution_id not in gone]


def carry(position: PositionRow, row: ExecutionRow) -> None:
    """What a print, or an activity that moves a position, makes of it."""
    if row.kind == "split":
        # Other shares for the same money: the cost stays, nothing is gained.
        position.qty += signed_qty(row)
    else:
        move(position, signed_qty(row), row.price)


def move(position: PositionRow, signed: int, price: int) -> None:
    """Average cost: what opens adds its cost, what closes takes its share of the cost and realises the rest."""
    held = position.qty
    if held == 0 or (held > 0) == (signed > 0):
        position.qty += signed
        position.cost_basis += _signed_value(position.symbol, signed, price)
        return
    closing = min(abs(held), abs(signed))
    # The last share takes the whole remaining cost, so a flat position never keeps a fraction of a cent.
    share = position.cost_basis * closing // abs(held) if closing < abs(held) else position.cost_basis
    proceeds = value_of(closing, price) * multiplier_of(position.symbol) * (1 if held > 0 else -1)
    position.realized_pl += proceeds - share
    position.cost_basis -= share
    position.qty += closing if held < 0 else -closing
    rest = abs(signed) - closing
    if rest:
        opening = rest if signed > 0 else -rest
        position.qty += opening
        position.cost_basis += _signed_value(position.symbol, opening, price)


def _signed_value(symbol: str, signed: int, price: int) -> int:
    value = value_of(abs(signed), price) * multiplier_of(symbol)
    return value if signed > 0 else -value
