"""Reading the ledger: pages without gaps or repeats, and nothing of anybody else's (contracts A9, A10, E2)."""

from typing import Any

from tests.orders_world import BUY, Trading, id_of
from tests.rows import every_row
from tests.world import Client, fresh_key

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100.25}


async def walk(client: Client, path: str, limit: int, **params: Any) -> list[str]:
    """All ids of a list, page by page."""
    ids: list[str] = []
    after: str | None = None
    while True:
        asked = {**params, "limit": limit, **({} if after is None else {"after": after})}
        answer = await client.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["data"]) <= limit
        more = [one["id"] for one in page["data"]]
        assert not set(more) & set(ids), "a page repeats what was shown before"
        ids.extend(more)
        after = page["next"]
        if after is None:
            return ids


async def test_orders_come_newest_first_and_every_page_size_shows_each_once(trading: Trading) -> None:
    made: list[str] = []
    for n in range(3):
        answer = await trading.owner.execute({**LIMIT, "qty": n + 1}, {**LIMIT, "qty": n + 7})
        made.extend(one["id"] for one in answer.json()["orders"])
    with every_row() as row:
        for limit in (1, 2, 3, 6, 7, 200):
            with row(limit):
                found = await walk(trading.owner, "/api/trading/orders", limit)
                assert sorted(found) == sorted(made)
                assert found == sorted(found, reverse=True)


async def test_orders_can_be_asked_for_by_status_and_symbol(trading: Trading) -> None:
    filled = await trading.hold("AAPL", 2)
    resting = (await trading.owner.execute(LIMIT)).json()["orders"][0]
    refused = (await trading.owner.execute({**BUY, "symbol": "ZZZZZ"})).json()["orders"][0]
    path = "/api/trading/orders"
    assert await walk(trading.owner, path, 50, status="open") == [resting["id"]]
    closed = await walk(trading.owner, path, 50, status="closed")
    assert sorted(closed) == sorted([filled["id"], refused["id"]])
    assert await walk(trading.owner, path, 50, symbol="msft") == [resting["id"]]
    assert await walk(trading.owner, path, 50, symbol="AAPL", status="open") == []
    assert len(await walk(trading.owner, path, 50, status="all")) == 3
    assert await walk(trading.owner, path, 50, symbol="GOOG") == []


_NO_PAGES: list[dict[str, Any]] = [
    {"limit": 0}, {"limit": 201}, {"limit": -1}, {"limit": "many"}, {"limit": 1.5}, {"status": "OPEN"},
    {"status": "filled"}, {"symbol": "\u0410APL"}, {"symbol": "A" * 17}, {"symbol": ""}, {"after": "a" * 65},
]  # fmt: skip


async def test_A09_a_page_that_cannot_be_is_a_422(trading: Trading) -> None:
    with every_row() as row:
        for params in _NO_PAGES:
            with row(params):
                answer = await trading.owner.get("/api/trading/orders", params=params)
                assert answer.status_code == 422, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                if "limit" in params:
                    assert (await trading.owner.get("/api/trading/fills", params=params)).status_code == 422


async def test_fills_tell_every_print_of_an_account_and_of_an_order(trading: Trading) -> None:
    first = await trading.hold("AAPL", 3, "101.25")
    (second,) = (await trading.owner.execute(LIMIT | {"qty": 5})).json()["orders"]
    trading.broker.fill(second["broker_order_id"], 2, "100.1")
    trading.broker.fill(second["broker_order_id"], 3, "100.2")
    await trading.owner.wait_filled(second["id"], 15)
    path = "/api/trading/fills"
    everything = await walk(trading.owner, path, 1)
    assert len(everything) == len(set(everything)) == 3
    answer = await trading.owner.get(path, params={"order": second["id"]})
    rows = [(row["order_id"], row["symbol"], row["qty"], row["price"]) for row in answer.json()["data"]]
    assert sorted(rows) == [(second["id"], "MSFT", 2, 100.1), (second["id"], "MSFT", 3, 100.2)]
    (row,) = (await trading.owner.get(path, params={"order": first["id"]})).json()["data"]
    assert (row["side"], row["qty"], row["price"], row["fee"], row["kind"]) == ("buy", 3, 101.25, 0, "fill")


async def test_A10_what_is_in_another_account_is_404_or_not_there(trading: Trading) -> None:
    mine = await trading.hold("AAPL", 3)
    key = fresh_key()
    intent = (await trading.owner.execute(LIMIT, key=key)).json()["intent_id"]
    other = await trading.app.user("trader")
    assert (await other.get(f"/api/trading/orders/{mine['id']}")).status_code == 404
    for path in ("orders", "fills"):
        assert await walk(other, f"/api/trading/{path}", 50) == []
        named = {"account": mine["account"]}
        assert (await other.get(f"/api/trading/{path}", params=named)).status_code == 404
    assert (await other.get("/api/trading/fills", params={"order": mine["id"]})).json()["data"] == []
    assert (await other.get(f"/api/trading/intents/{intent}")).status_code == 404
    assert (await other.get("/api/trading/intents", params={"key": key})).status_code == 404


async def test_E02_an_intent_is_seen_by_whose_it_is_even_where_another_may_see_the_account(
    trading: Trading,
) -> None:
    """An account can be shared, a key cannot."""
    key = fresh_key()
    made = (await trading.owner.execute(LIMIT, key=key)).json()
    viewer = await trading.app.user("viewer")
    user_id = await id_of(viewer)
    path = f"/api/accounts/{made['account']}/grants/{user_id}"
    assert (await trading.owner.request("PUT", path, json={"access": "view"})).status_code in (200, 201)
    order_id = made["orders"][0]["id"]
    listed = await viewer.get("/api/trading/orders", params={"account": made["account"]})
    assert [one["id"] for one in listed.json()["data"]] == [order_id]
    assert (await viewer.get(f"/api/trading/orders/{order_id}")).status_code == 200
    assert (await viewer.get(f"/api/trading/intents/{made['intent_id']}")).status_code == 404


async def test_E02_an_intent_is_found_by_id_and_by_key_and_says_the_same(trading: Trading) -> None:
    key = fresh_key()
    made = (await trading.owner.execute(LIMIT, BUY, key=key)).json()
    by_id = await trading.owner.get(f"/api/trading/intents/{made['intent_id']}")
    by_key = await trading.owner.get("/api/trading/intents", params={"key": key})
    assert by_id.content == by_key.content
    seen = by_id.json()
    assert (seen["key"], seen["kind"], seen["status"]) == (key, "execute", "final")
    assert [one["id"] for one in seen["orders"]] == [one["id"] for one in made["orders"]]
    assert (await trading.owner.get("/api/trading/intents/int_nothing")).status_code == 404
    assert (await trading.owner.get("/api/trading/intents", params={"key": fresh_key()})).status_code == 404
    assert (await trading.owner.get("/api/trading/intents", params={"key": "short"})).status_code == 422
    assert (await trading.owner.get("/api/trading/intents")).status_code == 422
    assert (await trading.owner.get("/api/trading/orders/ord_nothing")).status_code == 404
