"""Plays the faults of an option chain: contracts told as no client expects them, a page that is lost, pages without end."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request

from paiid.sim.alpaca.errors import INTERNAL, AlpacaError
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.engine.recorder import SEEN

__all__ = ["FIRST_PAGE", "LATER_PAGE", "told_page"]

FIRST_PAGE, LATER_PAGE = "first_page", "later_page"
"""What a fault may be about, as an event."""
_NOT_A_NUMBER = "NaN"


def told_page(
    side: DataSide, request: Request, found: dict[str, dict[str, Any]], following: str | None, again: str
) -> dict[str, Any]:
    """The body of a page of a chain, spoiled where a fault wants it. `following` is the token of the next page, `again` of this one.
    Raises AlpacaError for a page that is lost."""
    asked = request.query_params.get("page_token")
    seen, event = request.scope[SEEN], LATER_PAGE if asked else FIRST_PAGE
    fault = side.faults.draw("chain", seen.account, event=event)
    if fault is not None:
        name = fault.kind.name
        side.faults.tell(fault, request=seen.seq, account=seen.account, path=request.url.path)
        if name == "chain_page_lost":
            raise AlpacaError(500, INTERNAL, "internal server error occurred")
        if name == "chain_endless":
            following = asked or again
        else:
            spoil, every = _SPOILS[name], fault.params["every"]
            for symbol in list(found)[::every]:
                found[symbol] = spoil(found[symbol])
    return {"snapshots": found, "next_page_token": following}


def _with_quote(told: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {**told, "latestQuote": {**told.get("latestQuote", {}), **changes}}


def _nan(told: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no such number, so a source that has one writes it as a text."""
    greeks = dict.fromkeys(("delta", "gamma", "theta", "vega", "rho"), _NOT_A_NUMBER)
    return {
        **_with_quote(told, bp=_NOT_A_NUMBER, ap=_NOT_A_NUMBER),
        "greeks": greeks,
        "impliedVolatility": _NOT_A_NUMBER,
    }


def _zero(told: Mapping[str, Any]) -> dict[str, Any]:
    return _with_quote(told, bp=0, bs=0, ap=0)


def _negative(told: Mapping[str, Any]) -> dict[str, Any]:
    return {**_with_quote(told, bp=-1, ap=-0.5), "impliedVolatility": -0.2}


def _crossed(told: Mapping[str, Any]) -> dict[str, Any]:
    quote = told.get("latestQuote", {})
    return _with_quote(told, bp=quote.get("ap", 0) + 1, ap=quote.get("bp", 0))


def _without(*names: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda told: {name: one for name, one in told.items() if name not in names}


def _odd(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "latestQuote": [1],
        "latestTrade": "none",
        "greeks": 7,
        "dailyBar": None,
        "somethingNew": {"a": [told]},
    }


_SPOILS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "chain_nan": _nan,
    "chain_zero": _zero,
    "chain_negative": _negative,
    "chain_crossed": _crossed,
    "chain_no_greeks": _without("greeks", "impliedVolatility"),
    "chain_no_quote": _without("latestQuote", "latestTrade"),
    "chain_odd": _odd,
}
