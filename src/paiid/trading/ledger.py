"""What a user may see of the ledger, and what he may cancel in it; outside his grants everything is 404."""

from collections.abc import Callable, Sequence
from typing import Any

from paiid.accounts.service import AccountService
from paiid.core.db import Database
from paiid.core.json import encode
from paiid.domain.errors import Problem, invalid_field, not_found
from paiid.domain.identity import Principal, Right
from paiid.trading import store
from paiid.trading.activities import activity_view
from paiid.trading.activity_store import load_activity_page
from paiid.trading.answers import execution_view, intent_view, nested_view, order_view
from paiid.trading.cancel import CancelOutcome, Cancels
from paiid.trading.first_reads import load_intents
from paiid.trading.if_match import etag
from paiid.trading.queries import (
    NEWEST,
    find_intent,
    find_intent_by_key,
    find_order,
    load_fill_page,
    load_order_page,
)
from paiid.trading.records import IntentRow, OrderRow
from paiid.trading.requests import KEY_PATTERN
from paiid.trading.service import Reply


class LedgerService:
    """Reads and cancels for one caller at a time."""

    def __init__(self, db: Database, accounts: AccountService, cancels: Cancels) -> None:
        self._db = db
        self._accounts = accounts
        self._cancels = cancels

    async def orders(
        self,
        user: Principal,
        account: str | None,
        status: str,
        symbol: str | None,
        after: str | None,
        limit: int,
    ) -> Reply:
        """A page of orders."""
        found = await self._accounts.resolve(user, account, "view")
        async with self._db.read() as tx:
            rows = await load_order_page(tx, found.id, status, symbol, after or NEWEST, limit + 1)
        return _page(rows, limit, order_view)

    async def order(self, user: Principal, order_id: str) -> Reply:
        """One order."""
        order = await self._find_order(user, order_id, "view")
        async with self._db.read() as tx:
            group = await store.load_groups(tx, [order.id]) if order.order_class != "simple" else []
        hung = [one for one in group if one.parent_id == order.id and one.replaced_by is None]
        children = sorted(hung, key=lambda one: one.client_order_id)
        return Reply(200, encode(nested_view(order, children)), etag(order.version))

    async def fills(
        self, user: Principal, account: str | None, order_id: str | None, after: str | None, limit: int
    ) -> Reply:
        """A page of executions."""
        found = await self._accounts.resolve(user, account, "view")
        async with self._db.read() as tx:
            rows = await load_fill_page(tx, found.id, order_id, after or NEWEST, limit + 1)
        return _page(rows, limit, execution_view)

    async def activities(self, user: Principal, account: str | None, after: str | None, limit: int) -> Reply:
        """A page of what changed the account and was no order."""
        found = await self._accounts.resolve(user, account, "view")
        async with self._db.read() as tx:
            rows = await load_activity_page(tx, found.id, after or NEWEST, limit + 1)
        return _page(rows, limit, activity_view)

    async def intent(self, user: Principal, intent_id: str) -> Reply:
        """An intent by id."""
        async with self._db.read() as tx:
            return await self._intent_reply(tx, await find_intent(tx, user.user_id, intent_id))

    async def intent_by_key(self, user: Principal, key: str) -> Reply:
        """An intent by key."""
        async with self._db.read() as tx:
            return await self._intent_reply(tx, await self._find_by_key(tx, user, key))

    async def cancel_order(self, user: Principal, order_id: str, request_id: str | None) -> Reply:
        """Cancel one."""
        order = await self._find_order(user, order_id, "trade")
        (done,) = await self._cancels.cancel([order], user.actor, request_id)
        status = 202 if done.outcome in ("requested", "unknown") else 200
        return Reply(status, encode(_cancel_view(done)), {"Retry-After": "1"} if status == 202 else {})

    async def cancel_all(
        self, user: Principal, account: str | None, key: str | None, request_id: str | None
    ) -> Reply:
        """Cancel all open orders of an account, or those of one key."""
        if key is not None:
            async with self._db.read() as tx:
                intent = await self._find_by_key(tx, user, key)
                if intent is None:
                    raise not_found("intent")
                orders = await store.load_orders_of_intents(tx, [intent.id])
            await self._accounts.resolve(user, intent.account_id, "trade")
        else:
            found = await self._accounts.resolve(user, account, "trade")
            async with self._db.read() as tx:
                orders = await store.load_open_orders(tx, found.id)
                row = (await store.load_accounts(tx, [found.id]))[found.id]
            if len(orders) > 1 and self._cancels.cancels_all(row):
                outcomes, _ = await self._cancels.cancel_account(row, orders, user.actor, request_id)
                return _cancel_page(outcomes)
        return _cancel_page(await self._cancels.cancel(orders, user.actor, request_id))

    async def close_key(self, user: Principal, account: str | None, symbol: str) -> str:
        """The key of a close without one: the position's version, so that a retry meets the same key (E0)."""
        found = await self._accounts.resolve(user, account, "trade")
        async with self._db.read() as tx:
            rows = await store.load_positions(tx, [found.id])
        position = next((row for row in rows if row.symbol == symbol and row.qty != 0), None)
        if position is None:
            raise not_found("position")
        return f"close:{found.id}:{symbol.replace('/', '.')}:v{position.version}"

    async def replace_key(self, user: Principal, order_id: str, version: int | None) -> str:
        """The key of a replace without one: the order's id and the version the caller has seen (E0)."""
        order = await self._find_order(user, order_id, "trade")
        return f"replace:{order.id}:v{order.version if version is None else version}"

    async def _find_order(self, user: Principal, order_id: str, right: Right) -> OrderRow:
        async with self._db.read() as tx:
            order = await find_order(tx, order_id)
        if order is None:
            raise not_found("order")
        try:
            await self._accounts.resolve(user, order.account_id, right)
        except Problem as problem:
            if problem.code.status == 404:
                raise not_found("order") from None
            raise
        return order

    @staticmethod
    async def _find_by_key(tx: Any, user: Principal, key: str) -> IntentRow | None:
        if not KEY_PATTERN.match(key):
            raise invalid_field("key", "key", "A key has 8 to 128 of the characters A-Z a-z 0-9 . _ : -")
        return await find_intent_by_key(tx, user.user_id, key)

    @staticmethod
    async def _intent_reply(tx: Any, intent: IntentRow | None) -> Reply:
        if intent is None:
            raise not_found("intent")
        # Both in one statement, so that one that ends just now is shown as it was before or as it is behind it.
        (intent,), orders = await load_intents(tx, [intent.id])
        account = (await store.load_accounts(tx, [intent.account_id]))[intent.account_id]
        return Reply(200, encode(intent_view(intent, account, orders)))


def _page(rows: Sequence[Any], limit: int, view: Callable[[Any], dict[str, Any]]) -> Reply:
    shown = rows[:limit]
    following = shown[-1].id if len(rows) > limit else None
    return Reply(200, encode({"data": [view(row) for row in shown], "next": following}))


def _cancel_page(outcomes: Sequence[CancelOutcome]) -> Reply:
    return Reply(200, encode({"data": [_cancel_view(one) for one in outcomes], "next": None}))


def _cancel_view(done: CancelOutcome) -> dict[str, Any]:
    return {
        "id": done.order.id,
        "outcome": done.outcome,
        "message": done.message,
        "order": order_view(done.order),
    }
