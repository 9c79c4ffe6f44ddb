"""The words of the halt, and the latch file."""

import os
from pathlib import Path

import pytest

from paiid.domain.halts import Halt, HaltSet, Mode, Scope
from paiid.trading.latch import Latch, PendingArm


def _halt(scope: str, mode: Mode) -> Halt:
    return Halt(Scope.parse(scope), mode, 1, "why", "cli:host", 0)


def _arm(ident: str, scope: str = "global") -> PendingArm:
    return PendingArm(ident, scope, "halted", "database down", "session", "u1", "owner", 1)


@pytest.mark.parametrize("text", ["global", "account:paper-1", "user:usr_01", "symbol:AAPL", "symbol:BRK.B"])
def test_K01_a_scope_reads_back_as_it_was_written(text: str) -> None:
    assert str(Scope.parse(text)) == text


def test_K01_a_symbol_scope_is_upper_cased_so_that_it_matches_orders() -> None:
    assert str(Scope.parse("symbol:aapl")) == "symbol:AAPL"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Global",
        "global:",
        "global:x",
        "account:",
        "account",
        "user:a b",
        "user:" + "x" * 65,
        "symbol:",
        "symbol:ААРL",
        "symbol:TOOLONGER",
        "order:1",
        "account:a\n",
        "symbol:AAPL\n",
    ],
)
def test_K01_anything_else_is_no_scope(text: str) -> None:
    with pytest.raises(ValueError):
        Scope.parse(text)


def test_K01_the_severest_of_all_matching_scopes_applies() -> None:
    halts = HaltSet.of(
        [
            _halt("global", Mode.REDUCE_ONLY),
            _halt("account:a", Mode.HALTED),
            _halt("symbol:TSLA", Mode.HALTED),
        ]
    )
    assert halts.severest("b", "u", ["AAPL"])[0] is Mode.REDUCE_ONLY
    assert halts.severest("a", "u", ["AAPL"])[0] is Mode.HALTED
    assert halts.severest("b", None, ["AAPL", "TSLA"])[0] is Mode.HALTED
    mode, halt = halts.severest("b", "u", ["TSLA"])
    assert mode is Mode.HALTED
    assert halt is not None
    assert str(halt.scope) == "symbol:TSLA"


def test_K01_without_a_match_trading_is_active() -> None:
    halts = HaltSet.of([_halt("user:u1", Mode.HALTED)])
    assert halts.severest("a", "u2", ["AAPL"]) == (Mode.ACTIVE, None)
    assert HaltSet().severest("a", "u1", ["AAPL"]) == (Mode.ACTIVE, None)


def test_K09_no_latch_file_holds_nothing(tmp_path: Path) -> None:
    assert Latch(tmp_path).holds() is None


def test_K09_a_latch_survives_its_process_and_is_private(tmp_path: Path) -> None:
    Latch(tmp_path).add(_arm("arm_1"))
    again = Latch(tmp_path)
    held = again.holds()
    assert held is not None
    assert "database down" in held
    assert again.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"pending": []}',
        b'{"pending": [{}]}',
        b"\xff\xfe",
        b"1" * 2_000_000,
        b"[" * 100_000,
    ],
)
def test_K09_an_empty_or_unreadable_latch_holds_until_a_person_removes_it(
    tmp_path: Path, content: bytes
) -> None:
    latch = Latch(tmp_path)
    latch.path.write_bytes(content)
    assert latch.holds() is not None
    assert latch.pending() is None
    latch.remove({"arm_1"})
    assert latch.path.exists()
    latch.path.unlink()
    assert latch.holds() is None


def test_K09_a_latch_set_by_hand_is_not_overwritten_by_a_pending_halt(tmp_path: Path) -> None:
    latch = Latch(tmp_path)
    latch.path.touch()
    latch.add(_arm("arm_1"))
    assert latch.path.stat().st_size == 0
    assert [one.id for one in latch.to_settle()] == ["arm_1"]
    latch.remove({"arm_1"})
    assert latch.holds() is not None


def test_K09_a_latch_set_by_another_process_is_seen_at_the_next_look(tmp_path: Path) -> None:
    ours, theirs = Latch(tmp_path), Latch(tmp_path)
    assert ours.holds() is None
    theirs.add(_arm("arm_1"))
    assert ours.holds() is not None
    theirs.add(_arm("arm_2", "account:x"))
    held = ours.holds()
    assert held is not None
    assert "account:x" in held


def test_K10_the_latch_goes_with_the_last_halt_it_stood_for(tmp_path: Path) -> None:
    latch = Latch(tmp_path)
    latch.add(_arm("arm_1"))
    latch.add(_arm("arm_2", "account:x"))
    latch.remove({"arm_1"})
    assert latch.holds() is not None
    latch.remove({"arm_2"})
    assert latch.holds() is None
    assert not latch.path.exists()


def test_K10_a_latch_that_cannot_be_written_holds_in_memory(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    latch = Latch(place / "below-a-file")
    with pytest.raises(OSError):
        latch.add(_arm("arm_1"))
    assert latch.holds() is not None


def test_K09_a_looping_link_in_place_of_the_latch_holds(tmp_path: Path) -> None:
    latch = Latch(tmp_path)
    os.symlink(latch.path.name, latch.path)
    assert latch.holds() is not None
