"""Ids on Alpaca's wire are UUIDs: how they map to the venue's own ids and symbols, one to one where both are ids."""

import re
import uuid
from datetime import date

from paiid.core.clock import Clock

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: number for number, letter in enumerate(_ALPHABET)}
_DIGITS = 26
ORDER, EXECUTION = "po", "px"
"""What the venue's ids of orders and executions begin with."""
_NAMES = uuid.UUID("8f4a0f7e-2d9b-5c1e-9a63-6f1f0c5d7a21")
"""The name space of ids that are made of a name."""
_CHILD_MASK = uuid.UUID("5bd1e995-1b87-4f3d-a2c6-9e3779b97f4a").int
_GROUP_MASK = uuid.UUID("2545f491-4f6c-4dd1-9d2b-27d4eb2f1656").int
_RESERVED = re.compile(r"\.(?:tp|sl|leg[0-9]+)(~*)\Z")


def wire_id(venue_id: str) -> str:
    """The UUID that stands for a venue's id: both are the same 128 bits."""
    number = 0
    for letter in venue_id.partition("_")[2]:
        number = number * 32 + _VALUES[letter]
    return str(uuid.UUID(int=number))


def venue_id(prefix: str, wire: str) -> str | None:
    """The venue's id behind a UUID; None where the text is no UUID."""
    parsed = parse_uuid(wire)
    return None if parsed is None else _venue_id(prefix, parsed.int)


def _venue_id(prefix: str, number: int) -> str:
    letters = "".join(_ALPHABET[(number >> (5 * at)) & 31] for at in reversed(range(_DIGITS)))
    return f"{prefix}_{letters}"


def parse_uuid(text: str) -> uuid.UUID | None:
    """A UUID in its usual form of 36 characters, None for anything else."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None


def new_uuid(clock: Clock) -> str:
    """A random UUID (version 4), for a client order id that the client left to us."""
    return str(uuid.UUID(bytes=clock.random_bytes(16), version=4))


def named(kind: str, name: str) -> str:
    """The UUID of something that has a name and no id at the venue: always the same for the same name."""
    return str(uuid.uuid5(_NAMES, f"{kind}:{name}"))


def group_id(root_venue_id: str) -> str:
    """What all members of a group share: made of the id of the order at its head."""
    return str(uuid.UUID(int=uuid.UUID(wire_id(root_venue_id)).int ^ _GROUP_MASK))


def child_client_id(child_venue_id: str) -> str:
    """The client order id that Alpaca makes up for an exit or a leg: made of its own id, so that it can be found."""
    return str(uuid.UUID(int=uuid.UUID(wire_id(child_venue_id)).int ^ _CHILD_MASK))


def child_of_client_id(client_order_id: str) -> str | None:
    """The venue's id of the exit or leg that this made-up client order id could be of; None where it is no UUID."""
    parsed = parse_uuid(client_order_id)
    return None if parsed is None else _venue_id(ORDER, parsed.int ^ _CHILD_MASK)


def to_venue_client_id(client_order_id: str) -> str:
    """The venue names exits and legs after their parent; a client's id that looks like such a name gets a tilde."""
    return client_order_id + "~" if _RESERVED.search(client_order_id) else client_order_id


def is_made_up(venue_client_id: str) -> bool:
    """Whether the venue made this client order id, for an exit or a leg."""
    found = _RESERVED.search(venue_client_id)
    return found is not None and not found[1]


def from_venue_client_id(venue_client_id: str) -> str:
    """The client order id as the client gave it."""
    found = _RESERVED.search(venue_client_id)
    return venue_client_id[:-1] if found is not None and found[1] else venue_client_id


class AssetIds:
    """Asset ids are made of the symbol; which symbol an id is of is known once the id was told to anybody."""

    def __init__(self) -> None:
        self._symbols: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self._looked: date | None = None

    def of(self, symbol: str) -> str:
        """The id of a ticker or a contract."""
        found = self._ids.get(symbol)
        if found is None:
            found = self._ids[symbol] = named("asset", symbol)
            self._symbols[found] = symbol
        return found

    def symbol_of(self, asset_id: str) -> str | None:
        """The symbol behind an id; None where it has not been told, or is no id."""
        return self._symbols.get(asset_id.lower())

    def may_look(self, trading_day: date) -> bool:
        """Whether nobody has asked this yet on that day: then all contracts may be gone through for an id."""
        first = self._looked != trading_day
        self._looked = trading_day
        return first
