"""Measures echoing over TCP side by side: sideloop.aio's streams, asyncio's and trio's, on asyncio, uvloop and trio.

    python benches/echo.py [--rounds 5] [--messages 20000] [--sizes 64,4096,65536] [--connections 1,100,1000]

Both ends of every connection are tasks of one event loop, so that a figure is what a message costs there and back: two
sends and two receives. Every measurement is a process of its own; in each round everybody has one turn, in a new order,
and is compared with asyncio's streams in that round. What is shown are medians: microseconds of asyncio's streams, and
by what everybody else's time, and processor time, is to be multiplied with. Less is better.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from typing import Any, Awaitable, Callable, Dict, List, Set, Tuple

HOST = "127.0.0.1"
CHUNK = 65536
BASE = "asyncio: streams"
# No measurement takes that many seconds.
PATIENCE = 300.0

# Seconds, and seconds of the processor, for all messages.
Figures = Tuple[float, float]
Bench = Callable[..., Awaitable[Figures]]


class Clock:
    """Measures what is between."""

    def __enter__(self) -> Clock:
        self._begin = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.figures = time.perf_counter() - self._begin[0], time.process_time() - self._begin[1]


# asyncio's own, also for uvloop.


async def streams(connections: int, size: int, messages: int) -> Figures:
    """StreamReader and StreamWriter."""

    serving: Set[Any] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        while True:
            data = await reader.read(CHUNK)
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
        message = bytes(size)
        for _ in range(count):
            writer.write(message)
            await writer.drain()
            missing = size
            while missing:
                missing -= len(await reader.read(CHUNK))

    server = await asyncio.start_server(serve, HOST, 0, backlog=connections)
    clients = [await asyncio.open_connection(*server.sockets[0].getsockname()) for _ in range(connections)]
    await asyncio.gather(*(talk(*client, 1) for client in clients))
    with Clock() as clock:
        await asyncio.gather(*(talk(*client, messages) for client in clients))
    for _, writer in clients:
        writer.close()
    server.close()
    await asyncio.gather(*serving)
    return clock.figures


class Server(asyncio.Protocol):
    """Echoes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(asyncio.Protocol):
    """Says the same as soon as it is echoed, until it has been so often enough."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def talk(self, message: bytes, count: int) -> asyncio.Future[None]:
        self.message, self.left, self.missing = message, count, len(message)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return self.ended

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing == 0:
            self.left -= 1
            self.missing = len(self.message)
            if self.left:
                self.transport.write(self.message)
            else:
                self.ended.set_result(None)


async def protocol(connections: int, size: int, messages: int) -> Figures:
    """Protocols: callbacks, and no coroutines."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, HOST, 0, backlog=connections)
    where = server.sockets[0].getsockname()
    clients = [(await loop.create_connection(Client, *where))[1] for _ in range(connections)]
    message = bytes(size)
    await asyncio.gather(*(client.talk(message, 1) for client in clients))
    with Clock() as clock:
        await asyncio.gather(*(client.talk(message, messages) for client in clients))
    for client in clients:
        client.transport.close()
    server.close()
    return clock.figures


async def trio_streams(connections: int, size: int, messages: int) -> Figures:
    """trio.SocketStream."""
    import trio

    async def serve(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async def talk(stream: trio.SocketStream, count: int) -> None:
        message = bytes(size)
        for _ in range(count):
            await stream.send_all(message)
            missing = size
            while missing:
                missing -= len(await stream.receive_some(CHUNK))

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=HOST, backlog=connections)
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        clients = [await trio.open_tcp_stream(*listener.socket.getsockname()) for _ in range(connections)]
        await all_on_trio(talk, clients, 1)
        with Clock() as clock:
            await all_on_trio(talk, clients, messages)
        nursery.cancel_scope.cancel()
    return clock.figures


async def all_on_trio(talk: Callable[..., Awaitable[None]], clients: List[Any], count: int) -> None:
    import trio

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(talk, client, count)


