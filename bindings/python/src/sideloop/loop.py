"""`Loop`: what programs call to open, read, write, connect and wait.

A loop's work is done on a thread of the library's own; its methods submit operations and return them at once. Any
thread may call any method; callbacks run on the thread that calls `poll`, `wait` or `dispatch`, and coroutines on the
thread that calls `run`. How operations and events move is in engine.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, Iterator, List, Literal, Optional, Tuple, Type, TypeVar, Union, cast, overload

from . import _abi, buffers
from ._abi import Counters, Stat
from ._library import library
from .engine import Engine, nanoseconds
from .operations import Event, Multishot, Operation
from .resources import (
    AddressLike,
    DirectoryEntry,
    File,
    Listener,
    Resource,
    Stream,
    entries,
    integer,
    lent,
    nothing,
    opened,
    parse_address,
    text,
)
from .runner import Runnable, Runner

if TYPE_CHECKING:
    from .buffers import Buffer

T = TypeVar("T")
Adopted = TypeVar("Adopted", bound=Resource)
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

# What all function pointers of ctypes derive from.
_FUNCTION: type = type(library.sl_work).__bases__[0]
_DRIVERS = {
    "auto": _abi.SL_DRIVER_AUTO,
    "poll": _abi.SL_DRIVER_POLL,
    "uring": _abi.SL_DRIVER_URING,
    "sim": _abi.SL_DRIVER_SIM,
}
_OPEN_FLAGS = {
    "r": _abi.SL_OPEN_READ,
    "w": _abi.SL_OPEN_WRITE | _abi.SL_OPEN_CREATE | _abi.SL_OPEN_TRUNCATE,
    "a": _abi.SL_OPEN_APPEND | _abi.SL_OPEN_CREATE,
    "x": _abi.SL_OPEN_WRITE | _abi.SL_OPEN_CREATE | _abi.SL_OPEN_EXCLUSIVE,
}


# As os.fsencode has it, less the two calls into Python that this takes each time.
_ENCODING = "utf-8" if os.name == "nt" else sys.getfilesystemencoding()
_ENCODE_ERRORS = "strict" if os.name == "nt" else sys.getfilesystemencodeerrors()


@functools.lru_cache
def open_flags(mode: str) -> int:
    """The flags for a mode of the built-in open: "rb", "w", "r+b", ..., always of bytes."""
    kind, rest = mode[:1], sorted(mode[1:])
    if kind not in _OPEN_FLAGS or rest not in ([], ["b"], ["+"], ["+", "b"]):
        raise ValueError(f"mode {mode!r} is none of r, w, a, x with + or b")
    return _OPEN_FLAGS[kind] | (_abi.SL_OPEN_READ | _abi.SL_OPEN_WRITE if "+" in rest else 0)


def encode_path(path: Path) -> bytes:
    """A path as the library has it: the system's bytes, and UTF-8 on Windows."""
    plain = os.fspath(path)
    if isinstance(plain, str):
        # Looked through faster than bytes; and no encoding of paths makes a NUL of anything else.
        has_nul, encoded = "\0" in plain, plain.encode(_ENCODING, _ENCODE_ERRORS)
    else:
        has_nul, encoded = b"\0" in plain, plain
    if has_nul:
        raise ValueError("a path cannot hold a NUL")
    return encoded


def write_flags(mode: str, replace: bool, sync: bool) -> int:
    """The flags that a whole file is written with."""
    flags = open_flags(mode)
    if replace:
        if flags != open_flags("wb"):
            raise ValueError(f"what is replaced is written with mode 'wb', not {mode!r}")
        flags = _abi.SL_WRITE_REPLACE
    return flags | (_abi.SL_WRITE_SYNC if sync else 0)


