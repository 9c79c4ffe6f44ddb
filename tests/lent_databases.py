"""PostgreSQL databases for tests: as good as new, at a hundredth of the price of a new one.

A new database costs the server a tenth of a second of work, an empty one to be emptied again a millisecond. So a
process of tests has one, and lends it to one test after the other: everybody is thrown out of it, every table is
emptied, and the rows that a migration puts there are put back. Whatever changes more than rows is noted by a trigger
in the database itself, and such a database is not lent again.
"""

import asyncio
import secrets
import threading
from typing import Any

import asyncpg

from paiid.core.migrate import migrate
from tests.servers import with_database

_TEMPLATE = "paiid_template"
_RESTORE = """
CREATE SCHEMA kept;
CREATE TABLE kept.changes (command text);
CREATE FUNCTION kept.note_change() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO kept.changes VALUES (tg_tag);
END $$;
CREATE FUNCTION kept.restore() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    one regclass;
    filled boolean;
BEGIN
    IF EXISTS (SELECT FROM kept.changes) THEN
        RETURN false;
    END IF;
    -- Neither foreign keys nor the trigger that keeps the audit trail whole.
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', one) INTO filled;
        -- A table that has grown, by rows or by what deleted ones have left, is worth the new file.
        IF pg_relation_size(one) > 131072 THEN
            EXECUTE format('TRUNCATE %s CASCADE', one);
        ELSIF filled THEN
            EXECUTE format('DELETE FROM %s', one);
        END IF;
    END LOOP;
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'kept_rows'::regnamespace LOOP
        EXECUTE format('INSERT INTO public.%I SELECT * FROM %s', (SELECT relname FROM pg_class WHERE oid = one), one);
    END LOOP;
    RETURN true;
END $$;
CREATE SCHEMA kept_rows;
DO $$
DECLARE
    one regclass;
    filled boolean;
BEGIN
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', one) INTO filled;
        IF filled THEN
            EXECUTE format('CREATE TABLE kept_rows.%I AS TABLE %s', (SELECT relname FROM pg_class WHERE oid = one), one);
        END IF;
    END LOOP;
    -- There is none; one that comes has to be set back too.
    ASSERT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S');
END $$;
CREATE EVENT TRIGGER note_change ON ddl_command_end EXECUTE FUNCTION kept.note_change();
"""
_THROW_OUT = (
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def make_template(server: str) -> None:
    """Migrate the database that all others are copies of."""
    talk = _Talk()
    talk.run(server, f"DROP DATABASE IF EXISTS {_TEMPLATE}", f"CREATE DATABASE {_TEMPLATE}")
    migrate(with_database(server, _TEMPLATE))
    if talk.ask(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        talk.run(with_database(server, _TEMPLATE), _RESTORE)
    talk.close()


class LentDatabases:
    """One after the other to the tests of this process. A user who is no superuser of the server given by
    `TEST_DATABASE_URL` may not do all that emptying takes; then each test gets a new one."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._talk = _Talk()
        self._name: str | None = None
        self._reusable = bool(
            self._talk.ask(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        )

    def lend(self) -> str:
        """The URL of a migrated, empty database; whoever had it before has lost it."""
        if self._name is not None and not (self._reusable and self._restored(self._name)):
            self._drop()
        if self._name is None:
            self._name = f"test_{secrets.token_hex(6)}"
            # Copied as files, past the log and the shared buffers: half the work of the default.
            self._talk.run(
                self._server, f"CREATE DATABASE {self._name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY"
            )
        return with_database(self._server, self._name)

    def close(self) -> None:
        """Nobody needs one any more."""
        self._drop()
        self._talk.close()

    def _restored(self, name: str) -> bool:
        url = with_database(self._server, name)
        self._talk.ask(url, _THROW_OUT)
        return bool(self._talk.ask(url, "SELECT kept.restore()"))

    def _drop(self) -> None:
        name, self._name = self._name, None
        if name is not None:
            self._talk.hang_up(with_database(self._server, name))
            self._talk.run(self._server, f"DROP DATABASE {name} WITH (FORCE)")


class _Talk:
    """Connections of this process, one to a database, on a loop and a thread of their own, for a loop may be running
    in the caller's. Making one for every test cost more than what was said over it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: dict[str, asyncpg.Connection[Any]] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="maintenance", daemon=True)
        self._thread.start()

    def run(self, url: str, *commands: str) -> None:
        """Execute them one after the other. Raises what the server says."""
        asyncio.run_coroutine_threadsafe(self._run(url, commands), self._loop).result()

    def ask(self, url: str, question: str) -> Any:
        """The one value that a query has for an answer. Raises what the server says."""
        return asyncio.run_coroutine_threadsafe(self._ask(url, question), self._loop).result()

    def hang_up(self, url: str) -> None:
        """Close the connection to this database."""
        asyncio.run_coroutine_threadsafe(self._hang_up(url), self._loop).result()

    def close(self) -> None:
        """Say good-bye to all and end the thread."""
        for url in list(self._connections):
            self.hang_up(url)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _to(self, url: str) -> "asyncpg.Connection[Any]":
        connection = self._connections.get(url)
        if connection is None or connection.is_closed():
            connection = self._connections[url] = await asyncpg.connect(url)
        return connection

    async def _run(self, url: str, commands: tuple[str, ...]) -> None:
        connection = await self._to(url)
        for command in commands:
            await connection.execute(command)

    async def _ask(self, url: str, question: str) -> Any:
        return await (await self._to(url)).fetchval(question)

    async def _hang_up(self, url: str) -> None:
        connection = self._connections.pop(url, None)
        if connection is not None:
            await connection.close()
