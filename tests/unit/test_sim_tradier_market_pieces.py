"""Single pieces of the simulated Tradier's market data: names, sizes, sessions, payloads, dates and greeks."""

from datetime import date
from decimal import Decimal

import pytest

from paiid.domain.occ import OptionContract
from paiid.domain.quotes import Quote
from paiid.feeds.simulated.options import Model
from paiid.sim.tradier.gate import TradierError
from paiid.sim.tradier.markets.asked import choice_of, day_of, flag_of, minute_us_of, texts_of
from paiid.sim.tradier.markets.events import EVENTS, Summary, quote_tick, summary_tick
from paiid.sim.tradier.markets.greeks import greeks_body
from paiid.sim.tradier.markets.late import LateClock
from paiid.sim.tradier.markets.looks import Look, Looks
from paiid.sim.tradier.markets.names import (
    contract_name,
    expiration_type,
    find_symbol,
    lots,
    root_of,
    security_type,
    wire_symbol,
)
from paiid.sim.tradier.markets.sessions import Sessions
from paiid.sim.tradier.markets.wanted import BadPayload, Wanted, payload_of_json, payload_of_params
from tests.fake_clock import FakeClock

CALL = OptionContract.of("SPY", "call", Decimal(700), date(2026, 12, 18))


def quote(bid: str = "99.00", ask: str = "101.00", sequence: int = 1, as_of_us: int = 1_000_000) -> Quote:
    size = Decimal(400)
    return Quote(
        "AAPL", Decimal(bid), Decimal(ask), size, size, Decimal(bid), Decimal(98), as_of_us, sequence, "hand"
    )


def test_class_shares_have_a_slash_on_the_wire_and_a_dot_at_home() -> None:
    assert wire_symbol("BRK.B") == "BRK/B"
    assert find_symbol("brk/b") == "BRK.B"
    assert find_symbol(" SPY261218C00700000 ") == "SPY261218C00700000"
    for text in (
        "BRK.B",
        "BRK-B",
        "SPY   261218C00700000",
        "1234",
        "",
        "A" * 50,
        "ÄPL",
        "SPY261318C00700000",
    ):
        assert find_symbol(text) is None, text


def test_contracts_are_named_as_people_read_them() -> None:
    assert contract_name(CALL) == "SPY Dec 18 2026 $700.00 Call"
    assert contract_name(OptionContract.of("BRK.B", "put", Decimal("502.5"), date(2026, 1, 2))) == (
        "BRK/B Jan 2 2026 $502.50 Put"
    )
    assert (root_of("BRK.B"), root_of("SPY"), root_of(CALL.symbol)) == ("BRKB", "SPY", "SPY")
    assert (security_type("SPY"), security_type("AAPL"), security_type(CALL.symbol)) == (
        "etf",
        "stock",
        "option",
    )


def test_third_fridays_are_standard_also_where_the_exchange_is_closed_on_them() -> None:
    standard = (
        date(2026, 12, 18),
        date(2027, 6, 17),
        date(2025, 4, 17),
        date(2027, 1, 15),
        date(2027, 5, 21),
    )
    weekly = (date(2026, 12, 24), date(2026, 12, 11), date(2026, 8, 14), date(2027, 1, 22))
    assert [expiration_type(day) for day in standard] == ["standard"] * 5
    assert [expiration_type(day) for day in weekly] == ["weeklys"] * 4


def test_sizes_of_shares_are_round_lots_and_those_of_contracts_are_contracts() -> None:
    told = [lots("AAPL", Decimal(size)) for size in (0, 1, 199, 200)]
    assert told == [0, 1, 1, 2]
    assert lots(CALL.symbol, Decimal(199)) == 199


def test_parameters_are_read_in_their_forms() -> None:
    assert texts_of({"a": " SPY,,BRK/B, SPY "}, "a") == ["SPY", "BRK/B"]
    assert (flag_of({}, "a"), flag_of({"a": "TRUE"}, "a"), flag_of({"a": "false"}, "a", default=True)) == (
        False, True, False
    )  # fmt: skip
    assert (choice_of({}, "a", ("x", "y")), choice_of({"a": "Y"}, "a", ("x", "y"))) == ("x", "y")
    assert (day_of({}, "a"), day_of({"a": "2026-10-09"}, "a")) == (None, date(2026, 10, 9))
    # New York is four hours behind in summer, five in winter.
    assert minute_us_of({"a": "2026-10-09 09:30"}, "a") == 1_791_552_600_000_000
    assert minute_us_of({"a": "2026-12-09"}, "a") == 1_796_792_400_000_000
    for wrong in ("2026-10-09 9:3x", "2026-13-01", "20261009", "٢٠٢٦-10-09"):
        with pytest.raises(TradierError) as refused:
            minute_us_of({"a": wrong}, "a")
        assert refused.value.text == "Invalid parameter, a: is not valid."


def test_a_session_is_good_for_so_long_and_for_its_user_only() -> None:
    clock = FakeClock()
    sessions = Sessions(clock)
    first, second = sessions.create("VA1", 300), sessions.create("VA2", 300)
    assert (sessions.find(first), sessions.find(second), sessions.find("")) == ("VA1", "VA2", None)
    clock.advance(299)
    assert sessions.find(first) == "VA1"
    clock.advance(1)
    assert sessions.find(first) is None
    third = sessions.create("VA2", 300)
    sessions.forget("VA1")
    assert sessions.find(third) == "VA2"
    sessions.forget("VA2")
    assert sessions.find(third) is None


