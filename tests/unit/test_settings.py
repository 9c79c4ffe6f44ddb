"""Settings: every contradiction stops the start with one line that says what and how to mend it."""

import pytest

from paiid.core.settings import Settings, SettingsError, describe, load_settings, mask_url

KEY = "test-key-" * 8


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
        ({"MARKET_DATA": "tradier"}, ["MARKET_DATA"]),
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
        "DATABASE_URL": "postgresql://user:hunter22@db.example/paiid",
    }
    settings = load_settings(secrets)
    shown = repr(settings) + str(describe(settings))
    for value in (*list(secrets.values())[:4], "hunter22"):
        assert value not in shown
    assert mask_url(secrets["DATABASE_URL"]) == "postgresql://db.example/paiid"


def test_a_wrong_secret_is_not_repeated_in_its_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"JWT_SECRET_KEY": "hunter22", "OWNER_PASSWORD": "hush"})
    assert "hunter22" not in str(caught.value)
    assert "hush" not in str(caught.value)
