"""What the options routes answer, field by field; the API description is made from these types."""

from decimal import Decimal

import msgspec


class VendorView(msgspec.Struct, gc=False):
    """What the source itself computed."""

    implied_volatility: float | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None


class ContractView(msgspec.Struct, gc=False):
    """One contract. Prices are dollars a share, null where nobody quotes; `theta` a calendar day, `vega` and `rho` a percentage point."""

    symbol: str
    root: str
    option_type: str
    strike_price: float
    expiration_date: str
    style: str
    size: int | None
    adjusted: bool
    bid: float | None
    ask: float | None
    bid_size: float | int | None
    ask_size: float | int | None
    mid: float | None
    last_price: float | None
    volume: int | None
    open_interest: int | None
    implied_volatility: float | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None
    iv_uncertainty: float | None
    greeks_source: str | None
    quality: tuple[str, ...]
    vendor: VendorView | None
    as_of: str | None
    stale: bool


class ExpirationTermsView(msgspec.Struct):
    """What is assumed of one expiration: fractions a year, continuously compounded; `forward` in dollars."""

    expiration_date: str
    years: float
    rate: float
    rate_source: str
    dividend_yield: float
    dividend_yield_source: str
    parity_pairs: int
    forward: float | None


class PaymentView(msgspec.Struct):
    """A cash dividend that pricing expects, dollars a share."""

    ex_date: str
    amount: Decimal


class DividendsView(msgspec.Struct):
    """Cash dividends, and who says so."""

    source: str
    payments: list[PaymentView]


class AssumptionsView(msgspec.Struct):
    """What pricing assumes."""

    model: str
    style: str
    accuracy: str
    priced_at: str
    spot: float | None
    spot_source: str | None
    dividends: DividendsView
    expirations: list[ExpirationTermsView]


class ChainView(msgspec.Struct, omit_defaults=True):
    """A chain, or a page of it."""

    symbol: str
    expiration_date: str | None
    expirations: list[str]
    underlying_price: Decimal | None
    calls: list[ContractView]
    puts: list[ContractView]
    total_contracts: int
    next: str | None
    source: str
    as_of: str | None
    stale: bool
    assumptions: AssumptionsView | None
    quality_counts: dict[str, int]
    delayed: bool = False
    age_s: float | None = None
    reason: str | None = None


class ExpirationView(msgspec.Struct):
    """One day on which options on a ticker expire; `strikes` is how many there are."""

    date: str
    days_to_expiry: int
    strikes: int
    kind: str
    source: str
