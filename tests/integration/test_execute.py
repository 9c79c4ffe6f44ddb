"""Executing orders under a key, up to the claim: E1 to E8 over the whole app, on both databases, with a broker in a test's hand."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from paiid.core.db import statement
from paiid.core.tables import orders
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, loses_answer, rejects, slow
from tests.orders_world import BUY, QUICK, Trading, final_answer, settled
from tests.rows import every_row
from tests.world import fresh_key

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100.25}


async def test_an_accepted_order_is_answered_with_its_ids_and_sent_once(trading: Trading) -> None:
    answer = await trading.owner.execute(BUY)
    assert answer.status_code == 200
    body = answer.json()
    assert body["accepted"] is True
    assert body["dryRun"] is False
    assert body["mode"] == "paper"
    (order,) = body["orders"]
    assert order["state"] == "ACCEPTED"
    assert order["broker_order_id"] == "fake-1"
    assert [one.client_order_id for one in trading.broker.submitted] == [order["client_order_id"]]


_WRONG_KEYS: list[tuple[list[tuple[str, str]], dict[str, Any], str]] = [
    ([], {}, "idempotency-key-missing"),
    ([("Idempotency-Key", "short")], {}, "idempotency-key-invalid"),
    ([("Idempotency-Key", "x" * 129)], {}, "idempotency-key-invalid"),
    ([("Idempotency-Key", "with space")], {}, "idempotency-key-invalid"),
    ([("Idempotency-Key", 'quoted"inside')], {}, "idempotency-key-invalid"),
    ([("Idempotency-Key", '""twice-quoted""')], {}, "idempotency-key-invalid"),
    ([("Idempotency-Key", "")], {}, "idempotency-key-invalid"),
    ([("Idempotency-Key", "key-in-header")], {"requestId": "key-in-body"}, "idempotency-key-conflict"),
    (
        [("Idempotency-Key", "same-key-1"), ("Idempotency-Key", "same-key-1")],
        {},
        "idempotency-key-conflict",
    ),
    ([], {"requestId": "bad key!"}, "idempotency-key-invalid"),
]


async def test_E01_a_key_that_is_wrong_missing_or_doubled_is_a_400_and_nothing_happens(
    trading: Trading,
) -> None:
    before = await trading.counts()
    with every_row() as row:
        for headers, body, code in _WRONG_KEYS:
            with row(headers, body):
                answer = await trading.app.http.post(
                    "/api/trading/execute",
                    json={"orders": [BUY], **body},
                    headers=[*headers, ("Authorization", f"Bearer {trading.owner.token}")],
                )
                assert answer.status_code == 400
                assert answer.json()["type"] == f"urn:paiid:problem:{code}"
                assert trading.broker.submitted == []
                assert await trading.counts() == before


async def test_E01_a_key_may_be_quoted_or_stand_in_the_body(trading: Trading) -> None:
    first = await trading.owner.execute(BUY, key='"quoted-key-1"')
    again = await trading.owner.post(
        "/api/trading/execute", json={"orders": [BUY], "requestId": "quoted-key-1"}
    )
    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(trading.broker.submitted) == 1


async def test_E02_two_users_may_use_the_same_key_and_neither_sees_the_other(trading: Trading) -> None:
    other = await trading.app.user("trader")
    key = fresh_key()
    mine = await trading.owner.execute(BUY, key=key)
    theirs = await other.execute({**BUY, "qty": 3}, key=key)
    assert mine.status_code == theirs.status_code == 200
    assert len(trading.broker.submitted) == 2
    assert (await other.get(f"/api/trading/intents/{mine.json()['intent_id']}")).status_code == 404
    seen = await other.get("/api/trading/intents", params={"key": key})
    assert seen.json()["intent_id"] == theirs.json()["intent_id"]


@pytest.mark.parametrize(
    "same",
    [
        {"symbol": "aapl", "side": "buy", "qty": 10.0},
        {"symbol": "AAPL", "side": "buy", "quantity": 10},
        {"symbol": "AAPL", "side": "buy", "qty": 10, "type": "market", "timeInForce": "day"},
        {"symbol": "AAPL", "side": "buy", "qty": 1e1, "order_type": "market", "asset_class": "stock"},
    ],
)
async def test_E03_what_means_the_same_has_the_same_fingerprint(
    trading: Trading, same: dict[str, Any]
) -> None:
    key = fresh_key()
    first = await trading.owner.execute(BUY, key=key)
    again = await trading.owner.execute(same, key=key)
    assert again.status_code == 200
    assert again.content == first.content
    assert len(trading.broker.submitted) == 1


@pytest.mark.parametrize(
    "other",
    [{**BUY, "qty": 11}, {**BUY, "side": "sell"}, {**BUY, "symbol": "MSFT"}, {**BUY, "time_in_force": "gtc"}],
)
async def test_E03_another_request_under_the_key_is_a_422_that_reveals_nothing(
    trading: Trading, other: dict[str, Any]
) -> None:
    key = fresh_key()
    await trading.owner.execute(BUY, key=key)
    before = await trading.counts()
    answer = await trading.owner.execute(other, key=key)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:paiid:problem:idempotency-key-reused"
    assert "orders" not in answer.json()
    assert len(trading.broker.submitted) == 1
    assert await trading.counts() == before


async def test_E03_a_named_account_is_part_of_what_was_asked(trading: Trading) -> None:
    key = fresh_key()
    first = await trading.owner.execute(BUY, key=key)
    named = await trading.owner.execute(BUY, key=key, account=first.json()["account"])
    assert named.status_code == 422


async def test_E04_one_refused_order_stops_the_whole_call_before_anything_is_sent(trading: Trading) -> None:
    answer = await trading.owner.execute(BUY, {**BUY, "symbol": "ZZZZZ"}, LIMIT)
    assert answer.status_code == 200
    body = answer.json()
    assert body["accepted"] is False
    assert [o["state"] for o in body["orders"]] == ["SKIPPED", "REFUSED", "SKIPPED"]
    assert body["orders"][1]["reason"]["code"] == "unknown_symbol"
    assert trading.broker.submitted == []


async def test_E04_orders_that_pass_alone_but_not_together_are_refused_together(trading: Trading) -> None:
    half = {"symbol": "SPY", "side": "buy", "qty": 90}
    alone = await trading.owner.execute(half, dryRun=True)
    assert alone.json()["accepted"] is True
    answer = await trading.owner.execute(half, half)
    assert [o["state"] for o in answer.json()["orders"]] == ["SKIPPED", "REFUSED"]
    assert answer.json()["orders"][1]["reason"]["code"] == "buying_power"
    assert trading.broker.submitted == []


async def test_E04_the_first_order_that_is_not_accepted_stops_the_rest(trading: Trading) -> None:
    trading.broker.scripts.extend([slow(0), rejects(), slow(0)])
    answer = await trading.owner.execute(BUY, LIMIT, BUY)
    assert [o["state"] for o in answer.json()["orders"]] == ["ACCEPTED", "REJECTED", "SKIPPED"]
    assert len(trading.broker.submitted) == 2


async def test_E04_an_unknown_order_stops_the_rest_at_once(trading: Trading) -> None:
    trading.broker.hidden = True
    trading.broker.scripts.append(loses_answer(placed=True))
    answer = await trading.owner.execute(BUY, LIMIT)
    assert answer.status_code == 202
    assert [o["state"] for o in answer.json()["orders"]] == ["UNKNOWN", "SKIPPED"]
    assert len(trading.broker.submitted) == 1


async def test_E04_what_has_not_been_marked_when_the_calls_time_is_up_is_skipped(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    # A broker that takes its time, and never so much that an order comes into doubt.
    app = await make_app(broker=broker, timings=replace(QUICK, broker_deadline_s=10.0, horizon_s=15.0))
    owner = await app.owner()
    broker.default = slow(0.5)
    asked = [{**BUY, "qty": n} for n in range(1, 7)]
    # The last one that was marked may still be on its way when the caller has waited long enough.
    answer = await final_answer(owner, fresh_key(), *asked)
    states = [o["state"] for o in answer.json()["orders"]]
    assert states[0] == "ACCEPTED"
    assert states[-1] == "SKIPPED"
    assert states.count("ACCEPTED") == len(broker.submitted)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"symbol": "ZZZZZ", "side": "buy", "qty": 1}, "unknown_symbol"),
        ({**BUY, "qty": 0.5}, "fractional_not_supported"),
        ({**LIMIT, "limit_price": 100.255}, "price_increment"),
        ({**LIMIT, "limit_price": 99999}, "price_collar"),
        ({"symbol": "SPY", "side": "buy", "qty": 1000}, "buying_power"),
        ({"symbol": "SPY", "side": "buy", "qty": 100001}, "quantity_limit"),
        ({"symbol": "SPY", "side": "buy", "qty": 90000}, "notional_limit"),
    ],
)
async def test_E05_what_depends_on_state_is_refused_finally_with_code_value_and_limit(
    trading: Trading, asked: dict[str, Any], code: str
) -> None:
    key = fresh_key()
    answer = await trading.owner.execute(asked, key=key)
    assert answer.status_code == 200
    (order,) = answer.json()["orders"]
    assert order["state"] == "REFUSED"
    assert order["reason"]["code"] == code
    assert order["reason"]["message"]
    if code != "unknown_symbol":
        assert order["reason"]["measured"]
        assert order["reason"]["limit"]
    again = await trading.owner.execute(asked, key=key)
    assert again.content == answer.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert trading.broker.submitted == []


async def test_E05_a_400_leaves_no_row_and_the_key_may_try_again(trading: Trading) -> None:
    key = fresh_key()
    before = await trading.counts()
    wrong = await trading.owner.execute({**BUY, "qty": "1"}, key=key)
    assert wrong.status_code == 422
    assert await trading.counts() == before
    right = await trading.owner.execute(BUY, key=key)
    assert right.status_code == 200


async def test_E06_a_halt_refusal_is_final_for_its_key_even_after_the_resume(trading: Trading) -> None:
    key = fresh_key()
    armed = await trading.owner.post(
        "/api/admin/kill", json={"halt": True, "reason": "test", "scope": "global"}
    )
    assert armed.status_code == 200
    refused = await trading.owner.execute(BUY, key=key)
    assert refused.status_code == 423
    resumed = await trading.owner.post(
        "/api/admin/kill",
        json={"halt": False, "reason": "test over", "scope": "global", "epoch": armed.json()["epoch"]},
    )
    assert resumed.status_code == 200, resumed.text
    again = await trading.owner.execute(BUY, key=key)
    assert again.status_code == 423
    assert again.content == refused.content
    assert trading.broker.submitted == []
    assert (await trading.owner.execute(BUY)).status_code == 200


async def test_E07_a_late_appearance_corrects_loudly_and_halts_the_account(trading: Trading) -> None:
    trading.broker.hidden = True
    trading.broker.scripts.append(loses_answer(placed=True))
    key = fresh_key()
    first = await settled(trading, key, BUY)
    assert first.json()["orders"][0]["state"] == "NOT_PLACED"
    trading.broker.hidden = False
    end = asyncio.get_running_loop().time() + 20
    while True:
        again = await trading.owner.execute(BUY, key=key)
        if again.headers.get("Idempotency-Replayed") == "corrected":
            break
        assert asyncio.get_running_loop().time() < end, again.text
        await asyncio.sleep(0.1)
    assert again.json()["orders"][0]["state"] == "ACCEPTED"
    assert len(trading.broker.submitted) == 1
    halted = await trading.owner.execute(BUY)
    assert halted.status_code == 423
    assert "account" in halted.json()["orders"][0]["reason"]["measured"]


async def test_E08_the_id_sent_is_derived_and_tells_nothing_of_the_key(trading: Trading) -> None:
    key = "a-very-telling-key"
    await trading.owner.execute(BUY, LIMIT, key=key)
    ids = [one.client_order_id for one in trading.broker.submitted]
    assert len(set(ids)) == 2
    for client_id in ids:
        assert client_id.startswith("pd-")
        assert len(client_id) == 35
        assert key not in client_id


async def test_E08_a_claim_that_meets_its_own_id_in_the_ledger_adopts_it(trading: Trading) -> None:
    """As after a restore from a backup: the broker has the order, the key is forgotten."""
    key = fresh_key()
    first = await trading.owner.execute(BUY, key=key)
    async with trading.db.begin() as tx:
        forget = statement(orders.update().values(intent_id=None, origin="external"))
        await tx.execute(forget)
        from paiid.core.tables import intents

        await tx.execute(statement(intents.delete()))
    again = await trading.owner.execute(BUY, key=key)
    assert again.status_code == 200
    assert again.json()["orders"][0]["broker_order_id"] == first.json()["orders"][0]["broker_order_id"]
    assert again.json()["orders"][0]["origin"] == "adopted"
    assert len(trading.broker.submitted) == 1
