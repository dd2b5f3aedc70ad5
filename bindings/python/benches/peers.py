"""The peers: how each of them reads files, as its documentation recommends, and where there are several ways, by the
one that is fastest.

Each has the methods of the works that it can do. measure.py calls them, in a process of the peer's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, AsyncContextManager, AsyncIterator, Awaitable, Callable, Dict, Iterable, Iterator, Sequence

from works import ASYNCIO, EVENT_LOOPS, NO_LOOP, WIDTH

# Reads at an offset.
Pread = Callable[[int], Awaitable[bytes]]


class Peer:
    """What does the works."""

    name: str
    # What has to be installed.
    package: str = ""
    hosts: Sequence[str] = ASYNCIO
    # How it is used, for the reader of the tables.
    how: str

    def __init__(self) -> None:
        self.module: Any = importlib.import_module(self.package) if self.package else None


# --- Without an event loop.


def read_file(path: str) -> bytes:
    """Reads a whole file, blocking."""
    with open(path, "rb") as file:
        return file.read()


class Serial(Peer):
    """One after the other, on the calling thread."""

    name = "serial"
    hosts = (NO_LOOP,)
    how = "`open(path, 'rb').read()`, `os.pread`, `for line in file`, one after the other"

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Calls a function with each of the items."""
        return map(function, items)

    read_file = staticmethod(read_file)
    open_and_read = staticmethod(read_file)

    @contextlib.contextmanager
    def preader(self, path: str, size: int) -> Iterator[Callable[[int], bytes]]:
        """Gives a function that reads `size` bytes at an offset."""
        with open(path, "rb", buffering=0) as file:
            descriptor = file.fileno()
            yield lambda offset: os.pread(descriptor, size, offset)

    def lines(self, path: str) -> Any:
        """A file to take lines from."""
        return open(path, encoding="utf-8")


class Threads(Serial):
    """A pool of threads, without an event loop."""

    name = "threads"
    how = "`concurrent.futures.ThreadPoolExecutor().map` with its own number of threads (processors + 4, at most 32)"
    lines = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor()

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Calls a function with each of the items, on the pool's threads."""
        return self._pool.map(function, items)


# --- On event loops.


class Sideloop(Peer):
    """This package."""

    name = "sideloop"
    package = "sideloop.aio"
    hosts = EVENT_LOOPS
    how = "`aio.read_file`; `async with aio.open(...)`; one file and `file.pread`; `async for`; a no-op of the engine's"

    def __init__(self) -> None:
        super().__init__()
        self._hosts: Any = importlib.import_module("sideloop.aio._hosts")
        self._abi: Any = importlib.import_module("sideloop._abi")

    def read_file(self, path: str) -> Awaitable[bytes]:
        """Reads a whole file."""
        reading: Awaitable[bytes] = self.module.read_file(path)
        return reading

    async def open_and_read(self, path: str) -> bytes:
        """Opens, reads, closes."""
        async with self.module.open(path, "rb") as file:
            data: bytes = await file.read()
        return data

    @contextlib.asynccontextmanager
    async def preader(self, path: str, size: int) -> AsyncIterator[Pread]:
        """Gives a function that reads `size` bytes at an offset."""
        async with self.module.open(path, "rb") as file:
            pread = file.pread
            yield lambda offset: pread(size, offset)

    def nop(self) -> Callable[[], Awaitable[Any]]:
        """Gives a function that does nothing, asynchronously."""
        host = self._hosts.current()
        kind, engine = self._abi.SL_NOP, host.engine.id
        return lambda: host.call(kind, engine)

    def lines(self, path: str) -> AsyncContextManager[AsyncIterator[str]]:
        """A file to take lines from."""
        file: AsyncContextManager[AsyncIterator[str]] = self.module.open(path, encoding="utf-8")
        return file


class SideloopMany(Peer):
    """This package, where it is given all paths at once."""

    name = "sideloop-many"
    package = "sideloop.aio"
    hosts = EVENT_LOOPS
    how = "`async for path, data in aio.read_many(paths, width=64)`"

    async def read_files(self, paths: Sequence[str]) -> int:
        """Reads all of them, and says how many bytes."""
        total = 0
        async for _, data in self.module.read_many(paths, width=WIDTH):
            total += len(data)
        return total


