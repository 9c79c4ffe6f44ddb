"""Backups on the disk: written so that only a whole one bears its name, read so that nothing unchecked passes for one."""

import errno
import hashlib
import os
import re
import secrets
import sys
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol, Self

from paiid.core.backup import (
    BATCH,
    BATCH_BYTES,
    MANIFEST,
    MAX_MANIFEST,
    MAX_ROW,
    BackupError,
    Manifest,
    TableEntry,
    Value,
    decoded_row,
    encoded_rows,
    manifest_from,
    manifest_to,
    member_of,
)

PARTIAL = ".partial"
_OWN_NAME = re.compile(r"paiid-\d{8}T\d{6}Z(-\d+)?\.zip\Z", re.ASCII)
_LEVEL = 6
_OLD_S = 86_400
_COMPRESSED = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


class Rows(Protocol):
    """A database as of one instant."""

    dialect: str
    schema: str
    taken_at_us: int

    def tables(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        """Each table with its columns."""
        ...

    def rows(self, table: str) -> AsyncIterator[Sequence[Sequence[Value]]]:
        """A table's rows, some at a time."""
        ...


async def write_backup(out: IO[bytes], source: Rows, *, version: str, build: str) -> Manifest:
    """Write all of it to a file, which need not be seekable; memory is that of some rows. Raises OSError."""
    entries: dict[str, TableEntry] = {}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for table, columns in source.tables():
            digest, count = hashlib.sha256(), 0
            with archive.open(member_of(table), "w", force_zip64=True) as member:
                async for rows in source.rows(table):
                    lines = encoded_rows(rows)
                    member.write(lines)
                    digest.update(lines)
                    count += len(rows)
            entries[table] = TableEntry(columns, count, digest.hexdigest())
        manifest = Manifest(version, build, source.schema, source.dialect, source.taken_at_us, entries)
        # Last: what broke off before has none.
        archive.writestr(MANIFEST, manifest_to(manifest))
    return manifest


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file, for our user alone, that appears under its name when the block has ended well, and not at all otherwise.

    Raises BackupError where there is one already, or no room.
    """
    # A name of its own, and a file that nobody has opened before: not what two processes write at once, nor a link.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        if path.exists():
            raise BackupError(f"{path} exists already; name another file")
        descriptor = os.open(
            partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            with os.fdopen(descriptor, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            _give_name(partial, path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BackupError(f"the disk is full: {path} was not written, nothing is left of it") from error
        raise BackupError(f"{path} cannot be written: {error.strerror or type(error).__name__}") from error


def _give_name(partial: Path, path: Path) -> None:
    """Never over a file that is there: one that came meanwhile is somebody's backup."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise BackupError(f"{path} exists already; name another file") from None
    except OSError:
        # A file system without links.
        partial.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BackupReader:
    """A backup file, open. Everything it gives has been checked against the manifest once its last row is given."""

    def __init__(self, path: Path) -> None:
        """Raises BackupError for what is no backup."""
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise BackupError(f"there is no file {path}") from None
        except _BROKEN as error:
            raise BackupError(f"{path} is no whole backup ({error})") from None
        try:
            self.manifest = self._read_manifest()
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def _read_manifest(self) -> Manifest:
        names = [one.filename for one in self._archive.infolist()]
        if MANIFEST not in names:
            raise BackupError(
                "it has no manifest: it broke off while it was written, or is no backup of paiid"
            )
        if any(one.compress_type not in _COMPRESSED for one in self._archive.infolist()):
            # Others take as much memory as the file tells them to.
            raise BackupError("it is compressed in another way than `paiid backup` does it")
        try:
            with self._archive.open(MANIFEST) as member:
                data = member.read(MAX_MANIFEST + 1)
        except _BROKEN as error:
            raise BackupError(f"the manifest cannot be read ({error})") from None
        if len(data) > MAX_MANIFEST:
            raise BackupError("the manifest is too large to be one")
        manifest = manifest_from(data)
        expected = sorted([MANIFEST, *(member_of(table) for table in manifest.tables)])
        if sorted(names) != expected:
            raise BackupError("the files in it are not those that its manifest names")
        return manifest

    def rows(self, table: str) -> Iterator[list[list[Value]]]:
        """The rows of a table, some at a time. Raises BackupError, at the end where count or checksum are others."""
        entry = self.manifest.tables[table]
        digest, count, size, batch = hashlib.sha256(), 0, 0, list[list[Value]]()
        try:
            with self._archive.open(member_of(table)) as member:
                while line := member.readline(MAX_ROW):
                    digest.update(line)
                    count += 1
                    if count > entry.rows or not line.endswith(b"\n"):
                        raise BackupError("it has more rows than its manifest says, or one that breaks off")
                    batch.append(decoded_row(line, len(entry.columns)))
                    size += len(line)
                    if len(batch) == BATCH or size >= BATCH_BYTES:
                        yield batch
                        batch, size = [], 0
        except BackupError as error:
            raise BackupError(f"table {table}: {error}") from None
        except _BROKEN as error:
            raise BackupError(f"table {table} cannot be read ({error})") from None
        if (count, digest.hexdigest()) != (entry.rows, entry.sha256):
            raise BackupError(f"table {table} is not as it was written: count or checksum differ")
        if batch:
            yield batch

    def verify(self) -> None:
        """Read all of it. Raises BackupError."""
        for table in self.manifest.tables:
            for _ in self.rows(table):
                pass


def prune(directory: Path, keep: int, made: Path) -> list[Path]:
    """Remove all but the newest `keep` of the backups in a directory that bear a name that `paiid backup` gives, never the
    one just made; those that were removed. What cannot be removed stays."""
    found = sorted(
        (one for one in directory.iterdir() if _OWN_NAME.match(one.name)), key=lambda one: one.name
    )
    removed: list[Path] = []
    for one in directory.glob(f"paiid-*.zip*{PARTIAL}"):
        # Of a process that was killed on the way.
        with suppress(OSError):
            if one.stat().st_mtime < made.stat().st_mtime - _OLD_S:
                one.unlink()
                removed.append(one)
    for one in found[: max(0, len(found) - max(1, keep))]:
        if one == made or not _is_ours(one):
            continue
        with suppress(OSError):
            one.unlink()
            removed.append(one)
    return removed


def _is_ours(path: Path) -> bool:
    try:
        with BackupReader(path):
            return True
    except BackupError:
        return False


def standard_output() -> IO[bytes]:
    """Where `-` goes."""
    return sys.stdout.buffer
