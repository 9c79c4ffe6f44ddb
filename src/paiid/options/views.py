"""Chains on the wire: one pass from arrays to JSON, field for field as docs and the API description tell them."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import numpy as np

from paiid.core.instants import instant
from paiid.core.json import encode
from paiid.domain.money import plain
from paiid.domain.option_chain import ChainRow, VendorGreeks
from paiid.domain.pricing import quality
from paiid.domain.pricing.terms import IMPLIED, FloatArray
from paiid.options.asked import Asked, page, select, told_delta
from paiid.options.records import Assumptions, IndexArray, PricedChain
from paiid.options.shapes import (
    AssumptionsView,
    ChainView,
    ContractView,
    DividendsView,
    ExpirationTermsView,
    ExpirationView,
    PaymentView,
    VendorView,
)

DECIMALS = 6
"""Of Greeks and volatilities; gamma has more, for it is small where prices are large."""
GAMMA_DECIMALS = 9
_NAN = float("nan")
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")


def chain_view(chain: PricedChain, asked: Asked) -> bytes:
    """The JSON of a chain's contracts that were asked for."""
    found = select(chain, asked, told_delta(chain))
    shown, following = page(chain, found, asked)
    call = chain.contracts.call[shown]
    calls, puts = contract_views(chain, shown[call]), contract_views(chain, shown[~call])
    days = [one.day.isoformat() for one in chain.assumptions.expirations]
    view = ChainView(
        symbol=chain.symbol,
        expiration_date=days[0] if len(days) == 1 else None,
        expirations=days,
        underlying_price=None if chain.underlying_price is None else plain(chain.underlying_price),
        calls=calls,
        puts=puts,
        total_contracts=len(found),
        next=following,
        source=chain.source,
        as_of=instant(chain.as_of_us),
        stale=chain.stale,
        assumptions=assumptions_view(chain),
        quality_counts=_counts(chain, found),
        delayed=chain.delayed,
        age_s=chain.age_s,
        reason=_reason(chain, found, asked),
    )
    return encode(view)


def contract_views(chain: PricedChain, where: IndexArray) -> list[ContractView]:
    """Contracts in order. NaN becomes null."""
    rows = [chain.rows[one] for one in where.tolist()]
    computed = chain.implied.status[where] == IMPLIED
    vendors = _vendors(rows)
    columns = _greeks(chain, where, computed, vendors)
    contracts = [row.contract for row in rows]
    quotes = [row.quote for row in rows]
    days = [one.day.isoformat() for one in chain.assumptions.expirations]
    instants: dict[int, str | None] = {}
    flags: list[int] = chain.flags[where].tolist()
    names = {one: tuple(quality.names_of(one)) for one in set(flags)}
    source = chain.source
    roots = {one.root for one in contracts}
    adjusted = {root for root in roots if root[-1].isdigit()}
    return list(
        map(
            ContractView,
            # A quote has the symbol as a text; a contract has to put it together.
            [
                contract.symbol if quote is None else quote.symbol
                for contract, quote in zip(contracts, quotes, strict=True)
            ],
            [one.root for one in contracts],
            [one.option_type for one in contracts],
            # The shortest digits of a float are those of the price itself, up to 15 of them.
            chain.contracts.strike[where].tolist(),
            [days[one] for one in chain.expiration_index[where].tolist()],
            np.where(chain.european[where], "european", "american").tolist(),
            [row.size for row in rows],
            [one.root in adjusted for one in contracts],
            chain.bid[where].tolist(),
            chain.ask[where].tolist(),
            _counts_of([_NAN if one is None else one.bid_size for one in quotes]),
            _counts_of([_NAN if one is None else one.ask_size for one in quotes]),
            np.round(chain.mid[where], DECIMALS).tolist(),
            [None if one is None or one.last <= 0 else float(one.last) for one in quotes],
            [row.volume for row in rows],
            [row.open_interest for row in rows],
            *columns,
            np.round(chain.uncertainty[where], DECIMALS).tolist(),
            [
                "computed" if ours else None if vendor is None else source
                for ours, vendor in zip(computed.tolist(), vendors, strict=True)
            ],
            [names[one] for one in flags],
            vendors,
            [None if one is None else _instant(one.as_of_us, instants) for one in quotes],
            [one is None or bool(flag & quality.STALE) for one, flag in zip(quotes, flags, strict=True)],
        )
    )


