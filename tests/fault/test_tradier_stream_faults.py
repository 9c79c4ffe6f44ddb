"""Every fault of the account stream against orders that fill in parts, in groups, and that are changed and cancelled: it only
says when to look, so whatever it does, everything is booked once."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from paiid.sim.tradier.account_stream import AccountStreamOptions
from paiid.sim.tradier.fault_kinds import KINDS
from tests.fault import tradier_paths as paths
from tests.fault.tradier_kept import KeptWorld
from tests.tradier_world import BRISK_LOOKS

ALL: dict[str, dict[str, Any]] = {
    "told twice": {"kind": "update_duplicated", "rate": 1.0},
    "told in another order": {"kind": "update_reordered", "rate": 0.5, "params": {"wait_ms": 200}},
    "told late": {"kind": "update_late", "rate": 1.0, "params": {"delay_ms": 600}},
    "never told": {"kind": "update_missing", "rate": 1.0},
    "some never told": {"kind": "update_missing", "rate": 0.5},
    "cut off instead": {"kind": "disconnect", "rate": 1.0},
    "cut off once": {"kind": "disconnect", "next": 1},
    "silent": {"kind": "silent", "next": 1},
    "silent and deaf": {"kind": "silent", "next": 1, "params": {"deaf": True}},
    "told with fields missing": {"kind": "missing_fields", "on": "stream", "rate": 1.0},
    "told with an unknown status": {"kind": "unknown_status", "on": "stream", "rate": 1.0},
}
_TRIES = 6
"""A reader that begins anew, after what the case before has done to it, may not listen at that moment."""
WALKS: dict[str, paths.Walk] = {
    "single": paths.single,
    "bracket": paths.bracket,
    "spread": paths.spread,
    "replacing": paths.replacing,
    "canceling": paths.canceling,
}
MATRIX = [
    pytest.param(walk, wish, id=f"{path}: {name}")
    for path, walk in WALKS.items()
    for name, wish in ALL.items()
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> AsyncIterator[KeptWorld]:
    how: dict[str, Any] = {
        "wish": {"stream": AccountStreamOptions(heartbeat_s=0.4)},
        "looks": replace(BRISK_LOOKS, silence_s=2.0),
    }
    one = KeptWorld(tmp_path_factory.mktemp("tradier"), _sqlite_template, **how)
    yield one
    await one.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("walk", "wish"), MATRIX)
async def test_E18_whatever_the_account_stream_of_tradier_does_everything_is_booked_once(
    walk: paths.Walk, wish: dict[str, Any], kept: KeptWorld
) -> None:
    async with kept.lent() as world:
        before = world.played()
        world.fault(**wish)
        for _ in range(_TRIES):
            await world.until_listened_to()
            (order,) = await walk(world, lambda **_: None)
            assert order["state"] == "ACCEPTED"
            await world.quiesce()
            if world.played() > before:
                break
        assert world.played() > before, "the fault was never played"


def test_every_fault_of_the_account_stream_is_in_the_matrix() -> None:
    assert {wish["kind"] for wish in ALL.values()} == {
        name for name, kind in KINDS.items() if "stream" in kind.on
    }
