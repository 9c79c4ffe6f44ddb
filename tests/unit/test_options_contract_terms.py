"""When contracts end and how they can be exercised."""

from datetime import date, time
from decimal import Decimal

from paiid.domain.calendar import eastern_us
from paiid.domain.occ import OptionContract
from paiid.options.contract_terms import ex_date_us, expires_us, is_european, kind_of


def ends(root: str, day: date) -> int:
    return expires_us(OptionContract(root, day, "call", Decimal(100)))


def test_a_contract_ends_at_the_close_of_the_last_session_up_to_its_day() -> None:
    assert ends("AAPL", date(2026, 12, 18)) == eastern_us(date(2026, 12, 18), time(16, 0))
    # The day after Thanksgiving closes early.
    assert ends("AAPL", date(2026, 11, 27)) == eastern_us(date(2026, 11, 27), time(13, 0))
    # As monthly contracts expired until 2015.
    assert ends("AAPL", date(2014, 6, 21)) == eastern_us(date(2014, 6, 20), time(16, 0))
    # Good Friday.
    assert ends("AAPL", date(2026, 4, 3)) == eastern_us(date(2026, 4, 2), time(16, 0))


def test_index_contracts_of_the_third_friday_end_at_the_opening_and_their_weekly_series_at_the_close() -> (
    None
):
    assert ends("SPX", date(2026, 12, 18)) == eastern_us(date(2026, 12, 18), time(9, 30))
    assert ends("SPXW", date(2026, 12, 18)) == eastern_us(date(2026, 12, 18), time(16, 0))


def test_indices_are_european_but_for_one_and_shares_and_funds_are_american() -> None:
    assert all(is_european(root) for root in ("SPX", "SPXW", "XSP", "NDX", "RUT", "VIX", "XEO"))
    assert not any(is_european(root) for root in ("AAPL", "SPY", "QQQ", "OEX", "BRKB"))


def test_a_dividend_falls_at_the_opening_of_its_ex_date() -> None:
    assert ex_date_us(date(2026, 12, 4)) == eastern_us(date(2026, 12, 4), time(9, 30))


def test_kinds_of_expirations_are_told_apart() -> None:
    others = frozenset({date(2026, 12, 2), date(2026, 12, 4), date(2027, 4, 1)})
    for day, kind in (
        (date(2026, 12, 18), "monthly"),
        (date(2014, 6, 21), "monthly"),
        (date(2026, 6, 18), "monthly"),  # the third Friday is Juneteenth
        (date(2026, 12, 31), "quarterly"),
        (date(2026, 12, 4), "weekly"),
        (date(2026, 12, 2), "daily"),
        (date(2026, 12, 24), "weekly"),  # the Friday is Christmas
        (date(2026, 11, 30), "weekly"),  # nothing expires later that week
    ):
        found = kind_of(day, others if day != date(2026, 11, 30) else frozenset({day}))
        assert found == kind, day
