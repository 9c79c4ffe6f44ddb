"""One transaction's view of the ledger: rows locked, changed in memory, written back in a few statements.

Every change of an order goes through `change`, which keeps the risk counters, the event row of S1 and the
final answer of the intent in step with it; whatever is changed here commits together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from paiid.core.audit import AuditEntry, audit_rows
from paiid.core.clock import Clock, new_id
from paiid.core.db import Tx
from paiid.core.json import encode
from paiid.domain.instruments import CONTRACT_SIZE, is_option, multiplier_of
from paiid.domain.margin import Combo, Exposure
from paiid.domain.money import money_from_int, qty_from_int
from paiid.domain.orders import Reason, Submission, may_step
from paiid.domain.risk import Standing
from paiid.trading import store
from paiid.trading.answers import (
    answer,
    final_status,
    is_sent,
    order_view,
    position_event,
    reason_text,
    sent_orders,
)
from paiid.trading.counters import NOTHING, contribution, is_spread
from paiid.trading.first_reads import load_for_claim, load_for_record, load_intents
from paiid.trading.follow import follow
from paiid.trading.records import (
    AccountRow,
    ExecutionRow,
    IntentRow,
    OrderRow,
    PositionRow,
    average_price,
)


class LedgerError(Exception):
    """A change that the state tables do not allow: a defect of ours, never a caller's."""


