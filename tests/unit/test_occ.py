"""OCC symbols both ways: the same contract comes back, and what is no such symbol is none."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.instruments import (
    is_option,
    multiplier_of,
    option_tick,
    parse_any_symbol,
    parse_symbol,
    underlying_of,
)
from paiid.domain.occ import BadContract, OptionContract, find_contract, root_for

DAY = date(2026, 12, 18)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ROOTS = st.one_of(
    st.text(LETTERS, min_size=1, max_size=6),
    st.builds(str.__add__, st.text(LETTERS, min_size=1, max_size=5), st.sampled_from("123456789")),
)
CONTRACTS = st.builds(
    OptionContract,
    ROOTS,
    st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    st.sampled_from(["call", "put"]),
    st.integers(1, 99_999_999).map(lambda thousandths: Decimal(thousandths).scaleb(-3)),
)


@given(contract=CONTRACTS)
def test_a_contract_comes_back_from_both_of_its_symbols(contract: OptionContract) -> None:
    assert find_contract(contract.symbol) == contract
    assert find_contract(contract.padded) == contract
    assert len(contract.padded) == 21
    assert contract.padded.replace(" ", "") == contract.symbol
    assert is_option(contract.symbol)
    assert parse_any_symbol(contract.padded) == contract.symbol == parse_any_symbol(contract.symbol.lower())


@given(text=st.from_regex(r"[A-Z]{1,6}[0-9]? {0,6}[0-9]{6}[CP][0-9]{7,9}", fullmatch=True))
def test_a_symbol_that_names_a_contract_comes_back_from_it(text: str) -> None:
    contract = find_contract(text)
    if contract is not None:
        assert text in (contract.symbol, contract.padded)


@pytest.mark.parametrize(
    ("symbol", "root", "underlying", "day", "right", "strike", "adjusted"),
    [
        ("AAPL261218C00265000", "AAPL", "AAPL", DAY, "call", "265", False),
        ("AAPL  261218P00265000", "AAPL", "AAPL", DAY, "put", "265", False),
        ("F     261218C00012500", "F", "F", DAY, "call", "12.5", False),
        ("F261218C00000001", "F", "F", DAY, "call", "0.001", False),
        ("SPXW261218C99999999", "SPXW", "SPX", DAY, "call", "99999.999", False),
        ("BRKB  261218C00505000", "BRKB", "BRK.B", DAY, "call", "505", False),
        ("AAPL1 261218C00132500", "AAPL1", "AAPL", DAY, "call", "132.5", True),
        ("BRKB1261218C00505000", "BRKB1", "BRK.B", DAY, "call", "505", True),
        ("GOOGL1261218C00100000", "GOOGL1", "GOOGL", DAY, "call", "100", True),
        ("ABCDEF280229P00001000", "ABCDEF", "ABCDEF", date(2028, 2, 29), "put", "1", False),
    ],
)
def test_known_symbols_are_read(
    symbol: str, root: str, underlying: str, day: date, right: str, strike: str, adjusted: bool
) -> None:
    contract = find_contract(symbol)
    assert contract is not None
    assert (contract.root, contract.underlying, contract.expiration) == (root, underlying, day)
    assert (contract.option_type, contract.strike, contract.adjusted) == (right, Decimal(strike), adjusted)
    assert underlying_of(contract.symbol) == underlying
    assert multiplier_of(contract.symbol) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "261218C00265000",
        "AAPL261218X00265000",
        "AAPL261332C00265000",
        "AAPL270229C00265000",
        "AAPL260431C00265000",
        "AAPL260000C00265000",
        "AAPL261218C00000000",
        "AAPL261218C0265000",
        "AAPL261218C002650000",
        "AAPL261218C00265.00",
        "AAPL 261218C00265000",
        "AAPL   261218C00265000",
        "AAPL\t\t261218C00265000",
        " AAPL261218C00265000",
        "AAPL261218C00265000 ",
        "AAPL261218C00265000\n",
        "AAPL261218C00265000\0",
        "ABCDEFG261218C00265000",
        "ABCDEF1261218C00265000",
        "AAPL0261218C00265000",
        "AAPL12261218C00265000",
        "1AAPL261218C00265000",
        "BRK.B261218C00505000",
        "\u0410APL261218C00265000",
        "\uff21APL261218C00265000",
        "AAPL26121\u0668C00265000",
        "AAPL261218\u042100265000",
        "AAPL261218C0026500\u0660",
        "A" * 100_000,
    ],
)
def test_what_is_no_OCC_symbol_names_no_contract(text: str) -> None:
    assert find_contract(text) is None
    with pytest.raises(ValueError, match="symbol"):
        parse_any_symbol(text)


@pytest.mark.parametrize("text", ["aapl261218C00265000", "AAPL261218c00265000", "aapl  261218c00265000"])
def test_small_letters_are_no_OCC_symbol_and_are_folded_only_where_people_type(text: str) -> None:
    assert find_contract(text) is None
    assert parse_any_symbol(text) == "AAPL261218C00265000"


def test_class_shares_have_roots_without_the_dot_and_both_ways_agree() -> None:
    for ticker in ("BRK.B", "BF.B", "HEI.A", "LEN.B", "AAPL", "F", "SPX", "ABCDE"):
        contract = OptionContract.of(ticker, "call", Decimal(100), DAY)
        assert contract.root == root_for(ticker) == ticker.replace(".", "")
        assert contract.underlying == ticker
        assert parse_symbol(ticker) == ticker
    assert OptionContract.of("BRK.B", "put", Decimal("505"), DAY).padded == "BRKB  261218P00505000"


@pytest.mark.parametrize("ticker", ["ZZZ.Z", "BRK/B", "", "aapl", "AAPL1", "ABCDEFG", "A PL", "\u0410APL"])
def test_a_ticker_whose_root_is_not_known_has_none(ticker: str) -> None:
    with pytest.raises(BadContract) as told:
        root_for(ticker)
    assert told.value.field == "symbol"


@pytest.mark.parametrize(
    ("ticker", "right", "strike", "day", "field"),
    [
        ("ZZZ.Z", "call", "1", DAY, "symbol"),
        ("AAPL", "straddle", "1", DAY, "option_type"),
        ("AAPL", "Call", "1", DAY, "option_type"),
        ("AAPL", "call", "0", DAY, "strike_price"),
        ("AAPL", "call", "-1", DAY, "strike_price"),
        ("AAPL", "call", "265.0001", DAY, "strike_price"),
        ("AAPL", "call", "265.00000000000000000000000000000001", DAY, "strike_price"),
        ("AAPL", "call", "100000", DAY, "strike_price"),
        ("AAPL", "call", "99999.9991", DAY, "strike_price"),
        ("AAPL", "call", "1E+999999", DAY, "strike_price"),
        ("AAPL", "call", "1E-999999", DAY, "strike_price"),
        ("AAPL", "call", "NaN", DAY, "strike_price"),
        ("AAPL", "call", "Infinity", DAY, "strike_price"),
        ("AAPL", "call", "265", date(1999, 12, 31), "expiration_date"),
        ("AAPL", "call", "265", date(2100, 1, 1), "expiration_date"),
    ],
)
def test_a_contract_that_cannot_be_is_refused_with_the_field_that_is_wrong(
    ticker: str, right: str, strike: str, day: date, field: str
) -> None:
    with pytest.raises(BadContract) as told:
        OptionContract.of(ticker, right, Decimal(strike), day)
    assert told.value.field == field
    assert str(told.value)


@given(thousandths=st.integers(1, 99_999_999), zeros=st.integers(0, 9))
def test_every_strike_to_a_tenth_of_a_cent_is_kept_exactly(thousandths: int, zeros: int) -> None:
    strike = Decimal(thousandths * 10**zeros).scaleb(-3 - zeros)
    contract = OptionContract.of("AAPL", "call", strike, DAY)
    assert contract.strike == strike
    assert contract.symbol == f"AAPL261218C{thousandths:08d}"


def test_a_contract_has_a_name_for_people() -> None:
    assert OptionContract.of("AAPL", "call", Decimal("265.000"), DAY).name == "AAPL 2026-12-18 265 Call"
    assert OptionContract.of("BRK.B", "put", Decimal("0.5"), DAY).name == "BRK.B 2026-12-18 0.5 Put"


@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B", "A", "ABCDE.PR"])
def test_a_ticker_is_no_option_and_its_own_underlying(ticker: str) -> None:
    assert not is_option(ticker)
    assert underlying_of(ticker) == ticker
    assert multiplier_of(ticker) == 1
    assert parse_any_symbol(ticker.lower()) == ticker


@pytest.mark.parametrize(
    ("root", "price", "tick"),
    [
        ("AAPL", "2.99", "0.01"),
        ("AAPL", "3", "0.05"),
        ("AAPL", "300", "0.05"),
        ("SPY", "300", "0.01"),
        ("IWM", "3", "0.01"),
    ],
)
def test_the_tick_of_an_option_goes_by_its_price_and_underlying(root: str, price: str, tick: str) -> None:
    assert option_tick(f"{root}261218C00265000", Decimal(price)) == Decimal(tick)
