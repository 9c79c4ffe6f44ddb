"""The latch file: holds this process halted whatever the table says, through restarts and database outages (K9, K10).

It lists the halts that could not be written to the table yet. An empty or unreadable file, such as one a person
made with `touch`, is a global halt until a person removes it.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paiid.domain.halts import MAX_REASON, Mode, Scope

FILE_NAME = "halt.latch"
_BY_HAND = "the latch file was set by hand; remove it to go on"
_UNREADABLE = "the latch file cannot be read; a person must look at it and remove it"
_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class PendingArm:
    """A halt that the table does not hold yet. `by_…` is who wished it, for the audit."""

    id: str
    scope: str
    mode: str
    reason: str
    by_kind: str
    by_id: str
    by_role: str
    at_us: int
    cancel: bool = False


class Latch:
    """The file `halt.latch` in one data directory; shared by all processes on this host that use it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._lock_path = directory / f"{FILE_NAME}.lock"
        self._seen: tuple[int, int, int] | None = None
        self._reason: str | None = None
        # Also kept in memory: a full disk must not let this process trade on.
        self._kept: dict[str, PendingArm] = {}

    @property
    def path(self) -> Path:
        """Where the file lies when it is set."""
        return self._path

    def holds(self) -> str | None:
        """Why this process is halted, None if it is not: one stat, and a read only when the file has changed."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._seen = self._reason = None
            return _words(self._kept.values()) if self._kept else None
        except OSError:
            return _UNREADABLE
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._seen or self._reason is None:
            self._reason = self._describe()
            self._seen = stamp
        return self._reason

    def _describe(self) -> str | None:
        pending = self.pending()
        if pending is None:
            try:
                return _BY_HAND if self._path.stat().st_size == 0 else _UNREADABLE
            except FileNotFoundError:
                return None
            except OSError:
                return _UNREADABLE
        return _words(pending) if pending else None

    def pending(self) -> list[PendingArm] | None:
        """The halts it stands for; [] without a file, None where the file names none that can be read."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_MAX_BYTES)
        except FileNotFoundError:
            return []
        except OSError:
            return None
        try:
            return [_parse(one) for one in json.loads(text)["pending"]] or None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def to_settle(self) -> list[PendingArm]:
        """Every halt that still has to reach the table, from the file and from this process's memory."""
        return list({one.id: one for one in [*self._kept.values(), *(self.pending() or [])]}.values())

    @contextmanager
    def settling(self) -> Iterator[bool]:
        """False where another process on this host is bringing the pending halts to the table right now."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path.with_suffix(".settling"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            # No file can be written here, so no other process can wait for this one: twice does no harm.
            yield True
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        try:
            yield mine
        finally:
            os.close(descriptor)

    def add(self, arm: PendingArm) -> None:
        """Set the latch for one more halt; on disk when this returns. Raises OSError, and then holds all the same.

        A latch that was set by hand stays as it is: it says more than any entry.
        """
        self._kept[arm.id] = arm
        with self._locked():
            pending = self.pending()
            if pending is not None:
                self._write([*(one for one in pending if one.id != arm.id), arm])

    def remove(self, arm_ids: set[str]) -> None:
        """The table holds these now; the last one takes the file along. Raises OSError."""
        for arm_id in arm_ids:
            self._kept.pop(arm_id, None)
        with self._locked():
            pending = self.pending()
            if not pending:
                return
            left = [one for one in pending if one.id not in arm_ids]
            if left:
                self._write(left)
            else:
                self._path.unlink(missing_ok=True)
                self._sync_directory()

    def _write(self, pending: list[PendingArm]) -> None:
        text = json.dumps({"pending": [asdict(one) for one in pending]}, indent=1)
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._path)
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Between processes: a read-change-write of the file must not lose another's entry."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _words(pending: Iterable[PendingArm]) -> str:
    return "; ".join(f"{one.scope} {one.mode}: {one.reason}" for one in pending)


def _parse(value: Any) -> PendingArm:
    arm = PendingArm(**value)
    Scope.parse(arm.scope)
    Mode(arm.mode)
    if len(arm.reason) > MAX_REASON or not isinstance(arm.at_us, int):
        raise ValueError("not a pending halt")
    return arm
