"""What P9 is measured on: a priced chain of so many contracts, and what FastAPI needs to know of it for a response_model."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import create_model

from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing import black_scholes
from paiid.domain.quotes import Quote
from paiid.options.pricing import Told, in_order, price_chain
from paiid.options.records import NONE, Assumed, PricedChain, Spot
from paiid.options.shapes import ContractView

SPOT = 200.0
CENT = Decimal("0.01")
_KINDS: dict[str, Any] = {
    "symbol": str, "root": str, "option_type": str, "expiration_date": str, "style": str, "adjusted": bool, "stale": bool,
    "quality": list[str], "as_of": str | None, "greeks_source": str | None, "size": int | None, "volume": int | None,
    "open_interest": int | None, "vendor": Any,
}  # fmt: skip


def priced(count: int) -> PricedChain:
    """A chain of `count` contracts (a multiple of 40) over 20 expirations, with a bid and an ask of each, without interest and dividends."""
    at = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
    at_us = int(at.timestamp()) * 1_000_000
    rows = []
    for number in range(20):
        day = at.date() + timedelta(days=7 + 35 * number)
        for step in range(count // 40):
            strike = Decimal(100) + Decimal(200 * 40) / count * step
            rows += [_row(kind, strike.quantize(CENT), day, at_us) for kind in ("call", "put")]
    spot = Spot(SPOT, SPOT - 0.01, SPOT + 0.01, "mid")
    told = Told(
        "BENCH", "bench", False, in_order(rows), Decimal("200"), at_us, at_us, at_us,
        spot, Assumed(0.0, "setting"), NONE, (), "none",
    )  # fmt: skip
    return price_chain(told, "fast")


def _row(kind: Any, strike: Decimal, day: date, at_us: int) -> ChainRow:
    contract = OptionContract("BENCH", day, kind, strike)
    ends = datetime(day.year, day.month, day.day, 21, tzinfo=UTC)
    years = (ends.timestamp() - at_us / 1e6) / 86400 / 365
    middle = Decimal(black_scholes.price(kind, SPOT, float(strike), years, 0.0, 0.0, 0.3)).quantize(CENT)
    quote = Quote(
        contract.symbol, max(middle - CENT, Decimal(0)), middle + CENT, Decimal(10), Decimal(12),
        middle, middle, at_us, 1, "bench",
    )  # fmt: skip
    return ChainRow(contract, quote, 120, 2500)


def model_of() -> Any:
    """The pydantic model of a chain's contracts, field for field; what else is in the answer is left out."""
    fields: dict[str, Any] = {
        name: (_KINDS.get(name, float | None), ...) for name in ContractView.__struct_fields__
    }
    contract = create_model("Contract", **fields)
    several: Any = list[contract]  # type: ignore[valid-type]
    return create_model("Chain", symbol=(str, ...), calls=(several, ...), puts=(several, ...))
