"""The accounts of the simulated Tradier and the access tokens that reach them.

Kept in one file of the data directory, so that a restart knows them. The tokens in it are those of play money.
"""

import hmac
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import msgspec

from paiid.core.clock import Clock
from paiid.domain.terms import AccountTerms

DEFAULT_TOKEN = "simulated-tradier-token"  # noqa: S105 - printed in the documentation
DEFAULT_ACCOUNT = "VA00000001"
SIM_TERMS = AccountTerms(
    starting_cash=Decimal(100_000), margin=True, options_level=3, fees=False, impact=False
)
"""Tradier's sandbox account: 100,000 dollars, no fees, and size is not checked."""
FILE = "accounts.json"
_TOKEN = re.compile(r"[!-~]{1,128}\Z", re.ASCII)
_NUMBER = re.compile(r"[A-Za-z0-9]{1,32}\Z", re.ASCII)
_FIRST = 2
"""The number of the first account that nobody has named."""


class BadToken(ValueError):
    """A token or an account that cannot be added; the text says why and never holds the token."""


@dataclass(frozen=True, slots=True)
class SimAccount:
    """One account."""

    number: str
    created_at_us: int
    terms: AccountTerms = SIM_TERMS


@dataclass(frozen=True, slots=True)
class SimUser:
    """Whoever holds a token, with the accounts that it reaches, oldest first."""

    token: str = field(repr=False)
    accounts: tuple[SimAccount, ...]

    @property
    def id(self) -> str:
        """The user's id on the wire (`/user/profile`)."""
        return f"id-sim-{self.accounts[0].number.lower()}"

    def account(self, number: str) -> SimAccount | None:
        """The account of this number, where the token reaches it."""
        return next((one for one in self.accounts if one.number == number), None)


class _Kept(msgspec.Struct):
    users: list[SimUser]


class Accounts:
    """The registry. Changes are in the file before a call returns."""

    def __init__(self, data_dir: Path, clock: Clock, *, terms: AccountTerms = SIM_TERMS) -> None:
        """Read the file, or begin with the default token. Raises BadToken for a file that cannot be read."""
        self._path = data_dir / FILE
        self._clock = clock
        self._users: dict[str, SimUser] = {}
        if self._path.exists():
            try:
                kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
            except msgspec.MsgspecError as error:
                raise BadToken(f"{FILE} cannot be read: {error}") from error
            self._users = {one.token: one for one in kept.users}
        else:
            self.add(DEFAULT_TOKEN, DEFAULT_ACCOUNT, terms)

    def all(self) -> Sequence[SimAccount]:
        """All accounts, oldest first."""
        return sorted(self._by_number().values(), key=lambda one: (one.created_at_us, one.number))

    def users(self) -> Sequence[SimUser]:
        """Everybody who holds a token."""
        return list(self._users.values())

    def find(self, token: str) -> SimUser | None:
        """Whose token this is; every token is compared, so that the time tells nothing of them."""
        given = token.encode("utf-8", "surrogatepass")
        found = None
        for known, user in self._users.items():
            if hmac.compare_digest(known.encode(), given):
                found = user
        return found

    def by_number(self, number: str) -> SimAccount | None:
        """The account of this number."""
        return self._by_number().get(number)

    def add(self, token: str, number: str | None = None, terms: AccountTerms = SIM_TERMS) -> SimAccount:
        """Let a token reach an account, a new one where there is none of this number (None: a number is made up, but a
        token that reaches an account already gives that). A new one still is to be opened at the venue
        (`TradierExchange.open`). Raises BadToken for what fits no header or no path."""
        if not _TOKEN.match(token):
            raise BadToken("a token is 1 to 128 visible ASCII characters")
        if number is not None and not _NUMBER.match(number):
            raise BadToken("an account number is 1 to 32 letters and digits")
        user = self._users.get(token)
        if user is not None and number is None:
            return user.accounts[0]
        number = number or self._new_number()
        account = self._by_number().get(number) or SimAccount(number, self._clock.now_us(), terms)
        if user is None or user.account(number) is None:
            mine = () if user is None else user.accounts
            self._keep({**self._users, token: SimUser(token, (*mine, account))})
        return account

    def _by_number(self) -> Mapping[str, SimAccount]:
        return {one.number: one for user in self._users.values() for one in user.accounts}

    def _new_number(self) -> str:
        taken, number = self._by_number(), _FIRST
        while f"VA{number:08}" in taken:
            number += 1
        return f"VA{number:08}"

    def _keep(self, after: dict[str, SimUser]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(_Kept(list(after.values()))), indent=1)
        partial = self._path.with_suffix(".new")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        self._users = after
