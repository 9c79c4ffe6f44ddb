"""The header If-Match as this service takes it: the version of what is to be changed, as the caller has seen it."""

import re
from collections.abc import Sequence

from paiid.domain.errors import Code, Problem

_VERSION = re.compile(r'"?([0-9]{1,18})"?\Z', re.ASCII)


def seen_version(headers: Sequence[str]) -> int | None:
    """The version that must still stand, bare or in double quotes; None without the header or for `*`.

    Raises Problem (400) for anything else, and for two headers.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise Problem(Code.INVALID_REQUEST, "The header If-Match is there twice; send one.")
    text = headers[0].strip()
    if text == "*":
        return None
    found = _VERSION.match(text)
    if found is None or text.startswith('"') != text.endswith('"'):
        raise Problem(Code.INVALID_REQUEST, 'If-Match is the version that you have seen, such as "3".')
    return int(found[1])


def require_version(seen: int | None, version: int, what: str) -> None:
    """Raises Problem (412) where the caller has seen another version; None: he does not mind."""
    if seen is not None and seen != version:
        raise Problem(
            Code.PRECONDITION_FAILED,
            f"The {what} has changed since: you have seen version {seen}, it is {version} now. Look again.",
            extra={"version": version},
        )


def etag(version: int) -> dict[str, str]:
    """The header that a change can name in If-Match."""
    return {"ETag": f'"{version}"'}
