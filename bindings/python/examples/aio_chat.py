"""Streams under asyncio or trio: a chat server, line by line.

    python aio_chat.py serve [PORT]           serves until Ctrl-C
    python aio_chat.py trio serve [PORT]      likewise, on trio
    python aio_chat.py [trio]                 serves, has some clients chat, and ends

Every connection is handled by a task of its own. What one client says, all others hear.
"""

from __future__ import annotations

import asyncio
import sys
from typing import List, Set

import sideloop
from sideloop import aio


async def handle(stream: aio.Stream, clients: Set[aio.Stream]) -> None:
    """Passes on what one client says, until it leaves."""
    clients.add(stream)
    try:
        await stream.send_all(b"welcome\n")
        while True:
            line = await stream.receive_until(b"\n")
            for other in clients - {stream}:
                await tell(other, line)
    except sideloop.Error:
        pass  # It has left, or talks too much.
    finally:
        clients.discard(stream)


async def tell(stream: aio.Stream, line: bytes) -> None:
    """Passes a line on to one client; one that does not listen has to go."""
    try:
        await stream.send_all(line, timeout=5)
    except sideloop.Error:
        stream.close()


async def chat(port: int) -> None:
    """Some clients, of which each says its name, and what they hear."""
    clients = [await aio.connect("127.0.0.1", port, timeout=5) for _ in range(5)]
    for client in clients:
        # From now on it hears the others.
        await client.receive_until(b"\n")
    for number, client in enumerate(clients):
        await client.send_all(b"client%d\n" % number)
    for number, client in enumerate(clients):
        async with client:
            names = sorted([(await client.receive_until(b"\n")).decode().strip() for _ in clients[1:]])
            print(f"client{number} heard {', '.join(names)}")


async def main(forever: bool, port: int) -> None:
    clients: Set[aio.Stream] = set()
    async with aio.start_server(lambda stream: handle(stream, clients), "127.0.0.1", port) as server:
        print(f"serving at {server.addresses[0]}", flush=True)
        if forever:
            await server.serve_forever()
        await chat(server.port)


def run(arguments: List[str]) -> None:
    forever = "serve" in arguments
    port = int(arguments[-1]) if arguments and arguments[-1].isdigit() else 0
    if "trio" in arguments:
        import trio

        trio.run(main, forever, port)
    else:
        asyncio.run(main(forever, port))


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except KeyboardInterrupt:
        print("bye")
