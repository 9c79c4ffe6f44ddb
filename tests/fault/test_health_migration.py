"""A migration that is killed half-way, by the kernel or by a hand, leaves the schema as it was and can be run again."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from paiid.core.migrate import SchemaError, migrate, require_current
from paiid.core.tables import metadata
from tests.integration.test_migrations import blank_url, on_connection, shape_of, shape_wanted

__all__ = ["blank_url"]
_DYING = """
import os, signal, sys
from sqlalchemy import Engine, event
from paiid.core.migrate import migrate

url, *points = sys.argv[1:]

def die_at(point):
    left = point
    @event.listens_for(Engine, "after_cursor_execute")
    def _(connection, cursor, statement, *_):
        nonlocal left
        if statement.lstrip().upper().startswith("CREATE TABLE"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    migrate(url)

for point in points:
    pid = os.fork()
    if pid == 0:
        die_at(int(point))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("blank_url", ["sqlite", "postgresql"], indirect=True)
async def test_a_migration_that_is_killed_leaves_nothing_and_is_made_whole_by_the_next(
    blank_url: str,
) -> None:
    if blank_url.startswith("sqlite"):
        Path(blank_url.removeprefix("sqlite:///")).parent.mkdir()
    # In the first migration, in the middle of the tables, and in the last.
    tables = len(metadata.tables)
    points = [str(at) for at in (1, tables // 2, tables)]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _DYING, blank_url, *points],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["-9", "-9", "-9"], done.stderr
    left = await on_connection(blank_url, shape_of)
    assert set(left) < set(shape_wanted(metadata)), "none is whole"
    with pytest.raises(SchemaError, match="paiid migrate"):
        await asyncio.to_thread(require_current, blank_url)
    await asyncio.to_thread(migrate, blank_url)
    assert await on_connection(blank_url, shape_of) == shape_wanted(metadata)
    await asyncio.to_thread(require_current, blank_url)
