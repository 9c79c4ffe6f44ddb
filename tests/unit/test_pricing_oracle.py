"""The judge is judged: the slow finite differences against QuantLib and against an integral, and the reference file against its own promises."""

import json
from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from bench import accuracy
from bench.reference import FILE, load
from tests.oracle import finite_differences, quantlib_prices
from tests.oracle.case import Case
from tests.oracle.make_reference import AGREES, GROUPS, all_cases

REFERENCE = load()
PUT = Case(False, True, 100.0, 105.0, 400, 0.05, 0.01, 0.25)
CALL = Case(True, True, 100.0, 95.0, 200, 0.02, 0.06, 0.3)


@pytest.mark.parametrize("case", [PUT, CALL])
def test_finite_differences_agree_with_quantlibs_exercise_boundary(case: Case) -> None:
    found = finite_differences.extrapolated(case, 250)[1]
    assert found.price == pytest.approx(quantlib_prices.american(case), abs=2e-5)


@pytest.mark.parametrize("case", [PUT, CALL])
def test_with_cash_finite_differences_agree_with_quantlibs(case: Case) -> None:
    paying = case.but(dividends=((30, 1.0), (150, 2.5)))
    found = finite_differences.extrapolated(paying, 250)[1]
    assert found.price == pytest.approx(quantlib_prices.extrapolated(paying, 200), abs=3e-3)
    assert abs(found.price - quantlib_prices.american(case)) > 0.3


@pytest.mark.parametrize("call", [True, False])
def test_a_european_with_one_dividend_is_the_integral_over_its_price_at_the_ex_date(call: bool) -> None:
    case = Case(call, False, 100.0, 97.0, 180, 0.03, 0.01, 0.35, ((70, 3.0),))
    until, deviation = 70 / 365, 0.35 * sqrt(70 / 365)

    def weighted(z: float) -> float:
        before = 100.0 * exp((0.03 - 0.01) * until - deviation**2 / 2 + deviation * z)
        after = case.but(spot=before - 3.0, days=110, dividends=())
        return quantlib_prices.european(after)["price"] * exp(-z * z / 2) / sqrt(2 * np.pi)

    lowest = (log(3.0 / 100.0) - 0.02 * until + deviation**2 / 2) / deviation
    expected = exp(-0.03 * until) * quad(weighted, max(lowest, -9.0) + 1e-9, 9.0, epsabs=1e-9)[0]
    assert finite_differences.extrapolated(case, 250)[1].price == pytest.approx(expected, abs=1e-6)


def test_delta_and_gamma_of_finite_differences_are_those_of_the_closed_form() -> None:
    case = PUT.but(american=False)
    found, closed = finite_differences.extrapolated(case, 250)[1], quantlib_prices.european(case)
    assert found.delta == pytest.approx(closed["delta"], abs=1e-7)
    assert found.gamma == pytest.approx(closed["gamma"], abs=1e-7)


def test_the_reference_covers_what_is_promised() -> None:
    groups, counts = np.unique(REFERENCE.group, return_counts=True)
    assert set(groups) == set(GROUPS)
    assert all(count >= 0.9 * GROUPS[name] for name, count in zip(groups, counts, strict=True))
    dropped = json.loads(FILE.read_text())["dropped"]
    assert len(REFERENCE) + dropped == len(all_cases())
    for column, low, high in (
        (REFERENCE.strike / 100, 0.5, 2.0),
        (REFERENCE.days, 1, 1095),
        (REFERENCE.volatility, 0.03, 2.0),
    ):
        assert column.min() <= low * 1.02
        assert column.max() >= high * 0.98
    usual = REFERENCE.group != "two boundaries"
    assert REFERENCE.rate[usual].min() <= -0.009
    assert REFERENCE.rate.max() >= 0.099
    assert (REFERENCE.dividend_yield[usual].min(), REFERENCE.dividend_yield.max() >= 0.079) == (0.0, True)
    assert {len(paid) for paid in REFERENCE.dividends} == {0, 1, 2, 3, 4}
    paid = [
        (one, days) for some, days in zip(REFERENCE.dividends, REFERENCE.days, strict=True) for one in some
    ]
    assert min(one.years * 365 for one, _ in paid) == pytest.approx(1)
    assert min(days - one.years * 365 for one, days in paid) == pytest.approx(1)
    assert min(one.amount for one, _ in paid) < 0.05
    assert max(one.amount for one, _ in paid) > 8


def test_the_reference_keeps_the_bounds_that_every_price_keeps() -> None:
    values, call = REFERENCE.values, REFERENCE.call
    intrinsic = np.maximum(np.where(call, 100.0 - REFERENCE.strike, REFERENCE.strike - 100.0), 0.0)
    most = np.where(
        call,
        100.0 * np.exp(np.maximum(-REFERENCE.dividend_yield * REFERENCE.days / 365, 0)),
        REFERENCE.strike * np.exp(np.maximum(-REFERENCE.rate * REFERENCE.days / 365, 0)),
    )
    assert (values.price >= np.where(REFERENCE.american, intrinsic, 0.0) - AGREES).all()
    assert (values.price <= most).all()
    assert (REFERENCE.error <= AGREES).all()
    known = np.isfinite(values.delta)
    assert known.mean() > 0.9
    sign = np.where(call, 1.0, -1.0)
    assert (sign * values.delta >= -1e-6)[known].all()
    assert (values.gamma >= -1e-6)[known].all()
    assert (values.vega >= -1e-6)[known].all()
    boundary = np.isfinite(REFERENCE.quantlib) & (REFERENCE.group == "yield")
    assert boundary.sum() > 0.9 * (REFERENCE.group == "yield").sum()
    assert np.abs(REFERENCE.quantlib - values.price)[boundary].max() <= AGREES
    cash = np.isin(REFERENCE.group, ["dividends", "european dividends"])
    apart = np.abs(REFERENCE.quantlib - values.price)[cash]
    assert np.median(apart) < 1e-4


def test_a_row_of_the_reference_comes_out_again() -> None:
    row = next(
        one
        for one in json.loads(FILE.read_text())["cases"]
        if one["group"] == "dividends" and one["delta"] is not None and 0.1 < one["volatility"] < 0.5
    )
    paid = tuple((day, amount) for day, amount in row["dividends"])
    case = Case(
        row["call"], True, 100.0, row["strike"], row["days"], row["rate"], row["yield"], row["volatility"], paid
    )  # fmt: skip
    assert finite_differences.extrapolated(case, 500)[1].price == pytest.approx(row["price"], abs=2e-5)


def test_the_tables_of_the_document_are_of_this_reference() -> None:
    told = accuracy.DOCUMENT.read_text().partition(accuracy.BEGINS)[2].partition(accuracy.ENDS)[0]
    assert f"Of {len(REFERENCE)} cases, reference `{REFERENCE.fingerprint}`." in told
    for names, chosen in accuracy.regions(REFERENCE):
        assert "| " + " | ".join([*names, str(chosen.sum())]) + " |" in told


def test_only_what_stands_between_the_marks_is_written(tmp_path: Path) -> None:
    document = tmp_path / "pricing.md"
    document.write_text(f"before\n{accuracy.BEGINS}\nold\n{accuracy.ENDS}\nafter\n")
    accuracy.write(["| new |"], document)
    assert document.read_text() == f"before\n{accuracy.BEGINS}\n\n| new |\n\n{accuracy.ENDS}\nafter\n"
    document.write_text("no marks")
    with pytest.raises(ValueError, match="each mark once"):
        accuracy.write([], document)
