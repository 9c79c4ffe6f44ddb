"""The client's file of keys: on disk before anything is sent, and whatever a crash leaves can be read again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paiid.client import KeyFile, KeyFileError
from paiid.client import keyfile as module

BODY = {"orders": [{"symbol": "AAPL", "side": "buy", "qty": 1}]}


def test_what_is_begun_and_not_finished_is_there_after_a_restart_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "keys.jsonl"
    with KeyFile(path) as keys:
        keys.begin("first-key", BODY)
        keys.begin("second-key", {**BODY, "account": "acc"})
        keys.begin("third-key", BODY)
        keys.finish("second-key")
        keys.finish("never-begun")
    with KeyFile(path) as again:
        assert list(again.pending.items()) == [("first-key", BODY), ("third-key", BODY)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_on_the_disk_when_begin_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bytes] = []
    with KeyFile(tmp_path / "keys.jsonl") as keys:
        real = os.fsync

        def spying(descriptor: int) -> None:
            flushed.append((tmp_path / "keys.jsonl").read_bytes())
            real(descriptor)

        monkeypatch.setattr(module.os, "fsync", spying)
        keys.begin("first-key", BODY)
    assert b"first-key" in flushed[-1]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_was_cut_while_it_was_written_was_never_sent(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "keys.jsonl"
    with KeyFile(path) as keys:
        keys.begin("first-key", BODY)
        whole = path.read_bytes()
        keys.begin("second-key", BODY)
    path.write_bytes(path.read_bytes()[: len(whole) + cut])
    with KeyFile(path) as again:
        assert list(again.pending) == ["first-key"]


def test_a_damaged_line_in_the_middle_is_told_by_its_number_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    with KeyFile(path) as keys:
        keys.begin("first-key", BODY)
        keys.begin("second-key", BODY)
    lines = path.read_bytes().split(b"\n")
    damaged = b"\n".join([lines[0][:9], *lines[1:]])
    path.write_bytes(damaged)
    with pytest.raises(KeyFileError, match="line 1 of"):
        KeyFile(path)
    assert path.read_bytes() == damaged
    with pytest.raises(KeyFileError, match="line 1 of"):
        KeyFile(path)


def test_two_processes_cannot_use_one_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    program = "import sys; from paiid.client import KeyFile; KeyFile(sys.argv[1])"
    with KeyFile(path):
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
        assert done.returncode == 1
        assert "in use by another process" in done.stderr
        with pytest.raises(KeyFileError):
            KeyFile(path)
    KeyFile(path).close()


def test_finished_keys_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REWRITE_AFTER", 10)
    path = tmp_path / "keys.jsonl"
    with KeyFile(path) as keys:
        keys.begin("kept-key", BODY)
        for number in range(25):
            keys.begin(f"key-{number:06}", BODY)
            keys.finish(f"key-{number:06}")
        assert len(path.read_bytes().splitlines()) == 1 + 2 * 5
        assert list(keys.pending) == ["kept-key"]
    assert json.loads(path.read_bytes().splitlines()[0])["key"] == "kept-key"
