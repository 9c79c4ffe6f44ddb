"""What is wrong only when variables are seen together: one line each, with how to mend it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from paiid.core import variables as var
from paiid.domain.dividend_table import parse_dividends
from paiid.domain.rate_curve import TableError, parse_rate_curve

if TYPE_CHECKING:
    from paiid.core.settings import Settings

KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Bytes that each algorithm's key needs at least."""
_LIVE_TOKEN = 32
_PASSWORD = (8, 128)
_MOST_TABLE_BYTES = 4 * 1024 * 1024
_MOST_TABLE_PROBLEMS = 10


def contradictions(s: "Settings") -> list[tuple[str, str, str]]:
    """(variable, what is wrong, how to mend it) of what only shows when variables are seen together."""
    found = [
        *_about_keys(s),
        *_about_alpaca(s),
        *_about_tradier(s),
        *_about_market_data(s),
        *_about_pricing(s),
    ]
    if s.live_trading and s.testing:
        found.append(("TESTING", "is true together with LIVE_TRADING", "set one of them to false"))
    if s.live_trading and "*" in s.allow_origin:
        found.append(("ALLOW_ORIGIN", "is * together with LIVE_TRADING", "list the exact origins"))
    if s.live_trading and s.api_token is not None and len(s.api_token) < _LIVE_TOKEN:
        what = f"is shorter than {_LIVE_TOKEN} characters with LIVE_TRADING"
        found.append(("API_TOKEN", what, "use a longer random text"))
    if s.owner_password is not None and not _PASSWORD[0] <= len(s.owner_password) <= _PASSWORD[1]:
        found.append(("OWNER_PASSWORD", "is not 8 to 128 characters long", "choose another"))
    return found


def _about_keys(s: "Settings") -> list[tuple[str, str, str]]:
    found = []
    least = KEY_BYTES[s.jwt_algorithm]
    for name, key in (
        ("JWT_SECRET_KEY", s.jwt_secret_key),
        ("JWT_SECRET_KEY_PREVIOUS", s.jwt_secret_key_previous),
    ):
        if key is not None and len(key.encode()) < least:
            what = f"is shorter than the {least} bytes that {s.jwt_algorithm} needs"
            found.append((name, what, "use a longer random text"))
    if s.jwt_secret_key is None and s.on_postgres:
        what = "is not set, but DATABASE_URL is PostgreSQL"
        found.append(("JWT_SECRET_KEY", what, "set the same random text on every replica"))
    elif s.jwt_secret_key is None and s.live_trading:
        what = "is not set, but LIVE_TRADING is true"
        found.append(("JWT_SECRET_KEY", what, f"set a random text of {least} bytes or more"))
    if s.jwt_secret_key is not None and s.jwt_secret_key == s.jwt_secret_key_previous:
        what = "is the same as JWT_SECRET_KEY"
        found.append(("JWT_SECRET_KEY_PREVIOUS", what, "leave it out until the key changes"))
    return found


def _about_alpaca(s: "Settings") -> list[tuple[str, str, str]]:
    found = []
    for kind, key, secret in (
        ("PAPER", s.alpaca_paper_api_key, s.alpaca_paper_secret_key),
        ("LIVE", s.alpaca_live_api_key, s.alpaca_live_secret_key),
    ):
        if (key is None) != (secret is None):
            missing, there = ("API_KEY", "SECRET_KEY") if key is None else ("SECRET_KEY", "API_KEY")
            found.append(
                (f"ALPACA_{kind}_{missing}", f"is not set, but ALPACA_{kind}_{there} is", "set both")
            )
    if s.broker == "alpaca" and s.testing:
        found.append(("BROKER", "is alpaca together with TESTING", "leave it out, or set TESTING to false"))
    elif s.broker == "alpaca" and s.alpaca_paper_api_key is None and not s.trades_live_at_alpaca:
        found.append(
            ("BROKER", "is alpaca, but there are no keys", "set ALPACA_PAPER_API_KEY and its secret")
        )
    if s.live_trading:
        for name, url in (
            ("ALPACA_API_BASE_URL", s.alpaca_api_base_url),
            ("ALPACA_STREAM_URL", s.alpaca_stream_url),
            ("ALPACA_DATA_BASE_URL", s.alpaca_data_base_url),
        ):
            if var.on_loopback(url):
                found.append((name, "is on loopback together with LIVE_TRADING", "leave it out"))
    return found