def assumptions_view(chain: PricedChain) -> AssumptionsView:
    """What pricing assumes of a chain."""
    assumptions: Assumptions = chain.assumptions
    spot = assumptions.spot
    return AssumptionsView(
        model="lognormal spot with cash dividends",
        style=_style(chain),
        accuracy=chain.accuracy,
        priced_at=instant(assumptions.priced_at_us) or "",
        spot=None if spot is None else round(spot.price, DECIMALS),
        spot_source=None if spot is None else spot.source,
        dividends=DividendsView(
            assumptions.dividends_source,
            [PaymentView(one.ex_date.isoformat(), plain(one.amount)) for one in assumptions.payments],
        ),
        expirations=[
            ExpirationTermsView(
                one.day.isoformat(),
                round(one.years, 8),
                round(one.rate.value, 6),
                one.rate.source,
                round(one.dividend_yield.value, 6),
                one.dividend_yield.source,
                one.pairs,
                None if one.forward is None else round(one.forward, 6),
            )
            for one in assumptions.expirations
        ],
    )


def nothing_view(symbol: str, source: str, reason: str) -> bytes:
    """A chain without contracts, and why it is."""
    return encode(
        ChainView(
            symbol, None, [], None, [], [], 0, None, source, None, False, None, {}, reason=reason
        )
    )  # fmt: skip


def expirations_view(rows: Iterable[tuple[date, int, str]], today: date, source: str) -> bytes:
    """(day, strikes, kind) as a JSON array."""
    return encode(
        [
            ExpirationView(day.isoformat(), (day - today).days, count, kind, source)
            for day, count, kind in rows
        ]
    )


def _greeks(
    chain: PricedChain, where: IndexArray, computed: np.ndarray[Any, Any], vendors: list[VendorView | None]
) -> list[list[float]]:
    """Volatility and Greeks, ours where there are any, else the vendor's, else NaN."""
    ours: dict[str, FloatArray] = {"implied_volatility": chain.implied.volatility[where]}
    ours |= {name: getattr(chain.values, name)[where] for name in _GREEKS}
    any_vendor = any(one is not None for one in vendors)
    columns = []
    for name, column in ours.items():
        theirs: Any = np.nan
        if any_vendor:
            told = [None if one is None else getattr(one, name) for one in vendors]
            theirs = np.array(told, dtype=np.float64)
        decimals = GAMMA_DECIMALS if name == "gamma" else DECIMALS
        columns.append(np.where(computed, np.round(column, decimals), theirs).tolist())
    return columns


def _vendors(rows: Sequence[ChainRow]) -> list[VendorView | None]:
    return [None if row.vendor is None else _vendor(row.vendor) for row in rows]


def _vendor(one: VendorGreeks) -> VendorView | None:
    told = (one.implied_volatility, one.delta, one.gamma, one.theta, one.vega, one.rho)
    return None if all(value is None for value in told) else VendorView(*told)


def _counts(chain: PricedChain, found: IndexArray) -> dict[str, int]:
    """How many of the contracts have each flag, and how many have none."""
    flags = chain.flags[found]
    counts = {name: int(np.count_nonzero(flags & np.uint32(flag))) for flag, name in quality.NAMES}
    return {"good": int(np.count_nonzero(flags == 0))} | {
        name: count for name, count in counts.items() if count
    }


def _reason(chain: PricedChain, found: IndexArray, asked: Asked) -> str | None:
    if len(found):
        return None
    if chain.assumptions.spot is None and (asked.strikes is not None or asked.moneyness is not None):
        return f"There is no price of {chain.symbol} to tell what is around the money."
    if len(chain.rows):
        return "No contract meets all conditions."
    return f"Nothing is listed on {chain.symbol} for these expirations."


def _style(chain: PricedChain) -> str:
    if len(chain) and chain.european.all():
        return "european"
    return "mixed" if chain.european.any() else "american"


def _counts_of(sizes: list[Any]) -> list[Any]:
    """Sizes in contracts, which are whole numbers nearly always; NaN becomes null."""
    values: FloatArray = np.array(sizes, dtype=np.float64)
    known = ~np.isnan(values)
    if not np.array_equal(values[known], np.floor(values[known])):
        return list(values.tolist())
    whole: list[Any] = np.where(known, values, 0.0).astype(np.int64).tolist()
    return whole if known.all() else [one if told else None for one, told in zip(whole, known, strict=True)]


def _instant(at_us: int, known: dict[int, str | None]) -> str | None:
    found = known.get(at_us)
    if found is None:
        found = known[at_us] = instant(at_us)
    return found
