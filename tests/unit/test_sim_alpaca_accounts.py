"""The registry of the simulated Alpaca's accounts: keys, terms and settings that outlive a restart."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.domain.terms import AccountTerms
from paiid.sim.alpaca.accounts import FILE, Accounts, BadKeys


class _Time:
    def __init__(self) -> None:
        self._count = 0

    def now_us(self) -> int:
        return int(datetime(2026, 10, 8, tzinfo=UTC).timestamp()) * 1_000_000

    def random_bytes(self, count: int) -> bytes:
        self._count += 1
        return bytes([self._count] * count)


def test_accounts_and_settings_are_known_after_a_restart(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path, _Time())
    terms = AccountTerms(Decimal("2500.25"), margin=False, options_level=1)
    added = accounts.add("PKTESTNEW", "test-secret-new", terms)
    accounts.configure(added, replace(added.configurations, suspend_trade=True))
    again = Accounts(tmp_path, _Time())
    assert again.all() == accounts.all()
    found = again.find("PKTESTNEW", "test-secret-new")
    assert found is not None
    assert (found.terms, found.configurations.suspend_trade) == (terms, True)
    assert found.number.startswith("PA3")
    assert len(found.number) == 12
    assert again.find("PKTESTNEW", "test-secret-old") is None
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert "test-secret" not in repr(found)


def test_a_pair_of_keys_belongs_to_one_account(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path, _Time())
    first = accounts.add("PKTESTNEW", "test-secret-new")
    assert accounts.add("PKTESTNEW", "test-secret-new") == first
    for key_id, secret in (
        ("PKTESTNEW", "test-secret-other"),
        ("", "test-secret-x"),
        ("a b", "test-secret-x"),
        ("PKTESTX", ""),
        ("PKTESTX", "test secret"),
    ):
        with pytest.raises(BadKeys) as told:
            accounts.add(key_id, secret)
        assert not secret or secret not in str(told.value)


def test_a_broken_file_of_accounts_is_told_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with pytest.raises(BadKeys, match="cannot be read"):
        Accounts(tmp_path, _Time())
