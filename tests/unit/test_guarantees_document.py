"""docs/guarantees.md speaks of every clause, and a clause it calls kept has a test that carries its number."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| ([EKAS])(\d+) \| .+ \| (.+) \|$", re.MULTILINE)
_CLAUSES = {"E": range(20), "K": range(1, 12), "A": range(1, 11), "S": range(1, 8)}
_ROWS = [
    (letter, int(number), today)
    for letter, number, today in _ROW.findall((ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"))
]
_TESTS = re.findall(
    r"def (test_\w+)",
    "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")),
)


def test_the_page_has_every_clause_once() -> None:
    wanted = [(letter, number) for letter, numbers in _CLAUSES.items() for number in numbers]
    assert [(letter, number) for letter, number, _ in _ROWS] == wanted


@pytest.mark.parametrize(
    ("letter", "number"),
    [(letter, number) for letter, number, today in _ROWS if today.startswith("kept")],
    ids=lambda value: str(value),
)
def test_a_clause_that_is_kept_has_a_test_with_its_number(letter: str, number: int) -> None:
    carries = re.compile(rf"_{letter}0*{number}(?=_)")
    assert any(carries.search(name) for name in _TESTS)


_NAMED = [
    (f"_{letter}{number:02}_", name)
    for letter, number, today in _ROWS
    for name in re.findall(r"`(tests/[a-z_/]+\.py)`", today)
]


@pytest.mark.parametrize(("number", "name"), _NAMED, ids=lambda value: str(value))
def test_a_file_that_a_clause_names_has_a_test_of_it(number: str, name: str) -> None:
    assert any(
        number in one for one in re.findall(r"def (test_\w+)", (ROOT / name).read_text(encoding="utf-8"))
    )


def test_files_are_named() -> None:
    assert len(_NAMED) >= 8


def test_a_clause_is_kept_or_not_built() -> None:
    assert all(today.startswith("kept") or today == "not built" for _, _, today in _ROWS)
