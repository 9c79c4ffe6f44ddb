"""`python -m tests.oracle.make_reference`: writes tests/data/american_reference.json, the converged prices the service's are measured by.

Cases are a Latin hypercube in each of five groups and some corners, from a fixed seed. A case whose price does not agree with itself
(the finer two meshes against the coarser two, and QuantLib's where it has one) to `AGREES` is left out and counted. The file is
written anew every few cases, so that an interrupted run leaves what it has; it takes some twenty minutes.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import QuantLib as ql
from numpy.typing import NDArray

from tests.oracle import finite_differences, quantlib_prices
from tests.oracle.case import Case
from tests.oracle.differences import greeks
from tests.oracle.finite_differences import Found

FILE = Path(__file__).resolve().parents[1] / "data" / "american_reference.json"
AGREES = 2e-6
SEED = 6
SPOT = 100.0
GROUPS = {"dividends": 160, "yield": 90, "european": 40, "european dividends": 30, "two boundaries": 8}
MESHES = (1000, 2000, 4000)
"""Nodes of the coarsest of three meshes; the next where these do not agree with each other to half of AGREES."""


def hypercube(random: np.random.Generator, count: int, dimensions: int) -> NDArray[np.float64]:
    """Latin hypercube: each of the `count` strata of every dimension is used once."""
    ranks = np.argsort(random.random((dimensions, count)), axis=1)
    return ((ranks + random.random((dimensions, count))) / count).T


def between(part: float, low: float, high: float) -> float:
    """A part of the way from low to high, by ratio."""
    return float(low * (high / low) ** part)


def dividends_of(random: np.random.Generator, days: int) -> tuple[tuple[int, float], ...]:
    """One to four, near and far, of two cents to ten dollars."""
    if days < 3:
        return ((1, round(between(random.random(), 0.02, 5.0), 2)),) if days == 2 else ()
    count = min(int(random.integers(1, 5)), days - 2)
    chosen = random.choice(np.arange(1, days), count, replace=False)
    if random.random() < 0.25:
        chosen[0] = random.choice([1, days - 1])
    size = between(random.random(), 0.02, 10.0)
    return tuple(
        (day, round(float(size * random.uniform(0.5, 1.5)), 4))
        for day in sorted({int(one) for one in chosen})
    )


def drawn(random: np.random.Generator, group: str, count: int) -> Iterator[Case]:
    """The cases of one group."""
    for number, part in enumerate(hypercube(random, count, 5)):
        days = round(between(part[0], 2.0 if "dividends" in group else 1.0, 1095.0))
        volatility = round(between(part[1], 0.03, 2.0), 4)
        rate = round(-0.01 + 0.11 * float(part[2]), 4)
        dividend_yield = round(max(0.0, 0.16 * float(part[3]) - 0.08), 4)
        dividends = dividends_of(random, days) if "dividends" in group else ()
        call = bool(number % 2)
        if group == "two boundaries":
            # A put with yield < rate < 0, or a call with rate < yield < 0.
            rate, dividend_yield = (-0.06, -0.02) if call else (-0.02, -0.06)
        # Half of them where the money may be at expiration, half anywhere.
        forward = SPOT * np.exp((rate - dividend_yield) * days / 365.0) - sum(a for _, a in dividends)
        if number % 4 < 2:
            strike = forward * np.exp(volatility * np.sqrt(days / 365.0) * (4.0 * part[4] - 2.0))
        else:
            strike = SPOT * between(part[4], 0.5, 2.0)
        strike = round(float(np.clip(strike, SPOT / 2.0, SPOT * 2.0)), 2)
        yield Case(
            call, not group.startswith("european"), SPOT, strike, days, rate, dividend_yield, volatility, dividends
        )  # fmt: skip


def corners() -> Iterator[tuple[str, Case]]:
    """The ends of the ranges, and shapes that have a reason to be hard."""
    for call in (False, True):
        for days, volatility in ((1, 0.03), (1, 2.0), (1095, 0.03), (1095, 2.0)):
            for rate, dividend_yield in ((0.1, 0.0), (0.1, 0.08), (-0.01, 0.08), (0.0, 0.0), (0.04, 0.04)):
                strike = 100.0 if days == 1 else 110.0
                yield "yield", Case(call, True, SPOT, strike, days, rate, dividend_yield, volatility)
        for days, volatility in ((30, 0.2), (365, 0.03), (365, 0.3), (1095, 2.0)):
            for near in ((1, 1.0), (days // 2, 1.0), (days - 1, 1.0), (days - 1, 8.0)):
                strike, rate = (95.0, 0.1) if near[0] in (1, days - 1) else (105.0, 0.01)
                yield "dividends", Case(call, True, SPOT, strike, days, rate, 0.0, volatility, (near,))
        quarters = tuple((80 + 91 * number, 0.25) for number in range(4))
        for strike in (70.0, 100.0, 140.0):
            yield "dividends", Case(call, True, SPOT, strike, 400, 0.05, 0.0, 0.25, quarters)
            yield "dividends", Case(call, True, SPOT, strike, 400, -0.01, 0.02, 0.4, quarters)


def all_cases() -> list[tuple[str, Case]]:
    """Every group in turn, mixed, so that a part of the file has something of each."""
    random = np.random.default_rng(SEED)
    found = [(group, case) for group, count in GROUPS.items() for case in drawn(random, group, count)]
    found += corners()
    return [found[place] for place in random.permutation(len(found))]


def priced(case: Case) -> tuple[Found, float, float | None] | None:
    """Price, delta and gamma; their price's estimate of its error; QuantLib's price by its own means or None. None when they do not
    agree."""
    if not case.american and not case.dividends:
        closed = quantlib_prices.european(case)
        return Found(closed["price"], closed["delta"], closed["gamma"]), 1e-12, None
    for nodes in MESHES:
        rough, fine = finite_differences.extrapolated(case, nodes)
        if abs(rough.price - fine.price) <= AGREES / 2:
            break
    theirs = None
    if case.american and not case.dividends:
        try:
            theirs = quantlib_prices.american(case)
        except RuntimeError:
            theirs = None
    apart = abs(rough.price - fine.price)
    if theirs is not None:
        apart = min(apart, abs(theirs - fine.price)) if abs(theirs - fine.price) <= AGREES else np.inf
    if apart > AGREES:
        return None
    return fine, max(float(apart), 1e-9), theirs


def row_of(group: str, case: Case) -> dict[str, Any] | None:
    """A line of the file."""
    found = priced(case)
    if found is None:
        return None
    fine, error, theirs = found
    if case.dividends:
        theirs = quantlib_prices.extrapolated(case, 400)
    row: dict[str, Any] = {
        "group": group,
        "call": case.call,
        "american": case.american,
        "strike": case.strike,
        "days": case.days,
        "rate": case.rate,
        "yield": case.dividend_yield,
        "volatility": case.volatility,
        "dividends": [list(one) for one in case.dividends],
        "price": round(fine.price, 12),
        "error": float(f"{error:.1e}"),
        "quantlib": None if theirs is None else round(theirs, 9),
    }
    return row | greeks(case, fine.price)


def write(rows: list[dict[str, Any]], dropped: list[Case]) -> None:
    """The file as it is now, one case a line."""
    head = {
        "about": "written by python -m tests.oracle.make_reference; spot 100, years = days / 365, dividends are [day, dollars]; "
        "price and Greeks in the units of paiid.domain.pricing.terms.Values; error: the price's own estimate; quantlib: "
        "QuantLib's price by its boundary method, or by finite differences where cash is paid (good to about 1e-3); "
        "null Greeks: not differentiable or not meaningful there",
        "quantlib": ql.__version__,
        "dropped": len(dropped),
        "dropped_cases": [repr(one) for one in dropped],
    }
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n]}\n"
    beside = FILE.with_suffix(".new")
    beside.write_text(text)
    beside.replace(FILE)


def main() -> int:
    """Write the file."""
    rows: list[dict[str, Any]] = []
    dropped: list[Case] = []
    cases = all_cases()
    for number, (group, case) in enumerate(cases, 1):
        row = row_of(group, case)
        if row is None:
            dropped.append(case)
            print("dropped", case, flush=True)
        else:
            rows.append(row)
        if number % 10 == 0 or number == len(cases):
            write(rows, dropped)
            print(number, "of", len(cases), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
