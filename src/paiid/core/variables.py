"""How each kind of environment variable is read: a text in, a value out, or a ValueError that says what is wrong.

A ValueError from here is shown to people, so none ever repeats the text: it may be a secret in the wrong place.
"""

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from paiid.core.db.connect import is_postgres, sqlite_path
from paiid.domain.dividend_table import parse_yields

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_DEFAULT_PORT = {"http": "80", "https": "443"}


def boolean(text: str) -> bool:
    """true, 1, yes, on or their opposites, in any case."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def integer(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII):
            raise ValueError("is not a whole number")
        if not least <= int(text) <= most:
            raise ValueError(f"is not between {least} and {most}")
        return int(text)

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """A plain number within bounds."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,9})?", text) or not least <= float(text) <= most:
            raise ValueError(f"is not a number from {least:g} to {most:g}")
        return float(text)

    return parse


def one_of(*choices: str, upper: bool = False) -> Callable[[str], str]:
    """One of a few words, in any case."""

    def parse(text: str) -> str:
        value = text.upper() if upper else text.lower()
        if value not in choices:
            raise ValueError("is not one of " + ", ".join(choices))
        return value

    return parse


def origins(text: str) -> tuple[str, ...]:
    """Exact origins as browsers send them: scheme, host, and the port where it is not the scheme's own."""
    found = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for origin in found:
        if origin == "*":
            continue
        parts = _ORIGIN.fullmatch(origin)
        if parts is None:
            raise ValueError("has an entry that is not an exact origin")
        scheme, _, port = parts.groups()
        if port is not None and (port == _DEFAULT_PORT[scheme] or not 0 < int(port) < 65536):
            raise ValueError("has an entry with a port that no browser sends")
    if "*" in found and len(found) > 1:
        raise ValueError("has * beside exact origins")
    return tuple(dict.fromkeys(found))


def database_url(text: str) -> str:
    """A SQLite file or a PostgreSQL database."""
    if is_postgres(text):
        _check_postgres(text)
        return text
    path = sqlite_path(text)
    if path.name == ":memory:" or "?" in text:
        raise ValueError("names no SQLite file")
    return text


def _check_postgres(text: str) -> None:
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = 0, None
    # An unescaped / ? or # in a password ends the host early and would show the rest of it everywhere.
    if port == 0 or "@" in _after_host(text) or re.search(r"\s", text):
        raise ValueError("cannot be read; a password needs % escapes for / ? # @ and blanks")
    if not host and "host=" not in text:
        raise ValueError("names no host")


def _after_host(url: str) -> str:
    """What follows the host of a URL: path, query and fragment, without the value of any parameter."""
    rest = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)
    return re.sub(r"=[^&#]*", "=", rest[1]) if len(rest) == 2 else ""


def host(text: str) -> str:
    """An address to listen on."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,255}", text):
        raise ValueError("is not an address")
    return text


def header_secret(text: str) -> str:
    """A secret that has to fit into a header."""
    if not re.fullmatch(r"[\x21-\x7e]{1,256}", text):
        raise ValueError("has characters that no header can carry, or more than 256 of them")
    return text


def email(text: str) -> str:
    """An address with one @, in lower case."""
    if not re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,190}", text):
        raise ValueError("is not an e-mail address")
    return text.lower()


def proxies(text: str) -> tuple[str, ...]:
    """Addresses and networks."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    for part in parts:
        try:
            ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise ValueError("has an entry that is neither an address nor a network") from None
    return parts


def yields(text: str) -> tuple[str, ...]:
    """Tickers with a percentage each, `SPY=1.3`, in upper case."""
    parts = tuple(part.strip().upper() for part in text.split(",") if part.strip())
    parse_yields(parts)
    return parts


def account_id(text: str) -> str:
    """The id of an account."""
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", text):
        raise ValueError("is not an account's id")
    return text


_LIVE_HOSTS = frozenset({"api.alpaca.markets"})
_LOOPBACK_NAMES = frozenset({"localhost"})


def on_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host_name = (urlsplit(url).hostname or "").lower()
    if host_name in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host_name).is_loopback
    except ValueError:
        return False


