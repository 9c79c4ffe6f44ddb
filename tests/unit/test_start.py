"""What a start does not load: packages that only some requests need, and those for a terminal (limits P10); and what is not looked
through for garbage once a server serves."""

import subprocess
import sys

HEAVY = (
    "anthropic",
    "httpx2",
    "opentelemetry.sdk",
    "pandas",
    "prometheus_client",
    "pygments",
    "redis",
    "rich",
    "scipy",
    "sentry_sdk",
)
_LOADED = f"""
import sys
from paiid.cli.lean import import_without_colours
import_without_colours()
import paiid.cli.serve, paiid.app
print([one for one in {HEAVY} if one in sys.modules])
import rich
"""
_FROZEN = """
import asyncio, gc, socket
import uvicorn
from fastapi import FastAPI
from paiid.cli.serve import _Server

async def main():
    app = FastAPI()
    server = _Server(app, config := uvicorn.Config(app, log_level="error"))
    config.load()
    server.lifespan = config.lifespan_class(config)
    there, before = len(gc.get_objects()), gc.get_freeze_count()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        print(before == 0 and gc.get_freeze_count() > 0.9 * there)
        await server.shutdown([listener])

asyncio.run(main())
"""


def test_what_is_there_when_a_server_begins_to_serve_is_not_looked_through_again() -> None:
    done = subprocess.run([sys.executable, "-c", _FROZEN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_start_loads_nothing_heavy_that_it_does_not_need() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
