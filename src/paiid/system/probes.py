"""What the health page asks of the parts of this service that it depends on."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from paiid.brokers import Broker
from paiid.core.db import Database
from paiid.core.instants import instant
from paiid.market.service import MarketService
from paiid.system.health import Probe
from paiid.system.store import find_account_number, load_reconcile_state

_ANSWER_S = 1.5


def broker_probe(db: Database, broker: Broker) -> Probe:
    """Asks the broker for an account that we keep there. Raises BrokerError, DatabaseUnavailable."""

    async def probe() -> str:
        async with db.read() as tx:
            number = await find_account_number(tx, broker.name)
        if number is None:
            return f"{broker.name}, where no account is kept yet"
        await broker.fetch_account(number, _ANSWER_S)
        return broker.name

    return probe


def operator_details(
    db: Database, broker: Broker, market: MarketService
) -> Mapping[str, Callable[[], Awaitable[Any]]]:
    """Sections of `/detailed` beside load and dependencies. Each raises DatabaseUnavailable."""

    async def reconcile() -> dict[str, Any]:
        async with db.read() as tx:
            found = await load_reconcile_state(tx)
        return {
            "state": "differs" if found.problems else "in_doubt" if found.orders_in_doubt else "agrees",
            "accounts": found.accounts,
            "problems": found.problems,
            "never_compared": found.never_compared,
            "oldest_at": instant(found.oldest_at_us),
            "orders_in_doubt": found.orders_in_doubt,
        }

    async def market_data() -> dict[str, Any]:
        return {"source": market.source, "delayed": market.delayed}

    async def told_broker() -> dict[str, Any]:
        # The built-in venue has no rate budget; null is no limit.
        return {"name": broker.name, "budget_left": None}

    return {"reconcile": reconcile, "market_data": market_data, "broker": told_broker}
