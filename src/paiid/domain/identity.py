"""Who acts: roles, scopes and the principal that a verified credential stands for."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["owner", "trader", "viewer"]
Scope = Literal["read", "trade", "halt"]
Credential = Literal["session", "token", "static"]
Right = Literal["view", "trade"]

ALL_SCOPES: frozenset[Scope] = frozenset({"read", "trade", "halt"})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is written into the audit: a user, or the system itself ('system', 'cli')."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. `credential_id` is the session id, the API token's id, or the owner's user id
    for the static token; `scopes` is what that credential may do at most."""

    user_id: str
    email: str
    role: Role
    credential: Credential
    credential_id: str
    scopes: frozenset[Scope]

    @property
    def signed_in(self) -> bool:
        """True for a person's session; API tokens never manage users and never resume trading."""
        return self.credential == "session"

    @property
    def actor(self) -> Actor:
        """The caller as the audit names him."""
        return Actor(self.credential, self.user_id)


SYSTEM = Actor("system", "system")
