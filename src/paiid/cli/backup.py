"""`paiid backup`: everything in the database as of one instant, in one file, beside a running server or without one."""

import asyncio
import re
from pathlib import Path

import typer

from paiid import __version__
from paiid.cli.servelock import prepare_data_dir
from paiid.cli.session import fail, settings_or_exit
from paiid.core.backup import BackupError, Manifest
from paiid.core.backup_file import BackupReader, prune, standard_output, whole_file, write_backup
from paiid.core.backup_store import snapshot
from paiid.core.build import build_id
from paiid.core.clock import Clock, SystemClock
from paiid.core.instants import instant
from paiid.core.migrate import SchemaError, current_head
from paiid.core.settings import Settings

DIRECTORY = "backups"
_WARNING = "it holds password hashes and the install's own secrets: keep it as safe as the database, and away from its disk"
_SAME_SECOND = 100


def make(target: str | None, keep: int | None) -> None:
    """The command `backup`."""
    settings, clock = settings_or_exit(), SystemClock()
    if keep is not None and target == "-":
        fail("--keep: standard output has no older backups", 2)
    try:
        if target == "-":
            manifest = asyncio.run(_to_standard_output(settings, clock))
            typer.echo(_told(manifest, "standard output"), err=True)
            return
        path = _default_path(settings, clock) if target is None else Path(target)
        manifest = asyncio.run(_to_file(settings, clock, path))
        typer.echo(_told(manifest, str(path)))
        typer.echo(_WARNING)
        for one in prune(path.parent, keep, path) if keep is not None else ():
            typer.echo(f"removed {one}")
    except (BackupError, SchemaError) as error:
        fail(f"no backup was made: {error}")
    except OSError as error:
        fail(f"no backup was made: {error.strerror or type(error).__name__}")


def verify(file: str) -> None:
    """The command `backup --verify`."""
    try:
        with BackupReader(Path(file)) as reader:
            reader.verify()
            typer.echo(_told(reader.manifest, file))
    except BackupError as error:
        fail(f"{file}: {error}")
    typer.echo("whole: every count and checksum is as it was written")


def _told(manifest: Manifest, where: str) -> str:
    return (
        f"{where}: {manifest.rows} rows of {len(manifest.tables)} tables as of {manifest.taken_at}, "
        f"schema {manifest.schema}, paiid {manifest.version} ({manifest.build}), from {manifest.dialect}"
    )


def _default_path(settings: Settings, clock: Clock) -> Path:
    """In DATA_DIR, named after the time."""
    prepare_data_dir(settings)
    directory = settings.data_dir / DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    stamp = re.sub(r"[-:]", "", (instant(clock.now_us()) or "").partition(".")[0])
    names = [f"paiid-{stamp}Z.zip", *(f"paiid-{stamp}Z-{n}.zip" for n in range(1, _SAME_SECOND))]
    return next((directory / one for one in names if not (directory / one).exists()), directory / names[0])


async def _to_file(settings: Settings, clock: Clock, path: Path) -> Manifest:
    async with snapshot(settings.database, clock, current_head()) as rows:
        with whole_file(path) as out:
            return await write_backup(out, rows, version=__version__, build=build_id(settings))


async def _to_standard_output(settings: Settings, clock: Clock) -> Manifest:
    async with snapshot(settings.database, clock, current_head()) as rows:
        out = standard_output()
        manifest = await write_backup(out, rows, version=__version__, build=build_id(settings))
        out.flush()
        return manifest
