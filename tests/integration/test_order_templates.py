"""Order templates: kept by one user for himself, changed by him alone, and placed like any order, once a key."""

from typing import Any

import pytest
from sqlalchemy import select

from paiid.core.db import Database, statement
from paiid.core.tables import audit
from tests.fakes import loses_answer
from tests.orders_world import Trading
from tests.rows import every_row
from tests.world import Client, fresh_key

PATH = "/api/order-templates"
DIP: dict[str, Any] = {
    "name": "Buy the dip",
    "description": "Ten of them,\na little under the market.",
    "symbol": "aapl",
    "side": "buy",
    "quantity": 10,
    "order_type": "limit",
    "limit_price": 100.25,
}
MARKET: dict[str, Any] = {"name": "Just buy", "symbol": "AAPL", "side": "buy", "quantity": 3}
_AUDIT = statement(select(audit).order_by(audit.c.id))


async def make(client: Client, **changes: Any) -> dict[str, Any]:
    """A template, made."""
    answer = await client.post(PATH, json={**DIP, **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def put(client: Client, template_id: str, body: dict[str, Any], **headers: str) -> Any:
    """PUT it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.request("PUT", f"{PATH}/{template_id}", json=body, headers=named)


async def use(client: Client, template_id: str, key: str | None = None, **body: Any) -> Any:
    """Place its order under a key."""
    headers = {"Idempotency-Key": key or fresh_key()}
    return await client.post(f"{PATH}/{template_id}/use", json=body, headers=headers)


async def actions(db: Database) -> list[tuple[str, str]]:
    """(action, subject) of every audit row about templates."""
    async with db.read() as tx:
        rows = await tx.fetch(_AUDIT)
    return [(row["action"], row["subject"]) for row in rows if row["action"].startswith("template.")]


async def test_a_template_is_kept_as_it_was_said_and_read_back(trading: Trading) -> None:
    answer = await trading.owner.post(PATH, json=DIP)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    assert {name: made[name] for name in DIP} == {**DIP, "symbol": "AAPL"}
    assert made["version"] == 1
    found = await trading.owner.get(f"{PATH}/{made['id']}")
    assert found.json() == made
    assert found.headers["etag"] == '"1"'
    bare = await make(trading.owner, **{"name": "Sized by settings", "symbol": "AAPL  261218C00265000"})
    assert bare["symbol"] == "AAPL261218C00265000"


async def test_the_list_goes_on_page_by_page_newest_first(trading: Trading) -> None:
    made = [(await make(trading.owner, name=f"no {n}"))["id"] for n in range(5)]
    seen: list[str] = []
    after: str | None = None
    for _ in range(3):
        query = f"?limit=2{'' if after is None else f'&after={after}'}"
        page = (await trading.owner.get(PATH + query)).json()
        seen += [one["id"] for one in page["data"]]
        after = page["next"]
    assert after is None
    assert seen == sorted(made, reverse=True)


_NO_ORDERS: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "name", "string_too_short"),
    ({"name": "n" * 81}, "name", "string_too_long"),
    ({"name": " padded"}, "name", "invalid"),
    ({"name": "padded "}, "name", "invalid"),
    ({"name": "two\nlines"}, "name", "invalid"),
    ({"description": "d" * 501}, "description", "string_too_long"),
    ({"symbol": "AAPLE1"}, "symbol", "invalid"),
    ({"symbol": "AAPL261331C00265000"}, "symbol", "invalid"),
    ({"symbol": "\u0410APL"}, "symbol", "invalid"),
    ({"side": "hold"}, "side", "literal_error"),
    ({"quantity": 0}, "quantity", "greater_than"),
    ({"quantity": -1}, "quantity", "greater_than"),
    ({"quantity": None}, "quantity", "invalid"),
    ({"quantity": "10"}, "quantity", "invalid"),
    ({"symbol": "AAPL261218C00265000", "quantity": 1.5}, "quantity", "whole_contracts"),
    ({"order_type": "stop"}, "order_type", "literal_error"),
    ({"order_type": "market"}, "limit_price", "not_of_this_type"),
    ({"limit_price": None}, "limit_price", "missing"),
    ({"limit_price": 0}, "limit_price", "greater_than"),
    ({"limit_price": 1.0000001}, "limit_price", "decimal_max_places"),
    ({"stop_price": 99}, "stop_price", "unknown_field"),
]


async def test_what_no_order_could_be_is_refused_with_its_field_and_nothing_is_kept(trading: Trading) -> None:
    kept = await make(trading.owner)
    with every_row() as row:
        for changes, field, code in _NO_ORDERS:
            with row(changes):
                for answer in (
                    await trading.owner.post(PATH, json={**DIP, "name": "other", **changes}),
                    await put(trading.owner, kept["id"], {**DIP, **changes}),
                ):
                    assert answer.status_code == 422, answer.text
                    (error,) = answer.json()["errors"]
                    assert (error["field"], error["code"]) == (field, code)
                page = (await trading.owner.get(PATH)).json()
                assert page["data"] == [kept]


async def test_a_name_stands_once_for_a_user_and_another_user_may_have_it_too(trading: Trading) -> None:
    first = await make(trading.owner)
    second = await make(trading.owner, name="Another")
    for answer in (
        await trading.owner.post(PATH, json=DIP),
        await put(trading.owner, second["id"], DIP),
    ):
        assert answer.status_code == 409
        assert [error["field"] for error in answer.json()["errors"]] == ["name"]
    kept = await put(trading.owner, first["id"], {**DIP, "quantity": 11})
    assert kept.status_code == 200, "its own name is no other's"
    await make(await trading.app.user("trader"))


async def test_a_put_replaces_the_whole_and_if_match_keeps_it_from_undoing_what_was_not_seen(
    trading: Trading,
) -> None:
    made = await make(trading.owner)
    changed = await put(trading.owner, made["id"], MARKET, If_Match='"1"')
    assert changed.status_code == 200, changed.text
    told = changed.json()
    assert (told["version"], told["description"], told["limit_price"], told["order_type"]) == (
        2,
        None,
        None,
        "market",
    )
    assert changed.headers["etag"] == '"2"'
    late = await put(trading.owner, made["id"], DIP, If_Match='"1"')
    assert late.status_code == 412
    assert late.json()["version"] == 2
    assert (await trading.owner.get(f"{PATH}/{made['id']}")).json() == told
    for seen in ("2", "*"):
        assert (await put(trading.owner, made["id"], MARKET, If_Match=seen)).json() == told, (
            "what changes nothing keeps its version"
        )
    for nonsense in ("two", '"2', 'W/"2"', '"1", "2"'):
        assert (await put(trading.owner, made["id"], DIP, If_Match=nonsense)).status_code == 400, nonsense


async def test_a_deleted_template_is_gone(trading: Trading) -> None:
    made = await make(trading.owner)
    assert (await trading.owner.delete(f"{PATH}/{made['id']}")).status_code == 204
    for answer in (
        await trading.owner.get(f"{PATH}/{made['id']}"),
        await trading.owner.delete(f"{PATH}/{made['id']}"),
        await put(trading.owner, made["id"], DIP),
        await use(trading.owner, made["id"]),
        await use(trading.owner, made["id"], dryRun=True),
    ):
        assert answer.status_code == 404, answer.text
    await make(trading.owner)


async def test_A08_anothers_template_is_not_there_for_anybody_else(trading: Trading) -> None:
    made = await make(trading.owner)
    stranger = await trading.app.user("trader")
    before = await trading.everything()
    for answer in (
        await stranger.get(f"{PATH}/{made['id']}"),
        await stranger.delete(f"{PATH}/{made['id']}"),
        await put(stranger, made["id"], DIP),
        await use(stranger, made["id"]),
        await use(stranger, made["id"], dryRun=True),
    ):
        assert answer.status_code == 404, answer.text
    assert (await stranger.get(PATH)).json() == {"data": [], "next": None}
    assert (await trading.owner.get(f"{PATH}/{made['id']}")).json() == made
    assert await trading.everything() == before


async def test_K11_every_change_is_audited_and_a_refused_one_is_not(trading: Trading) -> None:
    made = await make(trading.owner)
    await put(trading.owner, made["id"], MARKET)
    await put(trading.owner, made["id"], MARKET)
    await put(trading.owner, made["id"], DIP, If_Match="1")
    await trading.owner.post(PATH, json=MARKET)
    await trading.owner.delete(f"{PATH}/{made['id']}")
    wanted = ["template.make", "template.change", "template.drop"]
    assert await actions(trading.db) == [(action, made["id"]) for action in wanted]


# -- using one --------------------------------------------------------------------------------------


async def test_E00_a_template_is_placed_once_under_its_key_and_replayed_byte_for_byte(
    trading: Trading,
) -> None:
    made = await make(trading.owner)
    key = fresh_key()
    first = await use(trading.owner, made["id"], key)
    assert first.status_code == 200, first.text
    (order,) = first.json()["orders"]
    assert (order["symbol"], order["side"], order["type"]) == ("AAPL", "buy", "limit")
    assert (order["qty"], order["limit_price"], order["time_in_force"]) == (10, 100.25, "day")
    again = await use(trading.owner, made["id"], key)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(trading.broker.submitted) == 1


@pytest.mark.parametrize("gone", [False, True])
async def test_E03_a_retry_tells_of_the_first_call_whatever_became_of_the_template(
    trading: Trading, gone: bool
) -> None:
    made = await make(trading.owner)
    key = fresh_key()
    first = await use(trading.owner, made["id"], key)
    if gone:
        await trading.owner.delete(f"{PATH}/{made['id']}")
    else:
        await put(trading.owner, made["id"], {**DIP, "quantity": 999, "side": "sell"})
    again = await use(trading.owner, made["id"], key)
    assert (again.status_code, again.content) == (200, first.content)
    assert len(trading.broker.submitted) == 1
    other = await use(trading.owner, made["id"], key, quantity=11)
    assert other.status_code == 422
    assert other.json()["type"].endswith("idempotency-key-reused")
    assert len(trading.broker.submitted) == 1


async def test_E11_a_lost_answer_is_looked_up_and_never_sent_again(trading: Trading) -> None:
    made = await make(trading.owner)
    trading.broker.scripts.append(loses_answer(placed=True))
    key = fresh_key()
    answer = await use(trading.owner, made["id"], key)
    await trading.owner.delete(f"{PATH}/{made['id']}")
    while answer.status_code in (202, 409):
        answer = await use(trading.owner, made["id"], key)
    assert answer.json()["accepted"] is True, answer.text
    assert len(trading.broker.submitted) == 1


async def test_what_is_named_at_use_counts_and_the_template_stays(trading: Trading) -> None:
    made = await make(trading.owner)
    answer = await use(trading.owner, made["id"], quantity=2, limit_price=99.5)
    (order,) = answer.json()["orders"]
    assert (order["qty"], order["limit_price"]) == (2, 99.5)
    assert (await trading.owner.get(f"{PATH}/{made['id']}")).json() == made


async def test_a_template_without_a_quantity_is_sized_by_the_settings_of_the_moment(
    trading: Trading,
) -> None:
    body = {name: value for name, value in DIP.items() if name != "quantity"}
    made = (await trading.owner.post(PATH, json=body)).json()
    assert made["quantity"] is None
    unsized = await use(trading.owner, made["id"])
    assert unsized.json()["accepted"] is False
    assert (await trading.owner.post("/api/settings", json={"position_size": 1010})).status_code == 200
    sized = await use(trading.owner, made["id"])
    (order,) = sized.json()["orders"]
    assert sized.json()["accepted"] is True, sized.text
    assert order["qty"] > 0
    assert order["qty"] * order["limit_price"] <= 1010


async def test_E16_a_dry_run_needs_no_key_and_leaves_nothing(trading: Trading) -> None:
    made = await make(trading.owner)
    before = await trading.everything()
    answer = await trading.owner.post(f"{PATH}/{made['id']}/use", json={"dryRun": True})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["accepted"], answer.json()["dryRun"]) == (True, True)
    assert await trading.everything() == before


async def test_E01_a_use_takes_its_key_as_execute_does(trading: Trading) -> None:
    made = await make(trading.owner)
    path = f"{PATH}/{made['id']}/use"
    before = await trading.everything()
    none = await trading.owner.post(path)
    assert (none.status_code, none.json()["type"].rsplit(":", 1)[1]) == (400, "idempotency-key-missing")
    for headers, body in (
        ({"Idempotency-Key": "short"}, {}),
        ({"Idempotency-Key": fresh_key()}, {"requestId": fresh_key()}),
    ):
        assert (await trading.owner.post(path, json=body, headers=headers)).status_code == 400
    assert await trading.everything() == before
    key = fresh_key()
    in_body = await trading.owner.post(path, json={"requestId": key})
    assert in_body.status_code == 200, in_body.text
    in_header = await trading.owner.post(path, headers={"Idempotency-Key": f'"{key}"'})
    assert in_header.content == in_body.content
    assert len(trading.broker.submitted) == 1


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"quantity": None}, "quantity", "invalid"),
        ({"quantity": 0}, "quantity", "greater_than"),
        ({"limit_price": 99}, "limit_price", "not_of_this_type"),
        ({"symbol": "MSFT"}, "symbol", "unknown_field"),
    ],
)
async def test_E05_a_use_that_cannot_be_meant_leaves_no_row_and_its_key_may_try_again(
    trading: Trading, body: dict[str, Any], field: str, code: str
) -> None:
    answer = await trading.owner.post(PATH, json=MARKET)
    template_id = answer.json()["id"]
    before = await trading.everything()
    key = fresh_key()
    refused = await use(trading.owner, template_id, key, **body)
    assert refused.status_code == 422, refused.text
    assert [(one["field"], one["code"]) for one in refused.json()["errors"]] == [(field, code)]
    assert await trading.everything() == before
    assert (await use(trading.owner, template_id, key)).json()["accepted"] is True


async def test_E05_half_a_contract_at_use_is_refused_under_the_name_the_caller_gave_it(
    trading: Trading,
) -> None:
    made = await make(trading.owner, symbol="AAPL261218C00265000", quantity=1)
    refused = await use(trading.owner, made["id"], quantity=1.5)
    assert refused.status_code == 422
    assert [(e["field"], e["code"]) for e in refused.json()["errors"]] == [("quantity", "whole_contracts")]


async def test_E04_a_use_meets_the_same_limits_and_halts_as_an_order(trading: Trading) -> None:
    made = await make(trading.owner)
    await trading.owner.post("/api/settings", json={"max_order_qty": 5})
    refused = await use(trading.owner, made["id"])
    assert (refused.status_code, refused.json()["accepted"]) == (200, False)
    assert (await use(trading.owner, made["id"], quantity=5)).json()["accepted"] is True
    assert (await trading.owner.post("/api/admin/kill?state=true")).status_code == 200
    assert (await use(trading.owner, made["id"], quantity=5)).status_code == 423
    assert len(trading.broker.submitted) == 1


async def test_A10_a_use_goes_to_the_account_it_names_and_needs_the_right_to_trade_there(
    trading: Trading,
) -> None:
    trader = await trading.app.user("trader")
    made = await make(trader)
    foreign = (await trading.owner.get("/api/accounts")).json()[0]["id"]
    assert (await use(trader, made["id"], account=foreign)).status_code == 404
    own = (await trader.get("/api/accounts")).json()[0]["id"]
    answer = await use(trader, made["id"], account=own)
    assert answer.json()["account"] == own
    assert await final_answer_of(trader, answer)


async def final_answer_of(client: Client, answer: Any) -> bool:
    """The intent is there and final, whichever way it is asked for."""
    found = await client.get(f"/api/trading/intents/{answer.json()['intent_id']}")
    return found.json()["status"] == "final" and found.json()["kind"] == "template"


async def test_A04_a_viewer_may_read_his_templates_and_nothing_else(trading: Trading) -> None:
    viewer = await trading.app.user("viewer")
    assert (await viewer.get(PATH)).json() == {"data": [], "next": None}
    for answer in (
        await viewer.post(PATH, json=DIP),
        await put(viewer, "tpl_none", DIP),
        await viewer.delete(f"{PATH}/tpl_none"),
        await use(viewer, "tpl_none", dryRun=True),
    ):
        assert answer.status_code == 403, answer.text
