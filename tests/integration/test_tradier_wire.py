"""Every way in which a request to Tradier can end, over real sockets, and what it looks like on the wire (contracts E10, E11)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from paiid.brokers import BrokerError, BrokerRejected, NotSent, OutcomeUnknown
from paiid.brokers.tradier.session import Session
from paiid.core.clock import SystemClock
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors, Priority
from paiid.wires.tradier.keys import TradierKeys
from paiid.wires.tradier.wire import OBJECT_CAP, TradierWire, bucket_of
from tests.fake_clock import FakeClock
from tests.tradier_stage import (
    NUMBER,
    ORDERS,
    TOKEN,
    Answer,
    TradierStage,
    breaks_off,
    floods,
    hangs_up,
    listed,
    ok,
    resets,
    row,
    says,
    silence,
    staged,
    told,
    within,
)

_PATH = f"/accounts/{NUMBER}/orders"
_FORM = {"class": "equity", "symbol": "BRK/B", "option_symbol[0]": "SPY261218C00700000", "tag": "r1-0001"}


@pytest.fixture
async def stage() -> AsyncIterator[TradierStage]:
    async with staged() as one:
        yield one


async def post(session: Session, timeout_s: float = 5.0) -> object:
    answer = await session.send("POST", _PATH, within(timeout_s), priority=Priority.ENTRY, form=_FORM)
    return answer.data


async def test_a_post_is_a_form_with_the_token_that_asks_for_json(stage: TradierStage) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    assert await post(stage.session()) == {
        "order": {"id": "228175", "status": "ok", "partner_id": "00000000-0000-4000-8000-000000000000"}
    }
    (asked,) = stage.requests("POST")
    assert asked.form == _FORM
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["accept"] == "application/json"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert TOKEN not in asked.target


async def test_an_empty_post_says_that_it_is_empty(stage: TradierStage) -> None:
    stage.say("POST", "/v1/accounts/events/session", told(200, {"stream": {"sessionid": "x", "url": "y"}}))
    answer = await stage.session().send("POST", "/accounts/events/session", within(), priority=Priority.READ)
    assert answer.ok
    (asked,) = stage.requests("POST", "/v1/accounts/events/session")
    assert asked.headers["content-length"] == "0"


async def test_an_account_or_order_id_is_one_part_of_the_path_whatever_stands_in_it(
    stage: TradierStage,
) -> None:
    session = stage.session(account_id="VA/../1?x#y")
    await session.send("GET", session.path("orders", "../1"), within(), priority=Priority.READ)
    (asked,) = stage.asked
    assert asked.target == "/v1/accounts/VA%2F..%2F1%3Fx%23y/orders/..%2F1"


@pytest.mark.parametrize("answer", [silence, hangs_up, resets, breaks_off, floods(OBJECT_CAP + 1)])
async def test_E11_a_request_without_a_whole_answer_is_unknown_and_is_sent_once(
    stage: TradierStage, answer: Answer
) -> None:
    stage.say("POST", ORDERS, answer)
    with pytest.raises(OutcomeUnknown):
        # Long enough for a slow machine to have sent it.
        await post(stage.session(), 2.0 if answer is silence else 20.0)
    assert len(stage.requests("POST")) == 1


async def test_E10_a_host_that_does_not_listen_was_never_sent_anything(stage: TradierStage) -> None:
    keys = TradierKeys(TOKEN, "http://127.0.0.1:9/v1", "ws://127.0.0.1:9/v1", NUMBER)
    clock = SystemClock()
    wire = TradierWire(clock, keys, Governors(clock))
    try:
        with pytest.raises(NotSent):
            await post(Session(clock, wire))
    finally:
        await wire.close()


async def test_E10_nothing_is_sent_once_the_time_is_up(stage: TradierStage) -> None:
    with pytest.raises(NotSent):
        await post(stage.session(), 0.0)
    assert stage.asked == []


async def test_a_redirect_is_not_followed(stage: TradierStage) -> None:
    stage.say("POST", ORDERS, told(307, location=f"{stage.url}/elsewhere"))
    session = stage.session()
    answer = await session.send("POST", _PATH, within(), priority=Priority.ENTRY, form=_FORM)
    assert answer.status == 307
    assert len(stage.asked) == 1


async def test_an_order_without_a_place_in_the_budget_is_not_sent_and_says_when_it_could_be(
    stage: TradierStage,
) -> None:
    stage.say("POST", ORDERS, told(200, ok(), x_ratelimit_allowed="60", x_ratelimit_available="0"))
    session = stage.session()
    await post(session)
    with pytest.raises(NotSent, match="try again in"):
        await session.send("POST", _PATH, within(), priority=Priority.ENTRY, form=_FORM, wait_s=0.05)
    assert len(stage.requests("POST")) == 1


async def test_the_three_buckets_do_not_share_a_budget(stage: TradierStage) -> None:
    stage.say("POST", ORDERS, told(200, ok(), x_ratelimit_allowed="60", x_ratelimit_available="0"))
    session = stage.session()
    await post(session)
    answer = await session.send("GET", _PATH, within(), priority=Priority.READ)
    assert answer.status == 200
    paths = [
        ("POST", _PATH),
        ("PUT", _PATH + "/1"),
        ("DELETE", _PATH + "/1"),
        ("GET", _PATH),
        ("GET", "/markets/clock"),
    ]
    assert [bucket_of(*one) for one in paths] == ["trading", "trading", "trading", "standard", "market"]
    assert bucket_of("POST", "/markets/events/session") == "market"
    assert bucket_of("POST", "/accounts/events/session") == "standard"


@pytest.mark.parametrize("expiry_unit", [1_000, 1])
async def test_the_budget_comes_back_when_the_headers_say_so_in_milliseconds_or_seconds(
    stage: TradierStage, expiry_unit: int
) -> None:
    clock = FakeClock()
    expiry = (clock.now_us() // 1_000_000 + 30) * expiry_unit
    headers = {"x_ratelimit_allowed": "60", "x_ratelimit_available": "0", "x_ratelimit_expiry": str(expiry)}
    stage.say("GET", ORDERS, told(200, listed(), **headers))
    session = stage.session(clock=clock)
    await session.send("GET", _PATH, Deadline(clock, 20.0), priority=Priority.READ)
    governor = session.wire.governor("standard")
    left = [governor.left]
    for seconds in (29, 2):
        clock.advance(seconds)
        left.append(governor.left)
    assert left[:2] == [0, 0]
    assert left[2] > 0


@pytest.mark.parametrize(
    "headers",
    [
        {"x_ratelimit_allowed": "lots", "x_ratelimit_available": "-5", "x_ratelimit_expiry": "soon"},
        {"x_ratelimit_allowed": "NaN", "x_ratelimit_available": "1e300", "x_ratelimit_expiry": "9" * 50},
        {"x_ratelimit_expiry": "99999999999999999999"},
    ],
)
async def test_headers_that_make_no_sense_change_nothing(
    stage: TradierStage, headers: dict[str, str]
) -> None:
    stage.say("GET", ORDERS, told(200, listed(), **headers))
    session = stage.session()
    await session.send("GET", _PATH, within(), priority=Priority.READ)
    assert session.wire.governor("standard").left == 119


async def test_a_read_that_is_told_429_is_asked_again_once_the_budget_allows(stage: TradierStage) -> None:
    over = str(SystemClock().now_us() // 1_000 + 300)
    stage.say("GET", ORDERS, told(429, x_ratelimit_expiry=over), told(200, listed(row())))
    answer = await stage.session().send("GET", _PATH, within(60), priority=Priority.READ)
    assert answer.status == 200
    assert len(stage.requests("GET")) == 2


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_what_changes_something_is_never_asked_twice_after_a_429(
    stage: TradierStage, method: str
) -> None:
    stage.say(method, ORDERS, told(429, x_ratelimit_expiry="1"), told(200, ok()))
    answer = await stage.session().send(method, _PATH, within(), priority=Priority.ENTRY, form=_FORM)
    assert answer.status == 429
    assert len(stage.requests(method)) == 1


async def test_a_read_is_not_asked_again_for_ever(stage: TradierStage) -> None:
    stage.say("GET", ORDERS, told(429, x_ratelimit_expiry="1"))
    answer = await stage.session().send("GET", _PATH, within(60), priority=Priority.READ)
    assert answer.status == 429
    assert len(stage.requests("GET")) <= 3


async def test_a_cancelled_call_leaves_the_session_usable(stage: TradierStage) -> None:
    stage.say("POST", ORDERS, silence, told(200, ok()))
    session = stage.session()
    call = asyncio.create_task(post(session))
    while not stage.requests("POST"):
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await post(session)


# -- which account -----------------------------------------------------------------------------------


def account(number: str = NUMBER, **changes: object) -> dict[str, object]:
    return {"account_number": number, "status": "active", "type": "margin", "option_level": 6} | changes


async def learned(stage: TradierStage) -> str:
    return await stage.session(account_id=None).learn_number(within(), priority=Priority.READ)


@pytest.mark.parametrize(
    "accounts",
    [account(), [account()], [account(), account("VA2", status="closed")], [None, account(), "null"]],
)
async def test_the_only_account_of_a_token_is_learned_from_its_profile(
    stage: TradierStage, accounts: object
) -> None:
    stage.say("GET", "/v1/user/profile", told(200, {"profile": {"id": "id-x", "account": accounts}}))
    assert await learned(stage) == NUMBER


async def test_an_account_that_is_named_is_not_asked_for(stage: TradierStage) -> None:
    assert await stage.session().learn_number(within(), priority=Priority.READ) == NUMBER
    assert stage.asked == []


async def test_of_several_accounts_one_has_to_be_named(stage: TradierStage) -> None:
    accounts = [account(), account("VA00000002")]
    stage.say("GET", "/v1/user/profile", told(200, {"profile": {"account": accounts}}))
    with pytest.raises(BrokerRejected, match=r"VA00000001, VA00000002.*TRADIER_ACCOUNT_ID"):
        await learned(stage)


@pytest.mark.parametrize(
    "answer",
    [
        told(200, {"profile": {"account": "null"}}), told(200, {"profile": {"account": [{"status": "active"}]}}),
        told(200, {"profile": "null"}), told(200, []), told(200, "<profile/>"), told(500), says(401, "Invalid Access Token"),
    ],
)  # fmt: skip
async def test_a_profile_without_an_account_says_so(stage: TradierStage, answer: Answer) -> None:
    stage.say("GET", "/v1/user/profile", answer)
    with pytest.raises(BrokerError):
        await learned(stage)


async def test_no_log_line_and_no_text_of_an_error_has_the_token(
    stage: TradierStage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.say("POST", ORDERS, says(401, f"Invalid Access Token {TOKEN}"), told(500, f"x {TOKEN}"), hangs_up)
    session = stage.session()
    for _ in range(2):
        answer = await session.send("POST", _PATH, within(), priority=Priority.ENTRY, form=_FORM)
        assert TOKEN not in repr(answer)
    with pytest.raises(OutcomeUnknown) as caught:
        await post(session)
    printed = "".join(capsys.readouterr())
    assert "tradier_refused" in printed
    assert TOKEN not in printed + str(caught.value) + repr(session.wire.keys)
