"""What the simulator has seen and done, in an append-only file: a referee's evidence, whatever a client believes."""

import os
import re
import threading
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from paiid.core.clock import Clock

__all__ = ["MAX_PAGE", "Ledger", "LedgerSummary", "Naming"]

MAX_PAGE = 1000
_HIDDEN = "***"
_SECRET_FIELDS = frozenset(
    {
        "api_key",
        "api_secret",
        "authorization",
        "key",
        "key_id",
        "password",
        "secret",
        "secret_key",
        "sessionid",
        "token",
    }
)
_MAX_TEXT = 20_000
"""Characters of one text in an entry; what is longer is cut, and says so."""
_ENCODER = msgspec.json.Encoder(decimal_format="string")


@dataclass(frozen=True, slots=True)
class Naming:
    """How a client names an order: in which field of a submission, and to which paths (a pattern) it is posted."""

    field: str = "client_order_id"
    path: str = "/v2/orders"

    def is_submission(self, entry: dict[str, Any]) -> bool:
        """Whether the entry of a request is about a new order; one for a preview is not."""
        if entry.get("method") != "POST" or re.fullmatch(self.path, str(entry.get("path"))) is None:
            return False
        body = entry.get("body")
        return not (isinstance(body, dict) and body.get("preview") == "true")

    def of(self, entry: Any) -> str:
        """The name; empty for none."""
        named = entry.get(self.field) if isinstance(entry, dict) else None
        return "" if named is None else str(named)


@dataclass(slots=True)
class LedgerSummary:
    """What the entries add up to. Keys of `accepted` and `received` are (account number, the client's name)."""

    naming: Naming = Naming()
    entries: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    accepted: dict[tuple[str, str], int] = field(default_factory=dict)
    received: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, entry: dict[str, Any]) -> None:
        """Count one more entry."""
        self.entries += 1
        kind = str(entry.get("kind"))
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
        account = str(entry.get("account") or "")
        if kind == "order_accepted":
            _count(self.accepted, (account, self.naming.of(entry)))
        elif kind == "request" and self.naming.is_submission(entry):
            _count(self.received, (account, self.naming.of(entry.get("body"))))

    def as_json(self) -> dict[str, Any]:
        """`accepted` and `received` by account and the client's name, empty for none; `duplicates` are names accepted
        more than once."""
        return {
            "entries": self.entries,
            "by_kind": dict(sorted(self.by_kind.items())),
            "accepted": _nested(self.accepted.items()),
            "received": _nested(self.received.items()),
            "duplicates": _nested((key, n) for key, n in self.accepted.items() if n > 1 and key[1]),
        }


def _count(counts: dict[tuple[str, str], int], key: tuple[str, str]) -> None:
    counts[key] = counts.get(key, 0) + 1


def _nested(items: Iterable[tuple[tuple[str, str], int]]) -> dict[str, dict[str, int]]:
    made: dict[str, dict[str, int]] = {}
    for (account, name), count in items:
        made.setdefault(account, {})[name] = count
    return made


class Ledger:
    """JSON lines, one `write` each, handed to the operating system before `append` returns: a kill of the process
    loses none. With `sync` each entry is on the disk as well, so that a power cut loses none either.

    `secrets` gives the texts that must never be written; they are blotted out wherever they stand.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        sync: bool = False,
        secrets: Callable[[], Iterable[str]] = tuple,
        naming: Naming | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._sync = sync
        self._secrets = secrets
        self._lock = threading.Lock()
        self._offsets = array("Q")
        self.summary = LedgerSummary(naming or Naming())
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._end = self._recover()

    @property
    def last_seq(self) -> int:
        """The number of the newest entry; 0 for none."""
        return len(self._offsets)

    def append(self, kind: str, **fields: Any) -> None:
        """Write an entry. Raises OSError where the file cannot be written."""
        with self._lock:
            seq = len(self._offsets) + 1
            entry = {"seq": seq, "at_us": self._clock.now_us(), "kind": kind, **_safe(fields)}
            line = self._blot(_ENCODER.encode(entry).decode()).encode() + b"\n"
            written = os.write(self._descriptor, line)
            if written != len(line):
                os.ftruncate(self._descriptor, self._end)
                raise OSError("the ledger could not be written whole; the disk may be full")
            if self._sync:
                os.fsync(self._descriptor)
            self._offsets.append(self._end)
            self._end += written
            self.summary.take(msgspec.json.decode(line))

    def read(self, after: int = 0, kind: str | None = None, limit: int = MAX_PAGE) -> list[dict[str, Any]]:
        """The next entries behind this number, of one kind or all, oldest first."""
        found: list[dict[str, Any]] = []
        with self._path.open("rb") as file:
            if after >= len(self._offsets):
                return []
            file.seek(self._offsets[max(0, after)])
            for line in file:
                if len(found) >= limit or not line.endswith(b"\n"):
                    break
                entry = msgspec.json.decode(line)
                if kind is None or entry["kind"] == kind:
                    found.append(entry)
        return found

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _blot(self, line: str) -> str:
        for secret in self._secrets():
            if secret and secret in line:
                line = line.replace(secret, _HIDDEN)
        return line

    def _recover(self) -> int:
        """Take in what an earlier run wrote; half a line at the end, of a run that was cut off, is taken away."""
        end = 0
        with self._path.open("rb") as file:
            for line in file:
                try:
                    entry = msgspec.json.decode(line) if line.endswith(b"\n") else None
                except msgspec.DecodeError:
                    entry = None
                if not isinstance(entry, dict):
                    break
                self._offsets.append(end)
                self.summary.take(entry)
                end += len(line)
        os.ftruncate(self._descriptor, end)
        return end


def _safe(value: Any) -> Any:
    """The value without fields that hold a secret by their name, and with texts of a bounded length."""
    if isinstance(value, dict):
        return {
            str(name): _HIDDEN if str(name).lower() in _SECRET_FIELDS else _safe(inner)
            for name, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_safe(inner) for inner in value]
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return value[:_MAX_TEXT] + "… (cut)"
    return value
