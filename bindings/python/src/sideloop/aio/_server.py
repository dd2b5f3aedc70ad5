"""Servers: `aio.start_server` and `aio.start_unix_server`, where each connection is handled by a task of its own.

Called on the thread of an event loop. The engine accepts connections as they come; each becomes a task at once: one of
asyncio's that the server keeps, or of a nursery of trio's that the server opens. Both end with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
from types import TracebackType
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, List, Optional, Type

from .. import _abi, errors
from .._library import library
from ..resources import Address, format_address, parse_address
from ._connect import UnixPath, look_up
from ._engine import discard, engine
from ._hosts import Waiter, current, trio_runs
from ._streams import Stream

if TYPE_CHECKING:
    import trio

Handler = Callable[[Stream], Awaitable[object]]
# Makes the listeners of a server, and says their ids.
Listen = Callable[[], Awaitable[List[int]]]


class Server:
    """Accepts connections from when it is entered, with `async with`, until that is left."""

    def __init__(self, handler: Handler, listen: Listen) -> None:
        self._handler = handler
        self._listen = listen
        self._listeners: List[int] = []
        self._addresses: List[Address] = []
        self._entered = self._closed = False
        # How to cancel the tasks that handle connections, by their streams.
        self._cancels: Dict[Stream, Callable[[], object]] = {}
        self._waiters: List[Waiter] = []
        # Why it can accept no more.
        self._failure: Optional[BaseException] = None
        # What trio has in place of tasks that somebody keeps.
        self._nursery_manager: Any = None
        self._nursery: Optional[trio.Nursery] = None

    async def __aenter__(self) -> Server:
        if self._entered:
            raise RuntimeError("a server is entered once")
        self._entered = True
        self._listeners = await self._listen()
        with contextlib.suppress(errors.UnsupportedError):  # A Unix socket has none.
            self._addresses = [_local_address(listener) for listener in self._listeners]
        if trio_runs():
            import trio

            self._nursery_manager = trio.open_nursery()
            self._nursery = await self._nursery_manager.__aenter__()
        for listener in self._listeners:
            current().call(
                _abi.SL_TCP_ACCEPT, listener, flags=_abi.SL_MULTISHOT, salvage=discard, receiver=_Acceptor(self)
            )
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> Optional[bool]:
        self.close()
        if self._nursery_manager is not None:
            suppressed: Optional[bool] = await self._nursery_manager.__aexit__(kind, error, traceback)
            return suppressed
        await self.wait_closed()
        return None

    def close(self) -> None:
        """Accepts no more connections, and cancels the tasks that handle some. Waits for nothing."""
        self._closed = True
        while self._listeners:
            discard(self._listeners.pop())
        for cancel in list(self._cancels.values()):
            cancel()
        self._tell()

    async def wait_closed(self) -> None:
        """Waits until it is closed, and the tasks that handled connections have ended."""
        while not self._closed or self._cancels:
            waiter = current().waiter()
            self._waiters.append(waiter)
            await waiter

    async def serve_forever(self) -> None:
        """Waits until somebody closes it, or it can accept no more. (It serves before that, too.)"""
        await self.wait_closed()
        if self._failure is not None:
            raise self._failure

    @property
    def addresses(self) -> List[Address]:
        """Where it listens; nothing for a Unix socket."""
        return list(self._addresses)

    @property
    def port(self) -> int:
        """The port that it listens at, also where the system has chosen it."""
        return self._addresses[0].port

    @property
    def connections(self) -> int:
        """How many connections are being handled."""
        return len(self._cancels)

    def accept(self, resource: int) -> None:
        """Begins to handle a connection."""
        if self._closed:
            discard(resource)
            return
        stream = Stream(resource)
        if self._nursery is not None:
            import trio

            scope = trio.CancelScope()
            self._cancels[stream] = scope.cancel
            self._nursery.start_soon(self._handle_within, stream, scope)
        else:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._handle(stream))
            self._cancels[stream] = task.cancel
            # A task that is cancelled before it has begun runs nothing.
            task.add_done_callback(lambda task: self._handled(stream, task))

    def fail(self, error: BaseException) -> None:
        """A listener accepts no more."""
        if not self._closed:
            self._failure = error
            self.close()

    async def _handle(self, stream: Stream) -> None:
        async with stream:
            await self._handler(stream)

    def _handled(self, stream: Stream, task: asyncio.Task[None]) -> None:
        """A task of asyncio's has ended."""
        stream.close()
        self._forget(stream)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            task.get_loop().call_exception_handler(
                {"message": "a connection's handler has failed", "exception": error, "task": task}
            )

    async def _handle_within(self, stream: Stream, scope: trio.CancelScope) -> None:
        """A task of trio's."""
        try:
            with scope:
                await self._handle(stream)
        finally:
            stream.close()
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        del self._cancels[stream]
        self._tell()

    def _tell(self) -> None:
        """Has those look who wait for the end."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def __repr__(self) -> str:
        state = "closed" if self._closed else ", ".join(map(str, self._addresses)) or "not listening"
        return f"<sideloop.aio.Server {state}>"


class _Acceptor:
    """Receives the connections of one listener."""

    __slots__ = ("token", "_server", "_last", "_done")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._last = 0
        self._done = False

    def set_result(self, value: int, /) -> None:
        """A connection has come. After an interrupt it may be told twice."""
        if value != self._last:
            self._last = value
            self._server.accept(value)

    def set_exception(self, error: BaseException, /) -> None:
        """It accepts no more: the server is closed, or the listener has failed."""
        self._done = True
        self._server.fail(error)

    def done(self) -> bool:
        """Whether it accepts no more."""
        return self._done

    def cancelled(self) -> bool:
        """Never: it ends with its listener."""
        return False


def start_server(
    handler: Handler,
    host: Optional[str] = None,
    port: int = 0,
    *,
    backlog: int = 0,
    reuse_port: bool = False,
) -> Server:
    """Serves TCP: `async with aio.start_server(handler, "localhost", 80) as server: await server.serve_forever()`.

    Each connection is handled by a task that runs `handler(stream)`, and closes the stream after it. Leaving the block
    stops listening, cancels the tasks that are left, and waits for them.

    What a handler raises is told to the event loop's exception handler under asyncio. Under trio it is raised where the
    block ends, as from any nursery, after all else in it has been cancelled: catch in the handler what must not end
    the server.

    host: a name or an address, or None for all interfaces; where it has several addresses, the server listens at all of
    them, at the same port. port: 0 lets the system choose, see `Server.port`. backlog: how many connections may wait to
    be accepted, 0 for the library's default. reuse_port: several servers may share the port.
    """

    async def listen() -> List[int]:
        listeners: List[int] = []
        failed: Optional[errors.Error] = None
        chosen = port
        try:
            for address in await look_up(host, port, flags=socket.AI_PASSIVE):
                try:
                    listeners.append(_listen(Address(address.host, chosen), backlog, reuse_port))
                except errors.SystemFailure as error:
                    # A family of addresses that this machine does not have.
                    if error.status != _abi.SL_ERR_ADDRESS_UNAVAILABLE:
                        raise
                    failed = error
                else:
                    chosen = _local_address(listeners[-1]).port
            if failed is not None and not listeners:
                raise failed
        except BaseException:
            for listener in listeners:
                discard(listener)
            raise
        return listeners

    return Server(handler, listen)


def start_unix_server(handler: Handler, path: UnixPath, *, backlog: int = 1024) -> Server:
    """Serves at a Unix socket; otherwise like `start_server`. The path must not exist yet, and stays behind."""

    async def listen() -> List[int]:
        with socket.socket(socket.AF_UNIX) as listening:
            plain = os.fspath(path)
            try:
                listening.bind(plain)
            except OSError as error:
                raise errors.of_system(error, plain) from None
            listening.listen(backlog)
            resource = ctypes.c_uint64()
            errors.check(library.sl_listener_adopt(engine().id, listening.fileno(), ctypes.byref(resource)))
            listening.detach()
            return [resource.value]

    return Server(handler, listen)


def _listen(address: Address, backlog: int, reuse_port: bool) -> int:
    flags = (_abi.SL_LISTEN_REUSE_PORT if reuse_port else 0) | _abi.SL_LISTEN_IPV6_ONLY
    options = _abi.ListenOptions(flags=flags, backlog=backlog)
    listener = ctypes.c_uint64()
    where = ctypes.byref(parse_address(address))
    errors.check(library.sl_tcp_listen(engine().id, where, ctypes.byref(options), ctypes.byref(listener)), str(address))
    return listener.value


def _local_address(listener: int) -> Address:
    address = _abi.Address()
    errors.check(library.sl_local_address(listener, ctypes.byref(address)))
    return format_address(address)
