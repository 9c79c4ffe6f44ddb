"""What can be traded: symbols, their form, and what an instrument allows."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

AssetClass = Literal["stock"]

SYMBOL_PATTERN = re.compile(r"[A-Z]{1,5}(?:[./][A-Z]{1,2})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable symbol. `tick` is the smallest price step at or above one dollar."""

    symbol: str
    name: str
    asset_class: AssetClass
    tradable: bool = True
    shortable: bool = True
    fractionable: bool = False
    tick: Decimal = Decimal("0.01")


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
