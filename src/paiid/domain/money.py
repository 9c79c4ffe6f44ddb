"""Exact money: Decimal in the code, scaled integers in the database, the same digits on the wire.

Money and prices are stored in millionths (1e-6), quantities in billionths (1e-9), so that SQL adds and
compares exactly on every database. Values outside a signed 64-bit integer are refused at the edge.
"""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal

MONEY_SCALE = 6
QTY_SCALE = 9
CENT = Decimal("0.01")
ZERO = Decimal(0)

_MONEY_UNIT = Decimal(1).scaleb(-MONEY_SCALE)
_QTY_UNIT = Decimal(1).scaleb(-QTY_SCALE)
_MONEY_FACTOR = 10**MONEY_SCALE
_QTY_FACTOR = 10**QTY_SCALE
MAX_SCALED = 2**63 - 1
_EXACT = Context(prec=60)
"""Wide enough for every number the edge lets in, so that scaling loses nothing."""


def _scaled(value: Decimal, factor: int, what: str) -> int:
    product = _EXACT.multiply(value, Decimal(factor))
    scaled = int(product)
    if scaled != product:
        raise ValueError(f"{what} has more decimals than can be kept")
    if abs(scaled) > MAX_SCALED:
        raise ValueError(f"{what} is out of range")
    return scaled


def money_to_int(value: Decimal) -> int:
    """Dollars to stored millionths. Raises ValueError when digits would be lost or the value overflows."""
    return _scaled(value, _MONEY_FACTOR, "amount")


def money_from_int(stored: int) -> Decimal:
    """Stored millionths to dollars."""
    return Decimal(stored).scaleb(-MONEY_SCALE)


def qty_to_int(value: Decimal) -> int:
    """Shares to stored billionths. Raises ValueError when digits would be lost or the value overflows."""
    return _scaled(value, _QTY_FACTOR, "quantity")


def qty_from_int(stored: int) -> Decimal:
    """Stored billionths to shares."""
    return Decimal(stored).scaleb(-QTY_SCALE)


def round_money(value: Decimal) -> Decimal:
    """Round an amount (qty x price) to the stored millionth, half to even, as the ledger books it."""
    return value.quantize(_MONEY_UNIT, ROUND_HALF_EVEN)


def round_cents(value: Decimal) -> Decimal:
    """Round to whole cents, half up, as statements show it."""
    return value.quantize(CENT, ROUND_HALF_UP)


def plain(value: Decimal) -> Decimal:
    """The same number without trailing zeros or an exponent: 10.500 -> 10.5, 1E+2 -> 100."""
    if value == value.to_integral_value():
        return value.quantize(Decimal(1)) if abs(value) < Decimal("1e27") else value
    return value.normalize()
