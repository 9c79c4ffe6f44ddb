"""`paiid migrate`: bring the database up to this version's schema."""

import typer
from sqlalchemy.exc import SQLAlchemyError

from paiid.cli.servelock import prepare_data_dir
from paiid.cli.session import fail, settings_or_exit
from paiid.core.migrate import SchemaError
from paiid.core.migrate import migrate as bring_up
from paiid.core.settings import Settings


def run() -> None:
    """The command."""
    settings = settings_or_exit()
    prepare_data_dir(settings)
    before, after = bring_up_or_exit(settings)
    if before == after:
        typer.echo(f"the database is at schema {after}; nothing to do")
    else:
        typer.echo(f"the database is now at schema {after} (was {before or 'empty'})")


def bring_up_or_exit(settings: Settings) -> tuple[str | None, str]:
    """Revisions before and after; ends with code 1 where it cannot be done."""
    try:
        return bring_up(settings.database)
    except SchemaError as error:
        fail(str(error))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        fail(f"the database cannot be reached ({type(error).__name__})")
