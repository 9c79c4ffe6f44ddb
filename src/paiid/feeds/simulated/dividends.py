"""The dividends of the simulated market: four a year, on days that follow from the symbol alone.

The simulated price does not fall on the ex-date, as a real one does by about the dividend: the path is one function
of seed and instant (`walk`), and knows of no payments. So a dividend here is a small gift to whoever holds the share,
and a small loss to whoever is short. There are no splits.
"""

from datetime import date, timedelta
from decimal import Decimal

from paiid.domain.calendar import session_of
from paiid.domain.corporate import CorporateAction
from paiid.domain.money import round_cents
from paiid.feeds.simulated.listing import Listing
from paiid.feeds.simulated.walk import hash64

_MONTHS_OF_A_QUARTER = 3
_FIRST_DAY_OF_MONTH = 5
_DAYS_TO_CHOOSE_FROM = 16
_CENT = Decimal("0.01")
_EX_DATE_DICE = 2000


def ex_date_of(listing: Listing, year: int, month: int) -> date | None:
    """The symbol's ex-date in a month, None where the month is not one of its four or it pays nothing: between the 5th
    and the 20th, moved on to a trading day of the exchange."""
    if listing.dividend_pct <= 0:
        return None
    dice = hash64(int.from_bytes(listing.symbol.encode(), "big"), _EX_DATE_DICE)
    if month % _MONTHS_OF_A_QUARTER != dice % _MONTHS_OF_A_QUARTER:
        return None
    day = date(year, month, _FIRST_DAY_OF_MONTH + (dice >> 8) % _DAYS_TO_CHOOSE_FROM)
    while session_of(day) is None:
        day += timedelta(days=1)
    return day


def dividend_of(listing: Listing, ex_date: date) -> CorporateAction | None:
    """What the symbol pays to whoever holds it when that day begins: a quarter of its yearly yield on its level, at
    least a cent."""
    if ex_date_of(listing, ex_date.year, ex_date.month) != ex_date:
        return None
    yearly = Decimal(str(listing.level)) * Decimal(str(listing.dividend_pct)) / 100
    amount = max(round_cents(yearly / 4), _CENT)
    return CorporateAction(
        listing.symbol, ex_date, "dividend", amount, description=f"Cash dividend of {amount} dollars a share"
    )
