"""The regulatory fees that a broker passes on: who asks how much for what, and what one order owes of it.

There is no commission. Rates in dollars, each with its source and date beside it.
"""

from decimal import ROUND_CEILING, Decimal

from paiid.domain.instruments import is_option
from paiid.domain.money import CENT, ZERO
from paiid.domain.orders import Side

SEC_RATE = Decimal("20.60") / 1_000_000
"""Of the dollars of a sale (Securities Exchange Act, section 31; order for fiscal year 2026, release 34-104909, in
force since 2026-04-04)."""
TAF_SHARE, TAF_SHARE_CAP = Decimal("0.000195"), Decimal("9.79")
"""A share sold, and the most for one trade (FINRA By-Laws, schedule A, section 1(b), from 2026-01-01)."""
TAF_CONTRACT = Decimal("0.00329")
"""An option contract sold (the same)."""
ORF_CONTRACT = Decimal("0.02815")
"""An option contract bought or sold: the options regulatory fees of all 18 exchanges together, as a large broker
passed them on from 2025-03-03; the exchanges change theirs twice a year."""
CLEARING_CONTRACT = Decimal("0.025")
"""An option contract bought or sold, however many (OCC schedule of fees, from 2025-02-14; 90 FR 10544)."""


def fees_of(symbol: str, side: Side, qty: Decimal, value: Decimal) -> Decimal:
    """All fees of an order of which `qty` shares or contracts have filled for `value` dollars, rounded up to the cent
    once. What a print owes is this less what the order has been charged before."""
    if qty == 0:
        return ZERO
    owed = ZERO
    if is_option(symbol):
        owed += qty * (ORF_CONTRACT + CLEARING_CONTRACT)
        if side == "sell":
            owed += qty * TAF_CONTRACT + value * SEC_RATE
    elif side == "sell":
        owed += min(TAF_SHARE_CAP, qty * TAF_SHARE) + value * SEC_RATE
    return owed.quantize(CENT, ROUND_CEILING)
