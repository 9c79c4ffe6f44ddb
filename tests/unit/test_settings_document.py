"""docs/settings.md names every variable that the service reads, and no other."""

import re
from pathlib import Path

from paiid.core.settings import Settings, describe

_ROW = re.compile(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \|", re.MULTILINE)


def test_every_variable_is_documented_and_nothing_else_is() -> None:
    text = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = [name for row in _ROW.findall(text) for name in re.findall(r"[A-Z_]+", row)]
    assert len(documented) == len(set(documented))
    assert set(documented) == {name for name, _ in describe(Settings())}
