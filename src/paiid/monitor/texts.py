"""What may be kept of a payload that anybody who can open an issue has a word in: short, visible, of the kind expected."""

import re
from typing import Any

import msgspec

from paiid.core.instants import parse_instant

_MOST_RAW = 256 * 1024
"""Bytes of a single value that is looked at; a title has fewer."""
_URL = re.compile(
    r"https?://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?(?:/[!#-;=?-\[\]_a-z~]*)?"
)
_WORD = re.compile(r"[a-z][a-z_]{0,31}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
MAX_URL = 500
MAX_TITLE = 200
MAX_NAME = 100
_JOINER = "\u200d"
"""Holds an emoji of several together."""
_EARLIEST_S = 1_000_000_000
_LATEST_S = 1 << 34


def value_of(raw: msgspec.Raw) -> Any:
    """A scalar, or None for anything else, too long or unreadable."""
    if len(raw) > _MOST_RAW:
        return None
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, (str, int, float, bool)) else None


def text_of(raw: msgspec.Raw, most: int = MAX_TITLE) -> str | None:
    """A text in one line without what cannot be seen (controls, marks that turn the direction), cut to `most`
    characters; None where nothing is left or it is none."""
    found = value_of(raw)
    if not isinstance(found, str):
        return None
    seen = "".join([c if c.isprintable() or c == _JOINER else " " for c in found[: 4 * most]])
    words = " ".join(seen.split())
    return (words if len(words) <= most else words[: most - 1] + "…") or None


def url_of(raw: msgspec.Raw) -> str | None:
    """A plain web address: http or https, a host, no user and no password in it; else None."""
    found = value_of(raw)
    return found if isinstance(found, str) and len(found) <= MAX_URL and _URL.fullmatch(found) else None


def word_of(raw: msgspec.Raw) -> str | None:
    """A word of GitHub's own, as `opened` or `in_progress`."""
    found = value_of(raw)
    return found if isinstance(found, str) and _WORD.fullmatch(found) else None


def repository_of(raw: msgspec.Raw) -> str | None:
    """`owner/name`."""
    found = value_of(raw)
    return found if isinstance(found, str) and _REPOSITORY.fullmatch(found) else None


def sha_of(raw: msgspec.Raw) -> str | None:
    """The id of a commit."""
    found = value_of(raw)
    return found if isinstance(found, str) and _SHA.fullmatch(found) else None


def number_of(raw: msgspec.Raw) -> int | None:
    """A whole number that a column can hold."""
    found = value_of(raw)
    whole = isinstance(found, int) and not isinstance(found, bool) and 0 < found < 1 << 53
    return found if whole else None


def flag_of(raw: msgspec.Raw) -> bool:
    """True only for true."""
    return value_of(raw) is True


def instant_of(raw: msgspec.Raw) -> int | None:
    """Microseconds since the epoch, of RFC 3339 or of whole seconds; None for none, and for years that cannot be meant."""
    found = value_of(raw)
    if isinstance(found, str):
        at_us = parse_instant(found)
    elif isinstance(found, int) and not isinstance(found, bool) and 0 < found < _LATEST_S:
        at_us = found * 1_000_000
    else:
        at_us = None
    return at_us if at_us is not None and _EARLIEST_S <= at_us // 1_000_000 < _LATEST_S else None
