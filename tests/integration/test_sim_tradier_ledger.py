"""The simulated Tradier's ledger and control endpoint: orders are named by a tag that need not be the only one, and no token is ever in the file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN
from paiid.sim.tradier.app import LEDGER_FILE
from tests.sim_tradier_running import HEADERS, HOME, ORDERS, TradierWorld, tradier

TOKEN = "test-token-of-the-ledger"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[TradierWorld]:
    async with tradier(tmp_path) as one:
        yield one


async def test_a_form_is_written_by_its_fields_and_its_effect_before_the_answer(world: TradierWorld) -> None:
    order_id = await world.placed("mine", price="50.00")
    entries = (await world.client.get("/sim/ledger")).json()["entries"]
    request, accepted = (one for one in entries if one["kind"] != "control")
    assert (request["kind"], request["method"], request["path"]) == ("request", "POST", ORDERS)
    assert request["account"] == DEFAULT_ACCOUNT
    assert request["body"]["tag"] == "mine"
    assert request["body"]["price"] == "50.00"
    assert accepted["kind"] == "order_accepted"
    assert (accepted["tag"], accepted["account"], str(accepted["order_id"])) == (
        "mine",
        DEFAULT_ACCOUNT,
        str(order_id),
    )


async def test_parameters_in_the_query_of_a_post_are_seen_as_well(world: TradierWorld) -> None:
    form = "class=equity&symbol=AAPL&side=buy&quantity=1&type=market&duration=day&tag=asked"
    assert (await world.client.post(f"{ORDERS}?{form}")).json()["order"]["status"] == "ok"
    summary = (await world.client.get("/sim/ledger/summary")).json()
    assert summary["received"] == summary["accepted"] == {DEFAULT_ACCOUNT: {"asked": 1}}


async def test_duplicates_are_tags_under_which_an_account_got_more_than_one_order(
    world: TradierWorld,
) -> None:
    for tag in ("twice", "twice", "once", None, None):
        await world.placed(tag, price="50")
    await world.post("looked", preview="true")
    refused = await world.post("bad_tag")
    assert refused.status_code == 400
    summary = (await world.client.get("/sim/ledger/summary")).json()
    assert summary["duplicates"] == {DEFAULT_ACCOUNT: {"twice": 2}}
    assert summary["accepted"] == {DEFAULT_ACCOUNT: {"twice": 2, "once": 1, "": 2}}
    assert summary["received"] == {DEFAULT_ACCOUNT: {"twice": 2, "once": 1, "": 2, "bad_tag": 1}}


async def test_the_same_tag_in_two_accounts_is_no_duplicate(world: TradierWorld) -> None:
    made = await world.client.post("/sim/accounts", json={"token": TOKEN})
    number = made.json()["account_number"]
    form = {
        "class": "equity", "symbol": "AAPL", "side": "buy", "quantity": "1", "type": "market", "duration": "day",
        "tag": "same",
    }  # fmt: skip
    other = await world.client.post(
        f"/v1/accounts/{number}/orders", data=form, headers={**HEADERS, "authorization": f"Bearer {TOKEN}"}
    )
    assert other.json()["order"]["status"] == "ok"
    await world.placed("same")
    summary = (await world.client.get("/sim/ledger/summary")).json()
    assert summary["duplicates"] == {}
    assert summary["accepted"] == {DEFAULT_ACCOUNT: {"same": 1}, number: {"same": 1}}


async def test_a_request_is_of_the_account_in_its_path_where_a_token_reaches_several(
    world: TradierWorld,
) -> None:
    for number in ("VA00000008", "VA00000009"):
        await world.client.post("/sim/accounts", json={"token": TOKEN, "account": number})
    own = {"authorization": f"Bearer {TOKEN}"}
    for path in ("/v1/user/profile", "/v1/accounts/VA00000009/balances", f"{HOME}/balances"):
        await world.client.get(path, headers=own)
    asked = [one["account"] for one in await world.ledger("request")]
    assert asked == ["VA00000008", "VA00000009", "VA00000008"]


async def test_no_token_is_in_the_file_whatever_way_it_came(world: TradierWorld, tmp_path: Path) -> None:
    made = await world.client.post("/sim/accounts", json={"token": TOKEN, "account": "VA00000009"})
    assert made.status_code == 201
    await world.client.get("/v1/user/profile", headers={"authorization": f"Bearer {TOKEN}"})
    await world.client.get(f"{ORDERS}?token={TOKEN}")
    await world.client.post(ORDERS, data={"tag": TOKEN, "symbol": DEFAULT_TOKEN})
    await world.client.post(ORDERS, content=f'{{"tag":"{TOKEN}"}}')
    await world.client.get("/v1/markets/events?sessionid=as-good-as-a-token&symbols=AAPL")
    text = (tmp_path / LEDGER_FILE).read_text()
    assert TOKEN not in text
    assert DEFAULT_TOKEN not in text
    assert "as-good-as-a-token" not in text
    assert len(await world.ledger("request")) == 5


async def test_whatever_a_body_is_it_is_written_down_and_answered(world: TradierWorld) -> None:
    for content in (b"\xff\xfe=1", b"[", b"{}", b"a" * 70_000, b"&" * 5000, b"tag=%zz&quantity=1e999"):
        answer = await world.client.post(ORDERS, content=content)
        assert 400 <= answer.status_code < 500, (content[:20], answer.text)
    assert (await world.client.post(ORDERS, content=b"x" * 2_000_000)).status_code == 413
    # Nobody else looks at the body of a read.
    long = await world.client.request("GET", "/v1/user/profile", content=b"x" * 2_000_000)
    assert long.status_code == 413
    assert len(await world.ledger("request")) == 8


async def test_the_control_endpoint_tells_what_goes_on(world: TradierWorld) -> None:
    await world.fault("backend_down")
    state = (await world.client.get("/sim")).json()
    assert state["simulates"] == "tradier"
    assert state["accounts"] == [{"account_number": DEFAULT_ACCOUNT}]
    assert state["quotes"]["AAPL"]["bid"] == "99.00"
    assert [one["kind"] for one in state["faults"]] == ["backend_down"]
    assert state["pending"]["late_requests"] == 0
    kinds = (await world.client.get("/sim/faults")).json()
    assert {"backend_down", "answer_lost"} <= kinds["kinds"].keys()
    assert {"session_lost", "chain_nan"} <= kinds["data_kinds"].keys()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"token": "with space"}, "token"),
        ({"token": 1}, "token"),
        ({"account": "no/slash"}, "token"),
        ({"key_id": "x"}, "key_id"),
        ({"terms": {"starting_cash": -1}}, "terms.starting_cash"),
        ({"terms": {"options_level": 9}}, "terms.options_level"),
    ],
)
async def test_a_wish_for_an_account_that_cannot_be_is_a_422_that_names_the_field(
    world: TradierWorld, body: dict[str, object], field: str
) -> None:
    answer = await world.client.post("/sim/accounts", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


async def test_an_account_with_terms_of_its_own(world: TradierWorld) -> None:
    made = await world.client.post(
        "/sim/accounts", json={"token": TOKEN, "account": "VA00000077", "terms": {"starting_cash": 5000}}
    )
    assert made.json() == {"account_number": "VA00000077", "token": TOKEN}
    own = {"authorization": f"Bearer {TOKEN}"}
    told = await world.client.get("/v1/accounts/VA00000077/balances", headers=own)
    assert told.json()["balances"]["total_cash"] == 5000.0
    assert (await world.client.get(f"{HOME}/balances", headers=own)).status_code == 401
