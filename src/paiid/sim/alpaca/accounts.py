"""The accounts of the simulated Alpaca: their keys, their terms and what their owners have configured.

Kept in one file of the data directory, so that a restart knows them. The secrets in it are those of play money.
"""

import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec

from paiid.core.clock import Clock
from paiid.domain.terms import AccountTerms
from paiid.sim.alpaca.ids import named

DEFAULT_KEY_ID = "PKSIMULATED000000001"
DEFAULT_SECRET = "simulated-secret-not-a-real-one"  # noqa: S105 - printed in the documentation
SIM_TERMS = AccountTerms(
    starting_cash=Decimal(100_000), margin=True, options_level=3, fees=False, impact=False
)
"""Alpaca's paper account: 100,000 dollars, no fees, and size is not checked."""
FILE = "accounts.json"
_NUMBER_PREFIX = "PA3"
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_NUMBER_LENGTH = 9
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z", re.ASCII)
_SECRET = re.compile(r"[!-~]{1,128}\Z", re.ASCII)


class BadKeys(ValueError):
    """A key pair that cannot be added; the text says why and never holds the secret."""


@dataclass(frozen=True, slots=True)
class Configurations:
    """What an owner has set (`/v2/account/configurations`), with Alpaca's defaults."""

    suspend_trade: bool = False
    no_shorting: bool = False
    fractional_trading: bool = True
    max_margin_multiplier: Literal["1", "2", "4"] = "4"
    max_options_trading_level: int | None = None
    """None: as approved."""
    ptp_no_exception_entry: bool = False
    disable_overnight_trading: bool = False
    trade_confirm_email: Literal["all", "none"] = "all"


@dataclass(frozen=True, slots=True)
class SimAccount:
    """One account with its pair of keys."""

    key_id: str
    secret: str = field(repr=False)
    number: str
    created_at_us: int
    terms: AccountTerms = SIM_TERMS
    configurations: Configurations = Configurations()

    @property
    def id(self) -> str:
        """Its UUID on the wire."""
        return named("account", self.number)

    @property
    def options_level(self) -> int:
        """The level that it may trade on: the approved one, or less where its owner wants less."""
        wanted = self.configurations.max_options_trading_level
        return self.terms.options_level if wanted is None else min(wanted, self.terms.options_level)


class _Kept(msgspec.Struct):
    accounts: list[SimAccount]


class Accounts:
    """The registry. Changes are in the file before a call returns."""

    def __init__(self, data_dir: Path, clock: Clock, *, terms: AccountTerms = SIM_TERMS) -> None:
        """Read the file, or begin with the default pair of keys. Raises BadKeys for a file that cannot be read."""
        self._path = data_dir / FILE
        self._clock = clock
        self._by_key: dict[str, SimAccount] = {}
        if self._path.exists():
            try:
                kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
            except msgspec.MsgspecError as error:
                raise BadKeys(f"{FILE} cannot be read: {error}") from error
            self._by_key = {one.key_id: one for one in kept.accounts}
        else:
            self.add(DEFAULT_KEY_ID, DEFAULT_SECRET, terms)

    def all(self) -> Sequence[SimAccount]:
        """All accounts, oldest first."""
        return list(self._by_key.values())

    def find(self, key_id: str, secret: str) -> SimAccount | None:
        """The account of this pair of keys; takes equally long for any wrong secret."""
        account = self._by_key.get(key_id)
        known = "" if account is None else account.secret
        same = hmac.compare_digest(known.encode(), secret.encode("utf-8", "surrogatepass"))
        return account if account is not None and same else None

    def by_number(self, number: str) -> SimAccount | None:
        """The account of this number."""
        return next((one for one in self._by_key.values() if one.number == number), None)

    def current(self, account: SimAccount) -> SimAccount:
        """The account as it is now, with the settings of this moment."""
        return self._by_key[account.key_id]

    def add(self, key_id: str, secret: str, terms: AccountTerms = SIM_TERMS) -> SimAccount:
        """A new account with this pair of keys; the same pair once more gives the account that is there. It still is to
        be opened at the venue (`Exchange.open`). Raises BadKeys for a key id in use and for keys that fit no header."""
        if not _KEY_ID.match(key_id):
            raise BadKeys("a key id is 1 to 64 letters, digits, '_', '.' and '-'")
        if not _SECRET.match(secret):
            raise BadKeys("a secret is 1 to 128 visible ASCII characters")
        known = self._by_key.get(key_id)
        if known is not None:
            if self.find(key_id, secret) is None:
                raise BadKeys(f"the key id {key_id} is in use with another secret")
            return known
        account = SimAccount(key_id, secret, self._new_number(), self._clock.now_us(), terms)
        self._keep(account)
        return account

    def configure(self, account: SimAccount, configurations: Configurations) -> SimAccount:
        """Keep other settings for an account; the account as it is now."""
        changed = replace(self._by_key[account.key_id], configurations=configurations)
        self._keep(changed)
        return changed

    def _new_number(self) -> str:
        taken = {one.number for one in self._by_key.values()}
        while True:
            letters = (_ALPHABET[one % len(_ALPHABET)] for one in self._clock.random_bytes(_NUMBER_LENGTH))
            number = _NUMBER_PREFIX + "".join(letters)
            if number not in taken:
                return number

    def _keep(self, account: SimAccount) -> None:
        after = {**self._by_key, account.key_id: account}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(_Kept(list(after.values()))), indent=1)
        partial = self._path.with_suffix(".new")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        self._by_key = after
