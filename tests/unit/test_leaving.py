"""A server that is told to end goes on listening for a moment, so that a balancer leaves before connections are refused."""

import time

import uvicorn
from fastapi import FastAPI

from paiid.cli.serve import GRACE_S, LAST_RESORT_S, LEAVE_S, _Server


def _server(leave_s: int) -> _Server:
    app = FastAPI()
    return _Server(app, uvicorn.Config(app), leave_s)


async def test_it_stops_listening_when_its_time_to_leave_is_over_and_not_before() -> None:
    server = _server(LEAVE_S)
    assert await server.on_tick(1) is False
    server.should_exit = True
    server._leaves_at_s = time.monotonic() + 1000
    assert await server.on_tick(2) is False
    server._leaves_at_s = time.monotonic() - 1
    assert await server.on_tick(3) is True


async def test_a_second_signal_ends_the_wait() -> None:
    server = _server(LEAVE_S)
    server.should_exit = True
    server._leaves_at_s = time.monotonic() + 1000
    server.handle_exit(15, None)
    assert await server.on_tick(1) is True


def test_requests_under_way_have_the_same_time_with_and_without_a_balancer() -> None:
    for leave_s in (0, LEAVE_S):
        grace_s = _server(leave_s).config.timeout_graceful_shutdown
        assert grace_s is not None
        assert leave_s + grace_s == GRACE_S < LAST_RESORT_S