class ToThread(Peer):
    """asyncio's own way."""

    name = "to_thread"
    how = "`asyncio.to_thread` with `open().read()` and `os.pread`, on asyncio's own pool (processors + 4, at most 32)"

    async def read_file(self, path: str) -> bytes:
        """Reads a whole file."""
        return await asyncio.to_thread(read_file, path)

    @contextlib.asynccontextmanager
    async def preader(self, path: str, size: int) -> AsyncIterator[Pread]:
        """Gives a function that reads `size` bytes at an offset."""
        with open(path, "rb", buffering=0) as file:
            descriptor = file.fileno()
            yield lambda offset: asyncio.to_thread(os.pread, descriptor, size, offset)


class Future(Peer):
    """The event loop alone."""

    name = "future"
    how = "a future that `call_soon` resolves: what the event loop itself takes"

    def nop(self) -> Callable[[], Awaitable[Any]]:
        """Gives a function that does nothing, asynchronously."""
        loop = asyncio.get_running_loop()

        def begin() -> Awaitable[Any]:
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            return future

        return begin


class Aiofiles(Peer):
    """aiofiles: a call on a thread for each method."""

    name = "aiofiles"
    package = "aiofiles"
    how = (
        "`async with aiofiles.open(...)`, on asyncio's own pool; it has no positional reads: a file of its own, "
        "unbuffered, for each of the 64, with `seek` and `read`"
    )

    async def read_file(self, path: str) -> bytes:
        """Reads a whole file."""
        async with self.module.open(path, "rb") as file:
            data: bytes = await file.read()
        return data

    open_and_read = read_file

    @contextlib.asynccontextmanager
    async def preader(self, path: str, size: int) -> AsyncIterator[Pread]:
        """Gives a function that reads `size` bytes at an offset."""
        async with contextlib.AsyncExitStack() as stack:
            files = [await stack.enter_async_context(self.module.open(path, "rb", buffering=0)) for _ in range(WIDTH)]

            async def pread(offset: int) -> bytes:
                file = files.pop()
                await file.seek(offset)
                data: bytes = await file.read(size)
                files.append(file)
                return data

            yield pread

    def lines(self, path: str) -> AsyncContextManager[AsyncIterator[str]]:
        """A file to take lines from."""
        file: AsyncContextManager[AsyncIterator[str]] = self.module.open(path, encoding="utf-8")
        return file


class Anyio(Peer):
    """anyio: worker threads, at most 40 at a time."""

    name = "anyio"
    package = "anyio"
    hosts: Sequence[str] = EVENT_LOOPS
    how = (
        "`anyio.Path(path).read_bytes()`; `async with await anyio.open_file(...)`; `anyio.to_thread.run_sync` with "
        "`os.pread`; its own limit of 40 threads"
    )

    async def read_file(self, path: str) -> bytes:
        """Reads a whole file."""
        data: bytes = await self.module.Path(path).read_bytes()
        return data

    async def open_and_read(self, path: str) -> bytes:
        """Opens, reads, closes."""
        async with await self.module.open_file(path, "rb") as file:
            data: bytes = await file.read()
        return data

    @contextlib.asynccontextmanager
    async def preader(self, path: str, size: int) -> AsyncIterator[Pread]:
        """Gives a function that reads `size` bytes at an offset."""
        run = self.module.to_thread.run_sync
        with open(path, "rb", buffering=0) as file:
            descriptor = file.fileno()
            yield lambda offset: run(os.pread, descriptor, size, offset)

    @contextlib.asynccontextmanager
    async def lines(self, path: str) -> AsyncIterator[AsyncIterator[str]]:
        """A file to take lines from."""
        async with await self.module.open_file(path, encoding="utf-8") as file:
            yield file


class Trio(Anyio):
    """trio: worker threads, at most 40 at a time."""

    name = "trio"
    package = "trio"
    hosts = ("trio",)
    how = (
        "`trio.Path(path).read_bytes()`; `async with await trio.open_file(...)`; `trio.to_thread.run_sync` with "
        "`os.pread`; its own limit of 40 threads"
    )


