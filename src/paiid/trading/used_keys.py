"""A key that was used before a restore, in another account than the one that it would be used in now.

A call that names no account means the caller's default, and which one that is went back in time with everything else.
The order's id at the broker is made of the account too (contract E8): looked for in the wrong account it is not found.
"""

from collections.abc import Callable

from paiid.accounts.records import Account
from paiid.accounts.store import BUILT_IN, EVERY_ACCOUNT
from paiid.core.db import Database
from paiid.domain.errors import Code, Problem
from paiid.trading import store
from paiid.trading.adopt import key_reused
from paiid.trading.restored import RETRY_AFTER_S
from paiid.trading.restored_store import load_pending, load_restored_ids


class UsedKeys:
    """Looks for orders of a key in all accounts that came back from a backup; costs nothing where there are none."""

    def __init__(self, db: Database, client_order_id: Callable[[str, str, str, int], str]) -> None:
        """`client_order_id` makes an order's id of account, user, key and position."""
        self._db = db
        self._client_order_id = client_order_id
        self._never_restored = False

    async def account_of(
        self, user_id: str, key: str, orders: int, account: Account, *, named: bool
    ) -> str | None:
        """The other account in which this key was used; None: none is known.

        Raises Problem: 422 where the call names an account, and so is another call than that of then; 503 where it names
        none, and orders of another account are still to be brought in. Raises DatabaseUnavailable.
        """
        if self._never_restored:
            return None
        async with self._db.read(brief=True) as tx:
            restored = await load_restored_ids(tx)
            if not restored:
                # A restore is never made beside a running server.
                self._never_restored = True
                return None
            others = sorted(restored - {account.id, EVERY_ACCOUNT})
            ids = [
                self._client_order_id(one, user_id, key, n) for one in others for n in range(max(1, orders))
            ]
            found = (
                sorted(one for one, _ in await store.find_orders_by_client_id(tx, others, ids)) if ids else []
            )
            waiting = [one for one in await load_pending(tx) if one != account.id]
        if found and named:
            raise key_reused()
        if not found and not named and waiting and account.broker != BUILT_IN:
            raise Problem(
                Code.NOT_READY,
                "The call names no account, and other accounts came back from a backup whose orders since are still being "
                "brought in: the key may have been used in one of them. Nothing was decided; try again.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
                extra={"accounts": waiting},
            )
        return found[0] if found else None
