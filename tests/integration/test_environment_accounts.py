"""The accounts that are at a broker by themselves: found, opened once with what they hold, and whose they are (A10)."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerAccount, OutcomeUnknown
from paiid.domain.paper_account import Holding
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.orders_world import QUICK, until
from tests.world import App, Client

NUMBER = "PA3TEST00001"
ACCOUNT = f"alpaca-paper-{NUMBER}"
THERE = BrokerAccount(
    NUMBER, Decimal("5000.25"), "active", margin=True, options_level=2, equity=Decimal("6500.25")
)
BUY: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100}


class Street(FakeBroker):
    """A broker with an account that was there before us, and holds something."""

    def __init__(self, *own: BrokerAccount) -> None:
        super().__init__("alpaca")
        self.own = list(own or (THERE,))
        self.positions[NUMBER] = {"AAPL": Decimal(10)}
        self._holdings[(NUMBER, "AAPL")] = Holding(Decimal(10), Decimal(1500))
        self.away: Exception | None = None

    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        if self.away is not None:
            raise self.away
        return list(self.own)

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        known = {one.number: one for one in self.own}
        spent = (await super().fetch_account(account_number, timeout_s)).cash - 100_000
        return replace(known[account_number], cash=known[account_number].cash + spent)


async def start(make_app: MakeApp, broker: FakeBroker, **settings: Any) -> tuple[App, Client]:
    app = await make_app(settings={"broker": "alpaca", **settings}, broker=broker, timings=QUICK)
    return app, await app.owner()


async def opened(who: Client, account: str = ACCOUNT) -> dict[str, Any]:
    """The account once its books agree with the broker's."""

    found: dict[str, Any] = {}

    async def there() -> bool:
        answer = await who.get(f"/api/accounts/{account}")
        found.update(answer.json())
        return answer.status_code == 200 and found["reconcile_problem"] is None

    await until(there)
    return found


async def test_A10_an_account_of_the_environment_appears_with_what_it_holds(make_app: MakeApp) -> None:
    _, owner = await start(make_app, Street())
    found = await opened(owner)
    assert (found["broker"], found["mode"], found["number"]) == ("alpaca", "paper", NUMBER)
    assert (found["cash"], found["options_level"]) == (5000.25, 2)
    (held,) = (await owner.get(f"/api/portfolio/positions?account={ACCOUNT}")).json()
    assert (held["symbol"], held["qty"], held["avg_entry_price"]) == ("AAPL", 10, 150)


async def test_A10_orders_of_the_owner_go_there_by_default_and_nobody_else_sees_it(make_app: MakeApp) -> None:
    broker = Street()
    app, owner = await start(make_app, broker)
    await opened(owner)
    answer = await owner.execute(BUY)
    assert answer.json()["accepted"] is True, answer.text
    assert [one.account_number for one in broker.submitted] == [NUMBER]
    trader = await app.user("trader")
    assert (await trader.get(f"/api/accounts/{ACCOUNT}")).status_code == 404
    assert (await trader.execute(BUY, account=ACCOUNT)).status_code == 404
    user = (await trader.get("/auth/me")).json()["id"]
    given = await owner.request("PUT", f"/api/accounts/{ACCOUNT}/grants/{user}", json={"access": "trade"})
    assert given.status_code == 200, given.text
    assert (await trader.execute(BUY, account=ACCOUNT)).json()["accepted"] is True


async def test_A10_who_becomes_an_owner_may_use_it_and_who_is_none_any_more_may_not(
    make_app: MakeApp,
) -> None:
    app, owner = await start(make_app, Street())
    await opened(owner)
    email = "second@example.com"
    second = await app.user("trader", email)
    user = (await second.get("/auth/me")).json()["id"]
    for role, status in (("owner", 200), ("trader", 404)):
        changed = await owner.request("PATCH", f"/api/users/{user}", json={"role": role})
        assert changed.status_code == 200, changed.text
        again = await app.sign_in(email)
        assert (await again.get(f"/api/accounts/{ACCOUNT}")).status_code == status


async def test_A10_a_live_account_is_nobodys_default_and_takes_nothing_while_live_trading_is_off(
    make_app: MakeApp,
) -> None:
    live = replace(THERE, number="882211", mode="live")
    broker = Street(THERE, live)
    _, owner = await start(make_app, broker)
    await opened(owner)
    name = "alpaca-live-882211"
    answer = await owner.execute(BUY, account=name)
    assert (answer.status_code, "LIVE_TRADING" in answer.text) == (403, True)
    assert (await owner.execute(BUY)).json()["account"] == ACCOUNT
    assert [one.account_number for one in broker.submitted] == [NUMBER]


async def test_until_its_books_are_known_it_takes_no_new_order(make_app: MakeApp) -> None:
    class Shy(Street):
        async def fetch_positions(self, account_number: str, timeout_s: float) -> Any:
            raise OutcomeUnknown("no answer in time")

    broker = Shy()
    _, owner = await start(make_app, broker)

    async def there() -> bool:
        return (await owner.get(f"/api/accounts/{ACCOUNT}")).status_code == 200

    await until(there)
    answer = await owner.execute(BUY, account=ACCOUNT)
    assert answer.json()["orders"][0]["reason"]["code"] == "account_not_reconciled", answer.text
    assert not broker.submitted


async def test_a_broker_that_is_away_at_the_start_is_asked_again(make_app: MakeApp) -> None:
    broker = Street()
    broker.away = OutcomeUnknown("no answer in time")
    app, owner = await start(make_app, broker)
    assert (await owner.get(f"/api/accounts/{ACCOUNT}")).status_code == 404

    async def ready() -> bool:
        """Once it has looked for orders left open, of which there are none."""
        return (await app.anonymous.get("/api/health/ready")).status_code == 200

    await until(ready)
    assert (await owner.get(f"/api/accounts/{ACCOUNT}")).status_code == 404
    broker.away = None
    await opened(owner)


async def test_it_is_opened_once_and_other_keys_are_another_account(make_app: MakeApp) -> None:
    first = Street()
    _, owner = await start(make_app, first)
    before = await opened(owner)
    other = replace(THERE, number="PA3TEST00002", cash=Decimal(77))
    _, owner = await start(make_app, Street(THERE))
    assert (await opened(owner))["cash"] == before["cash"]
    second = Street(other)
    _, owner = await start(make_app, second)
    assert (await opened(owner, "alpaca-paper-PA3TEST00002"))["cash"] == 77
    assert (await owner.get(f"/api/accounts/{ACCOUNT}")).json()["cash"] == before["cash"]


@pytest.mark.parametrize(
    "order",
    [
        {"symbol": "MSFT", "side": "buy", "qty": 1},
        {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100},
    ],
)
async def test_simulated_quotes_are_no_price_for_a_broker_of_the_real_world(
    make_app: MakeApp, order: dict[str, Any]
) -> None:
    broker = Street()
    broker.simulated = False
    _, owner = await start(make_app, broker)
    await opened(owner)
    told = (await owner.execute(order)).json()["orders"][0]
    assert (told["state"], told["reason"]["code"]) == ("REFUSED", "no_market_data")
    assert not broker.submitted
    (held,) = (await owner.get("/api/portfolio/positions")).json()
    assert (held["qty"], held["current_price"], held["market_value"]) == (10, None, None)
