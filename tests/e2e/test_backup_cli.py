"""`paiid backup` and `paiid restore` as their users meet them: files, exit codes, and what they are told."""

import fcntl
import re
import sqlite3
import stat
import zipfile
from contextlib import closing
from pathlib import Path

from tests.e2e.processes import paiid


def test_a_backup_is_checked_and_restored_halted(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    assert paiid(data, "migrate").returncode == 0
    with closing(sqlite3.connect(data / "paiid.db")) as connection, connection:
        connection.execute(
            "INSERT INTO users VALUES ('usr_test', 'a@example.com', 'none', 'owner', 1, 1, NULL, NULL)"
        )
    with (data / "serve.lock").open("w") as lock:
        # As a server holds it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = paiid(data, "backup")
        assert made.returncode == 0, made.stderr
        assert "password hashes and the install's own secrets" in made.stdout
        (file,) = (data / "backups").iterdir()
        assert re.fullmatch(r"paiid-\d{8}T\d{6}Z\.zip", file.name)
        assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
        refused = paiid(data, "restore", str(file), "--replace")
        assert (refused.returncode, "another server is running" in refused.stderr) == (1, True)
    verified = paiid(other, "backup", "--verify", str(file))
    assert (verified.returncode, "whole" in verified.stdout) == (0, True), verified.stderr
    restored = paiid(other, "restore", str(file))
    assert restored.returncode == 0, restored.stderr
    assert "trading is halted everywhere" in restored.stdout
    assert stat.S_IMODE((other / "paiid.db").stat().st_mode) == 0o600
    with closing(sqlite3.connect(other / "paiid.db")) as connection:
        assert connection.execute("SELECT scope, mode FROM halts").fetchall() == [("global", "halted")]
    again = paiid(other, "restore", str(file))
    assert (again.returncode, "--replace" in again.stderr) == (1, True)
    replaced = paiid(other, "restore", str(file), "--replace")
    assert replaced.returncode == 0, replaced.stderr
    (aside,) = other.glob("paiid.db.before-*")
    assert str(aside) in replaced.stdout
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
    resumed = paiid(other, "resume", "--reason", "looked at it")
    assert resumed.returncode == 0, resumed.stderr


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    nothing = paiid(data, "backup")
    assert (nothing.returncode, "there is no database" in nothing.stderr) == (1, True)
    assert paiid(data, "migrate").returncode == 0
    torn = tmp_path / "torn.zip"
    torn.write_bytes(b"PK\x03\x04")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("hello", "world")
    named = ("backup", str(tmp_path / "one.zip"))
    assert paiid(data, *named).returncode == 0
    for command, code, words in (
        (named, 1, "exists already"),
        (("backup", str(tmp_path / "none" / "one.zip")), 1, "cannot be written"),
        (("backup", "-", "--keep", "2"), 2, "--keep"),
        (("backup", "--verify"), 2, "name the file"),
        (("backup", "--verify", str(torn)), 1, "no whole backup"),
        (("restore", str(torn)), 1, "nothing was restored"),
        (("restore", str(tmp_path / "other.zip")), 1, "no manifest"),
        (("restore", str(tmp_path / "none.zip")), 1, "there is no file"),
        (("restore-accept", "acc_none", "--reason", "test"), 1, "there is no account"),
        (("restore-accept", "acc_none", "--reason", " "), 2, "--reason"),
    ):
        done = paiid(data, *command)
        assert (done.returncode, words in done.stderr) == (code, True), (command, done.stderr)
        assert "Traceback" not in done.stderr
    # The oldest of its own go, whole ones that bear its names.
    backups = data / "backups"
    backups.mkdir(exist_ok=True)
    for day in (1, 2, 3):
        (backups / f"paiid-2026010{day}T000000Z.zip").write_bytes((tmp_path / "one.zip").read_bytes())
    kept = paiid(data, "backup", "--keep", "2")
    assert kept.returncode == 0, kept.stderr
    assert kept.stdout.count("removed") == 2
    assert sorted(one.name for one in backups.iterdir())[0] == "paiid-20260103T000000Z.zip"
