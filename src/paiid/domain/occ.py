"""Option contracts and their OCC symbols, both ways (OCC Options Symbology Initiative, 21 characters).

Root (1 to 6 characters, padded with blanks in the full form), expiration YYMMDD, C or P, strike in thousandths of a
dollar as 8 digits. The canonical form here is the one without the blanks, as brokers write it; the full form is
`padded`. A root is letters, and one digit at its end where the contract was adjusted. FLEX roots, which begin with a
digit, are not known: no broker here trades them.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from paiid.domain.money import plain

OptionType = Literal["call", "put"]

_FULL_LENGTH = 21
_ROOT_LENGTH = 6
_FIRST_YEAR = 2000
_HIGHEST_STRIKE = Decimal("99999.999")
_STRIKE_STEP = Decimal("0.001")
_ROOT = re.compile(r"[A-Z]{1,5}[1-9]?\Z|[A-Z]{6}\Z", re.ASCII)
_SYMBOL = re.compile(
    r"(?P<root>[A-Z]{1,5}[1-9]?|[A-Z]{6})(?P<blanks> {0,5})(?P<day>[0-9]{6})(?P<right>[CP])(?P<strike>[0-9]{8})\Z",
    re.ASCII,
)
# A root has no dot, so which ticker with one it stands for has to be known.
_CLASS_SHARES = {
    "BFB": "BF.B",
    "BRKB": "BRK.B",
    "CWENA": "CWEN.A",
    "HEIA": "HEI.A",
    "LENB": "LEN.B",
    "MOGA": "MOG.A",
}
_CLASS_ROOTS = {ticker: root for root, ticker in _CLASS_SHARES.items()}
# Second series of an index: settled in the afternoon or weekly, or exercised at expiration only.
_INDEX_ROOTS = {"SPXW": "SPX", "NDXP": "NDX", "RUTW": "RUT", "VIXW": "VIX", "XSPW": "XSP", "XEO": "OEX"}


class BadContract(ValueError):
    """There is no such contract. `field` is what is wrong: symbol, option_type, strike_price or expiration_date."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class OptionContract:
    """One contract. `strike` in dollars; `root` as the OCC lists it: a digit at its end marks an adjusted one."""

    root: str
    expiration: date
    option_type: OptionType
    strike: Decimal

    @classmethod
    def of(cls, ticker: str, option_type: str, strike: Decimal, expiration: date) -> "OptionContract":
        """The standard contract on a ticker. Raises BadContract (a ValueError), which names the field."""
        root = root_for(ticker)
        if option_type not in ("call", "put"):
            raise BadContract("option_type", "an option is a call or a put")
        if not strike.is_finite() or strike <= 0:
            raise BadContract("strike_price", "a strike is over 0")
        if strike > _HIGHEST_STRIKE:
            raise BadContract("strike_price", f"a strike is at most {_HIGHEST_STRIKE} dollars")
        exact = strike.quantize(_STRIKE_STEP)
        if exact != strike:
            raise BadContract("strike_price", "a strike is no finer than a tenth of a cent")
        if not _FIRST_YEAR <= expiration.year < _FIRST_YEAR + 100:
            raise BadContract("expiration_date", "an OCC symbol holds years from 2000 to 2099 only")
        return cls(root, expiration, "call" if option_type == "call" else "put", exact)

    @property
    def symbol(self) -> str:
        """The OCC symbol without blanks, such as AAPL261218C00265000."""
        return self.root + self._tail

    @property
    def padded(self) -> str:
        """The OCC symbol in its full 21 characters, such as `AAPL  261218C00265000`."""
        return f"{self.root:{_ROOT_LENGTH}}{self._tail}"

    @property
    def _tail(self) -> str:
        right = "C" if self.option_type == "call" else "P"
        return f"{self.expiration:%y%m%d}{right}{int(self.strike * 1000):08d}"

    @property
    def name(self) -> str:
        """As people read it, such as `AAPL 2026-12-18 265 Call`."""
        return f"{self.underlying} {self.expiration} {plain(self.strike)} {self.option_type.capitalize()}"

    @property
    def adjusted(self) -> bool:
        """Whether its deliverable is not 100 shares, after a split, merger or special dividend."""
        return self.root[-1].isdigit()

    @property
    def underlying(self) -> str:
        """The ticker behind the root: BRKB is BRK.B, SPXW is SPX, AAPL1 is AAPL."""
        root = self.root.rstrip("123456789")
        return _CLASS_SHARES.get(root) or _INDEX_ROOTS.get(root) or root

    def intrinsic(self, price: Decimal) -> Decimal:
        """Dollars a share that exercising is worth with the underlying at `price`, never below zero."""
        worth = price - self.strike if self.option_type == "call" else self.strike - price
        return max(Decimal(0), worth)


def root_for(ticker: str) -> str:
    """The root of the standard options on a ticker: BRK.B has BRKB. Raises BadContract for tickers that have none."""
    root = _CLASS_ROOTS.get(ticker, ticker)
    if not _ROOT.match(root) or root[-1].isdigit():
        raise BadContract("symbol", "there are no options on this symbol")
    return root


def find_contract(symbol: str) -> OptionContract | None:
    """The contract that an OCC symbol names, in its full form or without the blanks; None where it is no such symbol:
    impossible dates, a strike of zero and a wrong number of blanks included."""
    found = _SYMBOL.match(symbol)
    if found is None or (found["blanks"] and len(symbol) != _FULL_LENGTH):
        return None
    text = found["day"]
    try:
        expiration = date(_FIRST_YEAR + int(text[:2]), int(text[2:4]), int(text[4:]))
    except ValueError:
        return None
    strike = Decimal(found["strike"]).scaleb(-3)
    if strike == 0:
        return None
    return OptionContract(found["root"], expiration, "call" if found["right"] == "C" else "put", strike)
