"""The balancer of a cluster: what has begun is never sent twice, nothing is hidden from it, and nobody is left waiting."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from cluster.balancer import Balancer, Target
from cluster.ports import free_port

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
GET = b"GET /api/x HTTP/1.1\r\nhost: a\r\n\r\n"
READY = b"/api/health/ready"
Answer = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def say_ok(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A replica that works."""
    writer.write(OK)


async def go_away(*_: object) -> None:
    """A replica that dies with the request in its hands."""


@dataclass
class FakeReplica:
    """It notes what comes."""

    answer: Answer = say_ok
    ready: bool = True
    heads: list[bytes] = field(default_factory=list)
    closed: int = 0
    port: int = field(default_factory=free_port)
    server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Answer until the server is closed."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if READY in head:
                writer.write(OK if self.ready else OK.replace(b"200 OK", b"503 No"))
            else:
                self.heads.append(head)
                await self.answer(head, reader, writer)
            await writer.drain()
        self.closed += READY not in head
        writer.close()


@asynccontextmanager
async def balanced(*replicas: FakeReplica, trusted: tuple[str, ...] = ()) -> AsyncIterator[Balancer]:
    """A balancer that knows who is ready."""
    for one in replicas:
        await one.listen()
    targets = [Target(f"replica-{at}", one.port) for at, one in enumerate(replicas)]
    balancer = Balancer(targets, trusted=trusted, say=lambda _: None)
    await balancer.listen("127.0.0.1", 0)
    try:
        await asyncio.gather(*(balancer.check(one) for one in targets))
        yield balancer
    finally:
        await balancer.close()
        for one in replicas:
            assert one.server is not None
            one.server.close()


