"""What every broker promises of what changes an account and is no order."""

from paiid.brokers import BrokerActivity
from tests.contract.readers import reading, take
from tests.contract.stages import D, S, Stage
from tests.contract.test_broker_contract import stage
from tests.paper_live import order

__all__ = ["stage"]


async def test_activities_are_listed_once_each_oldest_first_and_change_the_account(stage: Stage) -> None:
    broker, others = stage.broker, stage.of("bob")
    assert list(await broker.fetch_activities("me", 0, S)) == []
    buy = await broker.submit(order("b"), S)
    await stage.execute(buy, 10, "99.00")
    cash = (await broker.fetch_account("me", S)).cash
    await stage.pay_dividend("me", "AAPL", "0.50")
    (one,) = await broker.fetch_activities("me", 0, S)
    assert (one.account_number, one.kind, one.qty, one.cash) == ("me", "dividend", 0, 5)
    told = ("", 0) if stage.manners.activities_come_overnight else ("AAPL", D("0.5"))
    assert (one.symbol, one.price) == told
    assert one.activity_id
    assert (await broker.fetch_account("me", S)).cash == cash + 5
    assert list(await broker.fetch_activities("me", one.at_us, S)) == [one]
    assert list(await broker.fetch_activities("me", one.at_us + 1, S)) == []
    assert list(await others.fetch_activities("bob", 0, S)) == []
    if broker.replays_updates:
        # What a stream without replay keeps silent is fetched: there is nothing more to ask.
        await is_told_among_the_updates(stage, one)


async def is_told_among_the_updates(stage: Stage, one: BrokerActivity) -> None:
    """With nothing else in its update, and behind any cursor."""
    async with reading(stage) as reader:
        told = await reader.until(lambda told: any(update.activity is not None for update in told))
    assert told[-1].activity == one
    assert (told[-1].order, told[-1].execution) == (None, None)
    assert await take(stage.broker, told[-2].cursor, 1) == [told[-1]]
