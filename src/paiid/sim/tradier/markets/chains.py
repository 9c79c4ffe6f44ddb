"""Option chains, expirations, strikes and symbols (`/v1/markets/options/…`; tradier.md, sections 8.2 to 8.4 and 8.6)."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from paiid.domain.occ import OptionContract
from paiid.sim.tradier.accounts import SimUser
from paiid.sim.tradier.markets.asked import Asked, day_of, flag_of, invalid, symbol_of
from paiid.sim.tradier.markets.chain_faults import spoiled
from paiid.sim.tradier.markets.names import expiration_type
from paiid.sim.tradier.markets.quotes import option_body
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.shapes import Rows, Told, number

__all__ = ["chains", "expirations", "lookup", "strikes"]

_IN_A_ROW = 25
_CONTRACT_SIZE = 100


async def chains(side: MarketSide, user: SimUser, asked: Asked) -> Told:
    """`GET /v1/markets/options/chains`: all contracts of one expiration, calls and puts mixed."""
    symbol, expiration, greeks = symbol_of(asked), _expiration(asked), flag_of(asked, "greeks")
    rows: list[dict[str, Any]] = []
    for place, contract in enumerate(await _contracts(side, symbol, expiration)):
        if place % _IN_A_ROW == 0:
            # A chain is long enough for an order to wait.
            await side.exchange.clock.sleep(0)
        look = side.looks.look(contract.symbol)
        if look is not None:
            rows.append(option_body(side, look, contract, await side.days.of(look.quote), greeks=greeks))
    return Told({"options": Rows("option", spoiled(side, user, rows))})


async def expirations(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/options/expirations`: bare dates, or objects where any detail is wished."""
    symbol = symbol_of(asked)
    flag_of(asked, "includeAllRoots")
    wishes = {name: flag_of(asked, name) for name in ("strikes", "contractSize", "expirationType")}
    days = [] if symbol is None else await side.market.fetch_expirations(symbol)
    if not any(wishes.values()):
        return Told({"expirations": Rows("date", map(str, days))})
    rows: list[dict[str, Any]] = []
    for day in days:
        row: dict[str, Any] = {"date": str(day)}
        if wishes["contractSize"]:
            row["contract_size"] = _CONTRACT_SIZE
        if wishes["expirationType"]:
            row["expiration_type"] = expiration_type(day)
        if wishes["strikes"]:
            row["strikes"] = Rows("strike", _strikes(await _contracts(side, symbol, day)))
        rows.append(row)
    return Told({"expirations": Rows("expiration", rows)})


async def strikes(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/options/strikes`."""
    symbol, expiration = symbol_of(asked), _expiration(asked)
    flag_of(asked, "includeAllRoots")
    return Told({"strikes": Rows("strike", _strikes(await _contracts(side, symbol, expiration)))})


async def lookup(side: MarketSide, asked: Asked) -> Told:
    """`GET /v1/markets/options/lookup`: real arrays, however long they are."""
    symbol = symbol_of(asked, "underlying")
    by_root: dict[str, list[str]] = {}
    for day in [] if symbol is None else await side.market.fetch_expirations(symbol):
        await side.exchange.clock.sleep(0)
        for one in await _contracts(side, symbol, day):
            by_root.setdefault(one.root, []).append(one.symbol)
    rows = [{"rootSymbol": root, "options": symbols} for root, symbols in by_root.items()]
    return Told({"symbols": rows or None})


def _expiration(asked: Asked) -> date:
    day = day_of(asked, "expiration")
    if day is None:
        raise invalid("expiration", "is required.")
    return day


async def _contracts(side: MarketSide, symbol: str | None, day: date) -> Sequence[OptionContract]:
    """Those that expire then, by strike and the call first; none of expired ones."""
    return [] if symbol is None else await side.market.fetch_contracts(symbol, day)


def _strikes(contracts: Sequence[OptionContract]) -> list[Any]:
    return [number(one) for one in dict.fromkeys(contract.strike for contract in contracts)]
