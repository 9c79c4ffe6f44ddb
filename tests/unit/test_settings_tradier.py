"""Which of Tradier's environments a token belongs to decides what it may do; a live account is never a default."""

import pytest

from paiid.core.settings import SettingsError, describe, load_settings

TOKEN = {"TRADIER_API_KEY": "test-token-of-tradier"}
SANDBOX = {**TOKEN, "TRADIER_API_BASE_URL": "https://sandbox.tradier.com/v1"}
SIMULATED = {**TOKEN, "TRADIER_API_BASE_URL": "http://127.0.0.1:8791/v1"}
ALPACA = {"ALPACA_PAPER_API_KEY": "PKTEST", "ALPACA_PAPER_SECRET_KEY": "test-secret"}
KEY = "a test key that has more than thirty-two bytes"
LIVE = {**TOKEN, "LIVE_TRADING": "true", "JWT_SECRET_KEY": KEY}


@pytest.mark.parametrize(
    ("environ", "environment", "broker", "market_data", "trades"),
    [
        ({}, "live", "paper", "simulated", False),
        (TOKEN, "live", "paper", "tradier", False),
        (SANDBOX, "sandbox", "tradier", "tradier", True),
        (SIMULATED, "simulated", "tradier", "tradier", True),
        ({**SANDBOX, **ALPACA}, "sandbox", "alpaca", "alpaca", True),
        ({**TOKEN, **ALPACA}, "live", "alpaca", "tradier", False),
        ({**SIMULATED, "TESTING": "true"}, "simulated", "paper", "simulated", False),
        (LIVE, "live", "paper", "tradier", True),
        ({**LIVE, "BROKER": "tradier"}, "live", "tradier", "tradier", True),
        ({**SANDBOX, "BROKER": "paper", "MARKET_DATA": "simulated"}, "sandbox", "paper", "simulated", True),
    ],
)
def test_what_a_token_may_do_follows_from_the_environment_it_belongs_to(
    environ: dict[str, str], environment: str, broker: str, market_data: str, trades: bool
) -> None:
    settings = load_settings(environ)
    assert settings.tradier_environment == environment
    assert (settings.broker, settings.market_data, settings.trades_at_tradier) == (
        broker,
        market_data,
        trades,
    )


@pytest.mark.parametrize(
    ("environ", "first"),
    [
        ({}, ()),
        (TOKEN, ("tradier",)),
        ({**TOKEN, **ALPACA}, ("tradier", "alpaca")),
        ({**SANDBOX, **ALPACA}, ("alpaca", "tradier")),
        ({**SANDBOX, **ALPACA, "MARKET_DATA": "tradier"}, ("tradier", "alpaca")),
        ({**TOKEN, **ALPACA, "MARKET_DATA": "alpaca"}, ("alpaca", "tradier")),
        ({**TOKEN, **ALPACA, "TESTING": "true"}, ()),
    ],
)
def test_the_one_that_is_named_comes_first_and_late_quotes_come_last(
    environ: dict[str, str], first: tuple[str, ...]
) -> None:
    assert load_settings(environ).providers == first


@pytest.mark.parametrize(
    ("given", "api", "stream"),
    [
        ("http://127.0.0.1:8791", "http://127.0.0.1:8791/v1", "ws://127.0.0.1:8791/v1"),
        ("http://localhost:9/v1/", "http://localhost:9/v1", "ws://localhost:9/v1"),
        (
            "https://sandbox.tradier.com/v1",
            "https://sandbox.tradier.com/v1",
            "wss://sandbox-ws.tradier.com/v1",
        ),
        ("https://api.tradier.com/v1", "https://api.tradier.com/v1", "wss://ws.tradier.com/v1"),
    ],
)
def test_the_streams_are_where_the_environment_has_them(given: str, api: str, stream: str) -> None:
    settings = load_settings({"TRADIER_API_BASE_URL": given})
    assert (settings.tradier_api_base_url, settings.tradier_stream_url) == (api, stream)


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"BROKER": "tradier"}, "BROKER"),
        ({"BROKER": "tradier", **TOKEN}, "BROKER"),
        ({"BROKER": "tradier", **SIMULATED, "TESTING": "true"}, "BROKER"),
        ({"MARKET_DATA": "tradier"}, "MARKET_DATA"),
        ({"MARKET_DATA": "tradier", **TOKEN, "TESTING": "true"}, "MARKET_DATA"),
        ({"TRADIER_ACCOUNT_ID": "VA00000001"}, "TRADIER_API_KEY"),
        ({**TOKEN, "TRADIER_ACCOUNT_ID": "VA 1"}, "TRADIER_ACCOUNT_ID"),
        ({**LIVE, "TRADIER_API_BASE_URL": "http://127.0.0.1:8791/v1"}, "TRADIER_API_BASE_URL"),
        ({**TOKEN, "TRADIER_API_BASE_URL": "http://sandbox.tradier.com/v1"}, "TRADIER_API_BASE_URL"),
        ({**TOKEN, "TRADIER_API_BASE_URL": "https://sandbox.tradier.com/v2/x"}, "TRADIER_API_BASE_URL"),
        ({**SIMULATED, "TRADIER_STREAM_URL": "wss://ws.tradier.com/v1"}, "TRADIER_STREAM_URL"),
        ({**TOKEN, "TRADIER_STREAM_URL": "ws://127.0.0.1:8791/v1"}, "TRADIER_STREAM_URL"),
        ({"TRADIER_API_KEY": "two words"}, "TRADIER_API_KEY"),
    ],
)
def test_a_token_in_the_wrong_place_stops_the_start(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    assert any(line.startswith(f"{variable}: ") for line in caught.value.problems), caught.value.problems


def test_the_token_is_never_shown() -> None:
    settings = load_settings(SANDBOX)
    assert TOKEN["TRADIER_API_KEY"] not in repr(settings) + str(describe(settings))
