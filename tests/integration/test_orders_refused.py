"""Everything that must not become an order: each answer, and that nothing was sent and no row changed (E1 to E6, E16, A)."""

import json
import secrets
import time
import warnings
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from jwt.warnings import InsecureKeyLengthWarning

from tests.orders_world import BUY, Trading, id_of
from tests.world import OWNER_EMAIL, PASSWORD, TEST_KEY, Client, fresh_key
from tests.wrong_orders import WRONG

LIMIT: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "limit_price": 200}
KEY = "a-key-of-this-test"
JSON = ("Content-Type", "application/json")


@dataclass(frozen=True)
class Bad:
    """A request as bytes, and the status it must get. `code` is the end of the problem's type."""

    name: str
    body: bytes
    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = (("Idempotency-Key", KEY), JSON)


def call(orders: str, more: str = "") -> bytes:
    """A body with these orders, as text: what is sent is exactly what is written here."""
    return f'{{"orders":[{orders}]{more}}}'.encode()


def order(**changes: Any) -> str:
    """BUY with some fields changed."""
    return json.dumps({**BUY, **changes})


def with_qty(literal: str) -> bytes:
    """BUY with a quantity of exactly these characters."""
    return call('{"symbol":"AAPL","side":"buy","qty":' + literal + "}")


def with_price(literal: str) -> bytes:
    """A limit order at exactly these characters."""
    return call('{"symbol":"AAPL","side":"buy","qty":1,"type":"limit","limit_price":' + literal + "}")


