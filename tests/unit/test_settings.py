"""Settings: every contradiction stops the start with one line that says what and how to mend it."""

import pytest

from paiid.core.settings import Settings, SettingsError, describe, load_settings, mask_url

KEY = "test-key-" * 8
PAPER_KEYS = {"ALPACA_PAPER_API_KEY": "PKTEST0001", "ALPACA_PAPER_SECRET_KEY": "test-secret-paper"}
LIVE_KEYS = {"ALPACA_LIVE_API_KEY": "AKTEST0001", "ALPACA_LIVE_SECRET_KEY": "test-secret-live"}


@pytest.mark.parametrize(
    ("environ", "variables"),
    [
        ({"PORT": "0"}, ["PORT"]),
        ({"PORT": "http"}, ["PORT"]),
        ({"LOG_LEVEL": "LOUD"}, ["LOG_LEVEL"]),
        ({"TESTING": "maybe"}, ["TESTING"]),
        ({"JWT_SECRET_KEY": "short"}, ["JWT_SECRET_KEY"]),
        ({"JWT_SECRET_KEY": "k" * 40, "JWT_ALGORITHM": "HS512"}, ["JWT_SECRET_KEY"]),
        ({"JWT_SECRET_KEY_PREVIOUS": "short"}, ["JWT_SECRET_KEY_PREVIOUS"]),
        ({"JWT_ALGORITHM": "none"}, ["JWT_ALGORITHM"]),
        ({"JWT_ALGORITHM": "RS256"}, ["JWT_ALGORITHM"]),
        ({"DATABASE_URL": "postgres://user:pw@host/db"}, ["JWT_SECRET_KEY"]),
        ({"DATABASE_URL": "mysql://host/db"}, ["DATABASE_URL"]),
        ({"DATABASE_URL": "sqlite://"}, ["DATABASE_URL"]),
        ({"LIVE_TRADING": "true"}, ["JWT_SECRET_KEY"]),
        ({"LIVE_TRADING": "true", "TESTING": "true", "JWT_SECRET_KEY": KEY}, ["TESTING"]),
        ({"LIVE_TRADING": "true", "ALLOW_ORIGIN": "*", "JWT_SECRET_KEY": KEY}, ["ALLOW_ORIGIN"]),
        ({"LIVE_TRADING": "true", "API_TOKEN": "t" * 31, "JWT_SECRET_KEY": KEY}, ["API_TOKEN"]),
        ({"ALLOW_ORIGIN": "https://a.example/path"}, ["ALLOW_ORIGIN"]),
        ({"ALLOW_ORIGIN": "a.example"}, ["ALLOW_ORIGIN"]),
        ({"ALLOW_ORIGIN": "null"}, ["ALLOW_ORIGIN"]),
        ({"OWNER_EMAIL": "nobody"}, ["OWNER_EMAIL"]),
        ({"OWNER_PASSWORD": "short"}, ["OWNER_PASSWORD"]),
        ({"TRUSTED_PROXIES": "proxy.example"}, ["TRUSTED_PROXIES"]),
        ({"IDMP_TTL_SECONDS": "-1"}, ["IDMP_TTL_SECONDS"]),
        ({"BROKER": "alpaca"}, ["BROKER"]),
        ({"BROKER": "alpaca", "TESTING": "true", **PAPER_KEYS}, ["BROKER"]),
        ({"ALPACA_PAPER_API_KEY": "PKTEST"}, ["ALPACA_PAPER_SECRET_KEY"]),
        ({"ALPACA_PAPER_SECRET_KEY": "test-secret"}, ["ALPACA_PAPER_API_KEY"]),
        ({"ALPACA_LIVE_API_KEY": "AKTEST"}, ["ALPACA_LIVE_SECRET_KEY"]),
        ({"ALPACA_API_BASE_URL": "http://paper-api.alpaca.markets"}, ["ALPACA_API_BASE_URL"]),
        ({"ALPACA_API_BASE_URL": "https://api.alpaca.markets"}, ["ALPACA_API_BASE_URL"]),
        ({"ALPACA_API_BASE_URL": "https://user:pw@paper-api.alpaca.markets"}, ["ALPACA_API_BASE_URL"]),
        ({"ALPACA_API_BASE_URL": "http://127.0.0.1.example.com"}, ["ALPACA_API_BASE_URL"]),
        ({"ALPACA_API_BASE_URL": "ftp://localhost"}, ["ALPACA_API_BASE_URL"]),
        ({"ALPACA_STREAM_URL": "ws://10.0.0.1/stream"}, ["ALPACA_STREAM_URL"]),
        ({"ALPACA_STREAM_URL": "wss://api.alpaca.markets/stream"}, ["ALPACA_STREAM_URL"]),
        (
            {"ALPACA_API_BASE_URL": "http://[::1]:8010", "LIVE_TRADING": "true", "JWT_SECRET_KEY": KEY},
            ["ALPACA_API_BASE_URL", "ALPACA_STREAM_URL", "ALPACA_DATA_BASE_URL"],
        ),
        ({"MARKET_DATA": "tradier"}, ["MARKET_DATA"]),
        ({"MARKET_DATA": "alpaca"}, ["MARKET_DATA"]),
        ({"MARKET_DATA": "alpaca", "TESTING": "true", **PAPER_KEYS}, ["MARKET_DATA"]),
        ({"MARKET_DATA": "replay"}, ["REPLAY_FILE"]),
        ({"MARKET_DATA": "replay", "REPLAY_FILE": "/no/such/file"}, ["REPLAY_FILE"]),
        ({"REPLAY_SPEED": "0"}, ["REPLAY_SPEED"]),
        ({"REPLAY_SPEED": "nan"}, ["REPLAY_SPEED"]),
        ({"REPLAY_SPEED": "1e3"}, ["REPLAY_SPEED"]),
        ({"REDIS_URL": "http://127.0.0.1:6379"}, ["REDIS_URL"]),
        ({"REDIS_URL": "redis://"}, ["REDIS_URL"]),
        ({"REDIS_URL": "redis://127.0.0.1:99999"}, ["REDIS_URL"]),
        ({"REDIS_URL": "redis://:pa/ss@127.0.0.1:6379"}, ["REDIS_URL"]),
        ({"REDIS_URL": "redis://cache.example:6379", "TESTING": "true"}, ["REDIS_URL"]),
        ({"ALPACA_DATA_BASE_URL": "http://data.alpaca.markets"}, ["ALPACA_DATA_BASE_URL"]),
        ({"SIM_SEED": "x"}, ["SIM_SEED"]),
        ({"SIM_HOURS": "sometimes"}, ["SIM_HOURS"]),
        ({"DEFAULT_ACCOUNT": "no spaces"}, ["DEFAULT_ACCOUNT"]),
        ({"PORT": "0", "SIM_SEED": "x", "LOG_LEVEL": "LOUD"}, ["PORT", "LOG_LEVEL", "SIM_SEED"]),
    ],
)
def test_a_wrong_or_contradictory_value_is_one_line_that_names_the_variable(
    environ: dict[str, str], variables: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == variables
    for line in lines:
        what, _, mend = line.partition("; ")
        assert what
        assert mend


def test_no_variable_at_all_is_a_whole_service() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert settings.database.startswith("sqlite:///")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_two_variables_are_all_that_alpaca_needs() -> None:
    settings = load_settings(PAPER_KEYS)
    assert (settings.broker, settings.trades_at_alpaca, settings.trades_live_at_alpaca) == (
        "alpaca",
        True,
        False,
    )
    assert load_settings({**PAPER_KEYS, "BROKER": "paper"}).broker == "paper"


def test_with_testing_no_keys_are_used() -> None:
    settings = load_settings({**PAPER_KEYS, "TESTING": "true"})
    assert (settings.broker, settings.trades_at_alpaca) == ("paper", False)


def test_live_keys_are_read_with_live_trading_only_and_change_no_default() -> None:
    assert not load_settings(LIVE_KEYS).trades_at_alpaca
    settings = load_settings({**LIVE_KEYS, "LIVE_TRADING": "true", "JWT_SECRET_KEY": KEY})
    assert (settings.broker, settings.trades_at_alpaca, settings.trades_live_at_alpaca) == (
        "paper",
        True,
        True,
    )


@pytest.mark.parametrize(
    ("given", "api", "stream"),
    [
        ("http://127.0.0.1:8010/", "http://127.0.0.1:8010", "ws://127.0.0.1:8010/stream"),
        (
            "https://paper-api.alpaca.markets/v2",
            "https://paper-api.alpaca.markets",
            "wss://paper-api.alpaca.markets/stream",
        ),
        ("http://localhost:9/v2/", "http://localhost:9", "ws://localhost:9/stream"),
    ],
)
def test_the_stream_follows_the_base_url_unless_it_is_named(given: str, api: str, stream: str) -> None:
    settings = load_settings({"ALPACA_API_BASE_URL": given})
    assert (settings.alpaca_api_base_url, settings.alpaca_stream_url) == (api, stream)
    named = load_settings({"ALPACA_API_BASE_URL": given, "ALPACA_STREAM_URL": "ws://127.0.0.1:7/s"})
    assert named.alpaca_stream_url == "ws://127.0.0.1:7/s"


@pytest.mark.parametrize(
    ("given", "data", "stream", "venue"),
    [
        ({}, "https://data.alpaca.markets", "wss://stream.data.alpaca.markets/v2/iex", "iex"),
        (
            {"ALPACA_DATA_BASE_URL": "https://data.alpaca.markets/v2/sip"},
            "https://data.alpaca.markets",
            "wss://stream.data.alpaca.markets/v2/sip",
            "sip",
        ),
        (
            {"ALPACA_API_BASE_URL": "http://127.0.0.1:8010/v2"},
            "http://127.0.0.1:8010",
            "ws://127.0.0.1:8010/v2/iex",
            "iex",
        ),
        (
            {"ALPACA_API_BASE_URL": "https://paper-api.alpaca.markets"},
            "https://data.alpaca.markets",
            "wss://stream.data.alpaca.markets/v2/iex",
            "iex",
        ),
    ],
)
def test_the_keys_of_a_simulator_are_never_sent_to_the_real_data_host(
    given: dict[str, str], data: str, stream: str, venue: str
) -> None:
    settings = load_settings({**PAPER_KEYS, **given})
    assert settings.market_data == "alpaca"
    assert (settings.alpaca_data_url, settings.alpaca_data_stream_url) == (data, stream)
    assert settings.alpaca_data_venue == venue


@pytest.mark.parametrize("url", ["postgres://u:pw@h/db", "postgresql://u:pw@h:5433/db?sslmode=require"])
def test_the_forms_hosts_hand_out_are_taken_as_they_are(url: str) -> None:
    settings = load_settings({"DATABASE_URL": url, "JWT_SECRET_KEY": KEY})
    assert settings.on_postgres


def test_no_secret_is_ever_shown() -> None:
    secrets = {
        "API_TOKEN": "test-token-test-token-test-token-1",
        "JWT_SECRET_KEY": KEY,
        "JWT_SECRET_KEY_PREVIOUS": KEY + "old",
        "OWNER_PASSWORD": "test password",
        **PAPER_KEYS,
        **LIVE_KEYS,
        "DATABASE_URL": "postgresql://user:hunter22@db.example/paiid",
        "REDIS_URL": "redis://user:hunter33@cache.example:6379/0",
    }
    settings = load_settings(secrets)
    shown = repr(settings) + str(describe(settings))
    for value in (*list(secrets.values())[:8], "hunter22", "hunter33"):
        assert value not in shown
    assert mask_url(secrets["DATABASE_URL"]) == "postgresql://db.example/paiid"


def test_a_wrong_secret_is_not_repeated_in_its_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"JWT_SECRET_KEY": "hunter22", "OWNER_PASSWORD": "hush"})
    assert "hunter22" not in str(caught.value)
    assert "hush" not in str(caught.value)
