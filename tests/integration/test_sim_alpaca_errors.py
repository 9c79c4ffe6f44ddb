"""What the simulated Alpaca refuses: statuses, codes, texts and fields, and that a stranger can send anything."""

import ast
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import paiid
from paiid.domain.instruments import Instrument
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET, SIM_TERMS
from paiid.sim.alpaca.errors import Facts, engine_codes, of_engine
from tests.rows import every_row
from tests.sim_exchange import KEYS, SimWorld, sim_world

BASIC = base64.b64encode(f"{DEFAULT_KEY_ID}:{DEFAULT_SECRET}".encode()).decode()


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with sim_world(sqlite_url, tmp_path / "sim") as world:
        yield world


# -- keys, routes, the rate limit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**KEYS, "APCA-API-SECRET-KEY": "test-secret-wrong"},
        {**KEYS, "APCA-API-KEY-ID": "PKTESTUNKNOWN"},
        {"APCA-API-KEY-ID": DEFAULT_KEY_ID},
        {"Authorization": f"Bearer {BASIC}"},
        {"Authorization": "Basic not base64"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
    ],
)
async def test_without_the_right_keys_nothing_is_told(sim: SimWorld, headers: dict[str, str]) -> None:
    answer = await sim.client_of(headers).get("/v2/account")
    assert (answer.status_code, answer.json()) == (401, {"message": "unauthorized."})
    assert "WWW-Authenticate" in answer.headers
    for path in ("/v2/clock", "/v2/calendar"):
        page = await sim.client_of(headers).get(path)
        assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert page.text.startswith("<html>")
        assert "WWW-Authenticate" in page.headers


async def test_keys_may_come_as_http_basic(sim: SimWorld) -> None:
    answer = await sim.client_of({"Authorization": f"Basic {BASIC}"}).get("/v2/account")
    assert answer.status_code == 200


async def test_what_is_no_route_is_told_so(sim: SimWorld) -> None:
    for method, path in (("GET", "/v2/nothing"), ("PUT", "/v2/orders"), ("GET", "/")):
        answer = await sim.client.request(method, path)
        assert (answer.status_code, answer.json()) == (
            404,
            {"code": 40410000, "message": "endpoint not found"},
        )


