"""One server a SQLite file: a lock that the kernel drops with the process, however it ends."""

import fcntl
import os
from pathlib import Path

from paiid.cli.session import fail
from paiid.core.db.connect import sqlite_path
from paiid.core.settings import Settings


def prepare_data_dir(settings: Settings) -> None:
    """Make DATA_DIR for our user alone, if it is not there; ends with code 1 where that cannot be."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fail(f"DATA_DIR {settings.data_dir} cannot be made: {error.strerror}")


def _lock_paths(settings: Settings) -> list[Path]:
    database = sqlite_path(settings.database)
    own = settings.data_dir / "serve.lock"
    # A database elsewhere could be served from two data directories: the lock beside it settles that.
    if database.parent.resolve() == settings.data_dir.resolve():
        return [own]
    return [own, database.with_name(database.name + ".serve.lock")]


def take_serve_lock(settings: Settings) -> list[int]:
    """Open file descriptors that hold the lock until the process ends; none on PostgreSQL.

    Ends with code 1 and one line where another server has it.
    """
    if settings.on_postgres:
        return []
    held: list[int] = []
    for path in _lock_paths(settings):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            fail(f"the lock file {path} cannot be opened: {error.strerror}")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            by = f" (process {holder})" if holder.isdigit() else ""
            fail(
                f"another server is running on this database{by}; SQLite is served by one process. "
                "Stop it first, or set DATABASE_URL to PostgreSQL to run several."
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        held.append(descriptor)
    return held
