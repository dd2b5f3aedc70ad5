"""Coroutines: a chat server, line by line, and clients that talk to it.

    python chat.py serve [HOST:PORT]    serves until Ctrl-C
    python chat.py                      serves, has some clients chat, and ends

Every connection is a coroutine. What one client says, all others hear.
"""

from __future__ import annotations

import sys
from typing import Any, AsyncIterator, Generator, List, Set

import sideloop


async def lines(stream: sideloop.Stream) -> AsyncIterator[bytes]:
    """The lines that come from a stream."""
    rest = b""
    async for piece in stream.receive(multishot=True):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line


async def tell(stream: sideloop.Stream, line: bytes) -> None:
    """Passes a line on to one client, which may be leaving."""
    try:
        await stream.send(line + b"\n", timeout=5)
    except sideloop.Error:
        pass  # It has left.


async def serve_one(stream: sideloop.Stream, others: Set[sideloop.Stream]) -> None:
    """Passes on what one client says, until it leaves."""
    others.add(stream)
    try:
        async with stream:
            async for line in lines(stream):
                await sideloop.gather(*[tell(other, line) for other in others if other is not stream])
    except ConnectionError as error:
        print(f"{stream!r}: {error}", file=sys.stderr)
    finally:
        others.discard(stream)


async def serve(listener: sideloop.Listener) -> None:
    """Accepts clients for ever."""
    clients: Set[sideloop.Stream] = set()
    async for stream in listener.accept(multishot=True):
        sideloop.spawn(serve_one(stream, clients))


def talk(address: sideloop.Address, name: str, clients: int) -> Generator[Any, Any, List[bytes]]:
    """A client, as a generator: says its name when all are there, and returns the names that it hears."""
    with (yield sideloop.current_loop().connect(address, timeout=5)) as stream:
        heard = b""
        yield stream.send(name.encode() + b"\n")
        while heard.count(b"\n") < clients - 1:
            # Who came later has not heard us: say it again until all have answered.
            try:
                heard += yield stream.receive(timeout=0.1)
            except sideloop.TimedOut:
                yield stream.send(name.encode() + b"\n")
            names = sorted(set(heard.split()))
            heard = b"".join(name + b"\n" for name in names)
        # The others may still wait for us.
        yield stream.send(name.encode() + b"\n")
        yield stream.shutdown()
        while (yield stream.receive()):
            pass
        return names


async def main(address: str, forever: bool) -> None:
    async with sideloop.current_loop().listen(address) as listener:
        here = listener.local_address()
        print(f"serving at {here}", flush=True)
        server = sideloop.spawn(serve(listener))
        if forever:
            await server
        names = [f"client{number}" for number in range(5)]
        talks = [talk(here, name, len(names)) for name in names]
        for name, heard in zip(names, await sideloop.gather(*talks)):
            print(f"{name} heard {b', '.join(heard).decode()}")


if __name__ == "__main__":
    forever = sys.argv[1:2] == ["serve"]
    address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:0"
    try:
        sideloop.run(main(address, forever))
    except KeyboardInterrupt:
        print("bye")