def test_a_payload_without_a_filter_wants_all_events() -> None:
    payload = payload_of_json('{"symbols":["SPY"],"sessionid":"s"}')
    assert payload == payload_of_params({"symbols": "SPY", "sessionid": "s"})
    assert (payload.events, payload.linebreak) == (frozenset(EVENTS), False)
    some = payload_of_json(
        '{"symbols":["SPY"],"sessionid":"s","filter":["quote"],"linebreak":true,"validOnly":true,"advancedDetails":false}'
    )
    assert some == payload_of_params(
        {"symbols": "SPY", "sessionid": "s", "filter": "quote", "linebreak": "true", "validOnly": "true"}
    )
    wanted, unknown = Wanted.of(some, lambda symbol: symbol == "SPY")
    assert unknown == []
    assert wanted.wants("quote", "SPY")
    assert not wanted.wants("trade", "SPY")
    assert not wanted.wants("quote", "QQQ")


@pytest.mark.parametrize(
    "said", ["", "7", "null", '{"symbols":[""]}', '{"symbols":["A",null]}', '{"symbols":["A"],"filter":[[]]}']
)
def test_nonsense_is_no_payload(said: str) -> None:
    with pytest.raises(BadPayload):
        payload_of_json(said)


def test_more_symbols_than_a_payload_may_name_are_refused() -> None:
    with pytest.raises(BadPayload, match="more than 10000"):
        payload_of_params({"symbols": ",".join(f"A{n}" for n in range(10_001))})


def test_a_quote_seen_to_change_within_a_tick_gets_a_later_date() -> None:
    shown = {"AAPL": quote(as_of_us=5_000_000)}
    clock = FakeClock(5_000_100)

    class Shown:
        def newest(self, symbol: str) -> Quote | None:
            return shown.get(symbol)

    looks = Looks(Shown(), clock)
    first = looks.look("AAPL")
    assert looks.look("AAPL") is first
    assert looks.look("MSFT") is None
    shown["AAPL"] = quote("98.00", sequence=2, as_of_us=5_000_000)
    second = looks.look("AAPL")
    assert first is not None
    assert second is not None
    assert (first.at_ms, second.at_ms) == (5000, 5001)


def test_what_is_not_known_of_a_day_is_not_told() -> None:
    told = summary_tick("BRK.B", Summary(None, Decimal("101"), None, Decimal("99.50")))
    assert told.encoded() == b'{"type":"summary","symbol":"BRK/B","high":"101.0","prevClose":"99.5"}'


def test_a_quote_is_written_with_numbers_and_its_dates_as_texts() -> None:
    assert quote_tick(Look(quote(), 1_791_558_000_000_999)).encoded() == (
        b'{"type":"quote","symbol":"AAPL","bid":99.0,"bidsz":4,"bidexch":"Q","biddate":"1791558000000",'
        b'"ask":101.0,"asksz":4,"askexch":"P","askdate":"1791558000000"}'
    )


def test_greeks_of_a_call_and_a_put_belong_together() -> None:
    put = OptionContract.of("SPY", "put", Decimal(700), date(2026, 12, 18))
    model = Model(spot=700.0, years=0.25, volatility=0.2)
    # Black and Scholes at the money without interest: 27.90, as N(0.05) - N(-0.05) is 0.03988.
    told = [greeks_body(one, model, Decimal("27.90"), Decimal("28.90")) for one in (CALL, put)]
    call_greeks, put_greeks = told
    assert call_greeks is not None
    assert put_greeks is not None
    assert call_greeks["delta"] - put_greeks["delta"] == pytest.approx(1, abs=2e-6)
    for name in ("gamma", "vega", "theta", "bid_iv", "ask_iv"):
        assert call_greeks[name] == put_greeks[name]
    assert call_greeks["delta"] == pytest.approx(0.519939, abs=1e-6)
    assert call_greeks["vega"] == pytest.approx(1.394553, abs=1e-5)
    assert call_greeks["bid_iv"] == pytest.approx(0.2, abs=2e-4)
    assert call_greeks["ask_iv"] == pytest.approx(0.2 + 0.01 / 1.394553, abs=2e-4)
    assert greeks_body(CALL, Model(700.0, 0.0, 0.2), Decimal(1), Decimal(2)) is None


def test_a_price_below_what_exercising_is_worth_implies_no_volatility() -> None:
    told = greeks_body(
        CALL, Model(spot=800.0, years=0.25, volatility=0.2), Decimal("99.00"), Decimal("101.50")
    )
    assert told is not None
    assert told["bid_iv"] == 0.0
    assert told["ask_iv"] > 0


async def test_a_late_clock_is_late_and_waits_as_the_other_does() -> None:
    clock = FakeClock(2_000_000_000)
    late = LateClock(clock, 900.0)
    assert late.now_us() == 1_100_000_000
    await late.sleep(1)
    assert (late.now_us(), late.monotonic_s()) == (1_101_000_000, clock.monotonic_s())
