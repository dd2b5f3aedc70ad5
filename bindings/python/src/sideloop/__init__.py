"""Asynchronous I/O with an event loop on a thread of its own.

A `Loop` carries out operations (reads, writes, connections, timers, ...) while the program carries on. There are three
ways to their results, which mix freely:

- Polling: `for event in loop.poll(): ...` whenever it suits, or `operation.wait()`.
- Callbacks: `operation.add_done_callback(function)`, run by `loop.dispatch()` on the thread that calls it.
- Coroutines: `sideloop.run(main())`, where `async def` awaits operations, and generators yield them.
"""

from ._abi import Counters, Stat
from ._library import library as _library
from .errors import (
    BadIdError,
    BrokenPipe,
    Cancelled,
    ConnectionAborted,
    ConnectionRefused,
    ConnectionReset,
    DeadlockError,
    EndedError,
    Error,
    Exists,
    ForkedError,
    InternalError,
    InvalidError,
    IsADirectory,
    LimitError,
    NotADirectory,
    NotFound,
    OutOfMemoryError,
    PermissionDenied,
    ShutDownError,
    StaleError,
    SystemFailure,
    SystemInvalid,
    TimedOut,
    UnsupportedError,
    WrongKindError,
)
from .loop import Loop, run
from .operations import Event, Multishot, Operation
from .resources import Address, DirectoryEntry, File, FileType, Listener, Resource, Stream, StreamOption
from .runner import Task, coroutine, current_loop, gather, sleep, spawn, within

__version__ = "0.1.0"


def library_version() -> str:
    """The version of the shared library, like "0.1.0"."""
    version: bytes = _library.sl_version()
    return version.decode()


__all__ = [
    "Address",
    "BadIdError",
    "BrokenPipe",
    "Cancelled",
    "ConnectionAborted",
    "ConnectionRefused",
    "ConnectionReset",
    "Counters",
    "DeadlockError",
    "DirectoryEntry",
    "EndedError",
    "Error",
    "Event",
    "Exists",
    "File",
    "FileType",
    "ForkedError",
    "InternalError",
    "InvalidError",
    "IsADirectory",
    "LimitError",
    "Listener",
    "Loop",
    "Multishot",
    "NotADirectory",
    "NotFound",
    "Operation",
    "OutOfMemoryError",
    "PermissionDenied",
    "Resource",
    "ShutDownError",
    "StaleError",
    "Stat",
    "Stream",
    "StreamOption",
    "SystemFailure",
    "SystemInvalid",
    "Task",
    "TimedOut",
    "UnsupportedError",
    "WrongKindError",
    "coroutine",
    "current_loop",
    "gather",
    "library_version",
    "run",
    "sleep",
    "spawn",
    "within",
]
