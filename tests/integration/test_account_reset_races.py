"""A reset that breaks off half-way, meets another one, or has an order come in between: the books agree all the same."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.terms import AccountTerms
from tests.conftest import MakeApp
from tests.reset_world import BUY, start, start_meddled


async def test_a_reset_that_the_venue_did_not_confirm_is_done_by_the_next(make_app: MakeApp) -> None:
    world, venue = await start_meddled(make_app)
    await world.trade()
    await world.rest()
    venue.fail_cancels = 1
    broken = await world.reset(cash=7)
    assert broken.status_code == 503, broken.text
    assert (await world.row())["number"] == world.account
    done = await world.reset(cash=7)
    assert (done.status_code, done.json()["number"]) == (200, f"{world.account}.2")
    assert await world.get("/api/portfolio/positions") == []


@pytest.mark.parametrize(("left", "number"), [(7, ".2"), (8, ".3")])
async def test_a_number_left_over_from_a_broken_call_is_taken_on_the_same_terms_only(
    make_app: MakeApp, left: int, number: str
) -> None:
    world = await start(make_app)
    terms = AccountTerms(Decimal(left), margin=False, options_level=3, fees=False, impact=False)
    assert await world.venue.open_account(f"{world.account}.2", terms, 5.0)
    assert await world.venue.open_account(f"{world.account}.2", terms, 5.0), "asking twice does no harm"
    told = (await world.reset(cash=7)).json()
    assert told["number"] == world.account + number
    assert (await world.at_venue(told["number"]))["cash"] == 7_000_000


async def test_an_order_that_comes_in_between_is_cancelled_with_the_rest(make_app: MakeApp) -> None:
    world, venue = await start_meddled(make_app)
    await world.rest()
    late: list[str] = []

    async def place() -> None:
        late.append(await world.rest())

    venue.at_listing = place
    told = await world.reset()
    assert (told.status_code, told.json()["canceled"]) == (200, 2), told.text
    assert await world.venue.fetch_open_orders(world.account, 5.0) == []
    ended = await world.get(f"/api/trading/orders/{late[0]}")
    assert ended["status"] == "CANCELED"
    assert (await world.row())["open_orders"] == 0


async def test_E18_an_order_on_its_way_while_others_are_cancelled_does_not_work_on_at_the_venue(
    make_app: MakeApp,
) -> None:
    """It is claimed before the cancelling and comes to the venue after it: ended here, it would be nobody's there."""
    world, venue = await start_meddled(make_app)
    await world.rest()
    placing: list[asyncio.Task[str]] = []

    async def claim() -> None:
        venue.let_in.clear()
        placing.append(asyncio.create_task(world.rest()))
        async with asyncio.timeout(15):
            while (await world.row())["open_orders"] < 2:
                await asyncio.sleep(0.01)

    async def arrive() -> None:
        venue.let_in.set()
        await placing[0]

    venue.at_opening, venue.at_listing = claim, arrive
    told = await world.reset()
    assert (told.status_code, told.json()["canceled"]) == (200, 2), told.text
    assert await world.venue.fetch_open_orders(world.account, 5.0) == []
    assert (await world.get(f"/api/trading/orders/{await placing[0]}"))["status"] == "CANCELED"


async def test_orders_that_the_venue_told_as_ended_before_the_reset_did_are_counted_too(
    make_app: MakeApp,
) -> None:
    world, venue = await start_meddled(make_app)
    order = await world.rest()

    async def ended() -> None:
        (working,) = await world.venue.fetch_open_orders(world.account, 5.0)
        await world.venue.cancel(world.account, working.broker_order_id, 5.0)
        await world.owner.wait_filled(order)

    venue.at_listing = ended
    told = await world.reset()
    assert (told.status_code, told.json()["canceled"]) == (200, 1), told.text


async def test_a_reset_that_another_overtakes_leaves_the_orders_of_the_new_number_alone(
    make_app: MakeApp,
) -> None:
    world, venue = await start_meddled(make_app)
    await world.rest()
    fresh: list[str] = []

    async def overtake() -> None:
        assert (await world.reset(cash=500)).status_code == 200
        fresh.append(await world.rest())

    venue.at_listing = overtake
    late = await world.reset(cash=900)
    assert late.status_code == 409, late.text
    row = await world.row()
    assert (row["number"], row["cash"]) == (f"{world.account}.3", 500_000_000)
    (working,) = await world.venue.fetch_open_orders(row["number"], 5.0)
    order = await world.get(f"/api/trading/orders/{fresh[0]}")
    assert (order["broker_order_id"], order["status"]) == (working.broker_order_id, "NEW")


async def test_of_two_resets_at_once_each_is_done_or_told_of_the_other_and_the_books_agree(
    make_app: MakeApp,
) -> None:
    world = await start(make_app)
    await world.trade()

    async def reset(cash: int) -> Any:
        """Once more where the machine was too slow to give all three their turn at the database in time."""
        while (answer := await world.reset(cash=cash)).status_code == 503:
            await asyncio.sleep(0.1)
        return answer

    answers = await asyncio.gather(*(reset(cash) for cash in (1000, 2000, 3000)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert set(statuses) <= {200, 409}
    row = await world.row()
    assert row["cash"] == (await world.at_venue(row["number"]))["cash"] == row["starting_cash"]
    assert row["number"] in {answer.json().get("number") for answer in answers}


async def test_two_resets_are_two_and_orders_in_between_are_gone(make_app: MakeApp) -> None:
    world = await start(make_app)
    for n in (2, 3, 4):
        await world.trade({**BUY, "qty": n})
        told = (await world.reset()).json()
        assert told["number"] == f"{world.account}.{n}"
        assert await world.get("/api/portfolio/positions") == []
