"""An order that is in the ledger before the intent it belongs to (contract E8): the key was forgotten, as by a restore
from a backup, and the order came back from the broker under the id that is made of the key.
"""

from collections.abc import Mapping, Sequence

from paiid.domain.errors import Code, Problem
from paiid.domain.money import qty_from_int
from paiid.domain.orders import OrderRequest, Reason
from paiid.domain.risk import Proposal
from paiid.trading.book import Book
from paiid.trading.checks import as_proposal
from paiid.trading.commands import Surroundings
from paiid.trading.order_rows import from_money
from paiid.trading.records import IntentRow, OrderRow

NOT_PLACED_THEN = Reason(
    "skipped",
    "The key was used before the database was restored. Its other orders are at the broker and this one is not; "
    "nothing is sent for a key that was used.",
)
Adoptable = Mapping[tuple[str, str], OrderRow]
"""(account, client order id) -> order."""


def in_ledger(adoptable: Adoptable, account_id: str, client_ids: Sequence[str]) -> dict[int, OrderRow]:
    """Position in the call -> the order that is there already."""
    rows = ((position, adoptable.get((account_id, one))) for position, one in enumerate(client_ids))
    return {position: row for position, row in rows if row is not None}


def same_order(request: OrderRequest, found: OrderRow, around: Surroundings) -> Proposal:
    """The order that is there, as a proposal. Raises Problem (422) where it is not the one that is asked for."""
    qty = qty_from_int(found.qty)
    there = (
        found.symbol,
        found.side,
        found.type,
        qty,
        from_money(found.limit_price),
        from_money(found.stop_price),
        from_money(found.notional),
        found.order_class,
    )
    asked = (
        request.symbol,
        request.side,
        request.type,
        request.qty or qty,
        request.limit_price,
        # Where the stop of a trailing order stands follows from the market.
        there[5] if request.type == "trailing_stop" else request.stop_price,
        request.notional,
        request.order_class,
    )
    if asked != there:
        raise key_reused()
    return as_proposal(request, qty, around)


def adopt(book: Book, found: OrderRow, intent: IntentRow, position: int) -> None:
    """The order is this intent's from now on."""
    found.intent_id = intent.id
    found.user_id = intent.user_id
    found.position = position
    found.origin = "adopted"
    book.change(found, "ledger")


def key_reused() -> Problem:
    """Same key, other request: nothing is executed and nothing is told (contract E3)."""
    return Problem(
        Code.IDEMPOTENCY_KEY_REUSED,
        "This key was used for a different request. Nothing was executed; use a new key.",
    )
