"""The wheel has what an installation without the checkout needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_brings_every_migration(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    wanted = [one.name for one in (ROOT / "migrations" / "versions").glob("*.py")]
    assert wanted
    assert {f"paiid/_migrations/versions/{name}" for name in wanted} <= names
    assert "paiid/_migrations/env.py" in names
    assert "paiid/cli/__init__.py" in names
