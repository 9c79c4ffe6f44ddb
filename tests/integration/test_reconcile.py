"""The ledger is compared with the broker's books, and says what differs until it does no more (contracts E18, K8)."""

from decimal import Decimal

import pytest

from paiid.core.db import Database
from paiid.domain.orders import OrderStatus
from paiid.trading.differences import Look
from paiid.trading.reconcile import is_built_in
from paiid.trading.records import AccountRow
from tests.fakes import FakeBroker
from tests.reconcile_world import ACCOUNT, Books, rows_of

D = Decimal


@pytest.fixture
async def both(db: Database) -> Books:
    """A ledger and a broker that agree."""
    return await Books(db).open()


async def bought(both: Books, qty: int = 10, price: str = "100") -> tuple[str, str]:
    """An order that is placed and filled, and booked here too."""
    ours, theirs = await both.placed()
    await both.merge([both.broker.fill(theirs, qty, price)])
    return ours, theirs


# -- what differs ------------------------------------------------------------------------------------


async def test_E18_books_that_agree_are_said_to_agree(both: Books) -> None:
    await bought(both)
    await both.placed()
    before = (await both.row()).reconciled_at
    assert await both.compare() == []
    row = await both.row()
    assert row.reconcile_problem is None
    assert (row.reconciled_at or 0) > (before or 0)
    assert both.clock.sleeps == 0, "one look is enough"


async def test_E18_a_position_that_differs_is_a_problem_with_its_evidence_until_it_is_none(
    both: Books,
) -> None:
    await bought(both)
    both.broker.positions[ACCOUNT]["AAPL"] = D(12)
    both.broker.positions[ACCOUNT]["TSLA"] = D(-3)
    agreed = (await both.row()).reconciled_at
    assert await both.compare() == ["position AAPL: ours 10, broker 12", "position TSLA: ours 0, broker -3"]
    await both.compare()
    row = await both.row()
    assert row.reconcile_problem == "position AAPL: ours 10, broker 12; position TSLA: ours 0, broker -3"
    assert row.reconciled_at == agreed, "since when they agree no more can be seen"
    (told,) = await both.audited("account.reconcile")
    assert told["differences"][0] == {
        "kind": "position",
        "subject": "AAPL",
        "ours": "10",
        "broker": "12",
        "gap": "2",
    }
    both.broker.positions[ACCOUNT] = {"AAPL": D(10)}
    assert await both.compare() == []
    assert (await both.row()).reconcile_problem is None
    assert [one["problem"] for one in await both.audited("account.reconcile")] == [
        row.reconcile_problem,
        None,
    ]


async def test_E18_a_print_on_its_way_between_two_books_is_no_problem(both: Books) -> None:
    _, theirs = await both.placed()
    late = [both.broker.fill(theirs, 10, "100")]

    async def arrives() -> None:
        await both.merge(late)
        late.clear()

    both.clock.meanwhile = arrives
    assert await both.compare() == []
    assert not late
    assert (await both.row()).reconcile_problem is None


async def test_what_was_seen_before_the_books_were_put_right_is_not_written_down_after_it(
    both: Books,
) -> None:
    """As where an opening balance or an accept commits between the look and its result."""
    both.broker.cash_before[ACCOUNT] = D(5)
    look, looks = both.reconciler.look, 0

    async def overtaken(account: AccountRow, lookups: int = 20) -> Look:
        nonlocal looks
        looks += 1
        found = await look(account, lookups)
        if looks == 2:
            both.act("transfer", "deposit", "5")
            both.broker.cash_before[ACCOUNT] = D(0)
            await both.catch_up()
        return found

    both.reconciler.look = overtaken  # type: ignore[method-assign]
    assert await both.compare() == []
    assert looks == 3
    assert (await both.row()).reconcile_problem is None
    assert await both.audited("account.reconcile") == []


async def test_E18_a_difference_is_found_though_trading_goes_on_around_it(both: Books) -> None:
    both.broker.cash_before[ACCOUNT] = D(5)
    _, theirs = await both.placed()

    async def trades() -> None:
        await both.merge([both.broker.fill(theirs, 10, "100")])

    both.clock.meanwhile = trades
    assert await both.compare() == ["cash: ours -1000, broker -995"]


async def test_E18_cash_that_differs_is_a_problem(both: Books) -> None:
    both.broker.cash_before[ACCOUNT] = D("-0.01")
    assert await both.compare() == ["cash: ours 0, broker -0.01"], "no print explains it"


async def test_rounding_to_the_brokers_cents_is_booked_and_cannot_pile_up(both: Books) -> None:
    for count in range(1, 4):
        await bought(both, 10, "100.0004")
        exact = sum((p.qty * p.price for p in both.broker.executions), D(0))
        told = D(-exact).quantize(D("0.01"))
        both.broker.cash_before[ACCOUNT] = told + exact
        assert await both.compare() == []
        assert await both.compare() == []
        assert (await both.shown())["cash"] == told
        assert len(await both.audited("account.rounding")) == count
    assert {(kind, symbol, qty) for kind, symbol, qty, *_ in await both.activities()} == {
        ("adjustment", "", D(0))
    }
    both.broker.cash_before[ACCOUNT] += D("0.02")
    await bought(both, 10, "100")
    assert len(await both.compare()) == 1, "a print explains a cent, not two"


