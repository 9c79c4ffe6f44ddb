"""Who has a stream open on this replica: admission, the count per user, and the farewell to all when the process ends."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from paiid.auth.callers import Known
from paiid.auth.standing import CredentialKey
from paiid.core.clock import Clock, new_id
from paiid.core.json import encode
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Principal
from paiid.stream.events import Sink
from paiid.stream.hub import Hub, Subscriber
from paiid.stream.limits import SOCKETS_A_USER, WAITING_PER_ADDRESS, WAITING_SOCKETS
from paiid.stream.wishes import Wish


@dataclass(eq=False, slots=True)
class Client:
    """One open stream. `held` are its channels by their name in the hub; `places` where each began."""

    id: str
    kind: str
    known: Known
    opened_at_us: int
    address: str
    sink: Sink
    subscriber: Subscriber
    held: dict[str, Wish] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    told_of_expiry: bool = False
    ended: bool = False

    @property
    def principal(self) -> Principal:
        """Whose it is, with the rights known last."""
        return self.known.principal

    @property
    def key(self) -> CredentialKey:
        """The credential it was opened with, or renewed by."""
        return (self.principal.credential, self.principal.credential_id)


class Clients:
    """All of them, by user."""

    def __init__(self, hub: Hub, clock: Clock, sockets_elsewhere: Callable[[str], int]) -> None:
        self._hub = hub
        self._clock = clock
        self._elsewhere = sockets_elsewhere
        self._by_user: dict[str, set[Client]] = {}
        self._reserved: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self.draining = False

    def __iter__(self) -> Iterator[Client]:
        for clients in list(self._by_user.values()):
            yield from list(clients)

    def of_user(self, user_id: str) -> list[Client]:
        """A user's, the oldest first."""
        return sorted(self._by_user.get(user_id, ()), key=lambda client: client.opened_at_us)

    def by_kind(self) -> Counter[str]:
        """How many of each kind are open here: `websocket`, `events`."""
        return Counter(client.kind for client in self)

    def counts(self) -> dict[str, int]:
        """How many each user has open here: what other replicas are told."""
        return {user_id: len(clients) for user_id, clients in self._by_user.items()}

    def elsewhere(self, user_id: str) -> int:
        """How many he has on other replicas, as far as is known."""
        return self._elsewhere(user_id)

    # -- coming -------------------------------------------------------------------------------------

    def refuse_while_draining(self) -> None:
        """Raises Problem (503) once this process is ending."""
        if self.draining:
            raise Problem(Code.SHUTTING_DOWN, "This process is ending; connect again in a moment.")

    def refuse_one_too_many(self, user_id: str) -> None:
        """Raises Problem (429) where the user has as many streams as one may."""
        have = len(self._by_user.get(user_id, ())) + self._reserved[user_id] + self._elsewhere(user_id)
        if have >= SOCKETS_A_USER:
            raise Problem(
                Code.RATE_LIMITED,
                f"You have {SOCKETS_A_USER} streams open, which is all one may have; close one first.",
            )

    @contextmanager
    def reserved(self, user_id: str) -> Iterator[None]:
        """A place for a stream that is about to open, so that many at once do not all see the last one free. Raises Problem."""
        self.refuse_while_draining()
        self.refuse_one_too_many(user_id)
        self._reserved[user_id] += 1
        try:
            yield
        finally:
            self._reserved[user_id] -= 1
            if not self._reserved[user_id]:
                del self._reserved[user_id]

    @contextmanager
    def waiting(self, address: str) -> Iterator[None]:
        """A place for a socket that has not said who it is. Raises Problem (503, 429)."""
        if self._waiting.total() >= WAITING_SOCKETS:
            raise Problem(Code.OVERLOADED, "Too many sockets that have not signed in; try again in a moment.")
        if self._waiting[address] >= WAITING_PER_ADDRESS:
            raise Problem(
                Code.RATE_LIMITED,
                "Too many sockets of this address have not signed in; try again in a moment.",
            )
        self._waiting[address] += 1
        try:
            yield
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    def enter(self, kind: str, known: Known, address: str, sink: Sink) -> Client:
        """Open it."""
        client = Client(
            new_id(self._clock, "str"),
            kind,
            known,
            self._clock.now_us(),
            address,
            sink,
            self._hub.attach(sink),
        )
        self._by_user.setdefault(known.principal.user_id, set()).add(client)
        self._hub.figures.opened.add(kind)
        return client

    def leave(self, client: Client) -> None:
        """It is gone; may be called twice."""
        client.ended = True
        self._hub.detach(client.subscriber)
        mine = self._by_user.get(client.principal.user_id)
        if mine is not None:
            mine.discard(client)
            if not mine:
                del self._by_user[client.principal.user_id]

    # -- telling and ending -------------------------------------------------------------------------

    def tell(self, client: Client, message: dict[str, object]) -> None:
        """One message to one client."""
        if not client.ended:
            self._hub.tell(client.subscriber, encode(message))

    def end(self, client: Client, code: int, reason: str) -> None:
        """Close it from our side, after what it was told; it takes no place any more."""
        if not client.ended:
            self.leave(client)
            self._hub.figures.closed.add(str(code))
            client.sink.close(code, reason)
