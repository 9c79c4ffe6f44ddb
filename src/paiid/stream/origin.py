"""Whether a page may open a stream here: browsers let any page open a WebSocket anywhere (contract A7)."""

from collections.abc import Sequence

from paiid.core.origins import Origins
from paiid.domain.errors import Code, Problem

_DEFAULT_PORTS = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}


def check_origin(headers: Sequence[tuple[bytes, bytes]], origins: Origins) -> None:
    """Programs send no `Origin`. A page's must be that of this very address, or one of ALLOW_ORIGIN; `null` is nobody's.
    Raises Problem (403)."""
    found = [value for name, value in headers if name == b"origin"]
    if not found:
        return
    hosts = [value for name, value in headers if name == b"host"]
    if len(found) == 1 and (origins.allows(found[0]) or _is_own(found[0], hosts)):
        return
    raise Problem(
        Code.FORBIDDEN,
        "Pages of this origin may not open a stream here; the operator lists them in ALLOW_ORIGIN.",
    )


def _is_own(origin: bytes, hosts: Sequence[bytes]) -> bool:
    """The scheme is not compared: behind a proxy that ends TLS we are spoken to in the clear."""
    if len(hosts) != 1:
        return False
    scheme, separator, host = origin.decode("latin-1").lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if not separator or port is None or not host:
        return False
    return host.removesuffix(port) == hosts[0].decode("latin-1").lower().removesuffix(port)