async def test_too_many_requests_of_one_account_are_refused(sqlite_url: str, tmp_path: Path) -> None:
    async with sim_world(sqlite_url, tmp_path / "sim", rate_limit_per_minute=3) as sim:
        # The minute must not turn while the test counts.
        moment = sim.exchange.clock.now_us()
        sim.exchange.rate._clock = _Still(moment)
        left = []
        for _ in range(3):
            answer = await sim.client.get("/v2/positions")
            assert answer.status_code == 200
            left.append(answer.headers["X-RateLimit-Remaining"])
        assert left == ["2", "1", "0"]
        answer = await sim.client.get("/v2/positions")
        assert (answer.status_code, answer.json()) == (
            429,
            {"code": 42910000, "message": "rate limit exceeded"},
        )
        assert answer.headers["X-RateLimit-Limit"] == "3"
        assert int(answer.headers["X-RateLimit-Reset"]) == (moment // 60_000_000 + 1) * 60
        _, other = await sim.account("TWO", SIM_TERMS)
        assert (await other.get("/v2/positions")).status_code == 200
        sim.exchange.rate._clock = _Still(moment + 60_000_000)
        assert (await sim.client.get("/v2/positions")).status_code == 200


class _Still:
    def __init__(self, us: int) -> None:
        self._us = us

    def now_us(self) -> int:
        return self._us


# -- wrong orders -------------------------------------------------------------------------------------

FIELDS: list[tuple[dict[str, Any], int, str]] = [
    ({"symbol": None}, 40010001, "symbol is required"),
    ({"symbol": "ZZZZ"}, 42210000, 'asset "ZZZZ" not found'),
    ({"symbol": "not a symbol"}, 42210000, "invalid symbol"),
    ({"symbol": "5b2a3c1d-0000-4000-8000-00000000a551"}, 42210000, 'asset "5b2a3c1d-0000-4000-8000-00000000a551" not found'),
    ({"side": "sell_short"}, 40010001, "invalid side"),
    ({"type": "iceberg"}, 40010001, "invalid order type"),
    ({"time_in_force": "week"}, 40010001, "invalid time_in_force"),
    ({"order_class": "triple"}, 40010001, "invalid order_class"),
    ({"qty": None}, 40010001, "qty or notional is required"),
    ({"notional": "5"}, 40010001, "only one of qty or notional is accepted"),
    ({"qty": "0"}, 40010001, "qty must be > 0"),
    ({"qty": "-1"}, 40010001, "qty must be > 0"),
    ({"qty": "ten"}, 40010001, "invalid qty"),
    ({"qty": "NaN"}, 40010001, "invalid qty"),
    ({"qty": True}, 40010001, "invalid qty"),
    ({"limit_price": "0"}, 40010001, "limit price must be > 0"),
    ({"limit_price": None}, 40010001, "limit orders require a limit price"),
    ({"type": "stop", "limit_price": None}, 40010001, "stop orders require a stop price"),
    ({"type": "market"}, 40010001, "market orders require no stop or limit price"),
    ({"type": "stop", "limit_price": None, "stop_price": "-2"}, 40010001, "stop price must be > 0"),
    ({"qty": None, "notional": "0.5", "type": "market", "limit_price": None}, 40010001, "notional must be >= 1.00"),
    ({"type": "trailing_stop", "limit_price": None}, 40010001, "trailing stop orders must specify one of trail_price or trail_percent"),
    ({"type": "trailing_stop", "limit_price": None, "trail_price": 1, "trail_percent": 1}, 40010001, "trailing stop orders must specify one of trail_price or trail_percent"),
    ({"client_order_id": "x" * 129}, 40010001, "client_order_id must be no more than 128 characters"),
    ({"limit_price": "90.123"}, 42210000, "invalid limit_price 90.123. sub-penny increment does not fulfill minimum pricing criteria"),
    ({"qty": "1.5", "time_in_force": "gtc"}, 42210000, "fractional orders must be DAY orders"),
    ({"qty": "1.5", "side": "sell"}, 42210000, "fractional orders cannot be sold short"),
    ({"extended_hours": True, "type": "market", "limit_price": None}, 42210000, "extended hours order must be DAY or GTC limit orders"),
    ({"order_class": "bracket", "take_profit": {"limit_price": "90"}, "stop_loss": {"stop_price": "95"}}, 42210000, "take_profit.limit_price must be > stop_loss.stop_price"),
    ({"order_class": "bracket"}, 40010001, "bracket orders require take_profit.limit_price and stop_loss.stop_price"),
    ({"order_class": "mleg", "legs": []}, 42210000, "mleg orders must have at least 2 legs and at most 4 legs"),
    ({"side": "buy", "position_intent": "buy_to_close"}, 42210000, "position intent mismatch, inferred: buy_to_open, specified: buy_to_close"),
    ({"qty": "9" * 23}, 40010001, "invalid qty"),
    ({"qty": "9" * 15}, 40010001, "the quantity must not be over 1000000"),
    ({"limit_price": "9" * 15}, 42210000, "limit_price must be over 0 and at most 1000000"),
    ({"qty": None, "notional": "9" * 15, "type": "market", "limit_price": None}, 40010001, "a notional has at most 6 decimals"),
    ({"qty": "1e3"}, 40010001, "invalid qty"),
    ({"time_in_force": "opg", "type": "stop", "limit_price": None, "stop_price": "110"}, 42210000, "this broker cannot hold opg orders of this kind itself, and we never imitate them"),
]  # fmt: skip


async def test_a_wrong_order_is_refused_in_alpacas_words(sim: SimWorld) -> None:
    with every_row() as row:
        for change, code, message in FIELDS:
            with row(change):
                answer = await sim.place(status=422, **change)
                assert (answer["code"], answer["message"]) == (code, message)
                assert await sim.get("/v2/orders?status=all") == []
                assert sim.book.entries == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"qty": 1e999999}', b"\xff", b'"order"'])