async def ask(balancer: Balancer, sent: bytes = GET) -> bytes:
    """All that is answered until the balancer hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
    writer.write(sent)
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


def closing(head: bytes = GET) -> bytes:
    """The same, as the last request of its connection."""
    return head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


async def test_what_a_replica_took_and_did_not_answer_is_a_502_and_reaches_no_other() -> None:
    dying, well = FakeReplica(go_away), FakeReplica()
    async with balanced(dying, well) as balancer:
        answers = [await ask(balancer, closing()) for _ in range(4)]
        assert sorted(one[9:12] for one in answers) == [b"200", b"200", b"502", b"502"]
        assert (len(dying.heads), len(well.heads)) == (2, 2)
        refusal = next(one for one in answers if b"502" in one)
        problem = json.loads(refusal.partition(b"\r\n\r\n")[2])
        assert problem["type"] == "urn:paiid:problem:replica-lost"
        assert "same key" in problem["detail"]
        assert balancer.counts.lost == 2


async def test_where_nobody_listens_the_next_replica_is_asked_and_without_any_it_is_a_503() -> None:
    gone, well = FakeReplica(), FakeReplica()
    async with balanced(gone, well) as balancer:
        assert gone.server is not None
        # It must not find out by itself before somebody asks.
        assert balancer._checking is not None
        balancer._checking.cancel()
        await asyncio.wait({balancer._checking})
        gone.server.close()
        assert [(await ask(balancer, closing()))[9:12] for _ in range(4)] == [b"200"] * 4
        assert balancer.counts.elsewhere == 1
        well.ready = False
        await balancer.check(balancer.targets[1])
        answer = await ask(balancer)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in answer
        assert len(well.heads) == 4
        # Back again by itself.
        balancer._checking = asyncio.create_task(balancer._check_all())
        await gone.listen()
        async with asyncio.timeout(20):
            while not balancer.targets[0].ready:
                await asyncio.sleep(0.02)
        assert (await ask(balancer, closing()))[9:12] == b"200"


async def test_a_replica_that_is_taken_out_gets_nothing_new_though_it_is_ready() -> None:
    first, second = FakeReplica(), FakeReplica()
    async with balanced(first, second) as balancer:
        balancer.targets[0].out = True
        for _ in range(3):
            await ask(balancer, closing())
        assert (len(first.heads), len(second.heads)) == (0, 3)


async def test_one_connection_asks_several_replicas_and_bodies_come_whole() -> None:
    body = b"x" * 200_000
    seen: list[bytes] = []

    async def read_body(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readexactly(len(body)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)

    replicas = [FakeReplica(read_body) for _ in range(2)]
    async with balanced(*replicas) as balancer:
        post = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        answer = await ask(balancer, post + closing(post))
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert answer.count(body) == 2
        assert [len(one.heads) for one in replicas] == [1, 1]
        assert seen == [body, body]


async def test_streams_and_sockets_pass_through_and_end_with_either_side() -> None:
    async def stream(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"upgrade" in head:
            writer.write(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            writer.write((await reader.readexactly(4)).upper())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await writer.drain()
        await reader.read()

    replica = FakeReplica(stream)
    async with balanced(replica) as balancer:
        for sent, heard in (
            (GET, b"2\r\nhi\r\n"),
            (b"GET /ws HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nping", b"PING"),
        ):
            before = replica.closed
            reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
            writer.write(sent)
            async with asyncio.timeout(20):
                await reader.readuntil(heard)
                writer.close()
                while replica.closed == before:
                    await asyncio.sleep(0.01)
        # Nothing is left of them.
        async with asyncio.timeout(20):
            while balancer.targets[0].serving:
                await asyncio.sleep(0.01)


async def test_an_answer_that_breaks_off_is_not_told_as_whole() -> None:
    async def half(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")

    async def half_a_chunk(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nha")

    for answer in (half, half_a_chunk):
        async with balanced(FakeReplica(answer)) as balancer:
            # The connection closes though the client would keep it: that is how it hears of it.
            assert (await ask(balancer)).partition(b"\r\n\r\n")[2] in (b"half", b"4\r\nha")


SMUGGLED = (
    b"POST /x HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /y HTTP/1.1\r\n\r\n",
    b"POST /x HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    b"POST /x HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc",
    b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"GET /x HTTP/1.1\r\nx-forwarded-for : 9.9.9.9\r\n\r\n",
    b"GET /x HTTP/1.1\r\na: b\r\n x-forwarded-for: 9.9.9.9\r\n\r\n",
    b"GET /x HTTP/1.1\r\na: b\nx-forwarded-for: 9.9.9.9\r\n\r\n",
    b"GET /x HTTP/1.1 \r\n\r\n",
    b"GET  /x HTTP/1.1\r\n\r\n",
    b"GET /x HTTP/2.0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\r\n\r\n",
    b"\r\n\r\n" + GET,
    b"a" * 70_000,
)


@pytest.mark.parametrize("sent", SMUGGLED, ids=range(len(SMUGGLED)))
async def test_what_can_be_read_in_two_ways_is_refused_and_reaches_nobody(sent: bytes) -> None:
    replica = FakeReplica()
    async with balanced(replica) as balancer:
        answer = await ask(balancer, sent)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert replica.heads == []
        # And it still serves others.
        assert (await ask(balancer, closing()))[9:12] == b"200"


async def test_who_asks_is_said_by_the_balancer_and_by_no_client() -> None:
    spoofed = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 9.9.9.9\r\nx-forwarded-for: 8.8.8.8\r\n\r\n")
    for trusted, hops in (((), b"127.0.0.1"), (("127.0.0.0/8",), b"9.9.9.9, 8.8.8.8, 127.0.0.1")):
        replica = FakeReplica()
        async with balanced(replica, trusted=trusted) as balancer:
            await ask(balancer, closing(spoofed))
        lines = [one for one in replica.heads[0].split(b"\r\n") if one.lower().startswith(b"x-forwarded-for")]
        assert lines == [b"x-forwarded-for: " + hops]


async def test_what_follows_a_chunked_body_is_no_second_request() -> None:
    replica = FakeReplica()
    async with balanced(replica) as balancer:
        hidden = b"GET /hidden HTTP/1.1\r\nx-forwarded-for: 9.9.9.9\r\n\r\n"
        sent = b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + hidden
        answer = await ask(balancer, sent)
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in answer
        assert len(replica.heads) == 1
