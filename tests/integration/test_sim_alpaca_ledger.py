"""The simulator's ledger and control endpoint: what is written down, when, and what may never be in it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid.core.clock import SystemClock
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from paiid.sim.alpaca.app import LEDGER_FILE
from paiid.sim.alpaca.exchange import SimOptions
from paiid.sim.engine.ledger import Ledger
from tests.sim_world import KEYS, SimWorld, simulated

SECRET = "test-secret-of-the-ledger"


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path) as one:
        yield one


# -- the file ---------------------------------------------------------------------------------------


def test_an_entry_is_in_the_file_before_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "l"
    ledger = Ledger(path, SystemClock(), sync=True)
    for n in range(3):
        ledger.append("thing", n=n)
        lines = path.read_text().splitlines()
        assert len(lines) == n + 1
        assert json.loads(lines[-1]).items() >= {"seq": n + 1, "kind": "thing", "n": n}.items()
    assert path.stat().st_mode & 0o777 == 0o600
    ledger.close()


def test_a_restart_goes_on_behind_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "l"
    ledger = Ledger(path, SystemClock())
    ledger.append("order_accepted", account="A", client_order_id="c")
    ledger.append("order_accepted", account="A", client_order_id="c")
    ledger.close()
    with path.open("ab") as file:
        file.write(b'{"seq":3,"kind":"order_acc')
    again = Ledger(path, SystemClock())
    assert again.last_seq == 2
    assert again.summary.as_json()["duplicates"] == {"A": {"c": 2}}
    again.append("thing")
    assert [one["seq"] for one in again.read()] == [1, 2, 3]
    assert [one["seq"] for one in again.read(1, None, 1)] == [2]
    assert [one["kind"] for one in again.read(0, "thing")] == ["thing"]
    assert again.read(3) == []
    assert again.read(99) == []
    again.close()


def test_secrets_are_blotted_out_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "l"
    ledger = Ledger(path, SystemClock(), secrets=lambda: [SECRET])
    ledger.append("request", path=f"/v2/{SECRET}", body={"a": [{"deep": SECRET}], "secret_key": "another"})
    ledger.append("request", body={SECRET: 1, "Password": "hunter2"})
    text = path.read_text()
    assert SECRET not in text
    assert "another" not in text
    assert "hunter2" not in text
    ledger.close()


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l", SystemClock())
    ledger.append("request", body="x" * 1_000_000)
    assert (tmp_path / "l").stat().st_size < 50_000
    ledger.close()


# -- what is in it ----------------------------------------------------------------------------------


async def test_a_request_is_written_before_it_is_handled_and_its_effect_before_the_answer(
    world: SimWorld,
) -> None:
    answer = await world.post("mine", qty="3")
    entries = (await world.client.get("/sim/ledger")).json()["entries"]
    request, accepted = entries
    assert request["kind"] == "request"
    assert (request["method"], request["path"]) == ("POST", "/v2/orders")
    assert request["body"]["client_order_id"] == "mine"
    assert request["account"] == world.sim.exchange.accounts.all()[0].number
    assert accepted["kind"] == "order_accepted"
    assert accepted["order_id"] == answer.json()["id"]
    assert (request["seq"], accepted["seq"]) == (1, 2)
    assert request["at_us"] <= accepted["at_us"]


async def test_a_request_that_hangs_is_in_it_already(world: SimWorld) -> None:
    await world.fault("slow", on="account", params={"before_ms": 600_000})
    waiting = asyncio.create_task(world.client.get("/v2/account", params={"a": "b"}))
    while not (found := await world.ledger("request")):
        await asyncio.sleep(0.01)
    assert found[0]["query"] == {"a": "b"}
    waiting.cancel()


async def test_no_key_and_no_secret_is_in_the_file_whatever_way_they_came(
    world: SimWorld, tmp_path: Path
) -> None:
    made = await world.client.post("/sim/accounts", json={"key_id": "PKTESTKEY1", "secret": SECRET})
    assert made.status_code == 201
    other = {"APCA-API-KEY-ID": "PKTESTKEY1", "APCA-API-SECRET-KEY": SECRET}
    await world.client.get("/v2/account", headers=other)
    await world.client.get("/v2/account", auth=("PKTESTKEY1", SECRET))
    await world.client.get(f"/v2/orders?key={SECRET}")
    await world.client.post("/v2/orders", json={"symbol": SECRET, "client_order_id": DEFAULT_SECRET})
    await world.client.post("/v2/orders", content=f"not json {SECRET}")
    await world.client.get(f"/v2/nothing/{SECRET}")
    async with world.listening(other):
        pass
    async with world.connected() as one:
        await one.say(action="auth", key="PKTESTKEY1", secret="wrong-test-secret")
    text = (tmp_path / LEDGER_FILE).read_text()
    assert text.count('"kind":"request"') == 6
    for secret in (SECRET, "PKTESTKEY1", DEFAULT_KEY_ID, DEFAULT_SECRET, "wrong-test-secret"):
        assert secret not in text


async def test_streams_leave_their_traces(world: SimWorld) -> None:
    async with world.listening():
        pass
    kinds: list[str] = []
    while "stream_end" not in kinds:
        entries = (await world.client.get("/sim/ledger")).json()["entries"]
        kinds = [one["kind"] for one in entries]
        await asyncio.sleep(0.01)
    assert kinds == ["stream_connect", "stream_auth", "stream_listen", "stream_end"]
    assert entries[1]["outcome"] == "authorized"
    assert entries[2]["streams"] == ["trade_updates"]


async def test_the_summary_counts_what_was_received_and_accepted(world: SimWorld) -> None:
    await world.post("once")
    await world.post("twice", qty="1")
    assert (await world.post("twice", qty="1")).status_code == 422
    await world.fault("refuse_before")
    await world.post("never")
    number = world.sim.exchange.accounts.all()[0].number
    summary = (await world.client.get("/sim/ledger/summary")).json()
    assert summary["received"] == {number: {"once": 1, "twice": 2, "never": 1}}
    assert summary["accepted"] == {number: {"once": 1, "twice": 1}}
    assert summary["duplicates"] == {}
    assert summary["by_kind"]["fault"] == 1


async def test_it_is_read_in_pages_and_by_kind(world: SimWorld) -> None:
    for n in range(3):
        await world.post(f"n{n}", qty="1")
    page = (await world.client.get("/sim/ledger", params={"after": "2", "limit": "2"})).json()
    assert [one["seq"] for one in page["entries"]] == [3, 4]
    assert page["last_seq"] == 6
    assert len(await world.ledger("order_accepted")) == 3


async def test_a_restart_keeps_ledger_accounts_and_orders(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path) as world:
        made = await world.post("kept")
        await world.has_status("kept", "filled")
        # Booked is not yet told, and the cursor stands at what has been told.
        await world.quiesce()
        state = (await world.client.get("/sim")).json()
    async with simulated(sqlite_url, tmp_path) as world:
        found = await world.order("kept")
        assert found is not None
        assert found["id"] == made.json()["id"]
        after = (await world.client.get("/sim")).json()
        assert after["accounts"] == state["accounts"]
        assert after["event_cursor"] == state["event_cursor"]
        assert (await world.ledger("order_accepted"))[0]["client_order_id"] == "kept"
        async with world.listening() as one:
            await world.post("more", qty="5")
            await one.next()
            assert (await one.next())["position_qty"] == "15"


# -- the control endpoint ---------------------------------------------------------------------------


async def test_a_pinned_quote_stands_until_it_is_let_go(world: SimWorld) -> None:
    wish = {"symbol": "aapl", "bid": "49.50", "ask": 50.25, "ask_size": 3}
    assert (await world.client.post("/sim/quotes", json=wish)).status_code == 201
    world.show("98.00", "102.00")
    await world.post("cheap", qty="3")
    assert (await world.has_status("cheap", "filled"))["filled_avg_price"] == "50.25"
    assert (await world.client.get("/sim")).json()["quotes"]["AAPL"]["ask"] == "50.25"
    assert (await world.client.delete("/sim/quotes/aapl")).status_code == 204
    await world.post("dear", qty="3")
    assert (await world.has_status("dear", "filled"))["filled_avg_price"] == "102"
    assert (await world.client.delete("/sim/quotes/aapl")).status_code == 404


async def test_an_account_is_made_on_terms_of_its_own(world: SimWorld) -> None:
    terms = {"starting_cash": "1234.50", "margin": False, "options_level": 1}
    made = (await world.client.post("/sim/accounts", json={"terms": terms})).json()
    keys = {"APCA-API-KEY-ID": made["key_id"], "APCA-API-SECRET-KEY": made["secret"]}
    account = (await world.client.get("/v2/account", headers=keys)).json()
    assert account["account_number"] == made["account_number"]
    assert (account["cash"], account["multiplier"]) == ("1234.5", "1")
    assert account["options_approved_level"] == 1


async def test_quiesce_waits_for_what_goes_on_by_itself(world: SimWorld) -> None:
    await world.fault("late_accept", params={"delay_ms": 600_000})
    await world.post("late")
    answer = (await world.client.post("/sim/quiesce", json={"timeout_s": 0.05})).json()
    assert answer["quiet"] is False
    assert answer["pending"]["late_requests"] == 1
    await world.post("now")
    assert (await world.client.get("/sim")).json()["pending"]["late_requests"] == 1


WRONG: list[tuple[str, str, Any, str]] = [
    ("POST", "/sim/quotes", "[", "body"),
    ("POST", "/sim/quotes", "[]", "body"),
    ("POST", "/sim/quotes", {}, "symbol"),
    ("POST", "/sim/quotes", {"symbol": "NOPE", "bid": 1, "ask": 2}, "symbol"),
    ("POST", "/sim/quotes", {"symbol": "AAPL", "ask": 2}, "bid"),
    ("POST", "/sim/quotes", {"symbol": "AAPL", "bid": 3, "ask": 2}, "ask"),
    ("POST", "/sim/quotes", {"symbol": "AAPL", "bid": "NaN", "ask": 2}, "bid"),
    ("POST", "/sim/quotes", {"symbol": "AAPL", "bid": True, "ask": 2}, "bid"),
    ("POST", "/sim/quotes", {"symbol": "AAPL", "bid": 1, "ask": 2, "ask_size": -1}, "ask_size"),
    ("POST", "/sim/quotes", {"symbol": "AAPL", "bid": 1, "ask": 2, "last": 1}, "last"),
    ("POST", "/sim/accounts", {"key_id": 1}, "key_id"),
    ("POST", "/sim/accounts", {"key_id": "a b"}, "key_id"),
    ("POST", "/sim/accounts", {"key_id": DEFAULT_KEY_ID, "secret": "other"}, "key_id"),
    ("POST", "/sim/accounts", {"terms": {"cash": 1}}, "terms.cash"),
    ("POST", "/sim/accounts", {"terms": {"margin": 1}}, "terms.margin"),
    ("POST", "/sim/accounts", {"terms": {"options_level": 4}}, "terms.options_level"),
    ("POST", "/sim/accounts", {"terms": {"starting_cash": "lots"}}, "terms.starting_cash"),
    ("POST", "/sim/quiesce", {"timeout_s": 1e9}, "timeout_s"),
    ("POST", "/sim/quiesce", {"timeout_s": "1"}, "timeout_s"),
    ("POST", "/sim/stream/disconnect", {"account": "PA3NOBODY"}, "account"),
    ("GET", "/sim/ledger?limit=0", None, "limit"),
    ("GET", "/sim/ledger?after=-1", None, "after"),
    ("GET", "/sim/ledger?after=x", None, "after"),
]


async def test_a_wrong_wish_names_the_field(world: SimWorld) -> None:
    for method, path, body, field in WRONG:
        content = None if body is None else body if isinstance(body, str) else json.dumps(body)
        answer = await world.client.request(method, path, content=content)
        assert answer.status_code == 422, (path, body)
        assert [one["field"] for one in answer.json()["errors"]] == [field], (path, body)


async def test_it_answers_this_machine_only_and_no_page_of_a_browser(world: SimWorld) -> None:
    far = httpx2.ASGITransport(app=world.sim, client=("203.0.113.7", 1234))
    async with httpx2.AsyncClient(transport=far, base_url="http://sim", headers=KEYS) as client:
        assert (await client.get("/sim")).status_code == 403
        assert (await client.post("/sim/faults", json={"kind": "slow"})).status_code == 403
        assert (await client.get("/v2/account")).status_code == 200
    page = await world.client.post("/sim/faults", json={"kind": "slow"}, headers={"Origin": "http://evil"})
    assert page.status_code == 403
    assert world.sim.faults.all() == ()


async def test_it_costs_nothing_of_the_rate_limit(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path, options=SimOptions(rate_limit_per_minute=2)) as world:
        for _ in range(10):
            assert (await world.client.get("/sim")).status_code == 200
        assert (await world.client.get("/v2/account")).headers["x-ratelimit-limit"] == "2"


async def test_a_body_without_end_is_refused(world: SimWorld) -> None:
    answer = await world.client.post("/v2/orders", content=b"x" * 3_000_000)
    assert answer.status_code == 413
    (entry,) = await world.ledger("request")
    assert len(entry["body"]) < 100
