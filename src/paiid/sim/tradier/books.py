"""An account as the venue reckons it; read here, never written."""

from collections.abc import Callable
from decimal import Decimal

from sqlalchemy import bindparam, select

from paiid.brokers.paper.accounts import terms_from_row
from paiid.brokers.paper.group_store import load_combos
from paiid.brokers.paper.store import holding_from_row
from paiid.core.db import Tx, statement
from paiid.core.tables import paper_accounts, paper_positions
from paiid.domain.money import money_from_int
from paiid.domain.paper_account import PaperAccount
from paiid.sim.tradier.accounts import SimAccount
from paiid.sim.tradier.exchange import TradierExchange

__all__ = ["load_book", "mark_of", "read_book"]

_ACCOUNT = statement(select(paper_accounts).where(paper_accounts.c.number == bindparam("b_number")))
_HOLDINGS = statement(
    select(paper_positions).where(paper_positions.c.account_number == bindparam("b_number"))
)


def mark_of(exchange: TradierExchange) -> Callable[[str, Decimal], Decimal | None]:
    """What closing a share brings or costs now, as the venue values it: the bid of what is held, the ask of a short."""

    def mark(symbol: str, qty: Decimal) -> Decimal | None:
        quote = exchange.market.newest(symbol)
        if quote is None:
            return None
        price = quote.ask if qty < 0 else quote.bid
        return price if price > 0 else None

    return mark


async def load_book(tx: Tx, exchange: TradierExchange, account: SimAccount) -> PaperAccount:
    """Cash, holdings and reservations."""
    row = await tx.fetch_one(_ACCOUNT, {"b_number": account.number})
    if row is None:
        return PaperAccount(account.terms.starting_cash, {}, mark_of(exchange), 0, account.terms)
    book = PaperAccount(
        money_from_int(row["cash"]), {}, mark_of(exchange), row["open_orders"], terms_from_row(row)
    )
    for one in await tx.fetch(_HOLDINGS, {"b_number": account.number}):
        book.holdings[one["symbol"]] = holding_from_row(one)
    if row["open_combos"]:
        book.combos = (await load_combos(tx, [account.number]))[account.number]
    return book


async def read_book(exchange: TradierExchange, account: SimAccount) -> PaperAccount:
    """The account as it is in the venue's books. Raises DatabaseUnavailable."""
    async with exchange.db.read() as tx:
        return await load_book(tx, exchange, account)
