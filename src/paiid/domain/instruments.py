"""What can be traded: symbols, their form, and what an instrument allows."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from paiid.domain.occ import OptionContract, find_contract

AssetClass = Literal["stock", "option"]

SYMBOL_PATTERN = re.compile(r"[A-Z]{1,5}(?:[./][A-Z]{1,2})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable symbol. `tick` is the smallest price step at or above one dollar (for options: three dollars).

    `contract` is what an option is about; its `last_trade_us` is the end of its last trading day.
    """

    symbol: str
    name: str
    asset_class: AssetClass
    tradable: bool = True
    shortable: bool = True
    fractionable: bool = False
    tick: Decimal = Decimal("0.01")
    contract: OptionContract | None = None
    last_trade_us: int | None = None


def parse_symbol(text: str) -> str:
    """A ticker in its canonical upper-case form.

    Raises ValueError for anything but 1 to 5 ASCII letters with an optional class suffix (`BRK.B`): look-alike
    letters of other alphabets, control characters and blanks are refused, never folded or trimmed.
    """
    if not text.isascii():
        raise ValueError(
            "a symbol has plain ASCII letters only; this one has look-alike or foreign characters"
        )
    symbol = text.upper()
    if not SYMBOL_PATTERN.match(symbol):
        raise ValueError("a symbol is 1 to 5 letters, with an optional class suffix such as BRK.B")
    return symbol


def tick_of(price: Decimal) -> Decimal:
    """The smallest price step of a US stock at this price: a cent from one dollar up, else a hundredth of
    a cent (Regulation NMS, rule 612)."""
    return Decimal("0.01") if price >= 1 else Decimal("0.0001")


CONTRACT_SIZE = Decimal(100)
"""Shares that one standard option contract is about."""
_LONGEST_TICKER = 8


def is_option(symbol: str) -> bool:
    """Whether a canonical symbol is an option contract: no ticker is as long as an OCC symbol."""
    return len(symbol) > _LONGEST_TICKER


def underlying_of(symbol: str) -> str:
    """What halts and margin go by: an option's underlying, or the symbol itself."""
    contract = find_contract(symbol) if is_option(symbol) else None
    return symbol if contract is None else contract.underlying


def multiplier_of(symbol: str) -> int:
    """Dollars of value for one dollar of price: 100 for an option contract, 1 for a share."""
    return 100 if is_option(symbol) else 1


def parse_any_symbol(text: str) -> str:
    """A ticker or an OCC symbol (padded or not) in its canonical form. Raises ValueError."""
    if is_option(text) or any(c.isdigit() for c in text):
        contract = find_contract(text.upper()) if text.isascii() else None
        if contract is None:
            raise ValueError(
                "an option symbol is root, date as YYMMDD, C or P, and the strike in thousandths of a dollar as "
                "8 digits, such as AAPL261218C00265000"
            )
        return contract.symbol
    return parse_symbol(text)


_PENNY_EVERYWHERE = frozenset({"SPY", "QQQ", "IWM"})
_NICKEL_FROM = Decimal(3)


def has_penny_ticks(underlying: str) -> bool:
    """Whether the options on a ticker trade in cents at every price."""
    return underlying in _PENNY_EVERYWHERE


def option_tick(symbol: str, price: Decimal) -> Decimal:
    """The smallest price step of an option contract in the Penny Interval Program: a cent under three dollars, five
    cents from there on; SPY, QQQ and IWM a cent everywhere (Cboe rule 5.4)."""
    if price < _NICKEL_FROM or has_penny_ticks(underlying_of(symbol)):
        return Decimal("0.01")
    return Decimal("0.05")
