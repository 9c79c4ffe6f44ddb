"""The channels a client may name, and what they are called in the hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from paiid.domain.identity import Principal
from paiid.domain.instruments import parse_any_symbol
from paiid.stream.messages import BadMessage

ChannelName = Literal["quotes", "account", "portfolio", "halts", "feed"]
_FORMS = "A channel is quotes:SYMBOL, account or account:ID, portfolio or portfolio:ID, halts, or feed."


@dataclass(frozen=True, slots=True)
class Wish:
    """A channel as a client means it. `name` is a canonical symbol, an account's id, or empty: the caller's default account."""

    kind: ChannelName
    name: str = ""

    @property
    def is_about_account(self) -> bool:
        """Whether a grant decides."""
        return self.kind in ("account", "portfolio")

    def hub_channel(self, principal: Principal) -> str:
        """The hub's name of a wish whose account is known. Everybody has halts of his own, for each sees others."""
        if self.kind == "feed":
            return "feed"
        if self.kind == "halts":
            return f"halts:{principal.user_id}"
        return f"{self.kind}:{self.name}"


HALTS = Wish("halts")
FEED = Wish("feed")
DEFAULTS = (HALTS, FEED)
"""What everybody gets without asking."""


def quotes_of(symbol: str) -> Wish:
    """The quotes of a symbol in any form. Raises BadMessage."""
    try:
        return Wish("quotes", parse_any_symbol(symbol))
    except ValueError as error:
        raise BadMessage("invalid_symbol", f"{error}", channel=f"quotes:{symbol[:24]}") from None


def read_channel(text: str, account: str | None, principal: Principal) -> Wish:
    """A channel as written; `account` is the message's own, for those that name none. Raises BadMessage."""
    prefix, colon, name = text.partition(":")
    if prefix == "quotes" and name:
        return quotes_of(name)
    if prefix in ("account", "portfolio") and bool(colon) == bool(name):
        # Which accounts there are is looked up later; one that cannot be is the same as one that is another's.
        return Wish("account" if prefix == "account" else "portfolio", name or account or "")
    if text == "halts" or text == f"halts:{principal.user_id}":
        return HALTS
    if prefix == "halts" and name:
        raise BadMessage("not_found", "There is no such channel, or it is not yours to see.", channel=text)
    if text == "feed":
        return FEED
    raise BadMessage("unknown_channel", _FORMS, channel=text)


def read_channels(
    channels: Sequence[str], symbols: Sequence[str], account: str | None, principal: Principal
) -> tuple[dict[Wish, str], list[BadMessage]]:
    """What is wished, doubles folded, each with the first way it was written; and what is wrong with the rest."""
    wishes: dict[Wish, str] = {}
    wrong: list[BadMessage] = []
    for text, is_channel in [*((one, True) for one in channels), *((one, False) for one in symbols)]:
        try:
            wish = read_channel(text, account, principal) if is_channel else quotes_of(text)
        except BadMessage as bad:
            wrong.append(bad)
        else:
            wishes.setdefault(wish, text if is_channel else f"quotes:{text}")
    return wishes, wrong
