"""How each kind of environment variable is read: a text in, a value out, or a ValueError that says what is wrong.

A ValueError from here is shown to people, so none ever repeats the text: it may be a secret in the wrong place.
"""

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from paiid.core.db.connect import is_postgres, sqlite_path

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
    if not re.fullmatch(r"[\x21-\x7e]{1,512}", text):
        raise ValueError("has characters that no header can carry, or more than 512 of them")
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


def account_id(text: str) -> str:
    """The id of an account."""
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", text):
        raise ValueError("is not an account's id")
    return text
