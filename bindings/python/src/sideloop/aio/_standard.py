"""`aio.stdin`, `stdout`, `stderr` and their bytes: what `sys` has at the time of each call, on a thread.

Called on the thread of an event loop. What is read from a terminal or a pipe like this occupies a thread until it
comes, also where the task is cancelled; `aio.wrap(sys.stdin)` does not.
"""

from __future__ import annotations

import sys
from typing import Any, Awaitable, Callable

from ._hosts import in_thread


def _on_thread(name: str) -> Callable[..., Awaitable[Any]]:
    async def method(self: StandardStream, *arguments: Any) -> Any:
        return await in_thread(getattr(self._find(), name), *arguments)

    method.__name__ = name
    return method


class StandardStream:
    """One of the process's standard streams: the methods of the built-in file as coroutines, its attributes as they
    are.

    Looks up `sys.stdin` and the like at each call, so that what is put in their place is used.
    """

    def __init__(self, name: str, find: Callable[[], Any]) -> None:
        self._name = name
        self._find = find

    close = _on_thread("close")
    flush = _on_thread("flush")
    isatty = _on_thread("isatty")
    peek = _on_thread("peek")
    read = _on_thread("read")
    read1 = _on_thread("read1")
    readable = _on_thread("readable")
    readinto = _on_thread("readinto")
    readline = _on_thread("readline")
    readlines = _on_thread("readlines")
    seek = _on_thread("seek")
    seekable = _on_thread("seekable")
    tell = _on_thread("tell")
    truncate = _on_thread("truncate")
    writable = _on_thread("writable")
    write = _on_thread("write")
    writelines = _on_thread("writelines")

    def __aiter__(self) -> StandardStream:
        return self

    async def __anext__(self) -> Any:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._find(), name)

    def __repr__(self) -> str:
        return f"<sideloop.aio.{self._name}>"


stdin = StandardStream("stdin", lambda: sys.stdin)
stdout = StandardStream("stdout", lambda: sys.stdout)
stderr = StandardStream("stderr", lambda: sys.stderr)
stdin_bytes = StandardStream("stdin_bytes", lambda: sys.stdin.buffer)
stdout_bytes = StandardStream("stdout_bytes", lambda: sys.stdout.buffer)
stderr_bytes = StandardStream("stderr_bytes", lambda: sys.stderr.buffer)
