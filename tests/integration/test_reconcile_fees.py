"""Fees that a broker takes and tells nowhere are booked as such, within a bound, and nothing else is (ADR 0028)."""

from dataclasses import replace
from decimal import Decimal

import pytest

from paiid.core.db import Database
from tests.reconcile_world import ACCOUNT, Books

D = Decimal


@pytest.fixture
async def both(db: Database) -> Books:
    """A ledger and a broker that agree, of which the broker does not tell its fees."""
    books = await Books(db).open()
    books.broker.capabilities = replace(books.broker.capabilities, tells_fees=False)
    return books


async def traded(both: Books, fee: str, qty: int = 10) -> None:
    """An order that has filled, and what the broker took for it."""
    _, theirs = await both.placed()
    await both.merge([both.broker.fill(theirs, qty, "100")])
    both.broker.cash_before[ACCOUNT] -= D(fee)


async def adjustments(both: Books) -> list[tuple[str, Decimal]]:
    return [(kind, cash) for kind, _, _, _, cash in await both.activities()]


async def test_a_small_lack_of_cash_after_trades_is_booked_as_fees(both: Books) -> None:
    await traded(both, "0.15")
    assert await both.compare() == []
    assert await adjustments(both) == [("adjustment", D("-0.15"))]
    assert await both.audited("account.fees") == [{"cash": "-0.15"}]
    assert (await both.row()).reconcile_problem is None
    assert await both.compare() == []
    assert len(await adjustments(both)) == 1


@pytest.mark.parametrize(
    ("fee", "why"),
    [("0.50", "more than fees take for ten shares at 100 dollars"), ("-0.15", "a surplus is no fee")],
)
async def test_what_fees_cannot_explain_is_a_difference(both: Books, fee: str, why: str) -> None:
    await traded(both, fee)
    assert [one.split(":")[0] for one in await both.compare()] == ["cash"], why
    assert await adjustments(both) == []


async def test_a_lack_without_a_trade_is_a_difference(both: Books) -> None:
    both.broker.cash_before[ACCOUNT] -= D("0.15")
    assert [one.split(":")[0] for one in await both.compare()] == ["cash"]


async def test_the_trades_of_before_explain_nothing_any_more(both: Books) -> None:
    await traded(both, "0.15")
    assert await both.compare() == []
    both.broker.cash_before[ACCOUNT] -= D("0.15")
    assert [one.split(":")[0] for one in await both.compare()] == ["cash"]


async def test_a_broker_that_tells_its_fees_lacks_nothing_unexplained(both: Books) -> None:
    both.broker.capabilities = replace(both.broker.capabilities, tells_fees=True)
    await traded(both, "0.15")
    assert [one.split(":")[0] for one in await both.compare()] == ["cash"]
