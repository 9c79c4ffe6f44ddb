"""What the simulated Tradier refuses, in which of its forms and with which words."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paiid.domain.calendar import ExchangeHours, eastern_us
from paiid.domain.instruments import Instrument
from paiid.sim.tradier.accounts import SIM_TERMS
from paiid.sim.tradier.rate import RateLimits
from tests.sim_tradier_forms import LIMIT, OCO, OTOCO, option, spread
from tests.sim_tradier_world import SetClock, TradierWorld, noon, simulated

BACKOFFICE = "Backoffice rejected override of the order."


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[TradierWorld]:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as world:
        yield world


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"class": "shares"}, "Invalid parameter, class: is not valid."),
        ({"class": None}, "Invalid parameter, class: is not valid."),
        ({"duration": "ioc"}, "Invalid parameter, duration: is not valid."),
        ({"duration": None}, "Invalid parameter, duration: is not valid."),
        ({"side": "buy_to_open"}, "Invalid parameter, side: is not valid."),
        ({"type": "trailing_stop"}, "Invalid parameter, type: is not valid."),
        ({"quantity": "0"}, "Invalid parameter, quantity: is not valid."),
        ({"quantity": "1.5"}, "Invalid parameter, quantity: is not valid."),
        ({"quantity": "10000001"}, "Invalid parameter, quantity: is not valid."),
        ({"quantity": "-1"}, "Invalid parameter, quantity: is not valid."),
        ({"quantity": "٣"}, "Invalid parameter, quantity: is not valid."),
        ({"price": None}, "Invalid parameter, price: is not valid."),
        ({"price": "-1"}, "Invalid parameter, price: is not valid."),
        ({"price": "1e3"}, "Invalid parameter, price: is not valid."),
        ({"type": "stop_limit"}, "Invalid parameter, stop: is not valid."),
        ({"symbol": ""}, "Invalid parameter, symbol: is not valid."),
        ({"preview": "perhaps"}, "Invalid parameter, preview: is not valid."),
        ({"tag": "a_b"}, "Invalid parameter, tag: contains invalid characters."),
        ({"tag": "a" * 256}, "Invalid parameter, tag: contains more than 255 characters."),
    ],
)
async def test_a_form_that_is_wrong_is_a_plain_text(
    sim: TradierWorld, change: dict[str, Any], text: str
) -> None:
    answer = await sim.post(**change)
    assert (answer.status_code, answer.text) == (400, text)
    assert answer.headers["content-type"].startswith("text/plain")
    assert await sim.orders() == []


async def test_a_group_has_no_symbol_at_the_top_and_one_kind_of_duration(sim: TradierWorld) -> None:
    answer = await sim.send("POST", sim.orders_path, {**OTOCO, "symbol": "AAPL"})
    assert (answer.status_code, answer.text) == (400, "Invalid parameter, symbol: is not valid")
    both = await sim.send("POST", sim.orders_path, {**OTOCO, "duration[0]": "day"})
    assert both.text == "Invalid parameter, duration: is not valid."
    each = {name: one for name, one in OTOCO.items() if name != "duration"}
    await sim.taken({**each, **{f"duration[{at}]": "gtc" for at in range(3)}})
    mixed = {**each, "duration[0]": "day", "duration[1]": "day", "duration[2]": "gtc"}
    assert await sim.refused(mixed) == [BACKOFFICE, "OcoExpirationTypeNotTheSame"]


async def test_an_options_symbols_go_together(sim: TradierWorld) -> None:
    for change in ({"symbol": "MSFT"}, {"option_symbol": "AAPL"}, {"option_symbol": None}):
        answer = await sim.send("POST", sim.orders_path, {**option(sim), **change})
        assert answer.text == "Invalid parameter, option_symbol: is not valid.", change


async def test_what_a_position_does_not_allow_is_two_hundred_with_errors(sim: TradierWorld) -> None:
    market = {**LIMIT, "type": "market"}
    assert await sim.refused({**market, "side": "sell"}) == [BACKOFFICE, "UnexpectedSellOrder"]
    assert await sim.refused({**market, "side": "buy_to_cover"}) == [BACKOFFICE, "UnexpectedBuyToCoverOrder"]
    await sim.hold(10)
    assert await sim.refused({**market, "side": "sell_short"}) == [BACKOFFICE, "UnexpectedSellShortOrder"]
    assert await sim.refused({**market, "side": "sell", "quantity": "11"}) == [
        BACKOFFICE,
        "LongPositionCrossZero",
    ]
    sold = await sim.taken({**market, "side": "sell"})
    await sim.until_status(sold, "filled")
    short = await sim.taken({**market, "side": "sell_short"})
    done = await sim.until_status(short, "filled")
    assert done["side"] == "sell_short"
    assert await sim.refused(market) == [BACKOFFICE, "UnexpectedBuyOrder"]
    assert await sim.refused({**market, "side": "buy_to_cover", "quantity": "11"}) == [
        BACKOFFICE, "ShortPositionCrossZero",
    ]  # fmt: skip
    cover = await sim.taken({**market, "side": "buy_to_cover"})
    assert (await sim.until_status(cover, "filled"))["side"] == "buy_to_cover"


async def test_shares_that_an_order_is_about_to_sell_can_not_be_sold_again(sim: TradierWorld) -> None:
    await sim.hold(10)
    await sim.taken({**LIMIT, "side": "sell", "price": "110.00", "quantity": "6"})
    assert await sim.refused({**LIMIT, "side": "sell", "price": "111.00", "quantity": "5"}) == [
        BACKOFFICE, "LongPositionCrossZero",
    ]  # fmt: skip


async def test_the_sides_of_an_option_must_fit_its_position(sim: TradierWorld) -> None:
    form = option(sim)
    assert (await sim.refused({**form, "side": "sell_to_close"}))[1] == "UnexpectedSellOrderOption"
    assert (await sim.refused({**form, "side": "buy_to_close"}))[1] == "UnexpectedBuyToCoverOrderOption"
    await sim.until_status(await sim.taken(form), "filled")
    assert (await sim.refused({**form, "side": "sell_to_open"}))[1] == "UnexpectedSellShortOrderOption"
    assert (await sim.refused({**form, "side": "sell_to_close", "quantity": "9"}))[
        1
    ] == "LongPositionCrossZero"
    done = await sim.until_status(await sim.taken({**form, "side": "sell_to_close"}), "filled")
    assert done["side"] == "sell_to_close"
    assert (await sim.refused({**form, "side": "sell_to_open"}))[1] == "ShortOptionTradingDeniedForAccount"


async def test_market_and_short_orders_are_good_for_a_day(sim: TradierWorld) -> None:
    gtc = {**LIMIT, "duration": "gtc"}
    assert await sim.refused({**gtc, "type": "market"}) == [BACKOFFICE, "MarketOrderIsGtc"]
    assert await sim.refused({**gtc, "side": "sell_short", "price": "110.00"}) == [
        BACKOFFICE,
        "ShortOrderIsGtc",
    ]
    assert (await sim.refused({**option(sim), "duration": "gtc"}))[1] == "MarketOrderIsGtc"


async def test_a_stop_through_the_market_is_refused(sim: TradierWorld) -> None:
    await sim.hold(10)
    stop = {**LIMIT, "type": "stop", "price": None}
    assert (await sim.refused({**stop, "stop": "100.00"}))[1] == "BuyStopOrderStopPriceLessAsk"
    assert (await sim.refused({**stop, "side": "sell", "stop": "99.50"}))[
        1
    ] == "SellStopOrderStopPriceGreaterBid"
    taken = await sim.taken({**stop, "stop": "105.00"})
    told = await sim.order(taken)
    assert (told["stop_price"], "price" in told) == (105.0, False)
    answer = await sim.send("PUT", f"{sim.orders_path}/{taken}", {"stop": "100.00"})
    assert answer.json()["errors"]["error"][1] == "BuyStopOrderStopPriceLessAsk"


async def test_want_of_money_has_two_names(sim: TradierWorld) -> None:
    assert (await sim.refused({**LIMIT, "quantity": "100000"}))[1] == "DayTradingBuyingPowerExceeded"
    assert (await sim.refused({**option(sim), "quantity": "100000"}))[1] == "InitialMargin"


async def test_a_cash_account_is_short_of_nothing_and_lent_nothing(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim:
        account = sim.sim.exchange.accounts.add(
            "test-token-cash-only", "VA00000009", replace(SIM_TERMS, margin=False)
        )
        await sim.sim.exchange.open(account)
        sim.account = account.number
        sim.client.headers["Authorization"] = "Bearer test-token-cash-only"
        assert (await sim.refused({**LIMIT, "side": "sell_short"}))[1] == "ShortStockTradingDeniedForAccount"
        assert (await sim.refused({**LIMIT, "quantity": "1001"}))[1] == "InitialMargin"
        told = (await sim.get(f"/v1/accounts/{sim.account}/balances"))["balances"]
        assert (told["account_type"], "margin" in told) == ("cash", False)
        assert told["cash"]["cash_available"] == 100_000.0


async def test_cheap_shares_and_those_that_nobody_lends_are_not_sold_short(sim: TradierWorld) -> None:
    sim.show("4.00", "4.10", "F")
    form = {**LIMIT, "side": "sell_short", "symbol": "F", "price": "4.20"}
    assert (await sim.refused(form))[1] == "SellShortOrderLastPriceBelow5"
    sim.show("300.00", "301.00", "MSFT")
    sim.hand.odd["MSFT"] = Instrument("MSFT", "MSFT Inc.", "stock", shortable=False)
    form = {**LIMIT, "side": "sell_short", "symbol": "MSFT", "price": "310.00"}
    assert (await sim.refused(form))[1] == "ShortTradingDeniedForSecurity"
    sim.hand.odd["MSFT"] = Instrument("MSFT", "MSFT Inc.", "stock", tradable=False)
    assert (await sim.refused({**LIMIT, "symbol": "MSFT"}))[1] == "TradingDeniedForSecurity"


async def test_what_is_not_listed_and_prices_off_the_tick(sim: TradierWorld) -> None:
    assert (await sim.refused({**LIMIT, "symbol": "ZZZZ"}))[1] == "SecurityUndefined"
    assert (await sim.refused({**LIMIT, "price": "100.001"}))[1] == "OrderPriceIsInvalid"


async def test_orders_that_would_trade_with_each_other(sim: TradierWorld) -> None:
    await sim.hold(10)
    await sim.taken({**LIMIT, "side": "sell", "price": "105.00"})
    assert (await sim.refused({**LIMIT, "price": "106.00"}))[1] == "WashTradeAttempt"


async def test_an_oco_needs_legs_of_one_side_and_two_types_some_way_apart(sim: TradierWorld) -> None:
    await sim.hold(10)
    assert (await sim.refused({**OCO, "side[1]": "buy_to_cover"}))[1] == "OcoOrderWithOppositeLegs"
    assert (await sim.refused({**OCO, "type[0]": "market"}))[1] == "OtoOcoMarketNotAllowed"
    close = {**OCO, "stop[0]": "98.00", "price[1]": "98.00"}
    assert (await sim.refused(close))[1] == "OcoPriceDifferenceIsLessThanDelta"
    same = await sim.send("POST", sim.orders_path, {**OCO, "type[0]": "limit", "price[0]": "109.00"})
    assert same.status_code == 400


async def test_a_market_entry_of_a_group_is_a_matter_of_a_switch(sqlite_url: str, tmp_path: Path) -> None:
    form = {**OTOCO, "type[0]": "market"}
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim:
        assert (await sim.refused(form))[1] == "OtoFirstLesIsMarketNotAllowed"
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), allow_market_first_leg=True) as sim:
        await sim.until_status(await sim.taken(form) + 1, "filled")


async def test_what_the_venue_can_not_hold_is_refused_and_says_so(sim: TradierWorld) -> None:
    sim.show("4.00", "4.20", sim.contract())
    combo = {
        "class": "combo", "symbol": "AAPL", "type": "debit", "duration": "day", "price": "99.00",
        "side[0]": "buy", "quantity[0]": "100",
        "option_symbol[1]": sim.contract(), "side[1]": "sell_to_open", "quantity[1]": "1",
    }  # fmt: skip
    assert await sim.refused(combo) == [
        BACKOFFICE, "OrderIsNotAllowedForAccount", "This simulator holds no combo orders.",
    ]  # fmt: skip
    other = {**OTOCO, "quantity[2]": "4"}
    assert (await sim.refused(other))[1] == "ContingentOrderExecution"


async def test_a_spread_that_is_uncovered_or_too_dear(sim: TradierWorld) -> None:
    form = spread(sim, "debit", "4.00")
    assert (await sim.refused({**form, "quantity[0]": "5000", "quantity[1]": "5000"}))[1] == "InitialMargin"
    naked = {
        **form,
        "option_symbol[0]": sim.contract("call", 95),
        "option_symbol[1]": sim.contract("call", 90),
        "side[1]": "sell_to_open",
    }
    sim.show("6.00", "6.10", sim.contract("call", 95))
    sim.show("9.00", "9.10", sim.contract("call", 90))
    assert (await sim.refused(naked))[1] == "ShortOptionTradingDeniedForAccount"
    one_leg = {name: value for name, value in form.items() if "[1]" not in name}
    assert (await sim.send("POST", sim.orders_path, one_leg)).status_code == 400


async def test_a_change_takes_prices_type_and_duration_alone(sim: TradierWorld) -> None:
    path = f"{sim.orders_path}/{await sim.place()}"
    for form, text in (
        ({"quantity": "5"}, "Invalid parameter, quantity: can not be changed."),
        ({"side": "sell"}, "Invalid parameter, side: can not be changed."),
        ({"stop": "90.00"}, "Invalid parameter, stop: is not valid."),
        ({"duration": "pre"}, "Invalid parameter, duration: is not valid."),
        ({"price": "x"}, "Invalid parameter, price: is not valid."),
    ):
        answer = await sim.send("PUT", path, form)
        assert (answer.status_code, answer.text) == (400, text)


@pytest.mark.parametrize("order_id", ["1", "228175", "x", "99999999999999999999", "228175abc", "-1"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_an_unknown_number_is_an_unauthorized_account(
    sim: TradierWorld, order_id: str, method: str
) -> None:
    answer = await sim.send(method, f"{sim.orders_path}/{order_id}")
    assert (answer.status_code, answer.text) == (401, f"Unauthorized Account: {sim.account}")


async def test_another_accounts_order_is_an_unauthorized_account(sim: TradierWorld) -> None:
    order_id = await sim.place()
    account = sim.sim.exchange.accounts.add("test-token-of-another")
    await sim.sim.exchange.open(account)
    sim.client.headers["Authorization"] = "Bearer test-token-of-another"
    mine = await sim.client.get(f"/v1/accounts/{account.number}/orders/{order_id}")
    assert (mine.status_code, mine.text) == (401, f"Unauthorized Account: {account.number}")
    theirs = await sim.client.get(f"{sim.orders_path}/{order_id}")
    assert (theirs.status_code, theirs.text) == (401, f"Unauthorized Account: {sim.account}")


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic c2ltdWxhdGVk", "Bearer"])
async def test_without_the_token_there_is_a_fault_of_the_gateway(
    sim: TradierWorld, authorization: str | None
) -> None:
    sim.client.headers.pop("Authorization")
    if authorization is not None:
        sim.client.headers["Authorization"] = authorization
    answer = await sim.client.get("/v1/user/profile")
    assert answer.status_code == 401
    assert answer.json() == {
        "fault": {
            "faultstring": "Invalid Access Token",
            "detail": {"errorcode": "keymanagement.service.invalid_access_token"},
        }
    }


async def test_a_body_is_a_form_and_never_json(sim: TradierWorld) -> None:
    answer = await sim.client.post(sim.orders_path, json=LIMIT)
    assert answer.status_code == 400
    disguised = await sim.client.post(
        sim.orders_path,
        content=b'{"class":"equity"}',
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert disguised.status_code == 400
    for kind in ("application/json", "text/plain"):
        form = await sim.client.post(
            sim.orders_path, content=urlencode(LIMIT), headers={"Content-Type": kind}
        )
        assert form.status_code == 400
    assert await sim.orders() == []


async def test_the_parameters_of_a_post_may_stand_in_its_query(sim: TradierWorld) -> None:
    answer = await sim.client.post(sim.orders_path, params=LIMIT)
    assert answer.json()["order"]["status"] == "ok"


async def test_who_does_not_ask_for_json_gets_xml(sim: TradierWorld) -> None:
    order_id = await sim.place(tag="r1-1")
    sim.client.headers["Accept"] = "*/*"
    answer = await sim.client.get(f"{sim.orders_path}?includeTags=true")
    assert answer.headers["content-type"].startswith("application/xml")
    assert f"<orders><order><id>{order_id}</id><type>limit</type>" in answer.text
    assert "<tag>r1-1</tag>" in answer.text
    refused = await sim.post(side="sell")
    assert refused.text.endswith(
        f"<errors><error>{BACKOFFICE}</error><error>UnexpectedSellOrder</error></errors>"
    )
    positions = await sim.client.get(f"/v1/accounts/{sim.account}/positions")
    assert positions.text.endswith("<positions>null</positions>")


async def test_every_answer_tells_what_is_left_and_one_too_many_is_refused(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with simulated(
        sqlite_url, tmp_path / "sim", clock=noon(), limits=RateLimits(standard=3, trading=1, market=9)
    ) as sim:
        answers = [await sim.client.get("/v1/user/profile") for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429]
        assert [quota(one) for one in answers] == [(3, 1, 2), (3, 2, 1), (3, 3, 0), (3, 3, 0)]
        assert answers[3].json()["fault"]["detail"]["errorcode"] == "policies.ratelimit.QuotaViolation"
        assert "retry-after" not in answers[3].headers
        until_ms = int(answers[3].headers["x-ratelimit-expiry"])
        assert 0 < until_ms - sim.clock.now_us() // 1000 <= 60_000
        assert (await sim.post()).status_code == 200
        assert (await sim.post()).status_code == 429
        sim.clock.set(until_ms * 1000)
        fresh = await sim.client.get("/v1/user/profile")
        assert (fresh.status_code, quota(fresh)) == (200, (3, 1, 2))


FIELDS = [
    "class",
    "symbol",
    "side",
    "quantity",
    "type",
    "duration",
    "price",
    "stop",
    "tag",
    "preview",
    "option_symbol",
]
NAMES = [*FIELDS, *(f"{name}[{at}]" for name in FIELDS for at in range(3)), "leg[0]", "x[[1]"]
WORDS = [
    "equity", "option", "multileg", "combo", "oto", "oco", "otoco", "AAPL", "BRK/B", "buy", "sell", "sell_short",
    "buy_to_open", "10", "0", "-1", "1e9", "9" * 40, "market", "limit", "stop", "debit", "even", "day", "gtc", "pre",
    "100.00", "0.001", "true", "", " ", "\x00", "ٱ", "AAPL261218C00100000", "\ud7ff", "%", "a" * 300,
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([LIMIT, OTOCO, OCO, {}]),
    st.dictionaries(
        st.sampled_from(NAMES), st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), max_size=6
    ),
)
async def test_no_form_breaks_anything(
    sim: TradierWorld, base: dict[str, Any], change: dict[str, str]
) -> None:
    form = {**base, **{name: one.encode("utf-8", "replace").decode() for name, one in change.items()}}
    answer = await sim.send("POST", sim.orders_path, form)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        assert set(answer.json()) <= {"order", "errors"}
    put = await sim.send("PUT", f"{sim.orders_path}/228175", form)
    assert put.status_code in (200, 400, 401), put.text


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"=" * 1000, b"a=1&" * 5000, b"%zz=%ff", b"{" * 2000])
async def test_no_body_breaks_anything(sim: TradierWorld, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await sim.client.post(sim.orders_path, content=body, headers=headers)
    assert answer.status_code == 400
    huge = await sim.client.post(sim.orders_path, content=body + b"x" * 70_000, headers=headers)
    assert huge.status_code in (400, 413)


def quota(answer: httpx2.Response) -> tuple[int, int, int]:
    names = ("allowed", "used", "available")
    allowed, used, available = (int(answer.headers[f"x-ratelimit-{name}"]) for name in names)
    return allowed, used, available


async def test_orders_before_and_after_the_session_have_their_time(sqlite_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with simulated(
        sqlite_url, tmp_path / "sim", hours=ExchangeHours(), clock=clock, matching=False
    ) as sim:
        for at, duration, status, words in (
            ("08:00", "pre", 200, "ok"),
            ("08:00", "post", 400, "post market not available at this time."),
            ("10:00", "pre", 400, "pre market no longer available."),
            ("17:00", "post", 200, "ok"),
            ("20:30", "post", 400, "post market no longer available."),
        ):
            clock.set(eastern("2026-10-05", at))
            sim.show("99.00", "101.00")
            answer = await sim.post(duration=duration, price="90.00")
            assert answer.status_code == status, (at, duration, answer.text)
            assert words in answer.text
        clock.set(eastern("2026-10-05", "17:00"))
        assert (await sim.post(duration="post", type="market", price=None)).text == (
            "Invalid parameter, type: is not valid."
        )


def eastern(day: str, at: str) -> int:
    return eastern_us(date.fromisoformat(day), time.fromisoformat(at))