async def test_a_body_that_is_no_object_is_malformed(sim: SimWorld, body: bytes) -> None:
    for method, path in (("POST", "/v2/orders"), ("PATCH", "/v2/account/configurations")):
        answer = await sim.client.request(method, path, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, 40010000)


async def test_what_is_away_is_an_internal_error(sim: SimWorld) -> None:
    sim.venue.db.cut = True
    for answer in (await sim.client.get("/v2/positions"), await sim.client.delete("/v2/orders")):
        assert (answer.status_code, answer.json()) == (
            500,
            {"code": 50010000, "message": "internal server error occurred"},
        )
    sim.venue.db.cut = False


async def test_a_client_order_id_is_used_up_for_ever(sim: SimWorld) -> None:
    told = await sim.place(client_order_id="once", limit_price="101.00")
    await sim.until_status(told["id"], "filled")
    answer = await sim.place(client_order_id="once", status=422)
    assert answer == {"code": 40010001, "message": "client_order_id must be unique"}
    # Whatever else is wrong with it.
    for wrong in ({"qty": "1000000"}, {"side": "sell", "qty": "11"}):
        assert (await sim.place(client_order_id="once", **wrong, status=422)) == answer
    _, other = await sim.account("OTHER", SIM_TERMS)
    assert (await sim.place(client_order_id="once", client=other))["client_order_id"] == "once"


async def test_too_little_buying_power_is_told_with_both_figures(sim: SimWorld) -> None:
    answer = await sim.place(qty="5000", status=403)
    assert answer == {
        "code": 40310000,
        "message": "insufficient buying power",
        "buying_power": "200000",
        "cost_basis": "500000",
    }


async def test_more_than_is_free_of_a_position_cannot_be_sold(sim: SimWorld) -> None:
    await sim.hold(10)
    await sim.place(side="sell", qty="4", limit_price="120")
    answer = await sim.place(side="sell", qty="10", limit_price="130", status=403)
    assert answer == {
        "code": 40310000,
        "message": "insufficient qty available for order (requested: 10, available: 6)",
        "available": "6",
        "existing_qty": "10",
        "held_for_orders": "4",
        "symbol": "AAPL",
    }
    # One order never goes through zero.
    assert "requested: 11" in (await sim.place(side="sell", qty="11", status=403))["message"]


async def test_an_order_that_could_meet_ones_own_is_a_wash_trade(sim: SimWorld) -> None:
    await sim.hold(10)
    resting = await sim.place(
        side="sell", type="stop", limit_price=None, stop_price="90", time_in_force="gtc"
    )
    answer = await sim.place(status=403)
    assert answer == {
        "code": 40310000,
        "message": "potential wash trade detected. use complex orders",
        "reject_reason": "opposite side stop order exists",
        "existing_order_id": resting["id"],
    }


async def test_long_and_short_are_not_opened_side_by_side(sim: SimWorld) -> None:
    bid = await sim.place()
    answer = await sim.place(side="sell", limit_price="120", status=403)
    assert answer["message"] == "cannot open a short sell while a long buy order is open"
    await sim.client.delete(f"/v2/orders/{bid['id']}")
    await sim.until_status(bid["id"], "canceled")
    await sim.place(side="sell", limit_price="120")
    answer = await sim.place(limit_price="95", status=403)
    assert answer["message"] == "cannot open a long buy while a short sell order is open"


async def test_a_stop_at_the_market_is_told_with_the_market_s_price(sim: SimWorld) -> None:
    await sim.hold(10)
    answer = await sim.place(side="sell", type="stop", limit_price=None, stop_price="99.50", status=422)
    assert answer == {
        "code": 42210000,
        "message": "stop price must be less than current price",
        "market_price": "99",
        "stop_price": "99.5",
    }


async def test_assets_that_cannot_be_traded_so_are_refused(sim: SimWorld) -> None:
    sim.show("99", "101", symbol="WHOLE")
    sim.market.odd["WHOLE"] = Instrument("WHOLE", "Whole", "stock", shortable=False)
    sim.market.odd["HALT"] = Instrument("HALT", "Halt", "stock", tradable=False)
    assert (await sim.place(symbol="WHOLE", qty="0.5", status=403))[
        "message"
    ] == 'asset "WHOLE" is not fractionable'
    assert (await sim.place(symbol="WHOLE", side="sell", status=403))[
        "message"
    ] == "account is not allowed to short"
    assert (await sim.place(symbol="HALT", status=422))["message"] == 'asset "HALT" is not tradable'


