"""The script of faults itself: rates, seeds, whom they meet, how they are shown, and wishes that cannot be played."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid.sim.alpaca.fault_kinds import KINDS
from tests.sim_world import KEYS, SimWorld, simulated


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path) as one:
        yield one


async def played(world: SimWorld) -> list[str]:
    """The kinds that the ledger says have been played."""
    return [one["fault_kind"] for one in await world.ledger("fault")]


async def test_a_rate_is_the_same_every_time_under_a_seed(sqlite_url: str, tmp_path: Path) -> None:
    outcomes = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        async with simulated(sqlite_url, tmp_path / run) as world:
            await world.fault("refuse_before", on="account", rate=0.5, seed=42)
            outcomes.append([(await world.client.get("/v2/account")).status_code for _ in range(12)])
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {200, 503}


async def test_a_fault_can_be_of_one_account_or_symbol(world: SimWorld) -> None:
    world.show("10.00", "10.10", "MSFT")
    made = (await world.client.post("/sim/accounts", json={})).json()
    await world.fault("refuse_before", on="account", account=made["account_number"])
    assert (await world.client.get("/v2/account")).status_code == 200
    other = {"APCA-API-KEY-ID": made["key_id"], "APCA-API-SECRET-KEY": made["secret"]}
    assert (await world.client.get("/v2/account", headers=other)).status_code == 503
    await world.fault("refuse_before", symbol="MSFT")
    assert (await world.post("apple")).status_code == 200
    assert (await world.post("soft", symbol="MSFT")).status_code == 503


async def test_faults_are_shown_and_taken_out_of_force(world: SimWorld) -> None:
    await world.fault("refuse_before", rate=1)
    await world.fault("answer_lost", next=3)
    shown = (await world.client.get("/sim/faults")).json()
    assert [(one["kind"], one["next"], one["rate"]) for one in shown["faults"]] == [
        ("refuse_before", None, 1.0),
        ("answer_lost", 3, None),
    ]
    assert set(shown["kinds"]) == set(KINDS)
    assert (await world.client.delete("/sim/faults")).json() == {"removed": 2}
    assert (await world.post("fine")).status_code == 200
    assert (await world.client.delete("/sim/faults/7")).status_code == 404


WRONG: list[tuple[Any, str]] = [
    ([], "body"),
    ({}, "kind"),
    ({"kind": "nonsense"}, "kind"),
    ({"kind": ["slow"]}, "kind"),
    ({"kind": "slow", "on": "stream"}, "on"),
    ({"kind": "slow", "on": ["submit"]}, "on"),
    ({"kind": "slow", "on": "lunch"}, "on"),
    ({"kind": "slow", "next": 0}, "next"),
    ({"kind": "slow", "next": True}, "next"),
    ({"kind": "slow", "next": 1, "rate": 0.5}, "rate"),
    ({"kind": "slow", "rate": 1.5}, "rate"),
    ({"kind": "slow", "rate": "0.5"}, "rate"),
    ({"kind": "slow", "seed": "x"}, "seed"),
    ({"kind": "slow", "often": 1}, "often"),
    ({"kind": "slow", "params": []}, "params"),
    ({"kind": "slow", "params": {"ms": 1}}, "params.ms"),
    ({"kind": "slow", "params": {"after_ms": -1}}, "params.after_ms"),
    ({"kind": "slow", "params": {"after_ms": "1"}}, "params.after_ms"),
    ({"kind": "html", "params": {"handled": 1}}, "params.handled"),
    ({"kind": "redirect", "params": {"location": "a\r\nb: c"}}, "params.location"),
    ({"kind": "missing_fields", "params": {"remove": "id"}}, "params.remove"),
    ({"kind": "missing_fields", "params": {"set": []}}, "params.set"),
    ({"kind": "slow", "account": "PA3NOBODY"}, "account"),
    ({"kind": "slow", "account": 7}, "account"),
    ({"kind": "slow", "event": "fill"}, "event"),
    ({"kind": "slow", "on": "lookup", "symbol": "AAPL"}, "symbol"),
]


async def test_a_wish_that_cannot_be_played_names_the_field(world: SimWorld) -> None:
    for wish, field in WRONG:
        answer = await world.client.post("/sim/faults", json=wish)
        assert answer.status_code == 422, wish
        (error,) = answer.json()["errors"]
        assert error["field"] == field, wish
        assert error["reason"]
    assert (await world.client.get("/sim/faults")).json()["faults"] == []


async def test_without_a_server_below_a_lost_answer_is_an_exception(world: SimWorld) -> None:
    await world.fault("answer_lost")
    over_asgi = httpx2.ASGITransport(app=world.sim)
    async with httpx2.AsyncClient(transport=over_asgi, base_url="http://sim", headers=KEYS) as client:
        with pytest.raises(ConnectionResetError):
            await client.post("/v2/orders", json={})
