"""Puts a SQLite file that was made aside in the place of the one that is served, which stays under another name."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from paiid.core.backup import BackupError
from paiid.core.backup_file import sync_directory

_FOLLOWERS = ("-wal", "-shm", "-journal")
_WAIT_S = 5.0


def restoring_name(path: Path) -> Path:
    """Where the new database is made: the same file system, so that taking the place is one step."""
    return path.with_name(path.name + ".restoring")


def drop(path: Path) -> None:
    """Remove a database file and what SQLite keeps beside it, such as an interrupted restore leaves."""
    for one in (path, *(path.with_name(path.name + end) for end in _FOLLOWERS)):
        one.unlink(missing_ok=True)


def take_place(new: Path, path: Path, aside: Path | None) -> None:
    """`new` becomes `path`; what was there stays as `aside`, or goes where that is None. At every moment there is one of
    the two under the name. Raises BackupError where somebody has the old one open."""
    if path.exists():
        _fold(path)
        if aside is not None:
            os.link(path, aside)
    for end in _FOLLOWERS:
        # Of a file that was lost without it: SQLite would take it for the new one's.
        follower = path.with_name(path.name + end)
        if follower.exists():
            follower.replace(follower.with_name(follower.name + ".orphan"))
    os.replace(new, path)
    sync_directory(path.parent)


def _fold(path: Path) -> None:
    """Bring the write-ahead log into the file and remove it: one that stayed would be taken for the new file's."""
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as connection:
            mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{path} cannot be put aside: another process has it open ({error})") from error
    if mode != "delete" or any(path.with_name(path.name + end).exists() for end in _FOLLOWERS):
        raise BackupError(f"{path} cannot be put aside: another process has it open")