class Aiofile(Peer):
    """aiofile, on caio's io_uring."""

    name = "aiofile"
    package = "aiofile"
    how = "`async with async_open(...)`; one `AIOFile` and `read_bytes(size, offset)`; the context that it makes itself"

    async def read_file(self, path: str) -> bytes:
        """Reads a whole file."""
        async with self.module.async_open(path, "rb") as file:
            data: bytes = await file.read()
        return data

    open_and_read = read_file

    @contextlib.asynccontextmanager
    async def preader(self, path: str, size: int) -> AsyncIterator[Pread]:
        """Gives a function that reads `size` bytes at an offset."""
        async with self.module.AIOFile(path, "rb") as file:
            read_bytes = file.read_bytes
            yield lambda offset: read_bytes(size, offset)

    def lines(self, path: str) -> AsyncContextManager[AsyncIterator[str]]:
        """A file to take lines from."""
        file: AsyncContextManager[AsyncIterator[str]] = self.module.async_open(path, "r", encoding="utf-8")
        return file


class Caio(Peer):
    """caio: io_uring for the reads; opening is left to the program."""

    name = "caio"
    package = "caio"
    how = "one `AsyncioContext()`, with its own limit of 512 requests; `os.open`, as it has no call for that"

    def __init__(self) -> None:
        super().__init__()
        self._context: Any = None

    def context(self) -> Any:
        """Its context on this event loop."""
        if self._context is None:
            self._context = self.module.AsyncioContext()
        return self._context

    async def read_file(self, path: str) -> bytes:
        """Reads a whole file."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data: bytes = await self.context().read(os.fstat(descriptor).st_size, descriptor, 0)
        finally:
            os.close(descriptor)
        return data

    @contextlib.asynccontextmanager
    async def preader(self, path: str, size: int) -> AsyncIterator[Pread]:
        """Gives a function that reads `size` bytes at an offset."""
        read = self.context().read
        with open(path, "rb", buffering=0) as file:
            descriptor = file.fileno()
            yield lambda offset: read(size, descriptor, offset)


class Ayafileio(Peer):
    """ayafileio: io_uring, in C++."""

    name = "ayafileio"
    package = "ayafileio"
    how = "`read_bytes(path)`; `async with ayafileio.open(...)`; one file and `read_at`; its own configuration"

    def read_file(self, path: str) -> Awaitable[bytes]:
        """Reads a whole file."""
        reading: Awaitable[bytes] = self.module.read_bytes(path)
        return reading

    async def open_and_read(self, path: str) -> bytes:
        """Opens, reads, closes."""
        async with self.module.open(path, "rb") as file:
            data: bytes = await file.read()
        return data

    @contextlib.asynccontextmanager
    async def preader(self, path: str, size: int) -> AsyncIterator[Pread]:
        """Gives a function that reads `size` bytes at an offset."""
        async with self.module.open(path, "rb") as file:
            read_at = file.read_at
            yield lambda offset: read_at(offset, size)

    def lines(self, path: str) -> AsyncContextManager[AsyncIterator[str]]:
        """A file to take lines from."""
        file: AsyncContextManager[AsyncIterator[str]] = self.module.open(path, "r", encoding="utf-8")
        return file


class AyafileioMany(Peer):
    """ayafileio, where it is given all paths at once."""

    name = "ayafileio-many"
    package = "ayafileio"
    how = "`read_bytes_many(paths)`, with its own width of 64"

    async def read_files(self, paths: Sequence[str]) -> int:
        """Reads all of them, and says how many bytes."""
        return sum(map(len, await self.module.read_bytes_many(paths)))


PEERS: Dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        Serial,
        Threads,
        Sideloop,
        SideloopMany,
        Future,
        ToThread,
        Aiofiles,
        Anyio,
        Trio,
        Aiofile,
        Caio,
        Ayafileio,
        AyafileioMany,
    )
}
OURS = (Sideloop.name, SideloopMany.name)


def missing(package: str) -> str:
    """Why a package cannot be used; "" where it can."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        return str(error)
    # Older ones say on no thread that they run there.
    if package == "trio" and tuple(map(int, version("trio").split(".")[:2])) < (0, 23):
        return f"it is {version('trio')}, and sideloop.aio works with 0.23 and later"
    return ""


def version(package: str) -> str:
    """Which one is installed."""
    try:
        return importlib.metadata.version(package.partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(package.partition(".")[0]), "__version__", ""))
