"""What a halt may do beside stopping new orders: cancel what rests at the broker, and close positions (contract K6).

The broker's own list is the truth here, not our ledger; an order is gone when two listings in a row do not show it.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from paiid.brokers import Broker, BrokerError, BrokerOrderView, BrokerRejected
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.domain.errors import Code, Problem
from paiid.domain.halts import Receipt, Scope, SweptOrder
from paiid.domain.identity import Actor, Principal
from paiid.domain.instruments import underlying_of
from paiid.trading import halt_store, store
from paiid.trading.cancel import Cancels
from paiid.trading.commands import Asked, CloseRequest
from paiid.trading.records import AccountRow, OrderRow
from paiid.trading.service import TradingService

_AT_ONCE = 8
_ASK_AGAIN_S = 2.0
_FLAT_WAIT_S = 5.0
_POLL_S = 0.05
_COUNTED_POLL_S = 1.0
"""The same where a broker counts requests."""
PUT_OFF = "put_off"
"""The outcome of a close for which the broker has no place in this minute, or this replica takes no orders: it is tried again."""
_LATER = frozenset({Code.RATE_LIMITED, Code.NOT_READY, Code.SHUTTING_DOWN})

Swept = dict[tuple[str, str], SweptOrder]
_ENDED = {"CANCELED", "EXPIRED", "FILLED", "REJECTED", "REPLACED"}
_KEPT_BUDGET = 20
"""Requests of a minute that are left to others: what became of an order is also told by the broker's updates."""


@dataclass(slots=True)
class Asks:
    """What one sweep has asked for so far.

    `at_s` is when each order was last asked to go (by the broker's id), so that none is asked at every pass; `singly`
    are accounts whose broker has failed to cancel everything in one request.
    """

    at_s: dict[str, float] = field(default_factory=dict)
    singly: set[str] = field(default_factory=set)


