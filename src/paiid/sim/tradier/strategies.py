"""What Tradier calls a combination of legs (`strategy` of an order, tradier.md, section 6.6)."""

from collections.abc import Sequence

from paiid.domain.instruments import is_option
from paiid.domain.occ import OptionContract, find_contract

__all__ = ["strategy_of"]


def strategy_of(symbols: Sequence[str]) -> str:
    """The name of the strategy that legs in these symbols make, sides left out of account."""
    contracts = [
        one for symbol in symbols if is_option(symbol) and (one := find_contract(symbol)) is not None
    ]
    if len(contracts) != len(symbols):
        if len(symbols) == 2 and len(contracts) == 1:
            return "covered_call" if contracts[0].option_type == "call" else "protective_put"
        return "collar" if len(symbols) == 3 and len(contracts) == 2 else "unknown"
    if len(contracts) == 2:
        return _of_two(*contracts)
    return {3: "butterfly", 4: "condor"}.get(len(contracts), "unknown")


def _of_two(one: OptionContract, other: OptionContract) -> str:
    if one.option_type == other.option_type:
        return "spread"
    if one.expiration != other.expiration:
        return "unknown"
    return "straddle" if one.strike == other.strike else "strangle"
