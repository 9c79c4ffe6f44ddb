"""A corporate action is a dividend or a split, and nothing between."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.corporate import CorporateAction

DAY = date(2026, 12, 18)


def test_a_dividend_has_an_amount_and_a_split_a_ratio() -> None:
    assert CorporateAction("KO", DAY, "dividend", Decimal("0.53")).ratio == 1
    for ratio in ("4", "1.5", "0.1"):
        assert CorporateAction("NVDA", DAY, "split", ratio=Decimal(ratio)).amount == 0


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("dividend", {}),
        ("dividend", {"amount": Decimal("-0.01")}),
        ("dividend", {"amount": Decimal("0.5"), "ratio": Decimal(2)}),
        ("split", {}),
        ("split", {"ratio": Decimal(0)}),
        ("split", {"ratio": Decimal(-2)}),
        ("split", {"ratio": Decimal(2), "amount": Decimal("0.5")}),
    ],
)
def test_what_is_neither_is_refused(kind: Any, numbers: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match=kind):
        CorporateAction("KO", DAY, kind, **numbers)