class Loop(Engine):
    """An event loop with a thread of its own. A context manager: leaving it closes it.

    driver: "auto", "poll", "uring", or, for tests, "sim": a simulated loop, in which what a busy system might do
    happens by chance from `seed`, in a time of its own. faults: a fault plan like "read: EIO@0.01 short@0.3", for any
    driver; sideloop.h describes both. wake_socket: `fileno` shall be a socket. inline=False: nothing is carried out on
    the thread that submits it, for threads that must get back to their own work at once. spin_us and the limits are
    those of sl_loop_options in sideloop.h; 0 stands for the library's default.
    """

    def __init__(
        self,
        *,
        driver: Literal["auto", "poll", "uring", "sim"] = "auto",
        wake_socket: bool = False,
        inline: bool = True,
        spin_us: int = 0,
        max_operations: int = 0,
        max_unclaimed: int = 0,
        max_resources: int = 0,
        max_file_threads: int = 0,
        max_work_threads: int = 0,
        receive_buffer_size: int = 0,
        max_lent_bytes: int = 0,
        seed: int = 0,
        faults: Optional[str] = None,
    ) -> None:
        # Before anything can fail: the destructor asks.
        self._closed = True
        limits = {
            "spin_us": spin_us,
            "max_operations": max_operations,
            "max_unclaimed": max_unclaimed,
            "max_resources": max_resources,
            "max_file_threads": max_file_threads,
            "max_work_threads": max_work_threads,
            "receive_buffer_size": receive_buffer_size,
            "max_lent_bytes": max_lent_bytes,
            "seed": seed,
        }
        for name, value in limits.items():
            # ctypes would cut it.
            if not 0 <= value < 2 ** (64 if name in ("max_lent_bytes", "seed") else 32):
                raise ValueError(f"{name} is out of range: {value}")
        if driver not in _DRIVERS:
            raise ValueError(f"driver {driver!r} is none of {', '.join(_DRIVERS)}")
        flags = (_abi.SL_LOOP_WAKE_SOCKET if wake_socket else 0) | (0 if inline else _abi.SL_LOOP_NO_INLINE)
        if faults is not None and "\0" in faults:
            raise ValueError("faults cannot hold a NUL")
        plan = None if faults is None else ctypes.create_string_buffer(faults.encode())
        options = _abi.LoopOptions(driver=_DRIVERS[driver], flags=flags, **limits)
        options.faults = ctypes.addressof(plan) if plan else None
        super().__init__(options)

    # Events.

    def poll(self) -> List[Event[Any]]:
        """Takes what has happened, without waiting: runs callbacks, and returns the events that nobody asked for."""
        self._sweep()
        return self._collect()

    def wait(self, timeout: Optional[float] = None) -> List[Event[Any]]:
        """Waits until something has happened, or `timeout` seconds have passed; then does as `poll`.

        Empty after a timeout, and where all there was went to callbacks.
        """
        self._wait_until(lambda: bool(self._ready or self._callbacks), timeout)
        return self._collect()

    def dispatch(self, timeout: Optional[float] = 0) -> int:
        """Runs the callbacks that wait, or come within `timeout` seconds, and says how many.

        Leaves other events to `poll`.
        """
        self._wait_until(lambda: bool(self._callbacks), timeout)
        return self._run_callbacks()

    def fileno(self) -> int:
        """A descriptor that is readable while events or callbacks wait, for select, selectors and GUI loops.

        Call `poll` (or `dispatch`, where all is done by callbacks) when it is. Never read, write or close it. It dies
        with the loop.
        """
        if self._closing:
            raise self._closed_error()
        descriptor = self._wake_descriptor()
        if not self._exposed:
            self._exposed = True
            if self._ready or self._callbacks:
                self._announce()
        return descriptor

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Submits the operations that this thread makes inside the `with` in one call, at its end.

        An operation that is refused then ends with the refusal, instead of raising it.
        """
        outermost = self._begin_batch()
        try:
            yield
        finally:
            if outermost:
                self._end_batch()

    def run(self, main: Runnable[T]) -> T:
        """Runs a coroutine, or a generator that yields operations, to its end on this thread, with the tasks it spawns.

        Tasks that are left are cancelled then. While it runs, `poll` and `wait` on other threads get no events: there,
        use the operations' own `wait`, or callbacks.
        """
        return Runner(self).run(main)

    # The loop itself.

    @property
    def closed(self) -> bool:
        """Says whether it is closed."""
        return self._closed

    def close(self) -> None:
        """Cancels what is under way, waits until all has ended (running its callbacks), and closes what is open."""
        self._close()

    @property
    def driver(self) -> str:
        """The driver that it runs on: "poll", "uring" or "sim"."""
        number = self._call(library.sl_loop_driver(self._id, None, 0))
        return next((name for name, value in _DRIVERS.items() if value == number), str(number))

    @property
    def driver_reason(self) -> str:
        """Why it runs on that, as a sentence."""
        text = ctypes.create_string_buffer(512)
        self._call(library.sl_loop_driver(self._id, text, len(text)))
        return text.value.decode()

    def counters(self) -> Counters:
        """What the loop has done so far, and what it holds now."""
        counters = Counters()
        self._call(library.sl_loop_counters(self._id, ctypes.byref(counters)))
        return counters

    # Files.

    def open(
        self, path: Path, mode: str = "rb", *, permissions: int = 0o666, flags: int = 0, timeout: Optional[float] = None
    ) -> Operation[File]:
        """Opens a file: the modes of the built-in open, always of bytes. flags: more of _abi.SL_OPEN_...."""
        return self._submit_path(
            _abi.SL_FILE_OPEN,
            path,
            opened(File, self, path),
            timeout,
            flags=flags | open_flags(mode),
            mode=permissions,
        )

    def read_file(self, path: Path, *, timeout: Optional[float] = None) -> Operation[bytes]:
        """Reads a whole file."""
        return self._submit_path(_abi.SL_PATH_READ, path, lent, timeout)

    def write_file(
        self,
        path: Path,
        data: Buffer,
        mode: str = "wb",
        *,
        permissions: int = 0o666,
        replace: bool = False,
        sync: bool = False,
        timeout: Optional[float] = None,
    ) -> Operation[int]:
        """Writes a whole file (or with mode "ab" more of it) and says how many bytes.

        replace: the new file takes the place of the old one, and its permissions, at once and when it is whole; until
        then, and for good where anything fails, the old one is as it was. sync: it ends when all is safe on the device.
        """
        flags = write_flags(mode, replace, sync)
        view = buffers.pin(data, False)
        return self._submit_path(
            _abi.SL_PATH_WRITE,
            path,
            integer,
            timeout,
            length=view.nbytes,
            offset=buffers.signed(buffers.address(view)),
            flags=flags,
            mode=permissions,
            keep=(view,),
        )

    def stat(self, path: Path, *, follow: bool = True, timeout: Optional[float] = None) -> Operation[Stat]:
        """Says what is known of a path. follow=False: of a symbolic link itself."""
        stat = Stat()
        return self._submit_path(
            _abi.SL_PATH_STAT,
            path,
            lambda result, data: stat,
            timeout,
            offset=buffers.signed(ctypes.addressof(stat)),
            flags=0 if follow else _abi.SL_NO_FOLLOW,
            keep=(stat,),
        )

    def copy(
        self,
        source: Path,
        target: Path,
        *,
        replace: bool = True,
        permissions: int = 0o666,
        sync: bool = False,
        timeout: Optional[float] = None,
    ) -> Operation[int]:
        """Copies a file's contents and says how many bytes. The target is there whole or not at all.

        replace=False: only where there is none. permissions: those of a target that there was none of.
        """
        flags = (0 if replace else _abi.SL_NO_REPLACE) | (_abi.SL_WRITE_SYNC if sync else 0)
        return self._submit_paths(_abi.SL_PATH_COPY, source, target, integer, timeout, flags=flags, mode=permissions)

    # Directories and names.

    def list_directory(self, path: Path = ".", *, timeout: Optional[float] = None) -> Operation[List[DirectoryEntry]]:
        """Lists what is in a directory, in no order."""
        return self._submit_path(_abi.SL_PATH_LIST, path, entries, timeout)

    def make_directory(
        self, path: Path, *, permissions: int = 0o777, timeout: Optional[float] = None
    ) -> Operation[None]:
        """Makes a directory."""
        return self._submit_path(_abi.SL_PATH_MAKE_DIRECTORY, path, nothing, timeout, mode=permissions)

    def remove(self, path: Path, *, directory: bool = False, timeout: Optional[float] = None) -> Operation[None]:
        """Removes a file or a link itself; directory=True: a directory that is empty."""
        flags = _abi.SL_DIRECTORY if directory else 0
        return self._submit_path(_abi.SL_PATH_REMOVE, path, nothing, timeout, flags=flags)

    def rename(
        self, source: Path, target: Path, *, replace: bool = True, timeout: Optional[float] = None
    ) -> Operation[None]:
        """Gives what is at `source` the name `target`, and replaces what was there, or with replace=False raises."""
        flags = 0 if replace else _abi.SL_NO_REPLACE
        return self._submit_paths(_abi.SL_PATH_RENAME, source, target, nothing, timeout, flags=flags)

    def link(
        self,
        source: Path,
        target: Path,
        *,
        symbolic: bool = False,
        directory: bool = False,
        timeout: Optional[float] = None,
    ) -> Operation[None]:
        """Makes `target` another name of the file `source`; symbolic=True: a link that leads there.

        directory: the link leads to a directory, which Windows wants to know.
        """
        flags = (_abi.SL_SYMBOLIC if symbolic else 0) | (_abi.SL_DIRECTORY if directory else 0)
        return self._submit_paths(_abi.SL_PATH_LINK, source, target, nothing, timeout, flags=flags)

    def read_link(self, path: Path, *, timeout: Optional[float] = None) -> Operation[str]:
        """Says where a symbolic link leads."""
        return self._submit_path(_abi.SL_PATH_READ_LINK, path, text, timeout)

    # Connections.

    def listen(
        self, address: AddressLike, *, backlog: int = 0, reuse_port: bool = False, ipv6_only: bool = False
    ) -> Listener:
        """Listens for TCP connections, at once. Port 0 lets the system choose: see `Listener.local_address`."""
        options = _abi.ListenOptions(
            flags=(_abi.SL_LISTEN_REUSE_PORT if reuse_port else 0) | (_abi.SL_LISTEN_IPV6_ONLY if ipv6_only else 0),
            backlog=backlog,
        )
        listener = ctypes.c_uint64()
        where = ctypes.byref(parse_address(address))
        self._call(library.sl_tcp_listen(self._id, where, ctypes.byref(options), ctypes.byref(listener)))
        return Listener(self, listener.value, address)

    def connect(self, address: AddressLike, *, timeout: Optional[float] = None) -> Operation[Stream]:
        """Connects by TCP. Give a timeout: the system's own may be minutes."""
        where = parse_address(address)
        return self._submit(
            _abi.SL_TCP_CONNECT,
            self._id,
            opened(Stream, self, address),
            timeout,
            buffer=ctypes.addressof(where),
            keep=(where,),
        )

    # Adopting what is open already.

    def adopt_file(self, descriptor: int) -> File:
        """Gives an open descriptor (on Windows a HANDLE) to the loop, which closes it from then on."""
        return self._adopt(library.sl_file_adopt, File, descriptor)

    def adopt_stream(self, descriptor: Union[int, socket.socket]) -> Stream:
        """Gives a connected stream socket, or on Unix an end of a pipe, to the loop, which closes it from then on."""
        return self._adopt(library.sl_stream_adopt, Stream, descriptor)

    def adopt_listener(self, descriptor: Union[int, socket.socket]) -> Listener:
        """Gives a listening stream socket to the loop, which closes it from then on."""
        return self._adopt(library.sl_listener_adopt, Listener, descriptor)

    # Timers, events of your own, work.

    @overload
    def timer(self, delay: float, period: Literal[0] = 0, *, timeout: Optional[float] = None) -> Operation[int]: ...

    @overload
    def timer(self, delay: float, period: float, *, timeout: Optional[float] = None) -> Multishot[int]: ...

    def timer(self, delay: float, period: float = 0, *, timeout: Optional[float] = None) -> Operation[int]:
        """Fires after `delay` seconds, and then every `period`.

        The result is how often it has fired since the last event: more than 1 where you were too slow for it.
        """
        return self._submit(
            _abi.SL_TIMER,
            self._id,
            integer,
            timeout,
            length=nanoseconds("delay", delay),
            offset=nanoseconds("period", period),
            make=Multishot if period else Operation,
        )

    def post(self, value: int = 0, *, timeout: Optional[float] = None) -> Operation[int]:
        """Posts an event of your own, whose result is `value` (0 or more)."""
        return self._submit(_abi.SL_POST, self._id, integer, timeout, offset=value)

    def work(self, function: Any, argument: Any = None, *, timeout: Optional[float] = None) -> Operation[int]:
        """Runs the C function `int64_t function(void *argument)` on a worker thread; the result is what it returns.

        function: a function of a ctypes library, or an address. argument: an address, or an object with a buffer, which
        is in use until the operation has ended; or None.
        """
        where = function
        if isinstance(function, _FUNCTION):
            where = ctypes.cast(cast(Any, function), ctypes.c_void_p).value
        elif not isinstance(function, int):
            raise TypeError(f"a C function is needed, or its address, not {type(function).__name__}")
        keep: Tuple[Any, ...] = (function,)
        if argument is not None and not isinstance(argument, int):
            view = buffers.pin(argument, False)
            keep, argument = (function, view), buffers.address(view)
        return self._submit(_abi.SL_WORK, self._id, integer, timeout, buffer=argument or 0, work=where or 0, keep=keep)

    def nop(self, *, timeout: Optional[float] = None) -> Operation[None]:
        """Does nothing, by way of the loop's thread."""
        return self._submit(_abi.SL_NOP, self._id, nothing, timeout)

    # What the above share.

    def _collect(self) -> List[Event[Any]]:
        """Runs callbacks, and takes the events that nobody asked for."""
        self._run_callbacks()
        with self._lock:
            ready, self._ready = self._ready, {}
            return [event for operation in ready for event in operation._drain()]

    def _sweep(self) -> None:
        self._wait_until(lambda: False, 0)

    def _submit_path(
        self, kind: int, path: Path, *arguments: Any, keep: Tuple[Any, ...] = (), **more: Any
    ) -> Operation[Any]:
        encoded = encode_path(path)
        return self._submit(
            kind,
            self._id,
            *arguments,
            buffer=buffers.address(encoded),
            keep=(*keep, encoded),
            filename=os.fspath(path),
            **more,
        )

    def _submit_paths(self, kind: int, source: Path, target: Path, *arguments: Any, **more: Any) -> Operation[Any]:
        encoded = encode_path(target)
        where = buffers.signed(buffers.address(encoded))
        return self._submit_path(kind, source, *arguments, offset=where, keep=(encoded,), **more)

    def _adopt(self, adopt: Any, make: Type[Adopted], descriptor: Union[int, socket.socket]) -> Adopted:
        number = descriptor.fileno() if isinstance(descriptor, socket.socket) else descriptor
        resource = ctypes.c_uint64()
        self._call(adopt(self._id, number, ctypes.byref(resource)))
        if isinstance(descriptor, socket.socket):
            descriptor.detach()
        return make(self, resource.value, None)

    def _call(self, status: int) -> int:
        if status < 0:
            raise self._refusal(status, None)
        return status

    def _runs_here(self) -> bool:
        runner = self._runner
        return runner is not None and runner.runs_here()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._table)} operations under way"
        return f"<sideloop.Loop: {state}>"


def run(main: Runnable[T], **options: Any) -> T:
    """Opens a loop, runs a coroutine on it to its end, and closes it. options: those of `Loop`."""
    with Loop(**options) as loop:
        return loop.run(main)
