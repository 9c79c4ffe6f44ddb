"""Keeps the key and the body of each order on disk before it is sent, so that a crash never makes a second one.

Lines of JSON, appended and flushed to the disk: `{"key", "body"}` before the first byte to the service, `{"key", "done"}` after a final
answer. What has the first and not the second is sent again after a restart, under the same key: the service executes it at most once.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paiid.client.errors import KeyFileError
from paiid.client.orders import decode, encode

_REWRITE_AFTER = 1000
"""Finished keys in the file before it is written anew without them."""


class KeyFile:
    """One file, one process. Raises KeyFileError when another holds it or a line in its middle is damaged."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise KeyFileError(f"{self._path} is in use by another process") from None
        self._open: dict[str, dict[str, Any]] = {}
        self._finished = 0
        try:
            self._read()
            self._rewrite()
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def pending(self) -> dict[str, dict[str, Any]]:
        """Key to body of what was begun and has no final answer, oldest first."""
        return dict(self._open)

    def begin(self, key: str, body: dict[str, Any]) -> None:
        """On disk before this returns."""
        self._append({"key": key, "body": body})
        self._open[key] = body

    def finish(self, key: str) -> None:
        """There is a final answer."""
        if self._open.pop(key, None) is None:
            return
        self._append({"key": key, "done": True})
        self._finished += 1
        if self._finished >= _REWRITE_AFTER:
            os.close(self._file)
            self._rewrite()

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._file)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: dict[str, Any]) -> None:
        os.write(self._file, encode(line) + b"\n")
        os.fsync(self._file)

    def _read(self) -> None:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                found = decode(line)
                key = found["key"]
            except (ValueError, TypeError, KeyError):
                if number == len(lines):
                    # Cut while it was written: it was not flushed, so nothing was sent.
                    return
                raise KeyFileError(f"line {number} of {self._path} cannot be read") from None
            if found.get("done"):
                self._open.pop(key, None)
            else:
                self._open[key] = found["body"]

    def _rewrite(self) -> None:
        """What is open and nothing else, in a new file that takes the old one's place."""
        fresh = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)
        for key, body in self._open.items():
            os.write(descriptor, encode({"key": key, "body": body}) + b"\n")
        os.fsync(descriptor)
        os.replace(fresh, self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._file = descriptor
        self._finished = 0
