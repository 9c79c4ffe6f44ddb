"""Every SQL statement of the service compiles for both databases, before any of them runs."""

import importlib
import pkgutil

import pytest
from sqlalchemy import bindparam, select

import paiid
from paiid.core.db import Statement, one_of, statement
from paiid.core.tables import orders


def _statements() -> list[tuple[str, Statement]]:
    found: list[tuple[str, Statement]] = []
    for module in pkgutil.walk_packages(paiid.__path__, "paiid."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, Statement):
                    found.append((f"{module.name}.{name}", one))
    return found


def test_every_statement_compiles_for_sqlite_and_postgresql() -> None:
    found = _statements()
    assert len(found) > 100
    for name, one in found:
        assert one.sqlite().sql, name
        assert one.postgres().sql, name


def test_an_in_without_a_fixed_text_is_refused() -> None:
    wrong = statement(select(orders.c.id).where(orders.c.state.in_(["A", "B"])))
    with pytest.raises(TypeError, match="one_of"):
        wrong.sqlite()


def test_constants_and_literal_nulls_travel_as_parameters() -> None:
    compiled = statement(
        select(orders.c.id).where(one_of(orders.c.state, "A", "B"), orders.c.qty == bindparam("b_qty"))
    ).sqlite()
    assert [compiled.defaults.get(name) for name in compiled.names] == ["A", "B", None]
    assert "b_qty" not in compiled.defaults
    forget = statement(orders.update().values(intent_id=None)).sqlite()
    assert forget.defaults["intent_id"] is None
