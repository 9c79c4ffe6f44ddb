"""What the order tests share: short deadlines, a fake broker, and what must not have changed."""

from typing import Any

from sqlalchemy import func, select

from paiid.core.db import Database, statement
from paiid.core.tables import events, executions, intents, orders, positions
from paiid.trading.timings import Timings
from tests.fakes import FakeBroker
from tests.world import App, Client

QUICK = Timings(
    send_window_s=0.5,
    broker_deadline_s=0.6,
    call_budget_s=2.0,
    unknown_wait_s=0.4,
    horizon_s=1.5,
    sweep_s=0.1,
    dispatch_slack_s=0.1,
    first_lookups_s=(0.05, 0.1, 0.2),
    late_lookup_s=0.2,
    watch_lookup_s=0.3,
)
BUY: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 10}
_COUNTED = (intents, orders, executions, positions, events)


async def counts(db: Database) -> dict[str, int]:
    """Rows of every table that an order may change."""
    found: dict[str, int] = {}
    async with db.read() as tx:
        for table in _COUNTED:
            row = await tx.fetch_one(statement(select(func.count().label("n")).select_from(table)))
            assert row is not None
            found[table.name] = row["n"]
    return found


class Trading:
    """An app over a fake broker with a signed-in owner."""

    def __init__(self, app: App, broker: FakeBroker, owner: Client) -> None:
        self.app = app
        self.broker = broker
        self.owner = owner
        self.db: Database = app.state.db

    async def counts(self) -> dict[str, int]:
        """See `counts`."""
        return await counts(self.db)
