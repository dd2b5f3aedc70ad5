"""Streams of bytes between two programs: TCP connections and Unix sockets.

What programs call, on the thread of their event loop; `connect` (_connect.py) and servers (_server.py) make them. One
task may receive while another sends; of several that do the same, each waits for its turn.

What can be done at once is done on the event loop's thread, by the interpreter's own calls: asking the engine for it
would cost several times as much. To receive, a task waits as _readiness.py says; what the system has no room to send,
the engine sends, all of it. Nothing is gathered to be sent: who sends faster than the other side receives waits. What
was received beyond what was asked for waits in `_ahead`.
"""

from __future__ import annotations

import ctypes
import socket
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Optional, Tuple, Type, TypeVar

from .. import _abi, buffers, errors
from .._library import library
from ..resources import Address, format_address
from ._engine import BYTES_HEADER, copied, discard, engine, nothing
from ._hosts import current, is_under_way, trio_runs
from ._lock import Lock
from ._readiness import Readiness, of_here

if TYPE_CHECKING:
    from ..buffers import Buffer

T = TypeVar("T")

# How many bytes are received at a time where the program does not say.
CHUNK = 65536
# The socket may be one that blocks. Windows has no such flag: there the engine does everything.
_AT_ONCE: int = getattr(socket, "MSG_DONTWAIT", 0)
_SEND_AT_ONCE: int = _AT_ONCE | getattr(socket, "MSG_NOSIGNAL", 0)


class IncompleteError(errors.Error, EOFError):
    """The stream ended too early. `partial` is what came until then, of `expected` bytes where that was known."""

    status = _abi.SL_ERR_ENDED

    def __init__(self, partial: bytes, expected: Optional[int]) -> None:
        wanted = "a separator" if expected is None else f"{expected} bytes"
        super().__init__(f"the stream ended after {len(partial)} bytes, before {wanted}")
        self.partial = partial
        self.expected = expected


class TooLongError(errors.Error, ValueError):
    """So many bytes came without the separator. They can still be received."""

    status = _abi.SL_ERR_INVALID


