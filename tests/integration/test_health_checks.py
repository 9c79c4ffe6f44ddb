"""Checks run by themselves: what hangs delays no other, what is slow once makes nobody unready, what is old says so."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from paiid.core.clock import SystemClock
from paiid.core.db import DatabaseUnavailable
from paiid.system.checks import Check, Checks, Down, Probe, Told, Watch
from paiid.system.checks_here import ai_probe, background_probe, event_loop_probe
from paiid.system.disk import FULL_BYTES, LOW_BYTES, DiskCheck, Place, Room
from tests.fake_clock import FakeClock
from tests.world import make_settings

WHY = "it is away"
SOON_S = 0.05
"""The deadline of these checks; nothing that answers at all takes so long."""


def scripted(*answers: Told | Exception | None) -> Probe:
    """A probe that gives one answer after the other, the last again and again; None hangs."""
    left = list(answers)

    async def probe() -> Told:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer

    return probe


def known(checks: Checks, name: str) -> Check:
    return dict(checks.known())[name]


async def test_a_check_that_hangs_is_told_delays_no_other_and_is_not_asked_again_before_it_has_ended() -> (
    None
):
    asked, release = 0, asyncio.Event()

    async def deaf() -> str:
        nonlocal asked
        asked += 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    checks = Checks(SystemClock(), deadline_s=SOON_S)
    checks.register("deaf", Watch(deaf))
    checks.register("quick", Watch(scripted(Told("here"))))
    try:
        flight = asyncio.create_task(checks.ask())
        while "quick" not in dict(checks.known()):
            assert not flight.done(), "it does not wait for the other"
            await asyncio.sleep(0)
        await flight
        await checks.ask()
        await checks.ask()
        assert (known(checks, "deaf").status, known(checks, "deaf").detail) == ("down", "no answer in time")
        assert asked == 1
    finally:
        release.set()
    await asyncio.sleep(SOON_S)
    await checks.ask()
    assert (asked, known(checks, "deaf").status) == (2, "up")
    await checks.stop()


async def test_one_slow_answer_makes_nobody_unready_and_two_in_a_row_do() -> None:
    checks = Checks(SystemClock(), deadline_s=SOON_S)
    checks.register("database", Watch(scripted(Told("here"), None, Told("here"), None, None), unready=WHY))
    assert checks.reason == "the first checks are still running"
    await checks.ask()
    assert checks.reason is None
    await checks.ask()
    assert (known(checks, "database").status, checks.reason) == ("down", None)
    await asyncio.sleep(0)
    await checks.ask()
    assert (known(checks, "database").status, checks.reason) == ("up", None)
    await checks.ask()
    assert checks.reason is None
    await asyncio.sleep(0)
    await checks.ask()
    assert checks.reason == WHY
    await checks.stop()


async def test_a_failure_that_comes_at_once_counts_at_once_and_ends_with_the_next_success() -> None:
    checks = Checks(SystemClock())
    checks.register("database", Watch(scripted(Told("here"), Down("refused"), Told("here")), unready=WHY))
    checks.register("other", Watch(scripted(ValueError("a secret at 10.0.0.1"))))
    await checks.ask()
    assert checks.reason is None, "what is not vital stops nobody"
    assert known(checks, "other").detail == "ValueError"
    await checks.ask()
    assert (known(checks, "database").detail, checks.reason) == ("refused", WHY)
    await checks.ask()
    assert checks.reason is None


async def test_what_cannot_be_known_anew_stays_as_it_was_and_says_how_old_that_is() -> None:
    clock = FakeClock()
    checks = Checks(clock)
    checks.register("clock", Watch(scripted(Told("off", "down", unready=WHY), DatabaseUnavailable("away"))))
    checks.register("books", Watch(scripted(DatabaseUnavailable("away"))))
    await checks.ask()
    clock.advance(9)
    await checks.ask()
    assert known(checks, "clock").detail == "off"
    clock.advance(5)
    await checks.ask()
    assert known(checks, "clock").detail == "off (last known, 14 s ago)"
    assert checks.reason == WHY
    assert known(checks, "books").detail == "not known: the database cannot be reached"


async def test_what_costs_somebody_something_is_asked_seldom_while_it_is_up() -> None:
    clock, asked = FakeClock(), 0

    async def counted() -> str:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Down("away")
        return "here"

    checks = Checks(clock)
    checks.register("broker", Watch(counted, 30.0))
    for wanted in [1] * 30 + [2] * 30 + [3, 4, 4]:
        await checks.ask()
        assert asked == wanted, clock.monotonic_s()
        clock.advance(1)


# -- the disk -------------------------------------------------------------------------------------------


ROOM = Room(100 * LOW_BYTES, 1_000_000, None)


@pytest.mark.parametrize(
    ("room", "status", "unready"),
    [
        (ROOM, "up", False),
        (Room(LOW_BYTES - 1, 1_000_000, None), "degraded", False),
        (Room(FULL_BYTES - 1, 1_000_000, None), "down", True),
        (Room(100 * LOW_BYTES, 3, None), "degraded", False),
        (Room(100 * LOW_BYTES, 0, None), "down", True),
        (Room(100 * LOW_BYTES, None, None), "up", False),
        (Room(100 * LOW_BYTES, None, "it cannot be written"), "down", True),
    ],
)
async def test_a_disk_is_low_before_it_is_full_and_only_the_databases_makes_us_unready(
    tmp_path: Path, room: Room, status: str, unready: bool
) -> None:
    vital, other = (tmp_path / name for name in ("vital", "other"))
    for path in (vital, other):
        path.mkdir()
    places = (Place("database", vital, vital=True), Place("data directory", other, vital=False))
    told = await DiskCheck(places, lambda path: room if path == vital else ROOM).check()
    assert (told.status, told.unready is not None) == (status, unready)
    assert str(tmp_path) not in told.detail
    assert told.figures["disk_free_bytes"] == room.free_bytes
    told = await DiskCheck(places, lambda path: room if path == other else ROOM).check()
    assert (told.status, told.unready) == (status, None)


async def test_a_disk_that_does_not_answer_holds_one_thread_and_no_more(tmp_path: Path) -> None:
    release, looks = threading.Event(), 0

    def look(path: Path) -> Room:
        nonlocal looks
        looks += 1
        release.wait(60)
        return ROOM

    disk = DiskCheck((Place("database", tmp_path, vital=True),), look)
    checks = Checks(SystemClock(), deadline_s=SOON_S)
    checks.register("disk", Watch(disk.check))
    try:
        for _ in range(3):
            await checks.ask()
            assert known(checks, "disk").status == "down"
        async with asyncio.timeout(10):
            while looks == 0:
                await asyncio.sleep(0.01)
        assert (looks, known(checks, "disk").detail) == (1, "a disk does not answer")
    finally:
        release.set()
    assert disk._look is not None
    await disk._look
    async with asyncio.timeout(20):
        # A thread may get its turn later than the short deadline says, and then it is asked again.
        while known(checks, "disk").status != "up":
            await asyncio.sleep(0.01)
            await checks.ask()


async def test_a_real_disk_is_written_to_and_nothing_stays_there(tmp_path: Path) -> None:
    told = await DiskCheck((Place("database", tmp_path, vital=True),)).check()
    assert told.figures["disk_free_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


# -- this process ---------------------------------------------------------------------------------------


class Lag:
    """A loop that was late by so much."""

    def __init__(self, worst_s: float) -> None:
        self.worst_s = worst_s


class Model:
    """AI services after an answer."""

    configured = True

    def __init__(self, last_problem: str | None) -> None:
        self.last_problem = last_problem


async def told_by(probe: Probe) -> tuple[str, str]:
    checks = Checks(SystemClock())
    checks.register("it", Watch(probe))
    await checks.ask()
    return known(checks, "it").status, known(checks, "it").detail


async def test_a_loop_that_lags_is_told_and_one_that_stood_still_is_down() -> None:
    assert await told_by(event_loop_probe(lambda: Lag(0.2))) == ("up", "it turns")
    assert await told_by(event_loop_probe(lambda: Lag(0.4))) == (
        "up",
        "it was late by 0.40 s in the last seconds",
    )
    assert (await told_by(event_loop_probe(lambda: Lag(1.4))))[0] == "down"
    assert (await told_by(event_loop_probe(lambda: None)))[0] == "unconfigured"


async def test_background_work_that_breaks_is_named() -> None:
    assert (await told_by(background_probe(dict)))[0] == "up"
    status, detail = await told_by(background_probe(lambda: {f"task-{n}": "KeyError" for n in range(7)}))
    assert (status, detail.count("task-")) == ("degraded", 5)
    assert detail.endswith("and 2 more")


@pytest.mark.parametrize(
    ("changes", "service", "status"),
    [
        ({}, None, "unconfigured"),
        ({"anthropic_api_key": "test-key", "anthropic_base_url": "http://127.0.0.1:9"}, None, "up"),
        ({}, Model(None), "up"),
        ({}, Model("the key is not taken"), "down"),
    ],
)
async def test_the_model_is_judged_by_its_last_answer_and_never_asked(
    tmp_path: Path, changes: dict[str, str], service: object, status: str
) -> None:
    settings = make_settings("sqlite:////nowhere.db", tmp_path, **changes)
    find: Callable[[], object] = lambda: service  # noqa: E731 - one line says it
    assert (await told_by(ai_probe(settings, find)))[0] == status