def _about_tradier(s: "Settings") -> list[tuple[str, str, str]]:
    found = []
    if s.broker == "tradier" and s.testing:
        found.append(("BROKER", "is tradier together with TESTING", "leave it out, or set TESTING to false"))
    elif s.broker == "tradier" and s.tradier_api_key is None:
        found.append(("BROKER", "is tradier, but there is no token", "set TRADIER_API_KEY"))
    elif s.broker == "tradier" and not s.trades_at_tradier:
        found.append(
            (
                "BROKER",
                "is tradier with the live host, but LIVE_TRADING is false",
                "set TRADIER_API_BASE_URL to https://sandbox.tradier.com/v1, or LIVE_TRADING to true",
            )
        )
    if s.tradier_api_key is None and s.tradier_account_id is not None:
        found.append(("TRADIER_API_KEY", "is not set, but TRADIER_ACCOUNT_ID is", "set both, or neither"))
    if s.live_trading:
        for name, url in (
            ("TRADIER_API_BASE_URL", s.tradier_api_base_url),
            ("TRADIER_STREAM_URL", s.tradier_stream_url),
        ):
            if var.on_loopback(url):
                found.append((name, "is on loopback together with LIVE_TRADING", "leave it out"))
    on_loopback = [var.on_loopback(url) for url in (s.tradier_api_base_url, s.tradier_stream_url)]
    if on_loopback[0] != on_loopback[1]:
        what = "is on loopback, but TRADIER_API_BASE_URL is not" if on_loopback[1] else "is not on loopback"
        found.append(("TRADIER_STREAM_URL", what, "leave it out: it follows TRADIER_API_BASE_URL"))
    return found


def _about_market_data(s: "Settings") -> list[tuple[str, str, str]]:
    found = []
    if s.market_data == "tradier" and not s.asks_tradier:
        what = "is tradier together with TESTING" if s.testing else "is tradier, but there is no token"
        mend = "leave it out, or set TESTING to false" if s.testing else "set TRADIER_API_KEY"
        found.append(("MARKET_DATA", what, mend))
    if s.market_data == "alpaca" and s.testing:
        found.append(
            ("MARKET_DATA", "is alpaca together with TESTING", "leave it out, or set TESTING to false")
        )
    elif s.market_data == "alpaca" and not s.trades_at_alpaca:
        found.append(
            ("MARKET_DATA", "is alpaca, but there are no keys", "set ALPACA_PAPER_API_KEY and its secret")
        )
    if s.market_data == "replay" and s.replay_file is None:
        found.append(
            ("REPLAY_FILE", "is not set, but MARKET_DATA is replay", "name a file of recorded quotes")
        )
    elif s.market_data == "replay" and s.replay_file is not None and not _are_files(s.replay_file):
        found.append(("REPLAY_FILE", "is no file", "name a file of recorded quotes"))
    if s.testing and s.redis_url is not None and not var.on_loopback(s.redis_url):
        found.append(("REDIS_URL", "is not on loopback together with TESTING", "set TESTING to false"))
    return found


def _about_pricing(s: "Settings") -> list[tuple[str, str, str]]:
    return [
        *_about_table("RATE_CURVE_FILE", s.rate_curve_file, parse_rate_curve, "days,percent"),
        *_about_table("DIVIDENDS_FILE", s.dividends_file, parse_dividends, "symbol,ex_date,amount"),
    ]


def _about_table(
    name: str, path: Path | None, parse: Callable[[str], object], columns: str
) -> list[tuple[str, str, str]]:
    """One line for each problem of a file, the first ten; none of them has the file's text."""
    mend = f"name a CSV file with the columns {columns}"
    if path is None:
        return []
    if not path.is_file():
        return [(name, "is no file", mend)]
    try:
        if path.stat().st_size > _MOST_TABLE_BYTES:
            return [(name, f"is larger than {_MOST_TABLE_BYTES} bytes", "shorten it")]
        parse(path.read_text(encoding="utf-8"))
    except TableError as bad:
        return [(name, problem, "mend the file") for problem in bad.problems[:_MOST_TABLE_PROBLEMS]]
    except (OSError, UnicodeDecodeError):
        return [(name, "cannot be read as UTF-8 text", mend)]
    return []


def _are_files(named: Path) -> bool:
    """One file, or several with commas between them."""
    return _is_file(named) or all(_is_file(Path(one.strip())) for one in str(named).split(","))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # Many names in one are longer than a name may be.
        return False
