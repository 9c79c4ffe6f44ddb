"""What a backup file is, in words: a zip of one file of rows a table, and a manifest that says what makes it whole.

`tables/NAME.ndjson` has a JSON array a row, in the order of the manifest's columns; `manifest.json` is written last, so
that a file that broke off has none. Integers have all their 64 bits.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from paiid.core.instants import instant

FORMAT = 1
MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20
MAX_ROW = 64 << 20
"""Bytes of one row; longer ones are not ours."""
BATCH = 1_000
"""Rows that are in memory at a time, if they are not long."""
BATCH_BYTES = 4 << 20
"""Bytes of rows after which no more are taken into memory."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_HIGHEST = 2**63 - 1
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[int | str | None])

Value = int | str | None


class BackupError(Exception):
    """A file that is no whole backup, or that cannot be written or restored here; the text says what to do."""


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A table as the manifest has it: `sha256` is over the bytes of its rows."""

    columns: tuple[str, ...]
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. `schema` is the revision of its tables; `taken_at_us` is database time, not later than the
    instant that the rows are of."""

    version: str
    build: str
    schema: str
    dialect: str
    taken_at_us: int
    tables: Mapping[str, TableEntry]

    @property
    def rows(self) -> int:
        """Of all tables together."""
        return sum(one.rows for one in self.tables.values())

    @property
    def taken_at(self) -> str:
        """For people."""
        return instant(self.taken_at_us) or ""


def member_of(table: str) -> str:
    """The name of a table's rows in the file."""
    return f"tables/{table}.ndjson"


def encoded_rows(rows: Iterable[Sequence[Value]]) -> bytes:
    """A line a row."""
    return b"".join([_encoder.encode(tuple(row)) + b"\n" for row in rows])


def decoded_row(line: bytes, columns: int) -> list[Value]:
    """A row of so many columns. Raises BackupError for anything but texts, 64-bit integers and nulls."""
    try:
        row: list[Value] = _decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise BackupError(f"a row cannot be read ({error})") from None
    if len(row) != columns:
        raise BackupError(f"a row has {len(row)} values for {columns} columns")
    if any(isinstance(one, int) and not -_HIGHEST - 1 <= one <= _HIGHEST for one in row):
        raise BackupError("a row has a number of more than 64 bits")
    return row


def manifest_to(manifest: Manifest) -> bytes:
    """As it stands in the file."""
    told = {
        "product": "paiid",
        "format": FORMAT,
        "version": manifest.version,
        "build": manifest.build,
        "schema": manifest.schema,
        "dialect": manifest.dialect,
        "taken_at_us": manifest.taken_at_us,
        "taken_at": manifest.taken_at,
        "holds": "password hashes and the install's own secrets: whoever reads this file can forge order ids",
        "tables": {
            name: {"columns": list(one.columns), "rows": one.rows, "sha256": one.sha256}
            for name, one in manifest.tables.items()
        },
    }
    return json.dumps(told, indent=1).encode() + b"\n"


def manifest_from(data: bytes) -> Manifest:
    """Read it. Raises BackupError where it is none of ours, or of a later format."""
    try:
        told = json.loads(data)
        if told["product"] != "paiid":
            raise BackupError("this is no backup of paiid")
        if told["format"] != FORMAT:
            raise BackupError(
                f"the backup has format {told['format']!r}, this version reads {FORMAT}: use the paiid that made it"
            )
        tables = {_name(name): _entry(one) for name, one in told["tables"].items()}
        taken_at_us = told["taken_at_us"]
        if type(taken_at_us) is not int or not 0 <= taken_at_us <= _HIGHEST:
            raise ValueError("taken_at_us")
        version, build, schema, dialect = (
            _text(told, name) for name in ("version", "build", "schema", "dialect")
        )
        return Manifest(version, build, schema, dialect, taken_at_us, tables)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BackupError(f"the manifest cannot be read ({type(error).__name__})") from None


def _entry(told: Any) -> TableEntry:
    columns = tuple(_name(one) for one in told["columns"])
    rows, digest = told["rows"], told["sha256"]
    if not columns or len(set(columns)) != len(columns) or type(rows) is not int or rows < 0:
        raise ValueError("columns or rows")
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise ValueError("sha256")
    return TableEntry(columns, rows, digest)


def _name(told: Any) -> str:
    if not isinstance(told, str) or not _NAME.match(told):
        raise ValueError("name")
    return told


def _text(told: Any, name: str) -> str:
    value = told[name]
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise ValueError(name)
    return value