class Sweeper:
    """Lists, cancels and closes over all brokers, for one scope at a time."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        brokers: Mapping[str, Broker],
        cancels: Cancels,
        trading: TradingService,
        timeout_s: float,
    ) -> None:
        self._db = db
        self._clock = clock
        self._brokers = brokers
        self._cancels = cancels
        self._trading = trading
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @property
    def brokers(self) -> Mapping[str, Broker]:
        """All brokers of this process by name."""
        return self._brokers

    @property
    def timeout_s(self) -> float:
        """Seconds for one call to a broker."""
        return self._timeout_s

    @property
    def may_close(self) -> bool:
        """Whether this replica takes orders now; where it does not another may close."""
        return self._trading.held is None

    async def accounts(self, scope: Scope) -> list[AccountRow]:
        """The accounts in which the scope can have orders. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            rows = [row for row in await store.load_all_accounts(tx) if row.broker in self._brokers]
            if scope.kind != "user":
                return [row for row in rows if scope.kind != "account" or row.id == scope.id]
            granted = await halt_store.load_granted_accounts(tx, scope.id)
        return [row for row in rows if row.id in granted or row.owner_user_id == scope.id]

    def lag_s(self, accounts: Sequence[AccountRow]) -> float:
        """How long an accepted order may stay invisible to a listing: the least pause between two."""
        return max((self._brokers[row.broker].lookup_lag_s for row in accounts), default=0.0)

    async def request_doubtful(self, scope: Scope, actor: Actor) -> Swept:
        """Orders in doubt are cancelled as soon as they are known at the broker."""
        async with self._db.read() as tx:
            doubted = await halt_store.load_in_doubt(tx, scope)
            rows = await store.load_orders(tx, [order.id for order in doubted])
        outcomes = await self._cancels.cancel(rows, actor)
        return {
            (one.order.account_id, one.order.id): _swept(one.order, one.outcome, one.message)
            for one in outcomes
        }

    async def sweep(
        self, accounts: Sequence[AccountRow], scope: Scope, actor: Actor, asked: Asks
    ) -> tuple[Swept, int]:
        """One pass: list, and cancel what works. Returns the outcomes and how many orders were listed.

        Raises BrokerError where a list could not be had, DatabaseUnavailable.
        """
        parts = await asyncio.gather(*(self._sweep_account(row, scope, actor, asked) for row in accounts))
        swept: Swept = {}
        for part, _ in parts:
            swept.update(part)
        return swept, sum(listed for _, listed in parts)

    async def _sweep_account(
        self, account: AccountRow, scope: Scope, actor: Actor, asked: Asks
    ) -> tuple[Swept, int]:
        broker = self._brokers[account.broker]
        async with self._slots:
            # The legs of a spread go with it, and not without it.
            listed = await broker.fetch_open_orders(account.number, self._timeout_s)
            views = [view for view in listed if view.group_role != "leg"]
            if scope.kind == "symbol":
                views = [view for view in views if underlying_of(view.symbol) == scope.id]
            if not views:
                return {}, 0
            async with self._db.read() as tx:
                rows = await store.find_orders_at_broker(
                    tx,
                    [account.id],
                    [view.broker_order_id for view in views],
                    [view.client_order_id for view in views if view.client_order_id is not None],
                )
            known = _by_view(views, rows)
            if scope.kind == "user":
                views = [
                    v for v in views if (row := known.get(v.broker_order_id)) and row.user_id == scope.id
                ]
            now_s = self._clock.monotonic_s()
            last_s = asked.at_s
            due = [v for v in views if now_s - last_s.get(v.broker_order_id, -_ASK_AGAIN_S) >= _ASK_AGAIN_S]
            last_s.update({view.broker_order_id: now_s for view in due})
            whole = scope.kind in ("global", "account") and self._cancels.cancels_all(account)
            if whole and len(due) > 1 and account.id not in asked.singly:
                swept = await self._cancel_all(account, due, known, actor, asked)
            else:
                swept = await self._cancel(account, broker, due, known, actor)
            return swept, len(views)

    async def _cancel_all(
        self,
        account: AccountRow,
        views: Sequence[BrokerOrderView],
        known: Mapping[str, OrderRow],
        actor: Actor,
        asked: Asks,
    ) -> Swept:
        """One request for all of them (a broker counts requests), and single ones for what it has refused."""
        ours = (known.get(view.broker_order_id) for view in views)
        rows = {row.id: row for row in ours if row is not None and row.works}
        outcomes, told = await self._cancels.cancel_account(account, list(rows.values()), actor)
        swept = {
            (account.id, one.order.broker_order_id or one.order.id): _swept(
                one.order, one.outcome, one.message
            )
            for one in outcomes
        }
        if told is None:
            # Next time one by one: what cannot be had in one piece must not keep a single order at work.
            asked.singly.add(account.id)
        refused: list[BrokerOrderView] = []
        for view in views:
            key = (account.id, view.broker_order_id)
            if key in swept:
                continue
            if told is not None and view.broker_order_id in told and told[view.broker_order_id] is None:
                swept[key] = SweptOrder(account.id, view.symbol, None, view.broker_order_id, "requested")
            elif told is None:
                words = "The broker has not confirmed to cancel everything."
                swept[key] = SweptOrder(account.id, view.symbol, None, view.broker_order_id, "unknown", words)
            else:
                refused.append(view)
        if refused:
            swept |= await self._cancel(account, self._brokers[account.broker], refused, {}, actor)
        return swept

    async def _cancel(
        self,
        account: AccountRow,
        broker: Broker,
        views: Sequence[BrokerOrderView],
        known: Mapping[str, OrderRow],
        actor: Actor,
    ) -> Swept:
        ours = [row for v in views if (row := known.get(v.broker_order_id)) is not None]
        swept: Swept = {}
        for one in await self._cancels.cancel([row for row in ours if row.works], actor):
            swept[(account.id, one.order.broker_order_id or one.order.id)] = _swept(
                one.order, one.outcome, one.message
            )
        for view in views:
            key = (account.id, view.broker_order_id)
            if key in swept:
                continue
            # Not in the ledger yet (or ended there already): ask the broker itself, it lists the order.
            outcome, message = "requested", None
            try:
                await broker.cancel(account.number, view.broker_order_id, self._timeout_s)
            except BrokerRejected as problem:
                outcome, message = "refused", problem.message
            except BrokerError as problem:
                outcome, message = "unknown", str(problem)
            swept[key] = SweptOrder(account.id, view.symbol, None, view.broker_order_id, outcome, message)
        return swept

    async def settle(self, accounts: Sequence[AccountRow], swept: Swept) -> Swept:
        """What became, in the broker's own words, of orders that were only asked to go. Never raises BrokerError."""
        numbers = {row.id: row for row in accounts}
        open_ = {
            key: one for key, one in swept.items() if one.outcome != "done" and one.account_id in numbers
        }
        async with self._db.read() as tx:
            loaded = await store.load_orders(tx, [one.order_id for one in open_.values() if one.order_id])
        rows = {row.id: row for row in loaded}
        settled = dict(swept)
        for key, one in open_.items():
            row = rows.get(one.order_id or "")
            if row is not None and row.status is not None and row.status.value in _ENDED:
                # The broker's updates have told it meanwhile: no request for what is known.
                settled[key] = _ended(one, row.status.value, row.broker_order_id, one.message)
                continue
            try:
                view = await self._look_up(numbers[one.account_id], one, row)
            except BrokerError:
                continue
            if view is not None and view.status.value in _ENDED:
                settled[key] = _ended(one, view.status.value, view.broker_order_id, view.reason)
        return settled

    async def _look_up(
        self, account: AccountRow, one: SweptOrder, row: OrderRow | None
    ) -> BrokerOrderView | None:
        """By the broker's id where it is known, for exits and legs of a real broker do not have ours."""
        broker = self._brokers[account.broker]
        if broker.budget_left is not None and broker.budget_left <= _KEPT_BUDGET:
            return None
        broker_order_id = one.broker_order_id or (None if row is None else row.broker_order_id)
        if broker_order_id is not None:
            return await broker.fetch_order_by_id(account.number, broker_order_id, self._timeout_s)
        if row is None:
            return None
        return await broker.fetch_order(account.number, row.client_order_id, self._timeout_s)

    async def close_all(
        self, accounts: Sequence[AccountRow], receipt: Receipt, principal: Principal
    ) -> list[SweptOrder]:
        """One closing order a position, under a key of this halt so that a second try closes nothing twice.

        Waits a little for the positions to be gone. Raises BrokerError, DatabaseUnavailable.
        """
        closes: list[SweptOrder] = []
        # Shorts first: a long contract that covers one cannot be sold before it.
        for sign in (-1, 1):
            wanted = [
                (row, position.symbol)
                for row in accounts
                for position in await self._brokers[row.broker].fetch_positions(row.number, self._timeout_s)
                if position.qty * sign > 0
                and (receipt.scope.kind != "symbol" or underlying_of(position.symbol) == receipt.scope.id)
            ]
            closes += await self._close_some(accounts, wanted, receipt, principal)
            if sign < 0 and wanted:
                await self._until_booked(wanted)
        return closes

    async def _until_booked(self, closed: Sequence[tuple[AccountRow, str]]) -> None:
        """Wait until the ledger, too, has these shorts as gone: what covers them is checked against its books."""
        give_up_s = self._clock.monotonic_s() + _FLAT_WAIT_S
        keys = {(row.id, symbol) for row, symbol in closed}
        while self._clock.monotonic_s() < give_up_s:
            async with self._db.read() as tx:
                rows = await store.load_positions(tx, [row.id for row, _ in closed])
            if not any(row.qty < 0 and (row.account_id, row.symbol) in keys for row in rows):
                return
            await self._clock.sleep(_POLL_S)

    async def _close_some(
        self,
        accounts: Sequence[AccountRow],
        wanted: Sequence[tuple[AccountRow, str]],
        receipt: Receipt,
        principal: Principal,
    ) -> list[SweptOrder]:
        closes = list(await asyncio.gather(*(self._close(row, s, receipt, principal) for row, s in wanted)))
        placed = {(one.account_id, one.symbol) for one in closes if one.outcome in ("placed", "unknown")}
        give_up_s = self._clock.monotonic_s() + _FLAT_WAIT_S
        waited_for = [row for row in accounts if any(key[0] == row.id for key in placed)]
        counted = any(self._brokers[row.broker].budget_left is not None for row in waited_for)
        while placed and self._clock.monotonic_s() < give_up_s:
            for row in waited_for:
                # What was closed has to be told, though it may not be seen that it is gone.
                with suppress(BrokerError):
                    held = await self._brokers[row.broker].fetch_positions(row.number, self._timeout_s)
                    symbols = {position.symbol for position in held}
                    placed = {key for key in placed if key[0] != row.id or key[1] in symbols}
            if placed:
                await self._clock.sleep(_COUNTED_POLL_S if counted else _POLL_S)
        return [
            SweptOrder(o.account_id, o.symbol, o.order_id, o.broker_order_id, "closed", o.message)
            if o.outcome in ("placed", "unknown") and (o.account_id, o.symbol) not in placed
            else o
            for o in closes
        ]

    async def _close(
        self, account: AccountRow, symbol: str, receipt: Receipt, principal: Principal
    ) -> SweptOrder:
        key = f"flatten:{receipt.epoch}:{account.id}:{symbol.replace('/', '.')}"
        asked = Asked("close", account.id, (), CloseRequest(symbol, None))
        try:
            async with self._slots:
                reply = await self._trading.execute(principal, asked, key, None)
        except Problem as problem:
            outcome = PUT_OFF if problem.code in _LATER else "refused"
            return SweptOrder(account.id, symbol, None, None, outcome, problem.detail)
        except DatabaseUnavailable:
            return SweptOrder(account.id, symbol, None, None, "refused", "The database could not be reached.")
        order = json.loads(reply.body)["orders"][0]
        state = str(order["state"])
        outcome = {"ACCEPTED": "placed", "UNKNOWN": "unknown"}.get(state, "refused")
        why = order.get("reason")
        return SweptOrder(
            account.id,
            symbol,
            order["id"],
            order["broker_order_id"],
            outcome,
            why["message"] if why else None,
        )


def _ended(one: SweptOrder, status: str, broker_order_id: str | None, message: str | None) -> SweptOrder:
    outcome = "done" if status in ("CANCELED", "EXPIRED") else status.lower()
    return SweptOrder(one.account_id, one.symbol, one.order_id, broker_order_id, outcome, message)


def _swept(order: OrderRow, outcome: str, message: str | None) -> SweptOrder:
    return SweptOrder(order.account_id, order.symbol, order.id, order.broker_order_id, outcome, message)


def _by_view(views: Sequence[BrokerOrderView], rows: Sequence[OrderRow]) -> dict[str, OrderRow]:
    """Broker order id -> our row, found by its id or by ours."""
    by_broker_id = {row.broker_order_id: row for row in rows}
    by_ours = {row.client_order_id: row for row in rows}
    pairs = (
        (v.broker_order_id, by_broker_id.get(v.broker_order_id) or by_ours.get(v.client_order_id or ""))
        for v in views
    )
    return {key: row for key, row in pairs if row is not None}
