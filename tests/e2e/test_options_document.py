"""docs/options.md, command by command as it stands there, against a server with the simulated market."""

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from cluster.ports import free_port
from paiid.app import create_app
from paiid.cli.serve import server_config
from paiid.core.migrate import migrate
from paiid.core.settings import load_settings
from tests.e2e.curl import Shell
from tests.e2e.processes import START_S, environment

DOCUMENT = Path(__file__).parents[2] / "docs" / "options.md"


@contextlib.contextmanager
def serving(data: Path, port: int) -> Iterator[None]:
    """A server in a thread of its own."""
    settings = load_settings(environment(data, PORT=str(port)))
    migrate(settings.database)
    config = server_config(create_app(settings))
    config.host, config.port = "127.0.0.1", port
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    try:
        give_up_at = time.monotonic() + START_S
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    port = free_port()
    with serving(tmp_path / "data", port):
        shell = Shell(port, tmp_path / "data")
        shell.wait_until_ready()
        yield shell


def test_every_command_of_the_document_answers_as_it_says(shell: Shell) -> None:
    ran = 0
    for block in re.findall(r"^```\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S):
        expected: str | None = None
        for line in block.strip().splitlines():
            if line.startswith("# "):
                expected = line[2:].partition(":")[0]
                continue
            status, _, body = shell.run(line)
            if expected is not None:
                ran += 1
                told = json.loads(body)
                said = str(status)
                if status >= 400:
                    first = told.get("errors", [{"code": told["type"].rpartition(":")[2]}])[0]
                    said += f" {first['code']}"
                assert said == expected, (line, body.decode())
            expected = None
    assert ran >= 16