class Book:
    """The accounts of one transaction with everything that is changed in them."""

    def __init__(self, tx: Tx, clock: Clock, now_us: int) -> None:
        self.tx = tx
        self.clock = clock
        self.now_us = now_us
        self.accounts: dict[str, AccountRow] = {}
        self.orders: dict[str, OrderRow] = {}
        self.intents: dict[str, IntentRow] = {}
        self._positions: dict[tuple[str, str], PositionRow] = {}
        self._new_positions: set[tuple[str, str]] = set()
        self._dirty_positions: set[tuple[str, str]] = set()
        self._dirty_accounts: set[str] = set()
        self._new_orders: dict[str, OrderRow] = {}
        self._dirty_orders: dict[str, OrderRow] = {}
        self._released: set[str] = set()
        self._new_intents: dict[str, IntentRow] = {}
        self._dirty_intents: dict[str, IntentRow] = {}
        self._counted: dict[str, tuple[int, int]] = {}
        self._executions: list[ExecutionRow] = []
        self._events: list[dict[str, Any]] = []
        self._audit: list[AuditEntry] = []
        self.final: dict[str, tuple[int, str]] = {}
        """Intents that became final here: id -> (status, body)."""
        self.alarms: list[tuple[str, str, str]] = []
        """(account, order, what) of everything that must not happen and did."""

    # -- loading ------------------------------------------------------------------------------------

    async def open(self, account_ids: Iterable[str], *, lock: bool = True) -> None:
        """Lock (or only read) the accounts and load their positions."""
        ids = sorted(set(account_ids))
        if not ids:
            return
        load = store.lock_accounts if lock else store.load_accounts
        self.hold(await load(self.tx, ids), await store.load_positions(self.tx, ids))

    async def open_for_claim(
        self, locked: Mapping[str, AccountRow], user_keys: Sequence[str]
    ) -> dict[str, IntentRow]:
        """Load the positions of accounts that are locked, and the intents of these keys: user key -> intent."""
        held, known = await load_for_claim(self.tx, locked, user_keys)
        self.hold(locked, held)
        return known

    async def open_for_record(self, locked: Mapping[str, AccountRow], intent_ids: Sequence[str]) -> None:
        """Load the positions of accounts that are locked, and these intents with all their orders."""
        held, found, placed = await load_for_record(self.tx, locked, intent_ids)
        self.hold(locked, held)
        self.intents.update({intent.id: intent for intent in found})
        for order in placed:
            self.register(order)

    def hold(self, accounts: Mapping[str, AccountRow], positions: Iterable[PositionRow]) -> None:
        """Take accounts and their positions into the book."""
        self.accounts.update(accounts)
        for position in positions:
            self._positions[(position.account_id, position.symbol)] = position

    async def load_combos(self) -> None:
        """Load the open spreads of the accounts that have any: what they may still cost counts in every check."""
        ids = [account.id for account in self.accounts.values() if account.open_combos > 0]
        if ids:
            for order in await store.load_open_spreads(self.tx, ids):
                self.register(order)

    async def load_with_group(self, order_ids: Iterable[str]) -> None:
        """Load these orders with what they hang on and what hangs on them."""
        for order in await store.load_groups(self.tx, sorted({i for i in order_ids if i not in self.orders})):
            self.register(order)

    async def load_replaced(self) -> None:
        """Load the orders whose successors are in the book and not settled, so that the wish is kept in step."""
        wanted = {
            order.replaces
            for order in self.orders.values()
            if order.replaces is not None and order.replaces not in self.orders
        }
        if wanted:
            for order in await store.load_orders(self.tx, sorted(wanted)):
                self.register(order)

    async def load_successors(self) -> None:
        """Load what took the place of the orders in the book, and so on, each with its group; those of a group are
        mostly there already."""
        asked: set[str] = set()
        while (
            wanted := {
                order.replaced_by
                for order in self.orders.values()
                if order.replaced_by is not None and order.replaced_by not in self.orders
            }
            - asked
        ):
            asked |= wanted
            await self.load_with_group(wanted)

    async def load_intents(self, intent_ids: Iterable[str]) -> None:
        """Load intents with all their orders; the accounts must be open."""
        ids = sorted({i for i in intent_ids if i not in self.intents})
        if not ids:
            return
        found, placed = await load_intents(self.tx, ids)
        self.intents.update({intent.id: intent for intent in found})
        for order in placed:
            self.register(order)

    def register(self, order: OrderRow) -> OrderRow:
        """Take a loaded row into the book; the one already here wins."""
        known = self.orders.get(order.id)
        if known is not None:
            return known
        self.orders[order.id] = order
        self._counted[order.id] = contribution(order) if order.open else NOTHING
        return order

    def orders_of(self, intent_id: str) -> list[OrderRow]:
        """The orders of an intent that is in the book, by position; not what hangs on them."""
        return sent_orders([order for order in self.orders.values() if order.intent_id == intent_id])

    def rows_of(self, intent_id: str) -> list[OrderRow]:
        """All rows of an intent that is in the book, by position, each order before what hangs on it."""
        mine = self.orders_of(intent_id)
        return [row for order in mine for row in (order, *self.children_of(order.id))]

    def children_of(self, order_id: str) -> list[OrderRow]:
        """The exits or legs that hang on an order, as they are in the book; not those that were replaced."""
        mine = [o for o in self.orders.values() if o.parent_id == order_id and o.replaced_by is None]
        return sorted(mine, key=lambda order: order.client_order_id)

    def group_of(self, order: OrderRow) -> list[OrderRow]:
        """The order, what it hangs on, and everything that hangs on either, as far as it is in the book."""
        root = order.parent_id or order.id
        return [o for o in self.orders.values() if root in (o.id, o.parent_id)]

    def position(self, account_id: str, symbol: str) -> PositionRow:
        """The position's row, made if there is none; written only when something changes."""
        found = self._positions.get((account_id, symbol))
        if found is None:
            kind = "option" if is_option(symbol) else "stock"
            found = PositionRow(account_id, symbol, kind, 0, 0, 0, 0, 0, 0, 0, 1, self.now_us)
            self._positions[(account_id, symbol)] = found
            self._new_positions.add((account_id, symbol))
        return found

    def find_position(self, account_id: str, symbol: str) -> PositionRow | None:
        """The position's row, if there is one."""
        return self._positions.get((account_id, symbol))

    def held(self, account_id: str) -> dict[str, int]:
        """symbol -> scaled quantity of every position of the account that is not flat."""
        mine = ((symbol, row) for (owner, symbol), row in self._positions.items() if owner == account_id)
        return {symbol: row.qty for symbol, row in mine if row.qty != 0}

    def average_cost(self, account_id: str, symbol: str) -> Decimal:
        """Dollars a share that a position has cost, 0 for none."""
        row = self._positions.get((account_id, symbol))
        if row is None or row.qty == 0:
            return Decimal(0)
        one = row.qty * multiplier_of(symbol)
        return money_from_int(average_price(abs(row.cost_basis), abs(one)) or 0)

    def standing(
        self, account_id: str, mark: Callable[[str], Decimal | None], *, without: Sequence[OrderRow] = ()
    ) -> Standing:
        """The account for the risk checks, optionally as if some open orders were not there."""
        account = self.accounts[account_id]
        minus: dict[str, list[int]] = {}
        open_orders = account.open_orders
        left_out = {order.id for order in without}
        for order in without:
            qty, value = self._counted[order.id]
            if order.open:
                open_orders -= 1
            cut = minus.setdefault(order.symbol, [0, 0, 0, 0])
            at = 0 if order.side == "buy" else 2
            cut[at] += qty
            cut[at + 1] += value
        exposures: list[Exposure] = []
        held = 0
        for (owner, symbol), row in self._positions.items():
            if owner != account_id:
                continue
            cut = minus.get(symbol, [0, 0, 0, 0])
            buy_qty, sell_qty = row.open_buy_qty - cut[0], row.open_sell_qty - cut[2]
            if row.qty == 0 and buy_qty == 0 and sell_qty == 0:
                continue
            held += 1
            exposures.append(
                Exposure(
                    symbol,
                    qty_from_int(row.qty),
                    qty_from_int(buy_qty),
                    money_from_int(row.open_buy_value - cut[1]),
                    qty_from_int(sell_qty),
                    money_from_int(row.open_sell_value - cut[3]),
                    mark(symbol) if row.qty != 0 and (row.qty < 0 or account.margin) else None,
                )
            )
        return Standing(
            money_from_int(account.cash),
            open_orders,
            held,
            tuple(exposures),
            combos=tuple(self._combos(account_id, left_out)) if account.open_combos else (),
            margin=bool(account.margin),
            options_level=account.options_level,
            blocked=account.status != "active",
            not_reconciled=account.reconcile_problem,
        )

    def _combos(self, account_id: str, left_out: set[str]) -> Iterator[Combo]:
        """The open spreads of an account: what each may still bring and cost."""
        for order in list(self.orders.values()):
            if (
                order.account_id == account_id
                and is_spread(order)
                and order.open
                and order.id not in left_out
            ):
                legs = self.children_of(order.id)
                units = qty_from_int(order.remaining)
                signed = ((1 if leg.side == "buy" else -1) * units * (leg.ratio_qty or 1) for leg in legs)
                net = units * money_from_int(order.reserve_price) * CONTRACT_SIZE
                yield Combo(tuple((leg.symbol, qty) for leg, qty in zip(legs, signed, strict=True)), net)

    # -- changing -----------------------------------------------------------------------------------

    def add_intent(self, intent: IntentRow) -> None:
        """A new intent."""
        self.intents[intent.id] = intent
        self._new_intents[intent.id] = intent

    def add_order(self, order: OrderRow) -> None:
        """A new order, in whatever state the claim decided; counted, and told as an event."""
        self.orders[order.id] = order
        self._new_orders[order.id] = order
        self._counted[order.id] = NOTHING
        self._count(order)
        self.tell(order.account_id, "order", "ledger", order_view(order))

    def change(self, order: OrderRow, source: str) -> None:
        """Write the order back with its counters, version, event row, and the intent's answer if final."""
        order.version += 1
        order.updated_at = self.now_us
        self._count(order)
        if order.id not in self._new_orders:
            self._dirty_orders[order.id] = order
        self.tell(order.account_id, "order", source, order_view(order))
        if order.intent_id is not None and order.is_final and is_sent(order):
            # What hangs on an order moves with it, before all is written that is known of the order itself.
            self._finish(order.intent_id)

    def step(self, order: OrderRow, wanted: Submission, reason: Reason | None = None) -> None:
        """Move the submission one step. Raises LedgerError for a step the table does not have."""
        if not may_step(order.state, wanted):
            raise LedgerError(f"order {order.id}: {order.state} -> {wanted}")
        order.state = wanted
        if reason is not None:
            order.reason = reason_text(reason)
        if wanted is not Submission.DISPATCHING:
            order.dispatch_deadline_at = None
        for child in self.children_of(order.id):
            # What hangs on an order shares its fate until the broker has it.
            if may_step(child.state, wanted):
                child.state = wanted
                child.reason = order.reason
                self.change(child, "ledger")
        replaced = self.orders.get(order.replaces or "")
        if replaced is not None and follow(replaced, order):
            self.change(replaced, "ledger")

    def release_id(self, order: OrderRow) -> None:
        """The order's broker id goes to another row of this transaction: this one is written first."""
        self._released.add(order.id)

    def touch_position(self, position: PositionRow) -> None:
        """Mark a position as changed."""
        self._dirty_positions.add((position.account_id, position.symbol))

    def touch_account(self, account: AccountRow) -> None:
        """Mark an account as changed."""
        self._dirty_accounts.add(account.id)

    def touch_intent(self, intent: IntentRow) -> None:
        """Mark an intent as changed."""
        if intent.id not in self._new_intents:
            self._dirty_intents[intent.id] = intent

    def book_execution(self, execution: ExecutionRow) -> None:
        """Add a print."""
        self._executions.append(execution)

    def tell(self, account_id: str, kind: str, source: str, data: dict[str, Any]) -> None:
        """An event of the account's channel, numbered by the counter in its row (contract S1)."""
        account = self.accounts[account_id]
        account.event_seq += 1
        self._dirty_accounts.add(account_id)
        self._events.append(
            {
                "account_id": account_id,
                "seq": account.event_seq,
                "epoch": account.event_epoch,
                "kind": kind,
                "source": source,
                "ts_event": self.now_us,
                "data": encode(data).decode(),
            }
        )

    @property
    def told_accounts(self) -> frozenset[str]:
        """The accounts that have events of this transaction."""
        return frozenset(event["account_id"] for event in self._events)

    def audit(self, entry: AuditEntry) -> None:
        """An audit row of this transaction."""
        self._audit.append(entry)

    def settle_intent(self, intent_id: str) -> None:
        """Make the intent final if all its orders are."""
        self._finish(intent_id)

    def finish_again(self, intent_id: str) -> None:
        """Replace the stored answer after the loud correction of E7."""
        intent = self.intents[intent_id]
        intent.corrected = 1
        intent.status = "CORRECTING"
        self._finish(intent_id)

    def _count(self, order: OrderRow) -> None:
        works = order.works
        before = self._counted[order.id]
        after = contribution(order) if works else NOTHING
        account = self.accounts[order.account_id]
        if works != bool(order.open):
            account.open_orders += 1 if works else -1
            if is_spread(order):
                account.open_combos += 1 if works else -1
            self._dirty_accounts.add(account.id)
            if not works:
                self._closing_ended(order)
        order.open = int(works)
        if before != after:
            position = self.position(order.account_id, order.symbol)
            if order.side == "buy":
                position.open_buy_qty += after[0] - before[0]
                position.open_buy_value += after[1] - before[1]
            else:
                position.open_sell_qty += after[0] - before[0]
                position.open_sell_value += after[1] - before[1]
            self.touch_position(position)
            self._counted[order.id] = after

    def _closing_ended(self, order: OrderRow) -> None:
        """An order that was to reduce the position ended without filling whole: a new close under the key
        derived from the position's version must not meet the old answer."""
        position = self.position(order.account_id, order.symbol)
        against = position.qty != 0 and (position.qty > 0) == (order.side == "sell")
        if against and order.remaining > 0 and order.state is not Submission.REFUSED:
            position.version += 1
            self.touch_position(position)
            self.tell(order.account_id, "position", "ledger", position_event(position))

    def _finish(self, intent_id: str) -> None:
        intent = self.intents.get(intent_id)
        if intent is None:
            return
        orders = self.orders_of(intent_id)
        if len(orders) < intent.order_count or not all(order.is_final for order in orders):
            return
        if intent.status == "FINAL":
            return
        intent.status = "FINAL"
        intent.http_status = final_status(orders)
        rows = self.rows_of(intent_id)
        intent.body = encode(answer(intent, self.accounts[intent.account_id], rows)).decode()
        intent.final_at = self.now_us
        self.final[intent.id] = (intent.http_status, intent.body)
        self.touch_intent(intent)

    # -- writing ------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Write everything that was changed, in one round trip where the database can."""
        await self._write_released()
        writes: list[store.Write] = []
        if self._dirty_accounts:
            touched = [self.accounts[account_id] for account_id in sorted(self._dirty_accounts)]
            for account in touched:
                account.version += 1
            writes.append(store.changed_accounts(touched))
        if self._new_intents:
            new = sorted(self._new_intents.values(), key=lambda i: i.user_key)
            writes.append(store.inserted_intents(new))
        if self._dirty_intents:
            writes.append(store.changed_intents(list(self._dirty_intents.values())))
        if self._new_orders:
            writes.append(store.inserted_orders(list(self._new_orders.values())))
        if self._dirty_orders:
            writes.append(store.changed_orders(list(self._dirty_orders.values())))
        writes.extend(self._position_writes())
        if self._executions:
            writes.append(store.inserted_executions(self._executions))
        if self._events:
            writes.append(store.inserted_events(self._events))
        if self._audit:
            writes.append(audit_rows(self.clock, self.now_us, self._audit))
        if writes:
            await self.tx.write(writes)

    async def _write_released(self) -> None:
        """An id is unique at every moment, and the rows of one statement are written in no certain order."""
        first = [self._dirty_orders.pop(one) for one in sorted(self._released & self._dirty_orders.keys())]
        if first:
            await self.tx.write([store.changed_orders(first)])

    def _position_writes(self) -> Iterator[store.Write]:
        fresh = self._dirty_positions & self._new_positions
        known = self._dirty_positions - self._new_positions
        for key in self._dirty_positions:
            self._positions[key].updated_at = self.now_us
        if fresh:
            yield store.inserted_positions([self._positions[key] for key in sorted(fresh)])
        if known:
            yield store.changed_positions([self._positions[key] for key in sorted(known)])

    def new_id(self, prefix: str) -> str:
        """A fresh id."""
        return new_id(self.clock, prefix)