async def test_options_have_rules_of_their_own(sim: SimWorld) -> None:
    call = sim.contract()
    sim.show("3.00", "3.10", symbol=call)
    one = {"symbol": call, "qty": "1", "limit_price": "3.05"}
    words = {
        "notional": "notional is not allowed for options orders",
        "qty": "qty must be a whole number for options orders",
        "time_in_force": "order_time_in_force provided not supported for options trading",
    }
    assert (await sim.place(**{**one, "qty": None, "notional": "5"}, status=422))["message"] == words[
        "notional"
    ]
    assert (await sim.place(**{**one, "qty": "1.5"}, status=422))["message"] == words["qty"]
    assert (await sim.place(**one, time_in_force="ioc", status=422))["message"] == words["time_in_force"]
    uncovered = await sim.place(**one, side="sell", status=403)
    assert uncovered["message"] == "account not eligible to trade uncovered option contracts"
    await sim.hold(50)
    covered = await sim.place(**one, side="sell", status=403)
    assert covered["message"] == (
        "insufficient underlying qty available for covered call (required: 100, available: 50)"
    )
    assert (covered["required_qty"], covered["available_qty"], covered["symbol"]) == ("100", "50", "AAPL")
    strange = call.replace("AAPL", "MSFT")
    assert (await sim.place(**{**one, "symbol": strange}, status=422))[
        "message"
    ] == f'asset "{strange}" not found'
    sim.street.market.hours.open = False
    closed = await sim.place(**{**one, "limit_price": None}, type="market", status=422)
    assert closed["message"] == "options market orders are only allowed during market hours"


async def test_what_the_owner_has_set_is_enforced(sim: SimWorld) -> None:
    async def configure(**body: Any) -> None:
        answer = await sim.client.patch("/v2/account/configurations", json=body)
        assert answer.status_code == 200, answer.text
        assert body.items() <= answer.json().items()

    resting = await sim.place(client_order_id="before")
    await sim.until_status(resting["id"], "new")
    await configure(suspend_trade=True)
    refused = await sim.place(status=403)
    assert refused == {"code": 40310000, "message": "new orders are rejected by user request"}
    answer = await sim.client.patch(f"/v2/orders/{resting['id']}", json={"qty": "11"})
    assert answer.json() == refused
    assert (await sim.get("/v2/account"))["trade_suspended_by_user"] is True
    assert (await sim.client.delete(f"/v2/orders/{resting['id']}")).status_code == 204
    await sim.until_status(resting["id"], "canceled")
    await configure(suspend_trade=False, no_shorting=True)
    assert (await sim.place(side="sell", status=403))["message"] == "account is not allowed to short"
    await configure(fractional_trading=False)
    assert "fractional" in (await sim.place(qty="1.5", status=403))["message"]
    await configure(max_options_trading_level=1)
    call = sim.contract()
    sim.show("3.00", "3.10", symbol=call)
    level = await sim.place(symbol=call, qty="1", limit_price="3", status=403)
    assert level["message"] == "account not eligible to trade uncovered option contracts"
    assert (await sim.get("/v2/account"))["options_trading_level"] == 1
    await configure(max_margin_multiplier="1")
    power = await sim.place(qty="1200", status=403)
    assert (power["message"], power["buying_power"]) == ("insufficient buying power", "100000")
    told = await sim.get("/v2/account")
    assert (told["multiplier"], told["buying_power"]) == ("1", "100000")


@pytest.mark.parametrize(
    "body",
    [
        {"suspend_trade": "yes"},
        {"max_margin_multiplier": "3"},
        {"max_options_trading_level": 4},
        {"max_options_trading_level": True},
        {"trade_confirm_email": 1},
    ],
)
async def test_a_wrong_setting_changes_nothing(sim: SimWorld, body: dict[str, Any]) -> None:
    before = await sim.get("/v2/account/configurations")
    answer = await sim.client.patch("/v2/account/configurations", json={"no_shorting": True, **body})
    assert (answer.status_code, answer.json()["code"]) == (422, 40010001)
    assert await sim.get("/v2/account/configurations") == before


