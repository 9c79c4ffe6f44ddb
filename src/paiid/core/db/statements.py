"""SQLAlchemy Core statements compiled once per dialect, to be run straight on the driver."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ARRAY, BigInteger, ColumnElement, Table, bindparam, insert, or_, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import Executable

_LIST = msgspec.json.Encoder()
_SQLITE = sqlite.dialect(paramstyle="qmark")
_POSTGRES: Any = asyncpg_dialect()  # type: ignore[no-untyped-call]


class any_of(ColumnElement[bool]):
    """`column IN (all values of one list parameter)`, with the same SQL text for every length of the list."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.values = bindparam(name, type_=ARRAY(column.type))


@compiles(any_of, "postgresql")
def _any_of_postgres(element: any_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)} = ANY ({compiler.process(element.values, **kw)})"


@compiles(any_of, "sqlite")
def _any_of_sqlite(element: any_of, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(element.values, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both parts are compiled


def one_of(column: ColumnElement[Any], *values: Any) -> ColumnElement[bool]:
    """`column IN (constants)`, each a parameter of its own, so that the text of the statement is fixed."""
    return or_(*(column == value for value in values))


class _Compiled:
    __slots__ = ("defaults", "names", "sql")

    def __init__(self, compiled: SQLCompiler) -> None:
        self.sql = str(compiled)
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())
        required = {name for name, bind in compiled.binds.items() if bind.required}
        self.defaults: dict[str, Any] = {
            name: value for name, value in compiled.params.items() if name not in required
        }


class Rows:
    """The PostgreSQL text that writes any number of different rows of one table: each parameter is a list with the
    values of one column. `keys` names, for an UPDATE, the parameter of each column that finds the row."""

    def __init__(self, table: Table, columns: Sequence[str], keys: Mapping[str, str]) -> None:
        self.names = (*columns, *keys.values())
        quote = _POSTGRES.identifier_preparer.quote
        self._table = quote(table.name)
        self._columns = [quote(name) for name in columns]
        self._keys = [(quote(column), quote(name)) for column, name in keys.items()]
        shaped = [*columns, *keys]
        self._types = ["bigint" if isinstance(table.c[name].type, BigInteger) else "text" for name in shaped]
        self._shown = ", ".join(quote(name) for name in self.names)

    def sql(self, first: int) -> str:
        """The text, its parameters numbered from `first`."""
        lists = ", ".join(f"${first + at}::{kind}[]" for at, kind in enumerate(self._types))
        source = f"unnest({lists}) AS r({self._shown})"
        if not self._keys:
            columns = ", ".join(self._columns)
            return f"INSERT INTO {self._table} ({columns}) SELECT {columns} FROM {source}"  # noqa: S608 - names only
        changes = ", ".join(f"{column} = r.{column}" for column in self._columns)
        where = " AND ".join(f"{self._table}.{column} = r.{name}" for column, name in self._keys)
        return f"UPDATE {self._table} SET {changes} FROM {source} WHERE {where}"  # noqa: S608 - names only


Writes = Sequence[tuple["Statement", Sequence[Mapping[str, Any]]]]
"""Statements that write rows, each with its rows; no row is in there twice."""
_texts: dict[tuple["Statement", ...], str] = {}


def postgres_writes(writes: Writes) -> tuple[str, list[list[Any]]]:
    """One statement for all of them, and its arguments. Raises TypeError for one that does not write plain rows."""
    args: list[list[Any]] = []
    for stmt, rows in writes:
        if stmt.rows is None:
            raise TypeError("only `insert_of_rows` and `update_of_rows` can share a statement")
        args.extend([[row[name] for row in rows] for name in stmt.rows.names])
    which = tuple(stmt for stmt, _ in writes)
    text = _texts.get(which)
    if text is None:
        parts: list[str] = []
        first = 1
        for stmt in which:
            assert stmt.rows is not None
            parts.append(stmt.rows.sql(first))
            first += len(stmt.rows.names)
        *before, last = parts
        named = ", ".join(f"w{at} AS ({part})" for at, part in enumerate(before))
        # As many texts as there are sets of tables that are written together: a handful.
        text = _texts[which] = f"WITH {named} {last}" if before else last
    return text, args


Read = tuple["Statement", Mapping[str, Any]]
"""A SELECT with its parameters."""
Reads = Sequence[Read]
POSTGRES_NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
_NUMBERED = re.compile(r"\$(\d+)")


def postgres_reads(reads: Reads) -> tuple[str, list[Any]]:
    """One statement for all of them, and its arguments: a row is the number of its SELECT and itself as JSON. The row after the
    last SELECT's is database time."""
    args = [arg for stmt, params in reads for arg in postgres_args(stmt.postgres(), params)]
    which = tuple(stmt for stmt, _ in reads)
    text = _texts.get(which)
    if text is None:
        parts: list[str] = []
        before = 0
        for at, stmt in enumerate(which):
            compiled = stmt.postgres()
            shifted = _NUMBERED.sub(lambda found, by=before: f"${int(found[1]) + by}", compiled.sql)  # type: ignore[misc]
            parts.append(f"SELECT {at} AS n, to_json(q{at})::text AS r FROM ({shifted}) AS q{at}")  # noqa: S608 - compiled
            before += len(compiled.names)
        # Its parts are run one after the other: locks are taken in turn, and the clock is read last.
        parts.append(f"SELECT {len(which)} AS n, {POSTGRES_NOW}::text AS r")
        text = _texts[which] = " UNION ALL ".join(parts)
    return text, args


class Statement:
    """One statement for both databases; `columns` names what an INSERT or UPDATE sets from parameters."""

    __slots__ = ("_columns", "_element", "_postgres", "_sqlite", "rows")

    def __init__(
        self, element: Executable, columns: Sequence[str] | None = None, *, rows: "Rows | None" = None
    ) -> None:
        self._element = element
        self._columns = list(columns) if columns is not None else None
        self.rows = rows
        """Where it writes plain rows, so that many, and those of several tables, can go to PostgreSQL at once."""
        self._sqlite: _Compiled | None = None
        self._postgres: _Compiled | None = None

    def sqlite(self) -> _Compiled:
        """Text with question marks, and the parameter names in order."""
        if self._sqlite is None:
            self._sqlite = self._compile(_SQLITE)
        return self._sqlite

    def postgres(self) -> _Compiled:
        """Text with numbered dollars, and the parameter names in order."""
        if self._postgres is None:
            self._postgres = self._compile(_POSTGRES)
        return self._postgres

    def _compile(self, dialect: Any) -> _Compiled:
        compiled = self._element.compile(dialect=dialect, column_keys=self._columns)  # type: ignore[attr-defined]
        if "[POSTCOMPILE" in str(compiled):
            raise TypeError("`in_` has no fixed text; use `one_of` for constants, `any_of` for a list")
        return _Compiled(compiled)


def statement(element: Executable, columns: Sequence[str] | None = None) -> Statement:
    """Prepare a Core statement. Parameters of a WHERE must not bear a column's name: call them `b_…`."""
    return Statement(element, columns)


def insert_of_rows(table: Table) -> Statement:
    """An INSERT of plain rows that may share a round trip with others (`Tx.write`)."""
    names = [one.name for one in table.columns]
    return Statement(insert(table), rows=Rows(table, names, {}))


def update_of_rows(table: Table, keys: Mapping[str, str], columns: Sequence[str]) -> Statement:
    """An UPDATE of plain columns, each row found by `keys` (column: parameter), that may share a round trip."""
    found = [table.c[column] == bindparam(name) for column, name in keys.items()]
    return Statement(update(table).where(*found), columns, rows=Rows(table, columns, keys))


def sqlite_args(compiled: _Compiled, params: Mapping[str, Any]) -> list[Any]:
    """Positional arguments; lists travel as JSON for `json_each`. Raises KeyError for a missing parameter."""
    args = postgres_args(compiled, params)
    return [_LIST.encode(value).decode() if type(value) is list else value for value in args]


def postgres_args(compiled: _Compiled, params: Mapping[str, Any]) -> list[Any]:
    """Positional arguments. Raises KeyError for a missing parameter."""
    defaults = compiled.defaults
    if not defaults:
        return [params[name] for name in compiled.names]
    return [params[name] if name in params else defaults[name] for name in compiled.names]
