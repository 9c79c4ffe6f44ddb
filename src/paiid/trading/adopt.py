"""An order that is in the ledger before the intent it belongs to (contract E8): the key was forgotten, as by a restore
from a backup, and the order came back from the broker under the id that is made of the key.
"""

from collections.abc import Mapping, Sequence

from paiid.domain.errors import Code, Problem
from paiid.domain.money import money_from_int, qty_from_int
from paiid.domain.orders import OrderRequest
from paiid.domain.risk import Proposal
from paiid.trading.book import Book
from paiid.trading.commands import Surroundings
from paiid.trading.records import IntentRow, OrderRow

Adoptable = Mapping[tuple[str, str], OrderRow]
"""(account, client order id) -> order."""


def in_ledger(adoptable: Adoptable, account_id: str, client_ids: Sequence[str]) -> dict[int, OrderRow]:
    """Position in the call -> the order that is there already."""
    rows = ((position, adoptable.get((account_id, one))) for position, one in enumerate(client_ids))
    return {position: row for position, row in rows if row is not None}


def same_order(request: OrderRequest, found: OrderRow, around: Surroundings) -> Proposal:
    """The order that is there, as a proposal. Raises Problem (422) where it is not the one that is asked for."""
    qty = qty_from_int(found.qty)
    limit = None if found.limit_price is None else money_from_int(found.limit_price)
    stop = None if found.stop_price is None else money_from_int(found.stop_price)
    there = (found.symbol, found.side, found.type, qty, limit, stop)
    asked = (
        request.symbol,
        request.side,
        request.type,
        request.qty or qty,
        request.limit_price,
        request.stop_price,
    )
    if asked != there:
        raise key_reused()
    quote = around.quotes.get(request.symbol)
    return Proposal(request.symbol, request.side, request.type, qty, limit, stop, quote)


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