async def test_orders_that_are_not_there_are_told_so(sim: SimWorld) -> None:
    nobody = "5b2a3c1d-0000-4000-8000-00000000a551"
    for method in ("GET", "DELETE", "PATCH"):
        answer = await sim.client.request(method, f"/v2/orders/{nobody}", json={"qty": "1"})
        assert (answer.status_code, answer.json()) == (
            404,
            {"code": 40410000, "message": f"order not found for {nobody}"},
        )
        answer = await sim.client.request(method, "/v2/orders/17", json={"qty": "1"})
        assert (answer.status_code, answer.json()) == (
            422,
            {"code": 40010001, "message": "order_id is missing"},
        )
    assert (await sim.get(f"/v2/orders:by_client_order_id?client_order_id={nobody}", status=404))[
        "code"
    ] == 40410000
    told = await sim.place()
    _, other = await sim.account("SPY", SIM_TERMS)
    await sim.get(f"/v2/orders/{told['id']}", status=404, client=other)
    assert (await other.delete(f"/v2/orders/{told['id']}")).status_code == 404


async def test_a_replacement_is_refused_in_alpacas_words(sim: SimWorld) -> None:
    told = await sim.place(qty=None, notional="50", type="market", limit_price=None)
    await sim.until_status(told["id"], "filled")
    path = f"/v2/orders/{told['id']}"
    assert (await sim.client.patch(path, json={"qty": "9"})).json()[
        "message"
    ] == 'order is already in "filled" state'
    told = await sim.place()
    await sim.until_status(told["id"], "new")
    path = f"/v2/orders/{told['id']}"
    for body, message in (
        ({}, "at least one of the order parameters must be specified"),
        ({"qty": "0"}, "qty must be > 0"),
        ({"limit_price": "-1"}, "limit price must be > 0"),
        ({"limit_price": "90.123"}, "invalid limit_price 90.123. sub-penny increment does not fulfill minimum pricing criteria"),
        ({"qty": "10", "limit_price": "100"}, "order parameters are not changed"),
        ({"stop_price": "90"}, "a limit order has no stop_price to replace"),
        ({"time_in_force": "week"}, "invalid time_in_force"),
    ):  # fmt: skip
        answer = await sim.client.patch(path, json=body)
        assert (answer.status_code, answer.json()["message"]) == (422, message)
    power = await sim.client.patch(path, json={"qty": "5000"})
    assert (power.status_code, power.json()["message"]) == (403, "insufficient buying power")


# -- the engine's codes -------------------------------------------------------------------------------


def _codes_of_the_engine() -> set[str]:
    """First arguments of every refusal in the sources, and the codes that are made of a field's name."""
    root = Path(paiid.__file__).parent
    found: set[str] = set()
    files = [
        *root.glob("domain/paper*.py"), *root.glob("brokers/paper/*.py"), root / "domain/capabilities.py",
    ]  # fmt: skip
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in ("PaperRefused", "BrokerRejected", "Reason") or not node.args:
                continue
            first = node.args[0]
            if isinstance(first, ast.Constant):
                found.add(first.value)
            elif isinstance(first, ast.JoinedStr):
                found |= {f"{name}_not_supported" for name in ("order_class", "type", "time_in_force")}
        if path.name == "capabilities.py":
            found |= {
                node.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.endswith("_not_supported")
                and node.value != "_not_supported"
            }
        if path.name == "paper_checks.py":
            found |= {"invalid_qty", "invalid_notional"}
    return found


def test_every_code_of_the_engine_has_words() -> None:
    codes = _codes_of_the_engine()
    assert len(codes) > 40
    assert codes <= engine_codes()
    for code in codes:
        error = of_engine(code, "A sentence of the engine.", Facts())
        assert error.status in (403, 404, 422)
        assert error.message
        assert not error.message.endswith(".")


def test_a_code_that_nobody_has_words_for_is_a_defect() -> None:
    with pytest.raises(KeyError):
        of_engine("brand_new", "?", Facts())
