"""Whatever the orders, quotes and days: the paper venue's books balance and no rule is broken."""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from paiid.brokers.paper.fills import Round
from paiid.brokers.paper.records import PaperOrder
from paiid.core.clock import SystemClock
from paiid.core.db import make_database
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import Step, Taken, Working
from paiid.domain.paper_account import PaperAccount
from paiid.domain.quotes import Quote
from tests.paper_referee import ACCOUNTS, SYMBOLS, Action, Day, JudgedVenue, days, play_judged, run
from tests.paper_world import Market, PureOrder, PureVenue, RealVenue, holding_of

# A failure is told as it was found: to make it small takes longer than a test may.
BOUNDED = settings(
    phases=[Phase.generate],
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@BOUNDED
@given(days)
def test_the_books_balance_and_every_rule_holds_after_any_sequence(actions: list[Action]) -> None:
    run(play_judged(actions, JudgedVenue(Market())))


class ForgetsWhatWasTaken(JudgedVenue):
    def _take(self, taken: Taken, working: Working, qty: Decimal) -> None:
        """Nothing is remembered."""


class FillsMoreThanIsShown(JudgedVenue):
    def _decide(self, working: Working, quote: Quote | None, taken: Taken | None) -> Step:
        step = super()._decide(working, quote, taken)
        if ZERO < step.qty < working.left and step.ends is None:
            return replace(step, qty=working.left, ends=OrderStatus.FILLED)
        return step


class FillsAtTheMiddle(JudgedVenue):
    def _decide(self, working: Working, quote: Quote | None, taken: Taken | None) -> Step:
        step = super()._decide(working, quote, taken)
        return replace(step, price=quote.mid) if step.qty > 0 and quote is not None else step


class FillsTheLimitOrderAsIfItHadNone(JudgedVenue):
    def _decide(self, working: Working, quote: Quote | None, taken: Taken | None) -> Step:
        return super()._decide(replace(working, limit_price=None), quote, taken)


class NeverAsksWhatItCosts(JudgedVenue):
    def _means(self, book: PaperAccount, order: PureOrder, step: Step) -> Step:
        return step


class KeepsTheRestThatCannotBePaid(JudgedVenue):
    def _means(self, book: PaperAccount, order: PureOrder, step: Step) -> Step:
        cut = super()._means(book, order, step)
        if cut.reason == "insufficient_buying_power" and cut.qty > 0 and cut.qty < order.working.left:
            return replace(cut, ends=None, reason=None)
        return cut


class TradesOnAnything(JudgedVenue):
    def _decide(self, working: Working, quote: Quote | None, taken: Taken | None) -> Step:
        if quote is not None:
            quote = replace(quote, stale=False)
        return super()._decide(working, quote, taken)


class KeepsDayOrders(JudgedVenue):
    def _decide(self, working: Working, quote: Quote | None, taken: Taken | None) -> Step:
        return super()._decide(replace(working, expires_at_us=None), quote, taken)


class TradesAtOnce(JudgedVenue):
    def _decide(self, working: Working, quote: Quote | None, taken: Taken | None) -> Step:
        return super()._decide(replace(working, live_at_us=0), quote, taken)


class ForgetsToRelease(JudgedVenue):
    async def _end(self, order: PureOrder, status: OrderStatus, reason: str | None) -> None:
        order.status, order.reason = status, reason


@pytest.mark.parametrize(
    "planted",
    [
        ForgetsWhatWasTaken,
        FillsMoreThanIsShown,
        FillsAtTheMiddle,
        FillsTheLimitOrderAsIfItHadNone,
        NeverAsksWhatItCosts,
        KeepsTheRestThatCannotBePaid,
        TradesOnAnything,
        KeepsDayOrders,
        TradesAtOnce,
        ForgetsToRelease,
    ],
    ids=lambda planted: planted.__name__,
)
def test_the_referee_catches_each_planted_bug(planted: type[PureVenue]) -> None:
    @BOUNDED
    @given(days)
    def play(actions: list[Action]) -> None:
        run(play_judged(actions, planted(Market())))

    with pytest.raises(AssertionError):
        play()


@pytest.fixture
def template(_sqlite_template: Path) -> Path:
    """A migrated, empty database file."""
    return _sqlite_template


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all examples of a test."""
    with asyncio.Runner() as one:
        yield one


async def _same_end(actions: list[Action], path: Path, venue: type[RealVenue] = RealVenue) -> None:
    database = make_database(f"sqlite:///{path}", SystemClock())
    await database.start()
    try:
        pure = Day(PureVenue(Market()))
        real = Day(await venue.open(Market(), database))
        for day in (pure, real):
            await day.open()
            for action in actions:
                await day.play(action)
        assert pure.answers == real.answers
        assert pure.placed == real.placed
        for account, name in pure.placed:
            assert await pure.world.order(account, name) == await real.world.order(account, name)
        for account in ACCOUNTS:
            ours, theirs = await pure.world.account(account), await real.world.account(account)
            assert (ours.cash, ours.open_orders) == (theirs.cash, theirs.open_orders)
            for symbol in SYMBOLS:
                assert holding_of(ours, symbol) == holding_of(theirs, symbol)
    finally:
        await database.stop()


def _copy(template: Path, tmp_path: Path) -> Path:
    path = tmp_path / "example.db"
    for old in tmp_path.glob("example.db*"):
        old.unlink()
    shutil.copy(template, path)
    return path


@settings(BOUNDED, max_examples=80)
@given(days)
def test_the_real_books_end_as_the_pure_rules_do(
    runner: asyncio.Runner, template: Path, tmp_path: Path, actions: list[Action]
) -> None:
    runner.run(_same_end(actions, _copy(template, tmp_path)))


class LooksAtEachOrderOnce(RealVenue):
    def _keep(self, candidates: Sequence[PaperOrder], done: Round) -> None:
        self.book.keep(candidates, {})


def test_real_books_that_go_another_way_are_told_apart(
    runner: asyncio.Runner, template: Path, tmp_path: Path
) -> None:
    @BOUNDED
    @given(days)
    def play(actions: list[Action]) -> None:
        runner.run(_same_end(actions, _copy(template, tmp_path), LooksAtEachOrderOnce))

    with pytest.raises(AssertionError):
        play()