def headed(*headers: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """These headers and the content type."""
    return (*headers, JSON)


GOOD = call(json.dumps(BUY))
KEYS = [
    Bad("no key", GOOD, 400, "idempotency-key-missing", headed()),
    Bad("short key", GOOD, 400, "idempotency-key-invalid", headed(("Idempotency-Key", "1234567"))),
    Bad("long key", GOOD, 400, "idempotency-key-invalid", headed(("Idempotency-Key", "k" * 129))),
    Bad("very long key", GOOD, 400, "idempotency-key-invalid", headed(("Idempotency-Key", "k" * 8000))),
    Bad("key of blanks", GOOD, 400, "idempotency-key-invalid", headed(("Idempotency-Key", "        "))),
    Bad("key with a slash", GOOD, 400, "idempotency-key-invalid", headed(("Idempotency-Key", "a/b/c/d/e"))),
    Bad(
        "two headers",
        GOOD,
        400,
        "idempotency-key-conflict",
        headed(("Idempotency-Key", KEY), ("Idempotency-Key", KEY)),
    ),
    Bad(
        "header and body differ",
        call(order(), ',"requestId":"another-key-1"'),
        400,
        "idempotency-key-conflict",
    ),
    Bad("null in the body", call(order(), ',"requestId":null'), 400, "idempotency-key-missing", headed()),
    Bad("number as key", call(order(), ',"requestId":12345678'), 422, "validation", headed()),
    Bad("empty in the body", call(order(), ',"requestId":""'), 400, "idempotency-key-invalid", headed()),
    Bad(
        "both spellings",
        call(order(), ',"requestId":"key-key-1","request_id":"key-key-1"'),
        422,
        "validation",
    ),
]
QUANTITIES = [
    Bad(f"qty {literal}", with_qty(literal), status, code)
    for literal, status, code in (
        ("0", 422, "validation"),
        ("-0.0", 422, "validation"),
        ("0e0", 422, "validation"),
        ("-1", 422, "validation"),
        ("NaN", 400, "invalid-json"),
        ("Infinity", 400, "invalid-json"),
        ("-Infinity", 400, "invalid-json"),
        ("1e309", 400, "invalid-json"),
        ("1e999999999", 400, "invalid-json"),
        ("1e-30", 422, "validation"),
        ("0.0000000001", 422, "validation"),
        ("1000000001", 422, "validation"),
        ("9" * 39, 422, "validation"),
        ("9" * 41, 400, "invalid-json"),
        ("true", 422, "validation"),
        ('"1"', 422, "validation"),
        ("null", 422, "validation"),
        ("[]", 422, "validation"),
        ("[1]", 422, "validation"),
        ("{}", 422, "validation"),
        ("+1", 400, "invalid-json"),
        ("01", 400, "invalid-json"),
        ("1.", 400, "invalid-json"),
        (".5", 400, "invalid-json"),
        ("0x10", 400, "invalid-json"),
        ("1_000", 400, "invalid-json"),
        ("", 400, "invalid-json"),
    )
]
PRICES = [
    Bad(f"price {literal}", with_price(literal), 422, "validation")
    for literal in ("0", "-5", '"200"', "true", "0.0000001", "1e10", "[200]")
]
SYMBOLS = [
    Bad(f"symbol {symbol!a}", call(json.dumps({**BUY, "symbol": symbol}, ensure_ascii=escaped)), 422, "validation")
    for symbol in (
        "\u0410APL", "\uff21\uff21\uff30\uff2c", "AA\u200bPL", "AAPL\u0301", "\u212aO", "A\u0131", "AAPL\n", "AAPL\t",
        "AAPL ", " AAPL", "AAPL\x1b", "AAPL\x7f", "", "AAPLAAPLAAPLAAPLX", "AAPLAA", "AAPL;", "AAPL'--", "../A",
        "%41APL", "BRK..B", "123",
    )
    for escaped in (True, False)
    if escaped or symbol.isprintable()
]  # fmt: skip
SYMBOLS += [
    Bad("symbol with NUL", call('{"symbol":"AAPL\\u0000","side":"buy","qty":1}'), 400, "invalid-json"),
    Bad("symbol with a raw control", call('{"symbol":"AAPL\x01","side":"buy","qty":1}'), 400, "invalid-json"),
    Bad("half a surrogate", call('{"symbol":"\\ud800","side":"buy","qty":1}'), 400, "invalid-json"),
    Bad("symbol null", call(order(symbol=None)), 422, "validation"),
    Bad("symbol a list", call(order(symbol=["AAPL"])), 422, "validation"),
]
ORDERS = [
    Bad("limit without price", call(order(type="limit")), 422, "validation"),
    Bad("limit with null price", call(order(type="limit", limit_price=None)), 422, "validation"),
    Bad("market with limit price", call(order(limit_price=200)), 422, "validation"),
    Bad("market with stop price", call(order(stop_price=200)), 422, "validation"),
    Bad("stop without price", call(order(type="stop")), 422, "validation"),
    Bad("stop with limit price", call(order(type="stop", stop_price=1, limit_price=1)), 422, "validation"),
    Bad("stop with ioc", call(order(type="stop", stop_price=200, time_in_force="ioc")), 422, "validation"),
    Bad("stop with fok", call(order(type="stop", stop_price=200, time_in_force="fok")), 422, "validation"),
    Bad("unknown type", call(order(type="iceberg")), 422, "validation"),
    Bad("type in capitals", call(order(type="MARKET")), 422, "validation"),
    Bad("unknown side", call(order(side="sell_short")), 422, "validation"),
    Bad("unknown time in force", call(order(time_in_force="gtd")), 422, "validation"),
    Bad("crypto is not here", call(order(asset_class="crypto")), 422, "validation"),
    Bad("unknown field", call(order(leverage=2)), 422, "validation"),
    Bad("a field that is only ours", call(order(client_order_id="mine")), 422, "validation"),
    Bad("both spellings of qty", call(order(quantity=10)), 422, "validation"),
    Bad("both spellings of a price", call(json.dumps({**LIMIT, "limitPrice": 200})), 422, "validation"),
    Bad("both spellings of the type", call(order(type="market", orderType="market")), 422, "validation"),
    Bad("a key twice", call('{"symbol":"AAPL","side":"buy","qty":1,"qty":2}'), 400, "duplicate-json-key"),
    Bad("no side", call('{"symbol":"AAPL","qty":1}'), 422, "validation"),
    Bad("an order that is a text", call('"AAPL"'), 422, "validation"),
    Bad("an order that is null", call("null"), 422, "validation"),
]
ORDERS += [
    Bad(f"{code} of {field} {number}", call(json.dumps(body)), 422, "validation")
    for number, (body, field, code, _) in enumerate(WRONG)
]
BODIES = [
    Bad("no orders", call(""), 422, "validation"),
    Bad("11 orders", call(",".join([order()] * 11)), 422, "validation"),
    Bad("no field orders", b"{}", 422, "validation"),
    Bad("orders is null", b'{"orders":null}', 422, "validation"),
    Bad("orders is one order", f'{{"orders":{order()}}}'.encode(), 422, "validation"),
    Bad("unknown field beside", call(order(), ',"urgent":true'), 422, "validation"),
    Bad("orders twice", GOOD[:-1] + b',"orders":[]}', 400, "duplicate-json-key"),
    Bad("dryRun as text", call(order(), ',"dryRun":"false"'), 422, "validation"),
    Bad("dryRun as number", call(order(), ',"dryRun":0'), 422, "validation"),
    Bad("both spellings of dryRun", call(order(), ',"dryRun":false,"dry_run":false'), 422, "validation"),
    Bad("account as number", call(order(), ',"account":1'), 422, "validation"),
    Bad("account too long", call(order(), f',"account":"{"a" * 65}"'), 422, "validation"),
    Bad("no body", b"", 422, "validation"),
    Bad("not JSON", b"symbol=AAPL&qty=1", 400, "invalid-json"),
    Bad("cut off", GOOD[:-1], 400, "invalid-json"),
    Bad("two values", GOOD + GOOD, 400, "invalid-json"),
    Bad("a comment", GOOD + b"//", 400, "invalid-json"),
    Bad("byte order mark", b"\xef\xbb\xbf" + GOOD, 400, "invalid-json"),
    Bad("not UTF-8", call('{"symbol":"AAPL').replace(b"AAPL", b"\xff\xfe"), 400, "invalid-json"),
    Bad("a list", b"[" + order().encode() + b"]", 422, "validation"),
    Bad("depth 10,000", b"[" * 10_000 + b"]" * 10_000, 400, "body-too-deep"),
    Bad("depth 10,000 of objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "body-too-deep"),
    Bad("10 MB", b'{"orders":"' + b"x" * 10_000_000 + b'"}', 413, "payload-too-large"),
    Bad(
        "a form",
        GOOD,
        415,
        "unsupported-media-type",
        (("Idempotency-Key", KEY), ("Content-Type", "text/plain")),
    ),
    Bad("no content type", GOOD, 415, "unsupported-media-type", (("Idempotency-Key", KEY),)),
    Bad(
        "another character set",
        GOOD,
        415,
        "unsupported-media-type",
        (("Idempotency-Key", KEY), ("Content-Type", "application/json; charset=utf-16")),
    ),
    Bad(
        "compressed",
        GOOD,
        415,
        "unsupported-media-type",
        headed(("Idempotency-Key", KEY), ("Content-Encoding", "gzip")),
    ),
]
TABLE = [*KEYS, *QUANTITIES, *PRICES, *SYMBOLS, *ORDERS, *BODIES]


async def send(trading: Trading, bad: Bad, client: Client | None = None) -> Any:
    """The request as it is, with the client's token."""
    who = client or trading.owner
    headers = [*bad.headers, ("Authorization", f"Bearer {who.token}")]
    return await trading.app.http.post("/api/trading/execute", content=bad.body, headers=headers)


@pytest.mark.parametrize(
    "part", [KEYS, QUANTITIES, PRICES, SYMBOLS, ORDERS, BODIES],
    ids=["keys", "quantities", "prices", "symbols", "orders", "bodies"],
)  # fmt: skip
async def test_E05_bad_input_is_refused_before_anything_happens(trading: Trading, part: list[Bad]) -> None:
    """Each row by itself: its status, its type, a problem document, nothing sent, nothing changed."""
    before = await trading.everything()
    wrong: list[str] = []
    for bad in part:
        answer = await send(trading, bad)
        told = (
            answer.json().get("type", "")
            if answer.headers["content-type"] == "application/problem+json"
            else ""
        )
        found = (answer.status_code, told.rpartition(":")[2])
        if found != (bad.status, bad.code):
            wrong.append(f"{bad.name}: wanted {(bad.status, bad.code)}, got {found}: {answer.text[:200]}")
        if await trading.everything() != before:
            wrong.append(f"{bad.name}: something changed")
            before = await trading.everything()
    assert not wrong, "\n".join(wrong)
    # The key that all of them carried was claimed by none of them.
    right = Bad("right", GOOD, 200, "")
    assert (await send(trading, right)).json()["accepted"] is True


async def test_E05_the_same_bad_input_is_as_bad_in_a_dry_run(trading: Trading) -> None:
    before = await trading.everything()
    for bad in (*QUANTITIES, *PRICES, *ORDERS):
        dry = bad.body[:-1] + b',"dryRun":true}'
        answer = await send(trading, Bad(bad.name, dry, bad.status, bad.code, (JSON,)))
        assert answer.status_code == bad.status, (bad.name, answer.text)
    assert await trading.everything() == before


async def test_a_symbol_in_lower_case_is_folded_and_an_unknown_one_is_refused_in_the_answer(
    trading: Trading,
) -> None:
    answer = await trading.owner.execute({**BUY, "symbol": "aapl"})
    assert answer.json()["orders"][0]["symbol"] == "AAPL"
    sent = len(trading.broker.submitted)
    unknown = await trading.owner.execute({**BUY, "symbol": "zzzzz"})
    assert unknown.json()["orders"][0]["reason"]["code"] == "unknown_symbol"
    assert len(trading.broker.submitted) == sent


def forged(trading: Trading, **changes: Any) -> dict[str, Any]:
    """The owner's own claims with some changed."""
    claims = jwt.decode(str(trading.owner.token), options={"verify_signature": False})
    return {**claims, **changes}


def signed(claims: dict[str, Any], key: str = TEST_KEY, algorithm: str = "HS256", **header: Any) -> str:
    """An access token as anybody with that key could make it."""
    with warnings.catch_warnings():
        # The library finds the right key too short for the wrong algorithm.
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)
        return jwt.encode(claims, key, algorithm, headers={"typ": "at+jwt", **header})


async def bad_tokens(trading: Trading) -> dict[str, tuple[str, int]]:
    """Credentials that must not trade, and the status of each."""
    now = int(time.time())
    gone = Client(trading.app.http, trading.owner.token)
    assert (await gone.post("/auth/logout")).status_code == 204
    credentials = {"email": OWNER_EMAIL, "password": PASSWORD}
    fresh = await trading.app.http.post("/auth/login", json=credentials)
    trading.owner.token = fresh.json()["access_token"]
    disabled = await trading.app.user("trader")
    user_id = await id_of(disabled)
    done = await trading.owner.request("PATCH", f"/api/users/{user_id}", json={"disabled": True})
    assert done.status_code == 200, done.text
    made = await trading.owner.post("/auth/tokens", json={"name": "reads", "scopes": ["read", "halt"]})
    assert made.status_code in (200, 201), made.text
    viewer = await trading.app.user("viewer")
    return {
        "alg none": (jwt.encode(forged(trading), None, "none", headers={"typ": "at+jwt"}), 401),
        "wrong key": (signed(forged(trading), key="x" * 44), 401),
        "wrong algorithm": (signed(forged(trading), algorithm="HS512"), 401),
        "wrong type": (signed(forged(trading), typ="JWT"), 401),
        "wrong audience": (signed(forged(trading, aud="somebody-else")), 401),
        "expired": (signed(forged(trading, iat=now - 7200, nbf=now - 7200, exp=now - 3600)), 401),
        "not yet": (signed(forged(trading, nbf=now + 3600)), 401),
        "another session": (signed(forged(trading, sid="ses_" + secrets.token_hex(8))), 401),
        "refresh token": (fresh.json()["refresh_token"], 401),
        "logged out": (str(gone.token), 401),
        "disabled": (str(disabled.token), 401),
        "unknown API token": ("pd_" + "a" * 26 + "_" + "0" * 64, 401),
        "not a token": ("nonsense", 401),
        "token without trade": (made.json()["token"], 403),
        "viewer": (str(viewer.token), 403),
    }


async def test_E05_no_credential_that_may_not_trade_trades(trading: Trading) -> None:
    tokens = await bad_tokens(trading)
    before = await trading.everything()
    wrong: list[str] = []
    for name, (token, status) in tokens.items():
        answer = await Client(trading.app.http, token).execute(BUY, key=KEY)
        if answer.status_code != status:
            wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")
        if await trading.everything() != before:
            wrong.append(f"{name}: something changed")
            before = await trading.everything()
    assert not wrong, "\n".join(wrong)
    assert (await trading.app.anonymous.execute(BUY, key=KEY)).status_code == 401
    assert await trading.everything() == before
    assert (await trading.owner.execute(BUY, key=KEY)).status_code == 200


async def test_E16_a_viewer_may_ask_what_would_happen_on_an_account_he_may_see(trading: Trading) -> None:
    account = (await trading.owner.execute(BUY, dryRun=True)).json()["account"]
    viewer = await trading.app.user("viewer")
    user_id = await id_of(viewer)
    await trading.owner.request("PUT", f"/api/accounts/{account}/grants/{user_id}", json={"access": "view"})
    before = await trading.everything()
    asked = {"dryRun": True, "account": account, "orders": [BUY]}
    answer = await viewer.post("/api/trading/execute", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] is True
    assert (await viewer.execute(BUY, account=account)).status_code == 403
    assert await trading.everything() == before


async def test_E16_a_dry_run_claims_and_looks_up_no_key(trading: Trading) -> None:
    key = fresh_key()
    await trading.owner.execute(BUY, key=key)
    before = await trading.everything()
    other = await trading.owner.execute({**BUY, "qty": 3}, key=key, dryRun=True)
    assert (other.status_code, other.json()["orders"][0]["qty"]) == (200, 3)
    assert await trading.everything() == before


async def test_A10_an_account_that_is_not_his_does_not_exist_for_him(trading: Trading) -> None:
    account = (await trading.owner.execute(BUY, dryRun=True)).json()["account"]
    other = await trading.app.user("trader")
    before = await trading.everything()
    for body in ({"account": account}, {"account": account, "dryRun": True}, {"account": "paper-nowhere"}):
        answer = await other.execute(BUY, **body)
        assert answer.status_code == 404, answer.text
        assert answer.json()["type"] == "urn:paiid:problem:not-found"
    assert await trading.everything() == before


async def test_E02_the_key_of_another_user_neither_replays_nor_conflicts(trading: Trading) -> None:
    key = fresh_key()
    mine = await trading.owner.execute(BUY, key=key)
    other = await trading.app.user("trader")
    theirs = await other.execute({**BUY, "qty": 1}, key=key)
    assert "Idempotency-Replayed" not in theirs.headers
    assert theirs.json()["account"] != mine.json()["account"]
    assert (await trading.owner.execute(BUY, key=key)).content == mine.content


async def test_E06_under_a_halt_only_the_refusal_is_stored(trading: Trading) -> None:
    halt = {"halt": True, "reason": "test", "scope": "global"}
    assert (await trading.owner.post("/api/admin/kill", json=halt)).status_code == 200
    _, _, before, figures = await trading.everything()
    answer = await trading.owner.execute(BUY, LIMIT)
    assert answer.status_code == 423
    assert [one["state"] for one in answer.json()["orders"]] == ["REFUSED", "SKIPPED"]
    sent, _, after, figures_after = await trading.everything()
    assert sent == 0
    assert after == {**before, "intents": before["intents"] + 1, "orders": 2, "events": before["events"] + 2}
    assert [one[1:3] for one in figures_after] == [one[1:3] for one in figures]


@pytest.mark.parametrize("scope", ["user", "account", "symbol"])
async def test_E06_whatever_the_scope_of_the_halt_the_answer_is_423_and_final(
    trading: Trading, scope: str
) -> None:
    me = (await trading.owner.get("/auth/me")).json()
    account = (await trading.owner.execute(BUY, dryRun=True)).json()["account"]
    named = {"user": f"user:{me['id']}", "account": f"account:{account}", "symbol": "symbol:AAPL"}[scope]
    halt = {"halt": True, "reason": "test", "scope": named}
    assert (await trading.owner.post("/api/admin/kill", json=halt)).status_code == 200
    key = fresh_key()
    first = await trading.owner.execute(BUY, key=key)
    assert first.status_code == 423
    again = await trading.owner.execute(BUY, key=key)
    assert (again.status_code, again.content) == (423, first.content)
    assert trading.broker.submitted == []
