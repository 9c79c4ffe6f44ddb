"""What short options tie up: known values, and never less than can be lost."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.option_margin import Uncovered, collateral, greatest_value

D = Decimal
EARLY, LATE = date(2026, 12, 18), date(2027, 1, 15)
STRIKES = [D(90), D(95), D(100), D(105), D(110)]
GRID = [D(price) for price in range(0, 200, 5)]
"""All strikes are on it."""


def option(kind: str, strike: str | Decimal, expiration: date = EARLY) -> str:
    """The symbol of a contract on AAPL."""
    return OptionContract.of("AAPL", kind, D(strike), expiration).symbol


def call(strike: str, expiration: date = EARLY) -> str:
    return option("call", strike, expiration)


def put(strike: str, expiration: date = EARLY) -> str:
    return option("put", strike, expiration)


def held(**quantities: str) -> dict[str, Decimal]:
    """c100='-1' is one short call at 100, p95_late='2' two long puts that live longer."""
    found = {}
    for name, qty in quantities.items():
        strike, _, late = name[1:].partition("_")
        found[option("call" if name[0] == "c" else "put", strike, LATE if late else EARLY)] = D(qty)
    return found


@pytest.mark.parametrize(
    ("contracts", "shares", "wanted"),
    [
        ({}, "0", "0"),
        (held(c100="3", p90="1"), "0", "0"),
        # Cash-secured puts need their strike.
        (held(p100="-2"), "0", "20000"),
        (held(p100="-2"), "-500", "20000"),
        # Covered calls need nothing, a hundred shares each.
        (held(c100="-2"), "200", "0"),
        (held(c100="-2"), "250.5", "0"),
        # Verticals need the width, a credit or a debit.
        (held(p100="-1", p95="1"), "0", "500"),
        (held(p100="1", p95="-1"), "0", "0"),
        (held(c100="-3", c105="3"), "0", "1500"),
        (held(c100="1", c105="-1"), "0", "0"),
        # Of an iron condor only one side can be lost.
        (held(p90="1", p95="-1", c105="-1", c110="1"), "0", "500"),
        (held(p90="1", p100="-1", c105="-1", c110="1"), "0", "1000"),
        (held(p95="1", p100="-1", c100="-1", c105="1"), "0", "500"),
        # A butterfly and its opposite.
        (held(c95="1", c100="-2", c105="1"), "0", "0"),
        (held(c95="-1", c100="2", c105="-1"), "0", "500"),
        # A ratio that sells fewer than it buys loses most at the strike that it bought.
        (held(c100="-1", c105="2"), "0", "500"),
        (held(p100="-2", p95="1"), "0", "10500"),
        # A calendar whose long lives longer is covered; its strikes still count.
        (held(c100="-1", c100_late="1"), "0", "0"),
        (held(p100="-1", p100_late="1"), "0", "0"),
        (held(c100="-1", c105_late="1"), "0", "500"),
        (held(p100="-1", p95_late="1"), "0", "500"),
        # A put whose cover dies first is as if naked.
        (held(p100="1", p100_late="-1"), "0", "10000"),
        # One month may end low and the next one high: both sides can be lost.
        (held(p95="-1", p90="1", c105_late="-1", c110_late="1"), "0", "1000"),
        (held(p95="-1", p90="1", p95_late="-1", p90_late="1"), "0", "1000"),
        # Condors of two months, each for one of its sides.
        (
            held(p90="1", p95="-1", c105="-1", c110="1", p90_late="1", p95_late="-1", c105_late="-1", c110_late="1"),
            "0",
            "1000",
        ),
        # Two longs of the later month cover a short of either.
        (held(c100="-1", c100_late="-1", c105_late="2"), "0", "1000"),
        # Shares cover what the long does not: the lower strike, or what lives longer.
        (held(c100="-1", c105="-1", c110="1"), "100", "500"),
        (held(c100="-1", c110="1", c95_late="-1"), "100", "1000"),
        (held(p100="-1", c100="-1"), "100", "10000"),
    ],
)  # fmt: skip
def test_known_positions_tie_up_what_the_rules_say(
    contracts: dict[str, Decimal], shares: str, wanted: str
) -> None:
    assert collateral(contracts, D(shares)) == D(wanted)


@pytest.mark.parametrize(
    ("contracts", "shares", "symbol"),
    [
        (held(c100="-1"), "0", call("100")),
        (held(c100="-1"), "99.999999999", call("100")),
        (held(c100="-1"), "-100", call("100")),
        (held(c100="-2"), "100", call("100")),
        (held(c100="-2", c105="1"), "0", call("100")),
        (held(c100="1", c100_late="-1"), "0", call("100", LATE)),
        (held(c100="-1", p90="5"), "0", call("100")),
    ],
)
def test_a_call_without_cover_is_named(contracts: dict[str, Decimal], shares: str, symbol: str) -> None:
    with pytest.raises(Uncovered) as caught:
        collateral(contracts, D(shares))
    assert caught.value.symbol == symbol


def test_below_the_level_of_spreads_longs_cover_nothing() -> None:
    assert collateral(held(p100="-1", p95="1"), spreads=False) == D(10_000)
    assert collateral(held(c100="-1"), D(100), spreads=False) == 0
    with pytest.raises(Uncovered):
        collateral(held(c100="-1", c100_late="1"), spreads=False)


def test_shares_that_may_be_called_away_are_lent_on_at_no_more_than_the_strike() -> None:
    """100 shares at 130 are lent 6,500; what they can bring is 10,000, of which half is 5,000."""
    assert collateral(held(c100="-1"), D(100), lent_at=D(130)) == D(1500)
    assert collateral(held(c100="-1"), D(100), lent_at=D(90)) == 0
    assert collateral(held(p100="-1"), D(100), lent_at=D(130)) == D(10_000)


def test_what_is_no_option_is_refused() -> None:
    with pytest.raises(ValueError, match="no option"):
        collateral({"AAPL": D(-1)})


@pytest.mark.parametrize(
    ("contracts", "wanted"),
    [
        (held(c100="1", c105="-1"), "500"),
        (held(c100="-1", c105="1"), "0"),
        (held(p100="-2", p95="2"), "0"),
        (held(c100="1"), None),
        (held(p100="1"), "10000"),
        (held(p90="1", p95="-1", c105="-1", c110="1"), "0"),
        (held(c100="-1", c100_late="1"), None),
    ],
)
def test_what_a_spread_can_be_worth_at_most(contracts: dict[str, Decimal], wanted: str | None) -> None:
    assert greatest_value(contracts) == (None if wanted is None else D(wanted))


# -- properties: against what can really be lost ----------------------------------------------------


def at_expiration(contracts: Mapping[str, Decimal], price: Decimal) -> Decimal:
    """Dollars that these are worth where the underlying ends at `price`, one day for all."""
    total = D(0)
    for symbol, qty in contracts.items():
        contract = find_contract(symbol)
        assert contract is not None
        total += qty * contract.intrinsic(price) * 100
    return total


few = st.integers(-3, 3).map(D)
books = st.dictionaries(
    st.tuples(st.sampled_from(["call", "put"]), st.sampled_from(STRIKES)), few, max_size=7
)


def on(day: date, book: Mapping[tuple[str, Decimal], Decimal]) -> dict[str, Decimal]:
    return {option(kind, strike, day): qty for (kind, strike), qty in book.items()}


@given(books, st.integers(0, 3))
@settings(max_examples=300)
def test_for_one_expiration_it_is_exactly_the_most_that_can_be_lost_where_no_shares_help(book, hundreds):
    contracts = on(EARLY, book)
    worst = max(D(0), -min(at_expiration(contracts, price) for price in GRID))
    calls = sum(qty for (kind, _), qty in book.items() if kind == "call")
    if calls < 0:
        with pytest.raises(Uncovered):
            collateral(contracts)
    else:
        assert collateral(contracts) == worst
    if calls + hundreds >= 0:
        # Shares that are called away lose no money beyond their own: they are worth their price, whatever it is.
        with_shares = collateral(contracts, D(hundreds * 100))
        least = max(D(0), -min(at_expiration(contracts, price) + 100 * hundreds * price for price in GRID))
        assert with_shares >= least


@given(books, books, st.sampled_from(["call", "put"]), st.sampled_from(STRIKES), st.booleans())
@settings(max_examples=300)
def test_one_more_long_never_raises_what_shorts_of_one_expiration_tie_up(early, longs, kind, strike, late):
    contracts = on(EARLY, early) | on(LATE, {key: abs(qty) for key, qty in longs.items()})
    more = option(kind, strike, LATE if late else EARLY)
    with_more = contracts | {more: contracts.get(more, D(0)) + 1}
    try:
        before = collateral(contracts)
    except Uncovered:
        return
    assert collateral(with_more) <= before


def lost_over_two_days(early: Mapping[str, Decimal], late: Mapping[str, Decimal]) -> Decimal:
    """The most that can be lost where the market moves at will between two expirations, and the holder, who may
    exercise any long of the later day at the first one, does so as is best for him then."""
    prices = [D(0), *STRIKES, D(1000)]
    longs = [symbol for symbol, qty in late.items() if qty > 0]
    choices = list(product(*(range(int(late[symbol]) + 1) for symbol in longs)))
    worst = D(0)
    for first in prices:
        best: Decimal | None = None
        for chosen in choices:
            used = {symbol: D(count) for symbol, count in zip(longs, chosen, strict=True)}
            now = at_expiration(early, first) + at_expiration(used, first)
            rest = {symbol: qty - used.get(symbol, D(0)) for symbol, qty in late.items()}
            then = now + min(at_expiration(rest, second) for second in prices)
            best = then if best is None else max(best, then)
        assert best is not None
        worst = max(worst, -best)
    return worst


small = st.dictionaries(
    st.tuples(st.sampled_from(["call", "put"]), st.sampled_from(STRIKES[:3])),
    st.integers(-2, 2).map(D),
    max_size=4,
)


@given(small, small)
@example({("put", D(95)): D(-1), ("put", D(90)): D(1)}, {("call", D(95)): D(-1), ("call", D(100)): D(1)})
@settings(max_examples=300, deadline=None)
def test_with_two_expirations_it_is_never_below_what_can_be_lost_on_the_way(early, late):
    first, second = on(EARLY, early), on(LATE, late)
    try:
        tied_up = collateral(first | second)
    except Uncovered:
        return
    assert tied_up >= lost_over_two_days(first, second)


@given(books, st.integers(1, 4))
@settings(max_examples=100)
def test_many_units_tie_up_as_many_times_what_one_does(book, units):
    contracts = on(EARLY, book)
    try:
        one = collateral(contracts)
    except Uncovered:
        return
    assert collateral({symbol: qty * units for symbol, qty in contracts.items()}) == one * units
