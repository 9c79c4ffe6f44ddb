"""What an address asks for: the channels of each stream, and the parameters a client may give in the query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from paiid.domain.errors import Code, FieldError, Problem, invalid_field
from paiid.domain.identity import Principal
from paiid.stream.events import Place
from paiid.stream.limits import SYMBOLS_A_SOCKET
from paiid.stream.messages import BadMessage
from paiid.stream.wishes import Wish, quotes_of, read_channel

_MOST_ERRORS = 20
_MOST_FIELDS = 32

CHANNELS: Mapping[str, tuple[str, ...]] = {
    "/api/ws": (),
    "/api/stream/prices": ("quotes",),
    "/api/stream/orders": ("account",),
    "/api/stream/positions": ("account", "portfolio"),
    "/api/stream/portfolio": ("portfolio",),
    "/api/stream/market-indices": ("indices",),
}
"""Kinds of channels that are subscribed at once, by path; WebSockets have all of them, event streams the most of them."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What the address says. `batch`: one WebSocket message may hold several, as a JSON array."""

    kinds: tuple[str, ...]
    symbols: tuple[str, ...]
    account: str | None
    batch: bool

    @property
    def is_about_account(self) -> bool:
        """Whether it is one account's."""
        return "account" in self.kinds or "portfolio" in self.kinds

    def wishes(
        self, principal: Principal, indices: Sequence[tuple[str, str]], since: Place | None = None
    ) -> dict[Wish, Place | None]:
        """The channels, each with the place to go on from. One stream of events has one place: the account's where there is an
        account, else any symbol's, of which only the epoch counts, for of quotes one gets the newest."""
        found: dict[Wish, Place | None] = {}
        quotes_since = None if since is None else Place(since.epoch, 0)
        for kind in self.kinds:
            if kind == "indices":
                found.update({Wish("quotes", symbol): quotes_since for _, symbol in indices})
            elif kind == "quotes":
                found.update({Wish("quotes", symbol): quotes_since for symbol in self.symbols})
            else:
                found[read_channel(kind, self.account, principal)] = since if kind == "account" else None
        return found


def read_opening(path: str, query: bytes) -> Opening:
    """Raises Problem (400, 422) for a query that cannot be carried out. Fields we do not know are not looked at."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise Problem(Code.INVALID_REQUEST, "The query cannot be read.") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given and name in ("symbols", "account", "batch"):
            raise invalid_field(name, "doubled", f"name {name} once")
        given[name] = value
    kinds = CHANNELS[path]
    symbols = read_symbols(given.get("symbols")) if "quotes" in kinds else ()
    if given.get("batch", "0") not in ("0", "1"):
        raise invalid_field("batch", "choice", "batch is 0 or 1")
    return Opening(kinds, symbols, read_account(given.get("account")), given.get("batch") == "1")


def read_account(text: str | None) -> str | None:
    """Raises Problem (422) for what cannot be the id of an account."""
    if text is None:
        return None
    if not 1 <= len(text) <= 64 or not text.isascii() or not text.isprintable():
        raise invalid_field("account", "account", "an account's id has 1 to 64 letters, digits or . _ : -")
    return text


def read_symbols(text: str | None) -> tuple[str, ...]:
    """Symbols in the order named, doubles folded; none is allowed. Raises Problem (422) for bad ones or too many."""
    if not text:
        return ()
    found: dict[str, None] = {}
    errors: list[FieldError] = []
    for part in text.split(","):
        try:
            found[quotes_of(part.strip(" ")).name] = None
        except BadMessage as bad:
            errors.append(FieldError("symbols", "symbol", f"{part[:24]!a}: {bad.message}"))
    if errors:
        raise Problem(Code.VALIDATION, f"symbols: {errors[0].message}", errors=errors[:_MOST_ERRORS])
    if len(found) > SYMBOLS_A_SOCKET:
        raise invalid_field("symbols", "too_many", f"at most {SYMBOLS_A_SOCKET} symbols a stream")
    return tuple(found)