async def test_at_the_built_in_venue_cash_agrees_to_the_millionth(db: Database) -> None:
    both = await Books(db, FakeBroker()).open()
    assert is_built_in(both.broker)
    await bought(both)
    both.broker.cash_before[ACCOUNT] = D("0.000001")
    assert await both.compare() == ["cash: ours -1000, broker -999.999999"]


async def test_E18_an_order_that_works_here_and_is_unknown_there_is_a_problem(both: Books) -> None:
    ours = await both.add_order(broker_order_id="gone")
    assert await both.compare() == [f"order {ours}: ours NEW, broker none"]


async def test_an_order_that_was_accepted_a_moment_ago_may_be_missing_from_a_list(both: Books) -> None:
    async with both.db.read() as tx:
        now = await tx.now_us()
    await both.add_order(broker_order_id="gone", updated_at=now)
    assert await both.compare() == []


@pytest.mark.parametrize("state", ["QUEUED", "DISPATCHING", "UNKNOWN"])
async def test_what_is_on_its_way_or_in_doubt_belongs_to_the_resolver(both: Books, state: str) -> None:
    await both.add_order(state=state, status=None, broker_order_id=None, client_order_id="pd-doubt")
    both.place("pd-doubt")
    assert await both.compare() == []


async def test_E18_an_order_that_ended_there_unseen_is_a_problem_which_a_catch_up_mends(both: Books) -> None:
    ours, theirs = await both.placed()
    both.broker.end(theirs, OrderStatus.CANCELED)
    assert await both.compare() == [f"order {ours}: ours NEW, broker CANCELED"]
    assert await both.compare(heal=True) == []
    assert rows_of(await both.shown()) == {theirs: ("CANCELED", 0)}
    assert (await both.row()).reconcile_problem is None


async def test_E18_somebody_elses_order_is_a_problem_until_the_catch_up_has_adopted_it(both: Books) -> None:
    theirs = both.place("theirs").broker_order_id
    assert await both.compare() == [f"order {theirs}: ours none, broker NEW"]
    assert await both.compare(heal=True) == []
    (order,) = (await both.shown())["orders"]
    assert (order["origin"], order["broker_order_id"]) == ("external", theirs)


async def test_E18_an_order_that_is_final_here_and_works_there_is_a_problem(both: Books) -> None:
    ours, _ = await both.placed(state="REJECTED", status=None, open=0)
    assert await both.compare() == [f"order {ours}: ours REJECTED, broker NEW"]


async def test_E18_what_has_filled_and_is_not_booked_is_a_problem(both: Books) -> None:
    ours, theirs = await both.placed()
    both.broker._filled(theirs, D(4), D(100))
    assert await both.compare() == [f"fills {ours}: ours 0, broker 4"]
    both.broker.end(theirs, OrderStatus.CANCELED)
    await both.catch_up()
    assert (await both.shown())["orders"][0]["status"] != "CANCELED", "it waits for its prints"
    assert await both.compare() == [f"fills {ours}: ours 0, broker 4"]


async def test_an_alarm_stays_though_the_books_agree(both: Books) -> None:
    await both.set(reconcile_problem="order.overfilled ord_1")
    assert await both.compare() == []
    row = await both.row()
    assert row.reconcile_problem == "order.overfilled ord_1"
    assert (row.reconciled_at or 0) > 1


async def test_a_fee_that_no_stream_tells_is_fetched_before_it_can_be_a_problem(both: Books) -> None:
    await bought(both)
    both.act("fee", "fee-1", "-0.03")
    assert await both.compare(heal=True) == []
    assert (await both.shown())["cash"] == D("-1000.03")
    both.act("fee", "fee-2", "-0.03")
    assert await both.compare() == ["cash: ours -1000.03, broker -1000.06"]


async def test_many_differences_are_counted_and_the_text_stays_short(both: Books) -> None:
    both.broker.positions[ACCOUNT] = {f"SYM{n:03}": D(1) for n in range(400)}
    assert len(await both.compare()) == 400
    problem = (await both.row()).reconcile_problem or ""
    assert problem.endswith("; and 397 more")
    assert len(problem) <= 300
    (told,) = await both.audited("account.reconcile")
    assert len(told["differences"]) == 400


async def test_status_and_terms_are_the_brokers_to_say(both: Books) -> None:
    both.broker.blocked.add(ACCOUNT)
    both.broker.terms[ACCOUNT] = (True, 2)
    await both.compare()
    await both.compare()
    row = await both.row()
    assert (row.status, row.margin, row.options_level) == ("blocked", 1, 2)
    assert await both.audited("account.refresh") == [
        {
            "status": {"from": "active", "to": "blocked"},
            "margin": {"from": 0, "to": 1},
            "options_level": {"from": 3, "to": 2},
        }
    ]
    both.broker.blocked.clear()
    await both.compare()
    assert (await both.row()).status == "active"


async def test_the_terms_of_an_account_at_the_built_in_venue_are_the_ledgers(db: Database) -> None:
    both = await Books(db, FakeBroker()).open()
    both.broker.terms[ACCOUNT] = (True, 0)
    await both.compare()
    assert ((await both.row()).margin, (await both.row()).options_level) == (0, 3)
