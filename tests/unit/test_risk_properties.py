"""Whatever is proposed one after the other: what our checks let through the account can carry, by a referee's formula."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from paiid.domain.margin import Exposure
from paiid.domain.orders import Reason, Side
from paiid.domain.quotes import Quote
from paiid.domain.risk import Proposal, RiskLimits, Standing, check, grown
from tests.venue_judge import ZERO, Books, Held, free_margin, money, size_of

CALL, HIGHER, PUT = "AAPL270319C00100000", "AAPL270319C00105000", "AAPL270319P00095000"
BOUNDED = settings(
    phases=[Phase.generate],
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
D = Decimal
QUOTES = {
    symbol: Quote(symbol, D(bid), D(ask), D(10_000), D(10_000), D(bid), D(bid), 0, 1, "test")
    for symbol, bid, ask in (
        ("AAPL", "99.90", "100.10"),
        ("MSFT", "49.90", "50.10"),
        (CALL, "5.00", "5.10"),
        (HIGHER, "3.00", "3.10"),
        (PUT, "2.50", "2.60"),
    )
}
ANY = RiskLimits(D(10**6), D(10**9), D(10**9), 500, 200, D(25))
Check = Callable[[Proposal, Standing, RiskLimits], Reason | None]


@dataclass(frozen=True)
class Start:
    """Dollars beyond the positions, and signed quantities of the symbols that are held."""

    cash: int
    held: tuple[int, int, int, int]
    margin: bool


starts = st.builds(
    Start,
    st.sampled_from([1_000, 20_000, 100_000]),
    st.tuples(
        st.sampled_from([0, 0, 100, 250, -100]),
        st.sampled_from([0, 0, 40, -30]),
        st.sampled_from([0, 0, 2, -1]),
        st.sampled_from([0, 0, 2]),
    ),
    st.booleans(),
)
_shares = st.tuples(st.sampled_from(["AAPL", "MSFT"]), st.sampled_from([1, 50, 100, 260, 700, 2_000]))
_contracts = st.tuples(st.sampled_from([CALL, HIGHER, PUT]), st.sampled_from([1, 2, 5, 40]))
asked = st.lists(
    st.tuples(
        st.one_of(_shares, _contracts), st.sampled_from(["buy", "sell"]), st.sampled_from([None, -10, 0, 10])
    ),
    min_size=1,
    max_size=6,
)


def proposal(symbol: str, qty: int, side: Side, off: int | None) -> Proposal:
    """A market order, or a limit `off` ticks of five cents from the far side."""
    quote = QUOTES[symbol]
    far = quote.ask if side == "buy" else quote.bid
    limit = None if off is None else far + off * D("0.05")
    return Proposal(symbol, side, "market" if off is None else "limit", D(qty), limit, None, quote)


def standing(start: Start) -> Standing:
    """The account with nothing open."""
    held = dict(zip(("AAPL", "MSFT", CALL, HIGHER), start.held, strict=True))
    exposures = tuple(
        Exposure(
            one, D(qty), ZERO, ZERO, ZERO, ZERO, QUOTES[one].bid if qty > 0 else QUOTES[one].ask
        )
        for one, qty in held.items()
        if qty
    )  # fmt: skip
    return Standing(D(start.cash), 0, len(exposures), exposures, margin=start.margin)


def books(start: Start, orders: Sequence[Proposal]) -> Books:
    """The same account as the referee sees it: what each open order keeps back he reckons himself."""
    held = dict(zip(("AAPL", "MSFT", CALL, HIGHER), start.held, strict=True))
    rows: dict[str, Held] = {one: Held(D(qty)) for one, qty in held.items() if qty}
    for one in orders:
        row = rows.get(one.symbol, Held())
        price = one.limit_price if one.limit_price is not None else QUOTES[one.symbol].ask
        if one.side == "buy":
            value = money(one.qty * price * size_of(one.symbol))
            rows[one.symbol] = replace(row, buys=row.buys + one.qty, buy_value=row.buy_value + value)
        else:
            value = money(one.qty * max(price, QUOTES[one.symbol].ask) * size_of(one.symbol))
            rows[one.symbol] = replace(row, sells=row.sells + one.qty, sell_value=row.sell_value + value)
    return Books(D(start.cash), 0, 0, [], [], [], rows, set())


def play(start: Start, orders: Sequence[Proposal], judge: Check = check) -> None:
    """Propose one after the other; what is let through is open from then on. Raises AssertionError."""
    account, open_ones = standing(start), list[Proposal]()
    for one in orders:
        before = free_margin(books(start, open_ones), QUOTES, margin=start.margin)
        reason = judge(one, account, ANY)
        own = account.of(one.symbol)
        leads_out = own is not None and one.qty <= account.closable(one.symbol)
        leads_out = leads_out and (own.qty > 0) == (one.side == "sell") if own is not None else False
        if reason is not None:
            stuck = leads_out and (one.side == "buy" or not any(len(e.symbol) > 8 for e in account.exposures))
            assert not stuck, f"no way out: {reason.code}"
            continue
        account = grown(one, account)
        open_ones.append(one)
        after = free_margin(books(start, open_ones), QUOTES, margin=start.margin)
        if before is not None:
            assert after is not None, "a naked call was let through"
            assert leads_out or after >= min(ZERO, before), f"margin from {before} to {after}"


def _orders(asked_for: Sequence[tuple[tuple[str, int], Side, int | None]]) -> list[Proposal]:
    return [proposal(symbol, qty, side, off) for (symbol, qty), side, off in asked_for]


@BOUNDED
@given(starts, asked)
def test_what_is_let_through_the_account_can_carry_and_a_way_out_is_never_barred(
    start: Start, asked: list[tuple[tuple[str, int], Side, int | None]]
) -> None:
    play(start, _orders(asked))


def forgets_what_is_open(one: Proposal, account: Standing, limits: RiskLimits) -> Reason | None:
    """Each order alone would pass."""
    bare = tuple(
        replace(e, open_buy_qty=ZERO, open_buy_value=ZERO, open_sell_qty=ZERO, open_sell_value=ZERO)
        for e in account.exposures
    )
    return check(one, replace(account, exposures=bare), limits)


def lends_to_all(one: Proposal, account: Standing, limits: RiskLimits) -> Reason | None:
    """A cash account is treated as one with margin."""
    return check(one, replace(account, margin=True), limits)


def lends_on_options(one: Proposal, account: Standing, limits: RiskLimits) -> Reason | None:
    """Half of an option's price will do."""
    reason = check(one, account, limits)
    if reason is not None and len(one.symbol) > 8:
        return check(replace(one, qty=max(D(1), one.qty // 2)), account, limits)
    return reason


def overlooks_cover(one: Proposal, account: Standing, limits: RiskLimits) -> Reason | None:
    """A short call needs nothing."""
    reason = check(one, account, limits)
    return None if reason is not None and reason.code == "uncovered_option" else reason


def bars_the_way_out(one: Proposal, account: Standing, limits: RiskLimits) -> Reason | None:
    """Whoever has no money may not even sell."""
    return check(one, account, limits) or (Reason("buying_power", "none") if account.cash < 2_000 else None)


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (forgets_what_is_open, "margin from|naked"),
        (lends_to_all, "margin from"),
        (lends_on_options, "margin from|naked"),
        (overlooks_cover, "naked"),
        (bars_the_way_out, "no way out"),
    ],
)
def test_the_referee_catches_each_planted_check(planted: Check, words: str) -> None:
    @BOUNDED
    @given(starts, asked)
    def run(start: Start, asked: list[tuple[tuple[str, int], Side, int | None]]) -> None:
        play(start, _orders(asked), planted)

    with pytest.raises(AssertionError, match=words):
        run()