async def ours(connections: int, size: int, messages: int) -> Figures:
    """sideloop.aio.Stream."""
    from sideloop import aio

    async def serve(stream: aio.Stream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async def talk(stream: aio.Stream, count: int) -> None:
        message = bytes(size)
        for _ in range(count):
            await stream.send_all(message)
            missing = size
            while missing:
                missing -= len(await stream.receive(CHUNK))

    async def all_talk(count: int) -> None:
        if "trio" in sys.modules:
            await all_on_trio(talk, clients, count)
        else:
            await asyncio.gather(*(talk(client, count) for client in clients))

    async with aio.start_server(serve, HOST, backlog=connections) as server:
        clients = [await aio.connect(HOST, server.port) for _ in range(connections)]
        await all_talk(1)
        with Clock() as clock:
            await all_talk(messages)
        for client in clients:
            await client.aclose()
    return clock.figures


def on_asyncio(bench: Bench, *arguments: int) -> Figures:
    async def main() -> Figures:
        return await bench(*arguments)

    return asyncio.run(main())


def on_uvloop(bench: Bench, *arguments: int) -> Figures:
    import uvloop

    async def main() -> Figures:
        return await bench(*arguments)

    loop = uvloop.new_event_loop()
    figures: Figures = loop.run_until_complete(main())
    return figures


def on_trio(bench: Bench, *arguments: int) -> Figures:
    import trio

    figures: Figures = trio.run(bench, *arguments)
    return figures


CONTENDERS: Dict[str, Tuple[Callable[..., Figures], Bench]] = {
    BASE: (on_asyncio, streams),
    "asyncio: Protocol": (on_asyncio, protocol),
    "asyncio: sideloop": (on_asyncio, ours),
    "uvloop: streams": (on_uvloop, streams),
    "uvloop: Protocol": (on_uvloop, protocol),
    "uvloop: sideloop": (on_uvloop, ours),
    "trio: SocketStream": (on_trio, trio_streams),
    "trio: sideloop": (on_trio, ours),
}


def measure(name: str, *arguments: int) -> Figures:
    """Has a process of its own measure one contender."""
    command = [sys.executable, __file__, "--measure", json.dumps([name, *arguments])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True, env=os.environ)
    seconds, processor = json.loads(done.stdout)
    return float(seconds), float(processor)


def compare(connections: int, size: int, messages: int, rounds: int) -> None:
    """Measures everybody with so many connections and messages of this size, and prints a table."""
    count = max(messages // connections, 5)
    results: List[Dict[str, Figures]] = []
    for _ in range(rounds):
        names = random.sample(list(CONTENDERS), len(CONTENDERS))
        results.append({name: measure(name, connections, size, count) for name in names})
    base = [statistics.median(result[BASE][which] for result in results) for which in (0, 1)]
    scale = 1e6 / connections / count
    print(f"\n{connections} connections, {size} bytes: {base[0] * scale:.1f} us, processor {base[1] * scale:.1f} us")
    for name in CONTENDERS:
        ratios = [statistics.median(each[name][which] / each[BASE][which] for each in results) for which in (0, 1)]
        print(f"  {name:20} time x {ratios[0]:.2f}   processor x {ratios[1]:.2f}", flush=True)


def raise_limit() -> None:
    """A thousand connections have two thousand descriptors."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20000, help="in all connections together")
    parser.add_argument("--sizes", default="64,4096,65536")
    parser.add_argument("--connections", default="1,100,1000")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_limit()
    if options.measure:
        name, *arguments = json.loads(options.measure)
        run, bench = CONTENDERS[name]
        print(json.dumps(run(bench, *arguments)))
        return
    for connections in map(int, options.connections.split(",")):
        for size in map(int, options.sizes.split(",")):
            compare(connections, size, options.messages if size < CHUNK else options.messages // 4, options.rounds)


if __name__ == "__main__":
    main()