def endpoint(secure: str, plain: str) -> Callable[[str], str]:
    """A broker's URL: its secure scheme, or the plain one on loopback; no user, query or fragment. Without the slash
    and the `/v2` that people copy along."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError("is not a URL") from None
        if parts.scheme not in (secure, plain) or not parts.hostname or port == 0:
            raise ValueError(f"is not a {secure} URL")
        if parts.username is not None or parts.query or parts.fragment or re.search(r"\s", text):
            raise ValueError("has a user, a query or a fragment")
        if parts.scheme == plain and not on_loopback(text):
            raise ValueError(f"is neither {secure} nor on loopback")
        if parts.hostname.lower() in _LIVE_HOSTS:
            raise ValueError("names the live host, and these are the paper account's keys")
        return text.rstrip("/").removesuffix("/v2")

    return parse


TRADIER_SANDBOX = "sandbox.tradier.com"


def versioned_endpoint(secure: str, plain: str) -> Callable[[str], str]:
    """A URL at Tradier, with the `/v1` at its end, which people leave out."""
    parse = endpoint(secure, plain)

    def versioned(text: str) -> str:
        base = parse(text)
        if urlsplit(base).path not in ("", "/v1"):
            raise ValueError("has another path than /v1")
        return base if base.endswith("/v1") else base + "/v1"

    return versioned


def account_number(text: str) -> str:
    """The number of an account at a broker."""
    if not re.fullmatch(r"[A-Za-z0-9]{1,32}", text):
        raise ValueError("is not an account number")
    return text


_VENUE = re.compile(r"(.+?)(?:/v2/(iex|sip|delayed_sip))?")


def data_venue(url: str) -> tuple[str, str]:
    """The base of a market data URL, and which of Alpaca's data it names (`iex` where it names none)."""
    found = _VENUE.fullmatch(url)
    assert found is not None
    return found[1], found[2] or "iex"


def data_endpoint(text: str) -> str:
    """Where market data are: https, or http on loopback. Reading them from a live host trades nothing."""
    base, venue = data_venue(text.rstrip("/"))
    parsed = endpoint("https", "http")(base)
    return parsed if venue == "iex" else f"{parsed}/v2/{venue}"


def redis_url(text: str) -> str:
    """A Redis or Valkey server."""
    try:
        parts = urlsplit(text)
        port, host_name = parts.port, parts.hostname
    except ValueError:
        port, host_name = 0, None
    if parts_unreadable(port, host_name) or parts.scheme not in ("redis", "rediss") or re.search(r"\s", text):
        raise ValueError("is not a redis URL")
    if not re.fullmatch(r"/?[0-9]{0,3}", parts.path) or parts.query or parts.fragment:
        raise ValueError("has more than a database number behind the host")
    return text


def parts_unreadable(port: int | None, host_name: str | None) -> bool:
    """Whether what `urlsplit` found names no server: an unescaped / ? # or @ in a password ends the host early."""
    return port == 0 or not host_name or "@" in host_name


def _neighbour(text: str) -> None:
    """Raises ValueError for what is no plain http or https URL: no user, query or fragment."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise ValueError("is not an http or https URL")
    if parts.username is not None or parts.query or parts.fragment or re.search(r"\s", text):
        raise ValueError("has a user, a query or a fragment")


def plain_endpoint(text: str) -> str:
    """A service's URL: https, or http on loopback."""
    _neighbour(text)
    if text.startswith("http:") and not on_loopback(text):
        raise ValueError("is neither https nor on loopback")
    return text.rstrip("/")


def collector(text: str) -> str:
    """Where spans are sent. A collector is a neighbour, often without TLS: http is taken from anywhere, for no secret is in them."""
    _neighbour(text)
    return text.rstrip("/")


def dsn(text: str) -> str:
    """A Sentry DSN: https (http on loopback), a public key as its user, a project number as its path."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not a DSN") from None
    project = parts.path.rpartition("/")[2]
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise ValueError("is not a DSN")
    if not parts.username or not re.fullmatch(r"[0-9]+", project) or parts.query or parts.fragment:
        raise ValueError("has no key or no project number")
    if parts.scheme == "http" and not on_loopback(text):
        raise ValueError("is neither https nor on loopback")
    return text


def model_name(text: str) -> str:
    """The name of a model."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.:-]{1,63}", text):
        raise ValueError("is not the name of a model")
    return text


def word(text: str) -> str:
    """A short label: letters, digits and . _ - + /"""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,63}", text):
        raise ValueError("is not a label of letters and digits")
    return text


def webhook_secret(text: str) -> str:
    """A secret that nobody guesses."""
    if not 16 <= len(text) <= 256:
        raise ValueError("is not 16 to 256 characters long")
    return text
