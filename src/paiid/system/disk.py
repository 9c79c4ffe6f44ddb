"""Whether there is room on the disks that this process writes to, and whether they take a write at all."""

import asyncio
import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paiid.core.db.connect import sqlite_path
from paiid.core.settings import Settings
from paiid.system.checks import Down, Status, Told

__all__ = ["DiskCheck", "Place", "Room", "places_of", "room_in"]

LOW_BYTES = 256 * 1_048_576
FULL_BYTES = 32 * 1_048_576
_LOW_INODES = 1024
_TRIAL = b"\0" * 4096
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that is written to; `vital`: the database's `file` is in it. `name` is safe to show."""

    name: str
    path: Path
    vital: bool
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What is free there: bytes and, where the file system counts them, inodes. `problem`: why a trial write failed."""

    free_bytes: int
    free_inodes: int | None
    problem: str | None

    @property
    def full(self) -> bool:
        """Nothing more should be written there."""
        return self.problem is not None or self.free_bytes < FULL_BYTES or self.free_inodes == 0

    @property
    def low(self) -> bool:
        """It will be full soon."""
        few = self.free_inodes is not None and self.free_inodes < _LOW_INODES
        return self.full or few or self.free_bytes < LOW_BYTES


def places_of(settings: Settings) -> tuple[Place, ...]:
    """The data directory and, on SQLite, where the database's file is; one place where they are the same."""
    data = settings.data_dir.absolute()
    if settings.on_postgres:
        return (Place("data directory", data, vital=False),)
    file = sqlite_path(settings.database).absolute()
    if file.parent == data:
        return (Place("database and data directory", data, vital=True, file=file),)
    return (
        Place("database", file.parent, vital=True, file=file),
        Place("data directory", data, vital=False),
    )


def room_in(path: Path) -> Room:
    """Look, and try to write a few bytes to a file without a name: a quota or a read-only disk does not show otherwise.
    Blocks. Raises OSError where there is no such directory."""
    found = os.statvfs(path)
    problem = None
    try:
        with tempfile.TemporaryFile(dir=path, buffering=0) as trial:
            trial.write(_TRIAL)
    except OSError as error:
        problem = "it is full" if error.errno in _FULL else "it cannot be written"
    inodes = found.f_favail if found.f_files else None
    return Room(found.f_bavail * found.f_frsize, inodes, problem)


class DiskCheck:
    """The check `disk`. It looks in a thread, of which there is never more than one: a disk that hangs holds a thread for ever."""

    def __init__(self, places: Sequence[Place], look: Callable[[Path], Room] | None = None) -> None:
        self._places = places
        self._look_in = look or room_in
        self._look: asyncio.Future[dict[str, Room]] | None = None
        self.rooms: dict[str, Room] = {}
        """By the name of the place, as last seen."""
        self.lost: str | None = None
        """What is written now is gone when this process ends, and why; None if it is not."""
        self._files: dict[str, tuple[int, int] | None] = {}

    async def check(self) -> Told:
        """Raises Down where a disk does not answer."""
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(asyncio.to_thread(self._rooms))
            self._look.add_done_callback(_forget)
            self.rooms = await asyncio.shield(self._look)
        else:
            raise Down("a disk does not answer")
        figures = {}
        if self.rooms:
            figures["disk_free_bytes"] = float(min(one.free_bytes for one in self.rooms.values()))
        vital = {place.name for place in self._places if place.vital}
        for place in self._places:
            if place.name not in self.rooms:
                unready = "the directory of the database is gone" if place.vital else None
                status: Status = "down" if place.vital else "degraded"
                return Told(f"{place.name}: it is not there", status, unready=unready, figures=figures)
        if self.lost is not None:
            return Told(self.lost, "down", unready=self.lost, figures=figures)
        for name, room in self.rooms.items():
            if room.full:
                why = room.problem or f"it is full: less than {FULL_BYTES >> 20} MiB are free"
                unready = "the disk of the database is full" if name in vital else None
                return Told(f"{name}: {why}", "down", unready=unready, figures=figures)
        for name, room in self.rooms.items():
            if room.low:
                return Told(f"{name}: less than {LOW_BYTES >> 20} MiB are free", "degraded", figures=figures)
        return Told("there is room", figures=figures)

    def _rooms(self) -> dict[str, Room]:
        # Whoever has a file open goes on with it when it was removed, or another was put in its place; nobody else finds it any more.
        for place in self._places:
            if place.file is not None:
                found = _identity(place.file)
                same = found == self._files.setdefault(place.name, found)
                self.lost = None if same else "the file of the database was removed or replaced"
        return {place.name: self._look_in(place.path) for place in self._places if place.path.is_dir()}


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _forget(done: "asyncio.Future[dict[str, Room]]") -> None:
    """Nobody may be left who asks how it ended."""
    if not done.cancelled():
        done.exception()
