"""The metadata and the few column shapes that all tables share."""

from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def text(name: str, *, null: bool = False, key: bool = False, default: str | None = None) -> Column[Any]:
    """A text column; NOT NULL unless said."""
    return Column(name, Text, nullable=null, primary_key=key, server_default=default)


def integer(name: str, *, null: bool = False, key: bool = False, default: int | None = None) -> Column[Any]:
    """A 64-bit integer column; NOT NULL unless said. No column ever counts up by itself."""
    return Column(
        name,
        BigInteger,
        nullable=null,
        primary_key=key,
        autoincrement=False,
        server_default=None if default is None else str(default),
    )
