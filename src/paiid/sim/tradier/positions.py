"""What an account holds (`/v1/accounts/{id}/positions`, tradier.md, section 5.3)."""

from zlib import crc32

from starlette.requests import Request

from paiid.sim.tradier.accounts import SimUser
from paiid.sim.tradier.books import read_book
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.gate import account_of
from paiid.sim.tradier.history import load_trades
from paiid.sim.tradier.render import stamp, wire_symbol
from paiid.sim.tradier.shapes import Rows, Told, number

__all__ = ["list_positions"]


async def list_positions(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`GET /v1/accounts/{id}/positions`: short ones have a quantity and a cost below zero; the cost is for all of it."""
    account = account_of(exchange, user, request)
    book = await read_book(exchange, account)
    lots = (await load_trades(exchange, account)).lots
    rows = [
        {
            "cost_basis": number(one.cost_basis),
            "date_acquired": stamp(lots[symbol].opened_us if symbol in lots else account.created_at_us),
            "id": crc32(f"{account.number}:{symbol}".encode()),
            "quantity": number(one.qty),
            "symbol": wire_symbol(symbol),
        }
        for symbol, one in sorted(book.holdings.items())
        if one.qty
    ]
    return Told({"positions": Rows("position", rows)})
