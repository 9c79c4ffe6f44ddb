"""What a company does to its shares: cash dividends and splits, as positions and open orders feel them."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from paiid.domain.money import ZERO

CorporateActionKind = Literal["dividend", "split"]


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """One action of one symbol. Whoever holds it when `ex_date` begins is concerned.

    `amount` is dollars a share of a dividend, 0 for a split. `ratio` is new shares for one old share of a split (4
    for four-for-one, 0.1 for a reverse split of ten), 1 for a dividend.
    """

    symbol: str
    ex_date: date
    kind: CorporateActionKind
    amount: Decimal = ZERO
    ratio: Decimal = Decimal(1)
    description: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for amounts and ratios that no action has."""
        if self.kind == "dividend" and not (self.amount > 0 and self.ratio == 1):
            raise ValueError("a dividend has an amount above 0, and no ratio")
        if self.kind == "split" and not (self.ratio > 0 and self.ratio != 1 and self.amount == 0):
            raise ValueError("a split has a ratio above 0 other than 1, and no amount")
