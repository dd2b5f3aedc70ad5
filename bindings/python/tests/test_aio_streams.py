"""Streams and servers of sideloop.aio, on each kind of event loop, and both ways that they receive and send.

What is sent is told apart by its position, so that no byte can be lost, doubled or swapped unnoticed.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import os
import random
import select
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Any, AsyncIterator, Awaitable, Callable, Iterator, List, Tuple

import pytest

import sideloop
from conftest import PATIENCE, RUNS, Run, Tasks, run_on_asyncio
from sideloop import aio
from sideloop.aio import _connect, _engine, _hosts, _streams

with contextlib.suppress(ImportError):
    import trio

    # For how many seconds its threads outlive their work.
    trio._core._thread_cache.IDLE_TIMEOUT = 0

UNIX = hasattr(socket, "AF_UNIX")
# More than any system keeps for a connection of this machine with itself.
MUCH = 32 << 20


@pytest.fixture(params=["at once", "by the engine"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether streams try the interpreter's own calls, or leave everything to the engine, as on Windows."""
    if request.param == "by the engine":
        monkeypatch.setattr(_streams, "_AT_ONCE", 0)
    elif not _streams._AT_ONCE:
        pytest.skip("this system has no MSG_DONTWAIT")
    return str(request.param)


def positions(start: int, end: int) -> bytes:
    """The bytes of a stream that says at every fourth byte where it is."""
    words = array.array("I", range(start // 4, end // 4 + 1))
    # Big-endian on most machines, so that neighbours differ in their last byte.
    words.byteswap()
    skip = start % 4
    return words.tobytes()[skip : skip + end - start]


async def turns(count: int) -> None:
    """Lets the event loop go on for a while."""
    for _ in range(count):
        if _hosts.trio_runs():
            import trio

            await trio.lowlevel.checkpoint()
        else:
            await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that nobody tells; `run` limits how long."""
    while not condition():
        await turns(1)


def connected() -> Tuple[socket.socket, socket.socket]:
    """Both ends of a connection, as the interpreter has them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname(), PATIENCE)
        server, _ = listening.accept()
        return client, server


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[Tuple[aio.Stream, aio.Stream]]:
    """Both ends of a connection, as streams."""
    one, other = connected()
    async with _connect.adopt(one) as client, _connect.adopt(other) as server:
        yield client, server


@contextlib.contextmanager
def deaf_at(port: int) -> Iterator[Tuple[str, int]]:
    """An address where nobody ever answers: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()


@pytest.fixture
def deaf() -> Iterator[Tuple[str, int]]:
    """Such an address at any port."""
    with deaf_at(0) as address:
        yield address


async def echo(stream: aio.Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


# Receiving and sending.


def test_every_way_to_receive(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            await client.send_all(b"line\nrest of it--end--" + positions(0, 1000))
            assert await server.receive_until(b"\n") == b"line\n"
            assert await server.receive(4) == b"rest"
            assert await server.receive_exactly(0) == b""
            assert await server.receive_until(b"--end--") == b" of it--end--"
            buffer = bytearray(100)
            got = 0
            while got < 100:
                with memoryview(buffer)[got:] as view:
                    got += await server.receive_into(view)
            assert buffer == positions(0, 100)
            assert await server.receive_exactly(900) == positions(100, 1000)
            await client.send_all(memoryview(bytearray(b"view")))
            await client.send_all(b"")
            assert await server.receive_into(buffer) == 4 and buffer[:4] == b"view"
            await client.send_eof()
            assert [data async for data in server] == []
            assert await server.receive() == await server.receive_exactly(0) == b""
            assert await server.receive_into(buffer) == 0

    run(main)


def test_large_and_in_pieces(run: Run) -> None:
    data = positions(0, 3_000_000)

    async def main() -> None:
        async with pair() as (client, server):
            async with Tasks() as tasks:
                tasks.start(client.send_all, data)
                assert await server.receive_exactly(len(data)) == data
                tasks.start(client.send_all, data)
                assert await server.receive_until(data[-4:], len(data)) == data
            for at in range(0, 300, 3):
                await client.send_all(data[at : at + 3])
            assert await server.receive_until(data[298:300], 300) == data[:300]

    run(main)


def test_the_end_comes_too_early(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            await client.send_all(b"12345")
            await client.send_eof()
            with pytest.raises(aio.IncompleteError, match="after 2 bytes, before 3") as caught:
                assert await server.receive_exactly(3) == b"123"
                await server.receive_exactly(3)
            assert (caught.value.partial, caught.value.expected) == (b"45", 3)
            assert isinstance(caught.value, EOFError)
            await server.send_all(b"abc")
            await server.send_eof()
            with pytest.raises(aio.IncompleteError) as caught:
                await client.receive_until(b"\n")
            assert (caught.value.partial, caught.value.expected) == (b"abc", None)

    run(main)


def test_what_is_too_long_stays(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            await client.send_all(b"0123456789\n")
            for _ in range(2):
                with pytest.raises(aio.TooLongError, match="10 bytes"):
                    await server.receive_until(b"\n", 10)
            assert await server.receive_until(b"\n", 11) == b"0123456789\n"

    run(main)


def test_wrong_arguments(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, _):
            wrong: List[Any] = [
                client.receive(0),
                client.receive_exactly(-1),
                client.receive_until(b""),
                client.receive_into(bytearray()),
                aio.connect("127.0.0.1", 65536),
            ]
            for coroutine in wrong:
                with pytest.raises(ValueError):
                    await coroutine
            anything: Any = aio.connect
            for coroutine in [client.send_all("text"), client.receive_into(b"12"), anything("127.0.0.1")]:  # type: ignore[arg-type]
                with pytest.raises(TypeError):
                    await coroutine

    run(main)


def test_half_closed(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            await client.send_eof()
            assert await server.receive() == b""
            await server.send_all(b"still here")
            assert await client.receive_exactly(10) == b"still here"
            with pytest.raises(BrokenPipeError):
                await client.send_all(b"x")

    run(main)


def test_reset(run: Run) -> None:
    async def main() -> None:
        one, other = connected()
        async with _connect.adopt(other) as stream:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            async with Tasks() as tasks:

                async def fails() -> None:
                    with pytest.raises(sideloop.ConnectionReset):
                        await stream.receive()

                tasks.start(fails)
                await turns(20)
                one.close()
            with pytest.raises(sideloop.Error) as caught:
                await stream.send_all(b"x")
            assert isinstance(caught.value, (BrokenPipeError, ConnectionResetError))

    run(main)


def test_both_directions_at_once(run: Run) -> None:
    data = positions(0, 5_000_000)

    async def main() -> None:
        async with pair() as (client, server):
            async with Tasks() as tasks:
                for stream in (client, server):
                    tasks.start(stream.send_all, data)

                    async def receive(stream: aio.Stream = stream) -> None:
                        assert await stream.receive_exactly(len(data)) == data

                    tasks.start(receive)

    run(main)


def test_those_who_do_the_same_are_served_in_turn(run: Run) -> None:
    async def main() -> None:
        got: List[Tuple[int, bytes]] = []
        async with pair() as (client, server):
            async with Tasks() as tasks:

                async def receive(number: int) -> None:
                    if number % 2:
                        got.append((number, await server.receive_exactly(1000)))
                    else:
                        got.append((number, await server.receive(1000)))

                for number in range(4):
                    tasks.start(receive, number)
                    await turns(5)
                for at in range(0, 4000, 1000):
                    tasks.start(client.send_all, positions(at, at + 1000))
                    await turns(5)
        assert got == [(number, positions(1000 * number, 1000 * number + 1000)) for number in range(4)]

    run(main)


def test_whole_sends_do_not_mix(run: Run) -> None:
    size = 100_001

    async def main() -> None:
        async with pair() as (client, server):

            async def send(number: int) -> None:
                for _ in range(30):
                    await client.send_all(bytes([number]) * size)

            async with Tasks() as tasks:
                for number in range(4):
                    tasks.start(send, number)
                for _ in range(120):
                    data = await server.receive_exactly(size)
                    assert data == data[:1] * size

    run(main)


def test_timeouts(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            with pytest.raises(TimeoutError, match="timed out"):
                await server.receive(timeout=0.01)
            with pytest.raises(sideloop.TimedOut):
                await server.receive_into(bytearray(1), timeout=0.01)
            await client.send_all(b"late")
            assert await server.receive_exactly(4) == b"late"
            await client.send_all(b"soon")
            assert await server.receive(timeout=PATIENCE) == b"soon"
            with pytest.raises(sideloop.TimedOut) as caught:
                await client.send_all(bytes(MUCH), timeout=0.01)
            sent = caught.value.done
            assert 0 < sent < MUCH and client.cut_short == sent
            client.close()
            assert await server.receive_exactly(sent) == bytes(sent)
            assert await server.receive() == b""

    run(main)


# Cancelling.


@pytest.mark.parametrize("seed", range(3))
def test_cancelled_receives_lose_nothing(run: Run, seed: int) -> None:
    chance = random.Random(seed)
    expected = positions(0, 60_000)

    async def main() -> None:
        received = bytearray()
        async with pair() as (client, server):

            async def receive() -> None:
                nonlocal received
                while len(received) < len(expected):
                    kind = chance.randrange(4)
                    if kind == 0:
                        received += await server.receive(chance.randrange(1, 500))
                    elif kind == 1:
                        received += await server.receive_exactly(min(300, len(expected) - len(received)))
                    elif kind == 2:
                        received += await server.receive(500, timeout=PATIENCE)
                    else:
                        buffer = bytearray(chance.randrange(1, 500))
                        count = await server.receive_into(buffer)
                        received += buffer[:count]

            async def send() -> None:
                at = 0
                while at < len(expected):
                    size = chance.randrange(1, 300)
                    await client.send_all(expected[at : at + size])
                    at += size
                    await turns(chance.randrange(4))

            async with Tasks() as tasks:
                tasks.start(send)
                while len(received) < len(expected):
                    cancel = tasks.start(receive)
                    await turns(chance.randrange(6))
                    cancel()
                    if chance.random() < 0.3:
                        # Twice: then nobody waits for the first to end.
                        cancel()
                    await turns(chance.randrange(3))
        assert received == expected

    run(main)


def test_cancelled_sends_say_how_far_they_came(run: Run) -> None:
    data = positions(0, MUCH)

    async def main() -> None:
        async with pair() as (client, server):
            async with Tasks() as tasks:
                cancel = tasks.start(client.send_all, data)
                first = await server.receive(1)
                cancel()
            sent = client.cut_short
            assert sent is not None and 0 < sent < MUCH
            with pytest.raises(ValueError, match=f"after {sent} bytes"):
                await client.send_all(b"out of place")
            await client.send_eof()
            assert first + await server.receive_exactly(sent - 1) == data[:sent]
            assert await server.receive() == b""

    run(main)


def test_cancelled_sends_of_nothing_change_nothing(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            async with Tasks() as tasks:
                tasks.start(client.send_all, positions(0, MUCH))
                await turns(5)
                # It waits for its turn.
                cancel = tasks.start(client.send_all, b"never")
                await turns(5)
                cancel()
                await turns(5)
                assert await server.receive_exactly(MUCH) == positions(0, MUCH)
            assert client.cut_short is None
            await client.send_all(b"next")
            assert await server.receive_exactly(4) == b"next"

    run(main)


def test_a_send_that_ends_before_it_is_cancelled_is_whole(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            wake = _hosts.current().engine.descriptor
            async with Tasks() as tasks:
                cancel = tasks.start(client.send_all, positions(0, MUCH))
                await turns(5)
                while select.select([wake], [], [], 0)[0]:
                    await turns(1)
                # The event loop stands still meanwhile: the task does not hear of its end.
                received = bytearray()
                while len(received) < MUCH:
                    assert select.select([server._socket], [], [], PATIENCE)[0]
                    received += server._socket.recv(1 << 20)
                assert select.select([wake], [], [], PATIENCE)[0]
                cancel()
            assert received == positions(0, MUCH) and client.cut_short is None
            await client.send_all(b"next")
            assert await server.receive_exactly(4) == b"next"

    run(main)


# Closing.


def test_closing_ends_what_is_under_way(run: Run) -> None:
    async def main() -> None:
        ended: List[object] = []

        async def ends(function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
            with pytest.raises(sideloop.StaleError, match="the stream is closed"):
                await function(*arguments)
            ended.append(function)

        for close in (aio.Stream.aclose, aio.Stream.close):
            async with pair() as (client, _):
                ended.clear()
                async with Tasks() as tasks:
                    for _ in range(2):
                        tasks.start(ends, client.receive)
                        tasks.start(ends, client.send_all, bytes(MUCH))
                    await turns(20)
                    closing: Any = close(client)
                    if closing is not None:
                        await closing
                assert len(ended) == 4 and client.closed
                for function in (client.receive, client.send_eof, client.aclose, client.__aenter__):
                    if function != client.aclose:
                        await ends(function)
                await client.aclose()
                with pytest.raises(ValueError):
                    client.fileno()
                assert "closed" in repr(client)

    run(main)


@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_receive_that_nobody_waits_for(into: bool, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a receive that was cancelled twice gets after all comes first in the next one."""

    async def receive(stream: aio.Stream) -> bytes:
        if not into:
            return await stream.receive(3)
        buffer = bytearray(3)
        return bytes(buffer[: await stream.receive_into(buffer)])

    async def main() -> None:
        async with pair() as (client, server):
            with monkeypatch.context() as context:
                context.setattr(_engine, "_cancel", lambda _: 0)
                task = asyncio.ensure_future(receive(server))
                await asyncio.sleep(0)
                for _ in range(2):
                    await asyncio.sleep(0)
                    task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            if late:
                # Both have come before anybody is told.
                task = asyncio.ensure_future(receive(server))
                await asyncio.sleep(0)
            await client.send_all(b"abcdef")
            got = await task if late else b""
            while len(got) < 6:
                got += await receive(server)
            assert got == b"abcdef"

    run_on_asyncio(main)


def test_streams_that_nobody_closes(run: Run) -> None:
    async def main() -> None:
        one, other = connected()
        stream = _connect.adopt(other)
        with one:
            one.sendall(b"x")
            assert await stream.receive() == b"x"
            with pytest.warns(ResourceWarning, match="unclosed <sideloop.aio.Stream"):
                del stream
                gc.collect()
            one.setblocking(False)
            await until(lambda: ended(one))
        # Whoever gets its descriptor is not mistaken for it.
        async with pair() as (client, server):
            await client.send_all(b"y")
            assert await server.receive() == b"y"
            await server.send_all(b"z")
            assert await client.receive() == b"z"

    run(main)


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_destructor_on_another_thread(run: Run) -> None:
    async def main() -> None:
        one, other = connected()
        streams = [_connect.adopt(other)]
        with one:
            one.sendall(b"x")
            assert await streams[0].receive() == b"x"
            with pytest.warns(ResourceWarning):
                thread = threading.Thread(target=streams.clear)
                thread.start()
                thread.join()
            one.setblocking(False)
            await until(lambda: ended(one))
        # Whoever gets its descriptor is not mistaken for it.
        async with pair() as (client, server):
            await client.send_all(b"y")
            assert await server.receive() == b"y"
            await server.send_all(b"z")
            assert await client.receive() == b"z"

    run(main)


def test_several_event_loops(run: Run) -> None:
    """A stream goes from one event loop to the next, and takes along what it has received."""
    one, other = connected()

    async def begin() -> aio.Stream:
        stream = _connect.adopt(other)
        one.sendall(b"first\nsecond")
        assert await stream.receive_until(b"\n") == b"first\n"
        return stream

    async def go_on() -> None:
        assert await stream.receive_exactly(6) == b"second"
        one.sendall(b"third")
        assert await stream.receive_exactly(5) == b"third"

    async def end() -> None:
        one.sendall(b"fourth")
        async with stream:
            assert await stream.receive_exactly(6) == b"fourth"
            await stream.send_all(b"end")

    with one:
        stream: aio.Stream = run(begin)
        run(go_on)
        RUNS["asyncio"](end)
        assert one.recv(3) == b"end"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_it_alone(run: Run) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            await client.send_all(b"x")
            assert await server.receive() == b"x"
            child = os.fork()
            if child == 0:
                server.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            await client.send_all(b"y")
            assert await server.receive() == b"y"

    run(main)


# Connecting.


def test_addresses_and_options(run: Run, host: str) -> None:
    async def main() -> None:
        async with aio.start_server(echo, host) as server:
            assert server.addresses == [sideloop.Address(host, server.port)]
            async with await aio.connect((host, server.port), timeout=PATIENCE) as stream:
                assert stream.peer_address == server.addresses[0]
                assert stream.local_address.host == host and stream.local_address.port != server.port
                with socket.socket(fileno=os.dup(stream.fileno())) as same:
                    for on in (False, True):
                        stream.set_no_delay(on)
                        assert bool(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is on
                await stream.send_all(b"hello")
                assert await stream.receive_exactly(5) == b"hello"

    run(main)


def test_names_are_looked_up(run: Run) -> None:
    async def main() -> None:
        async with aio.start_server(echo, "localhost") as server:
            async with await aio.connect("localhost", server.port, timeout=PATIENCE) as stream:
                assert stream.peer_address in server.addresses
        with pytest.raises(socket.gaierror):
            await aio.connect("name.invalid", 1, timeout=PATIENCE)

    run(main)


def test_looking_up_has_a_timeout(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    threads: List[threading.Thread] = []

    def never_in_time(*arguments: Any, **more: Any) -> List[Any]:
        threads.append(threading.current_thread())
        go_on.wait(PATIENCE)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never_in_time)

    async def main() -> None:
        with pytest.raises(sideloop.TimedOut):
            await aio.connect("slow.example", 1, timeout=0.01)
        go_on.set()

    run(main)
    for thread in threads:
        thread.join(PATIENCE)


def test_refused(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{port}"):
                await aio.connect("127.0.0.1", port, timeout=PATIENCE)

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8, and queues that are full")
def test_connecting_has_a_timeout_and_can_be_cancelled(run: Run, deaf: Tuple[str, int]) -> None:
    async def main() -> None:
        with pytest.raises(sideloop.TimedOut):
            await aio.connect(deaf, timeout=0.01)
        async with Tasks() as tasks:
            cancel = tasks.start(aio.connect, deaf)
            await turns(10)
            cancel()
        await until(lambda: not _hosts.current().table)

    run(main)


def test_cancelled_connects_leave_nothing(run: Run) -> None:
    async def main() -> None:
        async def connect() -> None:
            async with await aio.connect("127.0.0.1", server.port, timeout=PATIENCE):
                pass

        async with aio.start_server(echo, "127.0.0.1") as server:
            for count in range(60):
                async with Tasks() as tasks:
                    cancel = tasks.start(connect)
                    await turns(count // 2)
                    cancel()
        await until(lambda: not _hosts.current().table)

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8, and queues that are full")
@pytest.mark.parametrize("first", ["deaf", "refuses"])
def test_the_next_address_is_tried(run: Run, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Where the first does not answer, or refuses."""
    hosts = ["127.0.0.2" if first == "deaf" else "127.0.0.3", "127.0.0.1"]
    monkeypatch.setattr(_connect, "STAGGER", 10_000_000 if first == "deaf" else int(PATIENCE * 2e9))

    async def main() -> None:
        # The port that is free here is taken there: other programs seldom use that address.
        async with aio.start_server(echo, "127.0.0.1") as server:
            port = server.port
            found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in hosts]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: found)
            with deaf_at(port) if first == "deaf" else contextlib.nullcontext():
                async with await aio.connect("two.example", port, timeout=PATIENCE) as stream:
                    assert stream.peer_address == ("127.0.0.1", port)
        await until(lambda: not _hosts.current().table)
        # Nobody answers any more: the last error is told.
        if first == "refuses":
            with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1:"):
                await aio.connect("two.example", port, timeout=PATIENCE)

    run(main)


def test_cancelled_at_the_moment_of_success(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: List[object] = []
    really = _connect._Race.ended

    def note(*arguments: Any) -> None:
        really(*arguments)
        ended.append(arguments)

    monkeypatch.setattr(_connect._Race, "ended", note)

    async def main() -> None:
        async def connect() -> None:
            async with await aio.connect("127.0.0.1", server.port, timeout=PATIENCE):
                pass

        async with aio.start_server(echo, "127.0.0.1") as server:
            async with Tasks() as tasks:
                cancel = tasks.start(connect)
                await until(lambda: bool(ended))
                cancel()
            await until(lambda: server.connections == 0)

    run(main)


def test_families_by_turns() -> None:
    addresses = [sideloop.Address(host, 1) for host in ("::1", "::2", "::3", "127.0.0.1", "127.0.0.2")]
    turns = [address.host for address in _connect.interleaved(addresses)]
    assert turns == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]
    assert _connect.interleaved(addresses[3:]) == addresses[3:]


@pytest.mark.skipif(not UNIX, reason="this system has no Unix sockets")
def test_unix_sockets(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        with pytest.raises(FileNotFoundError, match="socket"):
            await aio.connect_unix(path)
        async with aio.start_unix_server(echo, path) as server:
            assert server.addresses == []
            async with await aio.connect_unix(path, timeout=PATIENCE) as stream:
                await stream.send_all(positions(0, 1000))
                assert await stream.receive_exactly(1000) == positions(0, 1000)
                with pytest.raises(sideloop.UnsupportedError):
                    _ = stream.peer_address
        with pytest.raises(OSError, match="in use"):
            async with aio.start_unix_server(echo, path):
                pass
        path.unlink()
        with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as stack:
            listening.bind(str(path))
            listening.listen(0)
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                if waiting.connect_ex(str(path)):
                    break
            with pytest.raises(sideloop.TimedOut):
                await aio.connect_unix(path, timeout=0.01)

    run(main)


# Servers.


def test_a_connection_that_comes_after_the_last_is_closed(run: Run) -> None:
    """Another event loop's thread may have taken its event, and hand it over late."""

    async def main() -> None:
        async def handle(stream: aio.Stream) -> None:
            raise AssertionError

        async with aio.start_server(handle, "127.0.0.1", 0) as server:
            table = _hosts.current().table
            (token,) = table
            # As if the listener's last event had been taken.
            entry = table.pop(token)
            async with await aio.connect("127.0.0.1", server.port) as client:
                assert await client.receive(timeout=PATIENCE) == b""
            table[token] = entry

    run(main)


def test_a_thousand_connections(run: Run) -> None:
    resource = pytest.importorskip("resource", reason="this system does not tell its limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip(f"this process may have only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))

    async def main() -> None:
        async with aio.start_server(echo, "127.0.0.1") as server:

            async def talk(number: int) -> None:
                async with await aio.connect("127.0.0.1", server.port, timeout=PATIENCE) as stream:
                    at = number * 4000
                    for size in (1, 10, 989, 1000):
                        await stream.send_all(positions(at, at + size))
                        assert await stream.receive_exactly(size) == positions(at, at + size)
                        at += size
                    await stream.send_eof()
                    assert await stream.receive() == b""

            async with Tasks() as tasks:
                for number in range(1000):
                    tasks.start(talk, number)
            await until(lambda: server.connections == 0)

    try:
        run(main)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_ends_with_busy_handlers(run: Run) -> None:
    async def main() -> None:
        begun, left = [], []

        async def handler(stream: aio.Stream) -> None:
            begun.append(stream)
            try:
                await stream.receive()
            finally:
                left.append(stream)

        async with contextlib.AsyncExitStack() as stack:
            async with aio.start_server(handler, "127.0.0.1") as server:
                clients = [
                    await stack.enter_async_context(await aio.connect("127.0.0.1", server.port)) for _ in range(5)
                ]
                await until(lambda: len(begun) == 5)
                assert server.connections == 5 and not left
                async with Tasks() as tasks:
                    tasks.start(server.serve_forever)
                    await turns(5)
                    server.close()
                    await server.wait_closed()
                    assert len(left) == 5
            assert [await client.receive() for client in clients] == [b""] * 5
            assert all(stream.closed for stream in begun) and "closed" in repr(server)
            with pytest.raises(ConnectionRefusedError):
                await aio.connect("127.0.0.1", server.port)

    run(main)


def test_handlers_may_take_their_time_to_end(run: Run) -> None:
    """They are cancelled where a block is left, and awaited."""

    async def main() -> None:
        left = []

        async def handler(stream: aio.Stream) -> None:
            try:
                await stream.receive()
            finally:
                await stream.aclose()
                left.append(stream)

        async with contextlib.AsyncExitStack() as stack:
            async with aio.start_server(handler, "127.0.0.1") as server:
                await stack.enter_async_context(await aio.connect("127.0.0.1", server.port))
                await until(lambda: server.connections == 1)
                await turns(5)
            assert len(left) == 1

    run(main)


class Failure(Exception):
    """What a handler raises."""


def test_handlers_that_fail(run: Run) -> None:
    async def handler(stream: aio.Stream) -> None:
        await stream.receive()
        raise Failure

    async def on_asyncio() -> None:
        told: List[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with aio.start_server(handler, "127.0.0.1") as server:
            for count in (1, 2):
                async with await aio.connect("127.0.0.1", server.port) as stream:
                    await stream.send_all(b"x")
                    with contextlib.suppress(ConnectionResetError):
                        assert await stream.receive() == b""
                await until(lambda count=count: len(told) == count)  # type: ignore[misc]
            assert isinstance(told[0]["exception"], Failure) and "handler" in told[0]["message"]

    async def on_trio() -> None:
        import trio

        with pytest.raises(BaseException) as caught:
            async with aio.start_server(handler, "127.0.0.1") as server:
                async with await aio.connect("127.0.0.1", server.port) as stream:
                    await stream.send_all(b"x")
                    await trio.sleep_forever()
        assert [type(error) for error in caught.value.exceptions] == [Failure]  # type: ignore[attr-defined]

    run(on_trio if run is RUNS["trio"] else on_asyncio)


def test_servers_that_cannot_begin(run: Run) -> None:
    async def main() -> None:
        async with aio.start_server(echo, "127.0.0.1") as server:
            with pytest.raises(BaseException) as caught:
                async with aio.start_server(echo, "127.0.0.1", server.port):
                    pass
            error = caught.value
            while not isinstance(error, OSError):
                (error,) = error.exceptions  # type: ignore[attr-defined]
            assert f"127.0.0.1:{server.port}" in str(error)
            with pytest.raises(RuntimeError, match="once"):
                await server.__aenter__()

    run(main)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SO_REUSEPORT")
def test_servers_may_share_a_port(run: Run) -> None:
    async def main() -> None:
        async with aio.start_server(echo, "127.0.0.1", reuse_port=True) as one:
            async with aio.start_server(echo, "127.0.0.1", one.port, reuse_port=True, backlog=5) as other:
                assert one.addresses == other.addresses

    run(main)


def test_all_interfaces(run: Run) -> None:
    async def main() -> None:
        async with aio.start_server(echo) as server:
            assert {address.host for address in server.addresses} <= {"0.0.0.0", "::"}
            assert len({address.port for address in server.addresses}) == 1
            async with await aio.connect("127.0.0.1", server.port) as stream:
                await stream.send_all(b"x")
                assert await stream.receive() == b"x"

    run(main)


def test_a_server_whose_event_loop_is_gone() -> None:
    async def begin() -> aio.Server:
        return await aio.start_server(echo, "127.0.0.1").__aenter__()

    async def go_on() -> None:
        async with await aio.connect("127.0.0.1", server.port, timeout=PATIENCE) as stream:
            assert await stream.receive() == b""
        server.close()
        await turns(10)

    server = RUNS["asyncio"](begin)
    RUNS["asyncio"](go_on)
