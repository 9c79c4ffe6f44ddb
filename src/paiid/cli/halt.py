"""`paiid halt` and `paiid resume`: stop trading from the host, with or without a server or even a database."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import NoReturn

import asyncpg
import typer

from paiid.brokers import Broker
from paiid.cli.servelock import prepare_data_dir
from paiid.cli.session import CLI_ACTOR, fail, opened, settings_or_exit, with_database
from paiid.core.clock import Clock, SystemClock, new_id
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.db.connect import sqlite_path
from paiid.core.settings import Settings
from paiid.domain.errors import Problem
from paiid.domain.halts import MAX_REASON, Level, Mode, Receipt, Scope
from paiid.trading.halt_change import Arm, Resume, arm_in
from paiid.trading.halt_errand import Errand
from paiid.trading.halt_fence import FenceKeeper
from paiid.trading.halt_resume import Resumes
from paiid.trading.halt_store import find_halt, load_still_on_wire
from paiid.trading.latch import Latch, PendingArm

PAPER = "paper"
_DRAIN_CAP_S = 10.0
_BROKER_TIMEOUT_S = 5.0
_FENCE_CAP_S = 10.0
_LOOK_EVERY_S = 0.1
_UNREACHABLE = (DatabaseUnavailable, sqlite3.Error, asyncpg.PostgresError, OSError, LookupError)


def _scope(text: str) -> Scope:
    try:
        return Scope.parse(text)
    except ValueError as error:
        fail(f"--scope: {error}", 2)


def _check_reason(reason: str) -> str:
    words = reason.strip()
    if not 1 <= len(words) <= MAX_REASON or not words.isprintable():
        fail(f"--reason: give 1 to {MAX_REASON} printable characters", 2)
    return words


def arm(scope_text: str, mode_text: str, reason: str, cancel: bool) -> None:
    """The command `halt`. Neither the serve lock nor a schema check may stand in its way."""
    scope, words = _scope(scope_text), _check_reason(reason)
    if mode_text not in (Mode.HALTED, Mode.REDUCE_ONLY):
        fail("--mode: use halted or reduce_only; to let trading go on use `paiid resume`", 2)
    wish = Arm(scope, Mode(mode_text), words, CLI_ACTOR, cancel=cancel)
    settings, clock = settings_or_exit(), SystemClock()
    try:
        if not settings.on_postgres and not sqlite_path(settings.database).exists():
            raise DatabaseUnavailable("there is no database file")
        result, drained = asyncio.run(_arm(settings, clock, wish))
    except _UNREACHABLE as error:
        _set_latch(settings, clock, wish, error)
    if isinstance(result, Problem):
        fail(result.detail)
    level = Level.DRAINED if drained else Level.EFFECTIVE
    typer.echo(f"{result.scope} is {result.mode.value}; level {level.value}, epoch {result.epoch}")
    if not drained:
        typer.echo(f"still on the wire: {', '.join(result.on_wire)}")
    if "fence" in result.pending:
        typer.echo("the server sets the broker's own stop as well; `GET /api/admin/kill` shows the outcome")
    if cancel:
        typer.echo("the server cancels the open orders; `GET /api/admin/kill` shows the outcomes")


async def _arm(settings: Settings, clock: Clock, wish: Arm) -> tuple[Receipt | Problem, bool]:
    """The receipt, and whether nothing claimed before it can still be on the wire."""
    async with opened(settings, clock) as db:
        async with db.begin(urgent=True) as tx:
            result = await arm_in(tx, clock, wish, _may_have_own_stop)
        if isinstance(result, Problem):
            return result, False
        return result, await _drained(db, clock, result)


def _may_have_own_stop(broker: str) -> bool:
    """Brokers are not made for a halt, so that nothing can stand in its way: the server that carries it on knows."""
    return broker != PAPER


async def _drained(db: Database, clock: Clock, receipt: Receipt) -> bool:
    """The halt is committed: a database that goes away now costs the knowledge, not the halt."""
    give_up_at = clock.monotonic_s() + _DRAIN_CAP_S
    while receipt.on_wire:
        try:
            async with db.read() as tx:
                if not await load_still_on_wire(tx, receipt.on_wire, await tx.now_us()):
                    return True
        except DatabaseUnavailable:
            return False
        if clock.monotonic_s() > give_up_at:
            return False
        await clock.sleep(_LOOK_EVERY_S)
    return True


def _set_latch(settings: Settings, clock: Clock, wish: Arm, why: Exception) -> NoReturn:
    prepare_data_dir(settings)
    latch = Latch(settings.data_dir)
    try:
        latch.add(
            PendingArm(
                id=new_id(clock, "arm"),
                scope=str(wish.scope),
                mode=wish.mode.value,
                reason=wish.reason,
                by_kind=CLI_ACTOR.kind,
                by_id=CLI_ACTOR.id,
                by_role="owner",
                at_us=clock.now_us(),
                cancel=wish.cancel,
            )
        )
    except OSError as error:
        fail(
            f"NOT HALTED: the database cannot be reached ({type(why).__name__}) and the latch file {latch.path} "
            f"cannot be written ({error.strerror}); stop the server"
        )
    fail(
        f"the database cannot be reached ({type(why).__name__}), so this is no acknowledgement: the latch file "
        f"{latch.path.absolute()} holds every server that uses this DATA_DIR halted, and the halt of {wish.scope} "
        "is written to the database when a server reaches it"
    )


async def resume_at_brokers(
    db: Database, clock: Clock, brokers: Mapping[str, Broker], wish: Resume
) -> Receipt | Problem | None:
    """Resume without a server: lift at the brokers what our halts have set, or set it again. Raises DatabaseUnavailable.

    Only brokers with a stop of their own are started: the built-in venue belongs to the server.
    """
    async with AsyncExitStack() as stack:
        used = {name: one for name, one in brokers.items() if one.capabilities.own_stop}
        for one in used.values():
            stack.push_async_callback(one.stop)
            await one.start()
        keeper = FenceKeeper(db, clock, used, _BROKER_TIMEOUT_S)
        resumes = Resumes(db, clock, keeper)
        try:
            return await resumes.resume(wish)
        finally:
            await _set_again(db, clock, keeper, resumes)


async def _set_again(db: Database, clock: Clock, keeper: FenceKeeper, resumes: Resumes) -> None:
    """What was lifted in vain; what is not set again within the cap is left to a server."""
    try:
        receipts = await resumes.set_again()
    except DatabaseUnavailable:
        typer.echo(
            "the halt stays, but the broker's own stop may be lifted: halt the scope once more", err=True
        )
        return
    running = [asyncio.ensure_future(Errand(db, clock, None, one, keeper).run()) for one in receipts]
    if running:
        _, left = await asyncio.wait(running, timeout=_FENCE_CAP_S)
        for task in left:
            task.cancel()


def lift(scope_text: str, epoch: int | None, reason: str) -> None:
    """The command `resume`."""
    scope, words = _scope(scope_text), _check_reason(reason)

    # Not at the top: `halt` has no use for brokers, and nothing of theirs may stand in its way.
    from paiid.brokers.configured import configured_brokers

    async def work(settings: Settings, db: Database, clock: Clock) -> Receipt | Problem | None:
        named = epoch
        if named is None:
            async with db.begin() as tx:
                await tx.close_gate()
                current = await find_halt(tx, scope)
                named = 0 if current is None else current.epoch
        wish = Resume(scope, Mode.ACTIVE, words, named, CLI_ACTOR)
        return await resume_at_brokers(db, clock, configured_brokers(settings, db, clock), wish)

    result = with_database(work)
    if isinstance(result, Problem):
        fail(result.detail)
    if result is None:
        typer.echo(f"{scope} is not halted; nothing to do")
    else:
        typer.echo(f"{scope} is active, epoch {result.epoch}")
        for one in result.fences:
            typer.echo(f"the stop of {one.broker} in account {one.account_id}: {one.message or one.outcome}")
    held = Latch(settings_or_exit().data_dir).holds()
    if held is not None:
        fail(f"but the latch file still holds the servers of this DATA_DIR halted: {held}")
