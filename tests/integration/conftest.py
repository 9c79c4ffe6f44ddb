"""Fixtures of the integration tests."""

import pytest

from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.orders_world import QUICK, Trading


@pytest.fixture
def broker() -> FakeBroker:
    """A broker that accepts everything unless told otherwise."""
    return FakeBroker()


@pytest.fixture
async def trading(make_app: MakeApp, broker: FakeBroker) -> Trading:
    """The whole app over the fake broker, with short deadlines."""
    app = await make_app(broker=broker, timings=QUICK)
    return Trading(app, broker, await app.owner())
