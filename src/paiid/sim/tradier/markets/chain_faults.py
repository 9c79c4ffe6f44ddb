"""Plays the faults of an option chain: contracts told as no client expects them."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from paiid.sim.tradier.accounts import SimUser
from paiid.sim.tradier.markets.side import MarketSide

__all__ = ["spoiled"]

_NOT_A_NUMBER = "NaN"
_LAST, _QUOTE = ("last", "change", "change_percentage"), ("bid", "ask", "bidsize", "asksize")
_VOLATILITIES = ("bid_iv", "mid_iv", "ask_iv", "smv_vol")


def spoiled(side: MarketSide, user: SimUser, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contracts of a chain, every so-many-th of them spoiled where a fault wants it."""
    account = user.accounts[0].number
    fault = side.faults.draw("chain", account)
    if fault is None:
        return rows
    side.faults.tell(fault, account=account, contracts=len(rows))
    spoil, every = _SPOILS[fault.kind.name], fault.params["every"]
    return [spoil(row) if place % every == 0 else row for place, row in enumerate(rows)]


def _with_greeks(row: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    greeks = row.get("greeks")
    return {**row, "greeks": {**greeks, **changes}} if isinstance(greeks, Mapping) else dict(row)


def _nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no such number, so a source that has one writes it as a text."""
    names = ("delta", "gamma", "theta", "vega", "rho", "phi", *_VOLATILITIES)
    return {
        **_with_greeks(row, **dict.fromkeys(names, _NOT_A_NUMBER)),
        **dict.fromkeys(("bid", "ask", "last", "open_interest"), _NOT_A_NUMBER),
    }


def _zero(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without a bid there is no volatility of the bid either."""
    return {**_with_greeks(row, bid_iv=0.0, mid_iv=0.0), **dict.fromkeys(_QUOTE, 0)}


def _negative(row: Mapping[str, Any]) -> dict[str, Any]:
    changed = _with_greeks(row, **dict.fromkeys(_VOLATILITIES, -0.2))
    return {**changed, "bid": Decimal(-1), "ask": Decimal("-0.5"), "volume": -7, "open_interest": -1}


def _crossed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "bid": (row.get("ask") or Decimal(0)) + 1, "ask": row.get("bid")}


def _no_greeks(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "greeks": None} if "greeks" in row else dict(row)


def _no_quote(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **dict.fromkeys((*_LAST, *_QUOTE)), "bid_date": 0, "ask_date": 0, "trade_date": 0}


def _odd(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "bid": [1],
        "ask": {"price": 2},
        "volume": "many",
        "greeks": 7,
        "trade_date": "yesterday",
        "something_new": {"a": [row.get("symbol")]},
    }


_SPOILS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "chain_nan": _nan,
    "chain_zero": _zero,
    "chain_negative": _negative,
    "chain_crossed": _crossed,
    "chain_no_greeks": _no_greeks,
    "chain_no_quote": _no_quote,
    "chain_odd": _odd,
}
