"""SQLAlchemy Core statements compiled once per dialect, to be run straight on the driver."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, bindparam, or_
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import Executable

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


class Statement:
    """One statement for both databases; `columns` names what an INSERT or UPDATE sets from parameters."""

    __slots__ = ("_columns", "_element", "_postgres", "_sqlite")

    def __init__(self, element: Executable, columns: Sequence[str] | None = None) -> None:
        self._element = element
        self._columns = list(columns) if columns is not None else None
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


def sqlite_args(compiled: _Compiled, params: Mapping[str, Any]) -> list[Any]:
    """Positional arguments; lists travel as JSON for `json_each`. Raises KeyError for a missing parameter."""
    defaults = compiled.defaults
    args: list[Any] = []
    for name in compiled.names:
        value = params[name] if name in params else defaults[name]
        args.append(json.dumps(value) if type(value) is list else value)
    return args


def postgres_args(compiled: _Compiled, params: Mapping[str, Any]) -> list[Any]:
    """Positional arguments. Raises KeyError for a missing parameter."""
    defaults = compiled.defaults
    return [params[name] if name in params else defaults[name] for name in compiled.names]