class Stream:
    """A connection. A context manager for `async with`, and an iterator for `async for`."""

    def __init__(self, resource: int) -> None:
        self._id = resource
        self._closed = False
        # What the interpreter needs to receive and send by itself. The descriptor belongs to the engine.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, _descriptor(resource))
        # Where faults are to happen, all goes by the engine.
        self._at_once = bool(_AT_ONCE) and engine().is_plain
        # How tasks wait, once one has.
        self._readiness: Optional[Readiness] = None
        self._ahead = bytearray()
        self._receiving = Lock()
        self._sending = Lock()
        self._cut_short: Optional[int] = None

    # Receiving. Where a task is cancelled, no bytes are lost: who receives next gets them.

    async def receive(self, max_bytes: int = CHUNK, *, timeout: Optional[float] = None) -> bytes:
        """Receives what there is, at most `max_bytes`, or waits for it. b"" where the other side has ended sending."""
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1: {max_bytes}")
        lock = self._receiving
        if lock.held:
            await lock.__aenter__()
        else:
            lock.held = True
        try:
            self._check()
            if self._ahead:
                return self._cut(max_bytes)
            readiness = self._readiness
            if readiness is None or not readiness.is_here():
                data: bytes = await self._fetch(max_bytes, timeout)
                return self._after_what_is_ahead(data, max_bytes) if self._ahead else data
            # As in `_fetch`: most receives come this way, and each coroutine that another awaits costs time.
            waiting = readiness.receive(self._socket.recv, (max_bytes, _AT_ONCE), timeout)
            try:
                data = await waiting
                return data
            except BaseException:
                readiness.salvage(waiting, self._put_back)
                raise
        finally:
            lock.release()

    async def receive_into(self, buffer: Buffer, *, timeout: Optional[float] = None) -> int:
        """Likewise into a writable buffer, and says how many bytes; 0 where the other side has ended sending."""
        self._check()
        with buffers.pin(buffer, True).cast("B") as view:
            if len(view) == 0:
                raise ValueError("the buffer has no room")
            async with self._receiving:
                if self._ahead:
                    data = self._cut(len(view))
                    view[: len(data)] = data
                    return len(data)
                count = await self._obtain_into(view, timeout)
                if self._ahead:
                    data = self._after_what_is_ahead(bytes(view[:count]), len(view))
                    view[: len(data)] = data
                    count = len(data)
                return count

    async def receive_exactly(self, size: int) -> bytes:
        """Receives `size` bytes; IncompleteError where the stream ends first."""
        self._check()
        if size < 0:
            raise ValueError(f"size is negative: {size}")
        if not self._receiving.held and len(self._ahead) >= size:
            return self._cut(size)
        async with self._receiving:
            while len(self._ahead) < size:
                data = await self._fetch(CHUNK, None)
                if not data:
                    raise IncompleteError(self._cut(size), size)
                if not self._ahead and len(data) == size:
                    return data
                self._ahead += data
            return self._cut(size)

    async def receive_until(self, separator: bytes, max_bytes: int = CHUNK) -> bytes:
        """Receives up to and with the separator; IncompleteError where the stream ends first.

        TooLongError where there are more than `max_bytes` bytes, separator included: they stay to be received.
        """
        self._check()
        if not separator:
            raise ValueError("the separator is empty")
        if not self._receiving.held:
            end = self._ahead.find(separator, 0, max_bytes) + len(separator)
            if end >= len(separator):
                return self._cut(end)
        async with self._receiving:
            searched = 0
            while True:
                end = self._ahead.find(separator, searched, max_bytes) + len(separator)
                if end >= len(separator):
                    return self._cut(end)
                if len(self._ahead) >= max_bytes:
                    raise TooLongError(f"no separator in {max_bytes} bytes")
                searched = max(0, len(self._ahead) - len(separator) + 1)
                data = await self._fetch(CHUNK, None)
                if not data:
                    raise IncompleteError(self._cut(len(self._ahead)), None)
                self._ahead += data

    def __aiter__(self) -> Stream:
        self._check()
        return self

    async def __anext__(self) -> bytes:
        data = await self.receive()
        if not data:
            raise StopAsyncIteration
        return data

    # Sending.

    async def send_all(self, data: Buffer, *, timeout: Optional[float] = None) -> None:
        """Sends all of `data`: returns when the system has taken it.

        Where that is cut short (the task is cancelled, the time is over) and some bytes had been taken already, what is
        sent next would not be understood: it is refused, and `cut_short` says how many bytes they were.
        """
        self._check()
        # Most are bytes objects, and need not be held in place.
        view = data if type(data) is bytes else buffers.pin(data, False).cast("B")
        lock = self._sending
        if lock.held:
            await lock.__aenter__()
        else:
            lock.held = True
        try:
            if trio_runs():
                await _trio_checkpoint()
            self._check()
            if self._cut_short is not None:
                raise errors.InvalidError(f"an earlier send was cut short, after {self._cut_short} bytes")
            sent = 0
            if self._at_once:
                try:
                    sent = self._socket.send(view, _SEND_AT_ONCE)
                except BlockingIOError:
                    pass
                except OSError as error:
                    raise errors.of_system(error) from None
            if sent < len(view):
                await self._send_rest(view, sent, timeout)
        finally:
            lock.release()

    @property
    def cut_short(self) -> Optional[int]:
        """How many bytes of a send that was cut short were sent; None where that has not happened."""
        return self._cut_short

    async def send_eof(self) -> None:
        """Ends this side's sending: the other side then receives b"". Receiving goes on."""
        self._check()
        async with self._sending:
            await self._carry_out(_abi.SL_STREAM_SHUTDOWN, None, (0, 0, nothing, None), None)

    # What it is.

    @property
    def local_address(self) -> Address:
        """The address of this side. UnsupportedError for Unix sockets."""
        return self._ask_address(library.sl_local_address)

    @property
    def peer_address(self) -> Address:
        """The address of the other side. UnsupportedError for Unix sockets."""
        return self._ask_address(library.sl_peer_address)

    def set_no_delay(self, on: bool) -> None:
        """Whether small pieces leave at once, as they do in new streams, or may wait to be joined."""
        self._check()
        errors.check(library.sl_stream_set(self._id, _abi.SL_STREAM_NO_DELAY, on))

    def fileno(self) -> int:
        """The system's descriptor, which goes on belonging to this stream."""
        self._check()
        return _descriptor(self._id)

    # Closing.

    @property
    def closed(self) -> bool:
        """Says whether it is closed."""
        return self._closed

    def close(self) -> None:
        """Closes it, and waits for nothing. What is under way on it ends with StaleError."""
        if not self._closed:
            self._end()
            discard(self._id)

    async def aclose(self) -> None:
        """Likewise, and waits until the descriptor is closed."""
        if not self._closed:
            self._end()
            await current().call(_abi.SL_CLOSE, self._id, finish=nothing)

    async def __aenter__(self) -> Stream:
        self._check()
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_closed", True):
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self)
        finally:
            self._closed = True
            self._socket.detach()
            resource = self._id
            if self._readiness is None:
                discard(resource)
            else:
                # The descriptor may be another's as soon as it is closed.
                self._readiness.release(lambda: discard(resource))

    def __repr__(self) -> str:
        return f"<sideloop.aio.Stream{' closed' if self._closed else ''} {self._id:#x}>"

    # --- What the above is made of.

    def _check(self) -> None:
        if self._closed:
            raise errors.StaleError("the stream is closed")

    def _cut(self, size: int) -> bytes:
        """Takes from what was received ahead."""
        with memoryview(self._ahead) as view:
            data = bytes(view[:size])
        del self._ahead[:size]
        return data

    def _after_what_is_ahead(self, data: bytes, size: int) -> bytes:
        """What has been received after what a receive that was cancelled twice had received: the first of both."""
        self._put_back(data)
        return self._cut(size)

    def _put_back(self, data: bytes) -> None:
        """Keeps what nobody has got for who receives next. The library's receives end in order."""
        self._ahead += data

    async def _fetch(self, size: int, timeout: Optional[float]) -> bytes:
        """One receive, past what was received ahead."""
        return await self._obtain(self._socket.recv, (size, _AT_ONCE), timeout, (0, size, copied, None), self._put_back)

    async def _obtain(
        self,
        function: Callable[..., T],
        arguments: Tuple[Any, ...],
        timeout: Optional[float],
        request: Tuple[Any, ...],
        salvage: Callable[[T], object],
    ) -> T:
        """One receive: by a function of the interpreter's; or else by the engine, for which there is the `request`."""
        readiness = self._enter()
        if readiness is None:
            result: T = await self._carry_out(_abi.SL_STREAM_RECEIVE, timeout, request, salvage)
            return result
        waiting = readiness.receive(function, arguments, timeout)
        try:
            result = await waiting
            return result
        except BaseException:
            readiness.salvage(waiting, salvage)
            raise

    async def _obtain_into(self, view: memoryview, timeout: Optional[float]) -> int:
        """Likewise, into memory of the program's."""
        # Where the task is cancelled twice, the operation has that for longer than this.
        own = memoryview(view)

        def put_back(count: int) -> None:
            self._put_back(bytes(own[:count]))
            own.release()

        try:
            count = await self._obtain(
                self._socket.recv_into,
                (view, 0, _AT_ONCE),
                timeout,
                (buffers.address(view), len(view), None, own),
                put_back,
            )
        except BaseException:
            if not is_under_way(put_back):
                own.release()
            raise
        own.release()
        return count

    def _enter(self) -> Optional[Readiness]:
        """How tasks of the event loop that runs here wait."""
        # They may have waited for their turn meanwhile.
        self._check()
        readiness = self._readiness
        if readiness is None or not readiness.is_here():
            if readiness is not None:
                readiness.release(_nothing)
            readiness = self._readiness = of_here(self._socket.fileno()) if self._at_once else None
        return readiness

    async def _send_rest(self, view: Any, sent: int, timeout: Optional[float]) -> None:
        """Has the engine send what the system had no room for."""
        counted = False

        def count(more: int) -> None:
            nonlocal counted
            counted = True
            self._cut_short = sent + more if 0 < sent + more < len(view) else None

        where = id(view) + BYTES_HEADER if type(view) is bytes else buffers.address(view)
        try:
            await self._carry_out(_abi.SL_STREAM_SEND, timeout, (where + sent, len(view) - sent, None, view), count)
        except errors.Error as error:
            count(error.done)
            error.done += sent
            if isinstance(error, errors.Cancelled) and trio_runs():
                await _trio_checkpoint()
            raise
        except BaseException:
            if not counted:
                count(0)
            if is_under_way(count):
                # Cancelled twice: it is not known yet.
                self._cut_short = sent
            raise

    async def _carry_out(self, kind: int, timeout: Optional[float], request: Tuple[Any, ...], salvage: Any) -> Any:
        """One operation of the engine: on how many bytes where, and what makes its value of what."""
        buffer, length, finish, keep = request
        try:
            return await current().call(
                kind, self._id, buffer, length, timeout=timeout, finish=finish, keep=keep, salvage=salvage
            )
        except (errors.Cancelled, errors.StaleError):
            self._check()
            raise

    def _end(self) -> None:
        self._closed = True
        if self._readiness is not None:
            self._readiness.close()
        self._socket.detach()

    def _ask_address(self, question: Any) -> Address:
        self._check()
        address = _abi.Address()
        errors.check(question(self._id, ctypes.byref(address)))
        return format_address(address)


def _nothing() -> None:
    pass


def _descriptor(resource: int) -> int:
    descriptor = ctypes.c_ssize_t()
    errors.check(library.sl_descriptor_of(resource, ctypes.byref(descriptor)))
    return descriptor.value


def _trio_checkpoint() -> Awaitable[None]:
    import trio

    return trio.lowlevel.checkpoint()
