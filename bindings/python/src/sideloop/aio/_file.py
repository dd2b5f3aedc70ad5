"""Files of bytes: positional reads and writes, and on top of them a position of their own, read-ahead and a write
buffer.

What programs call, on the thread of their event loop. The position is kept here, not by the system: all reads and
writes say where, except on what has no positions (pipes, terminals) and when appending. One task at a time moves the
position; others wait for their turn. What can be served from the buffers is, without a turn of the event loop.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, Coroutine, Iterable, List, Optional, Type, Union

from .. import _abi, buffers, errors
from .._abi import Stat
from .._library import library
from ._engine import BYTES_HEADER, discard, filled, kept, new_bytes, nothing
from ._hosts import current, is_under_way
from ._lock import Lock

if TYPE_CHECKING:
    from ..buffers import Buffer

# How many bytes are read ahead, or gathered to be written, unless the program says otherwise.
BUFFER_SIZE = 65536
# How what has no positions is read and written: the operations, and where they say they are to begin.
_SEQUENCE = (_abi.SL_FILE_READ, _abi.SL_FILE_WRITE, _abi.SL_OFFSET_CURRENT)
_STREAM = (_abi.SL_STREAM_RECEIVE, _abi.SL_STREAM_SEND, 0)

Name = Union[str, bytes, int]


class BinaryFile:
    """An open file of bytes. Made by `aio.open` and `aio.wrap`; a context manager for `async with`."""

    def __init__(
        self,
        resource: int,
        name: Name,
        mode: str,
        buffer_size: int = BUFFER_SIZE,
        position: Optional[int] = 0,
        is_stream: bool = False,
    ) -> None:
        self._id = resource
        self.name = name
        self.mode = mode
        self._readable = "r" in mode or "+" in mode
        self._writable = "r" not in mode or "+" in mode
        self._appends = "a" in mode
        self._size = buffer_size
        self._closed = self._detached = False
        self._lock = Lock()
        # What it is read and written by in sequence.
        self._in_sequence = _STREAM if is_stream else _SEQUENCE
        # None: not known yet. Where a positional read or write is refused, it is found out.
        self._seekable: Optional[bool] = None if position is not None else False
        # Where the next read from the system begins, and the next write to it.
        self._end = position or 0
        # Whether that is wherever the file ends: when appending, until something else moves it.
        self._at_file_end = self._appends
        # What was read ahead, and how much of it the program has had.
        self._ahead = b""
        self._at = 0
        # Lines split off before `_ahead`, the next one last.
        self._lines: List[bytes] = []
        # What waits to be written at `_end`.
        self._pending: List[bytes] = []
        self._pending_size = 0
        # Whether a write is still under way that nobody waits for, and what it does cannot be told.
        self._unknown = False

    # Positions of the program's own: no buffer is involved, and any number of tasks may use them at once.

    async def pread(self, size: int, offset: int, *, timeout: Optional[float] = None) -> bytes:
        """Reads `size` bytes from `offset` on; fewer only where the file ends. Moves no position."""
        if offset < 0 or self._closed or not self._readable:
            self._check(self._readable, "readable")
            _positive("offset", offset)
        return await self._read_at(_abi.SL_FILE_READ, size, offset, _abi.SL_EXACT, timeout)

    async def preadinto(self, buffer: Buffer, offset: int, *, timeout: Optional[float] = None) -> int:
        """Likewise into a writable buffer, and says how many bytes."""
        self._check(self._readable, "readable")
        with buffers.pin(buffer, True) as view:
            return await self._transfer(_abi.SL_FILE_READ, view, _positive("offset", offset), _abi.SL_EXACT, timeout)

    async def pwrite(self, data: Buffer, offset: int, *, timeout: Optional[float] = None) -> int:
        """Writes all of `data` at `offset`, and says how many bytes. Moves no position."""
        self._check(self._writable, "writable")
        with buffers.pin(data, False) as view:
            return await self._transfer(_abi.SL_FILE_WRITE, view, _positive("offset", offset), 0, timeout)

    # Reading.

    async def read(self, size: Optional[int] = -1) -> bytes:
        """Reads `size` bytes, or without a size everything up to the end; fewer only where the file ends."""
        self._begin(self._readable, "readable")
        if size is None or size < 0:
            async with self._lock:
                await self._flush()
                return await self._read_all()
        at = self._at
        if not self._lock.held and len(self._ahead) - at >= size:
            self._at = at + size
            return self._ahead[at : at + size]
        async with self._lock:
            await self._flush()
            return await self._read(size)

    async def readall(self) -> bytes:
        """Reads everything up to the end."""
        return await self.read()

    async def read1(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes: what was read ahead, or else what one read brings."""
        self._begin(self._readable, "readable")
        async with self._lock:
            await self._flush()
            if self._at == len(self._ahead) and size != 0:
                self._keep(await self._fetch(self._size or BUFFER_SIZE if size < 0 else max(size, self._size)))
            return self._cut(len(self._ahead) - self._at if size < 0 else size)

    async def readinto(self, buffer: Buffer) -> int:
        """Reads into a writable buffer until it is full or the file ends, and says how many bytes."""
        self._begin(self._readable, "readable")
        with buffers.pin(buffer, True).cast("B") as view:
            async with self._lock:
                await self._flush()
                count = len(view)
                data = self._cut(count)
                view[: len(data)] = data
                done = len(data)
                try:
                    while done < count:
                        with view[done:] as rest:
                            more = await self._fill(rest)
                        done += more
                        if more == 0:
                            break
                except BaseException:
                    self._put_back([bytes(view[:done])])
                    raise
                return done

    async def readinto1(self, buffer: Buffer) -> int:
        """Reads into a writable buffer what was read ahead, or else what one read brings, and says how many bytes."""
        with buffers.pin(buffer, True).cast("B") as view:
            data = await self.read1(len(view))
            view[: len(data)] = data
            return len(data)

    async def peek(self, size: int = 0) -> bytes:
        """What was read ahead, or what one read brings, without moving the position. The length may be any."""
        self._begin(self._readable, "readable")
        async with self._lock:
            await self._flush()
            if self._at == len(self._ahead):
                self._keep(await self._fetch(self._size or 1))
            return self._ahead[self._at :]

    async def readline(self, size: Optional[int] = -1) -> bytes:
        """Reads up to and with the next newline, at most `size` bytes; b"" at the end."""
        self._begin(self._readable, "readable")
        most = -1 if size is None else size
        end = self._ahead.find(b"\n", self._at) + 1
        if end and most < 0 and not self._lock.held:
            at, self._at = self._at, end
            return self._ahead[at:end]
        async with self._lock:
            await self._flush()
            return await self._read_line(most)

    async def readlines(self, hint: Optional[int] = -1) -> List[bytes]:
        """Reads lines up to the end, or until they have more than `hint` bytes together."""
        self._begin(self._readable, "readable")
        async with self._lock:
            await self._flush()
            if hint is None or hint <= 0:
                return io.BytesIO(await self._read_all()).readlines()
            lines: List[bytes] = []
            try:
                while hint >= 0:
                    line = await self._read_line(-1)
                    if not line:
                        break
                    lines.append(line)
                    hint -= len(line)
            except BaseException:
                self._put_back(lines)
                raise
            return lines

    def __aiter__(self) -> BinaryFile:
        self._check(self._readable, "readable")
        return self

    async def __anext__(self) -> bytes:
        # Most lines were split off before.
        lines = self._lines
        if lines:
            return lines.pop()
        self._begin(self._readable, "readable")
        async with self._lock:
            await self._flush()
            line = await self._next_line()
        if not line:
            raise StopAsyncIteration
        return line

    # Writing.

    async def write(self, data: Buffer) -> int:
        """Writes all of `data`, and says how many bytes: into the buffer where it has room, else into the file."""
        self._begin(self._writable, "writable")
        with buffers.pin(data, False).cast("B") as view:
            count = len(view)
            if count == 0:
                return 0
            if not self._lock.held and self._pending_size + count < self._size:
                self._forget_ahead()
                self._pending.append(bytes(view))
                self._pending_size += count
            else:
                async with self._lock:
                    self._forget_ahead()
                    await self._flush()
                    if count < self._size:
                        self._pending.append(bytes(view))
                        self._pending_size += count
                    else:
                        await self._put(view)
            return count

    async def writelines(self, lines: Iterable[Buffer]) -> None:
        """Writes several pieces, one after the other."""
        for line in lines:
            await self.write(line)

    async def flush(self) -> None:
        """Writes what waits in the buffer into the file (the system's cache: see `sync`)."""
        self._begin(True, "")
        if self._pending:
            async with self._lock:
                await self._flush()

    async def sync(self, *, data_only: bool = False) -> None:
        """Writes what waits, and makes the file safe on the device. data_only: without the times."""
        await self.flush()
        await self._plain(_abi.SL_FILE_SYNC, finish=nothing, flags=_abi.SL_DATA_ONLY if data_only else 0)

    async def truncate(self, size: Optional[int] = None) -> int:
        """Makes the file `size` bytes long, or as long as the position says, and returns that. Moves no position."""
        self._begin(self._writable, "writable")
        async with self._lock:
            await self._flush()
            length = await self._tell() if size is None else _positive("size", size)
            self._forget_ahead()
            await self._find_end()
            await self._plain(_abi.SL_FILE_TRUNCATE, length=length)
            return length

    # The position.

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the position: from the start, from where it is (SEEK_CUR), or from the end (SEEK_END). Returns it."""
        self._begin(True, "")
        async with self._lock:
            await self._flush()
            await self._must_seek()
            if whence == os.SEEK_CUR:
                offset += await self._tell()
            elif whence == os.SEEK_END:
                offset += await self._length()
            elif whence != os.SEEK_SET:
                raise ValueError(f"whence is none of 0, 1 and 2: {whence}")
            if offset < 0:
                raise OSError(22, "the position would be negative", self.name)
            begin = self._end - len(self._ahead)
            if begin <= offset <= self._end:
                self._at = offset - begin
            else:
                self._ahead, self._at, self._end = b"", 0, offset
            self._at_file_end = False
            return offset

    async def tell(self) -> int:
        """The position, in bytes from the start."""
        self._begin(True, "")
        async with self._lock:
            if self._appends:
                await self._flush()
            await self._must_seek()
            return await self._tell()

    async def seekable(self) -> bool:
        """Says whether it has positions."""
        self._begin(True, "")
        if self._seekable is None:
            found = (await self.stat()).type
            self._seekable = found == _abi.SL_TYPE_FILE or (
                found == _abi.SL_TYPE_OTHER and _has_positions(self.fileno())
            )
        return self._seekable

    # What it is.

    async def stat(self) -> Stat:
        """What is known of the file."""
        self._check(True, "")
        stat = Stat()
        found: Stat = await self._plain(_abi.SL_FILE_STAT, buffer=ctypes.addressof(stat), finish=kept, keep=stat)
        return found

    async def readable(self) -> bool:
        """Says whether it can be read from."""
        self._check(True, "")
        return self._readable

    async def writable(self) -> bool:
        """Says whether it can be written to."""
        self._check(True, "")
        return self._writable

    async def isatty(self) -> bool:
        """Says whether it is a terminal."""
        self._check(True, "")
        return os.name != "nt" and os.isatty(self.fileno())

    def fileno(self) -> int:
        """The descriptor (on Windows a HANDLE), which goes on belonging to this file."""
        self._check(True, "")
        descriptor = ctypes.c_ssize_t()
        errors.check(library.sl_descriptor_of(self._id, ctypes.byref(descriptor)))
        return descriptor.value

    @property
    def closed(self) -> bool:
        """Says whether it is closed."""
        return self._closed

    @property
    def raw(self) -> BinaryFile:
        """Itself: there is nothing below it."""
        return self

    # Closing.

    async def close(self) -> None:
        """Writes what waits in the buffer, and closes the file. Does nothing where it is closed already."""
        if self._detached:
            raise ValueError("the file has been detached")
        if self._closed:
            return
        try:
            async with self._lock:
                await self._flush()
        finally:
            # Another task may have been faster. Nothing below is left out where the task is cancelled.
            if not self._closed:
                self._closed = True
                self._ahead, self._lines = b"", []
                await current().call(_abi.SL_CLOSE, self._id, finish=nothing, name=self.name)

    def detach(self) -> io.FileIO:
        """A blocking file in place of this one, which counts as closed. Not while something waits to be written."""
        self._begin(True, "")
        if self._pending or self._lock.held:
            raise ValueError("flush it first")
        raw = io.FileIO(os.dup(self.fileno()), self.mode.replace("b", "").replace("x", "w"))
        if raw.seekable() and not self._at_file_end:
            raw.seek(self._end - len(self._ahead) + self._at)
        self._closed = self._detached = True
        discard(self._id)
        return raw

    async def __aenter__(self) -> BinaryFile:
        self._check(True, "")
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if getattr(self, "_closed", True):
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self)
        finally:
            # As the built-in files do: what was written is not lost with the object.
            if self._pending and os.name != "nt":
                self._write_pending_now()
            self._closed = True
            discard(self._id)

    def _write_pending_now(self) -> None:
        data = b"".join(self._pending)
        if self._seekable is False or self._appends:
            os.write(self.fileno(), data)
        else:
            os.pwrite(self.fileno(), data, self._end)

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<sideloop.aio.{type(self).__name__}{state} name={self.name!r} mode={self.mode!r}>"

    # --- What the above is made of. Those with an underscore and a lock around them move the position.

    def _check(self, can: bool, what: str) -> None:
        if self._closed:
            raise ValueError("I/O operation on closed file")
        if not can:
            raise io.UnsupportedOperation(f"the file is not {what}")

    def _begin(self, can: bool, what: str) -> None:
        """For what works with the position: lines that were split off are put back."""
        self._check(can, what)
        if self._lines:
            self._lines.append(b"")
            self._ahead = b"".join(reversed(self._lines)) + self._ahead[self._at :]
            self._at = 0
            self._lines = []

    def _forget_ahead(self) -> None:
        """Before a write: the position is where the program thinks it is."""
        if self._ahead:
            if self._seekable is not False:
                self._end -= len(self._ahead) - self._at
            self._ahead, self._at = b"", 0

    def _keep(self, data: bytes) -> None:
        """Adds to what was read ahead."""
        self._ahead = self._ahead[self._at :] + data if self._at < len(self._ahead) else data
        self._at = 0

    def _put_back(self, pieces: List[bytes]) -> None:
        """What was taken for a read that was cut short comes next again."""
        self._ahead, self._at = b"".join([*pieces, self._ahead[self._at :]]), 0

    def _cut(self, size: int) -> bytes:
        """Takes from what was read ahead."""
        data = self._ahead[self._at : self._at + size]
        self._at += len(data)
        return data

    async def _read(self, size: int) -> bytes:
        pieces = [self._cut(size)]
        missing = size - len(pieces[0])
        try:
            while missing > 0:
                data = await self._fetch_and_cut(max(missing, self._size), missing)
                if not data:
                    break
                pieces.append(data)
                missing -= len(data)
        except BaseException:
            self._put_back(pieces)
            raise
        return pieces[-1] if not pieces[0] and len(pieces) == 2 else b"".join(pieces)

    async def _read_all(self) -> bytes:
        pieces = [self._cut(len(self._ahead))]
        size = BUFFER_SIZE
        try:
            while True:
                data = await self._fetch_and_cut(size, sys.maxsize, _abi.SL_EXACT)
                if data:
                    pieces.append(data)
                if not data or (len(data) < size and self._seekable is not False):
                    break
                if self._seekable is not False:
                    # There is more: how much, a regular file can tell.
                    stat = await self.stat()
                    size = max(stat.length - self._end + 1, BUFFER_SIZE)
        except BaseException:
            self._put_back(pieces)
            raise
        return pieces[-1] if not pieces[0] and len(pieces) == 2 else b"".join(pieces)

    async def _read_line(self, most: int) -> bytes:
        searched = self._at
        while True:
            end = self._ahead.find(b"\n", searched) + 1
            have = len(self._ahead) - self._at
            if end or (most >= 0 and have >= most):
                size = end - self._at if end else have
                return self._cut(size if most < 0 else min(size, most))
            data = await self._fetch(self._size or 256)
            if not data:
                return self._cut(have)
            searched = have
            self._keep(data)

    async def _next_line(self) -> bytes:
        """The next line; those that have been read with it are split off."""
        while True:
            if self._at < len(self._ahead):
                lines = io.BytesIO(self._cut(len(self._ahead))).readlines()
                self._ahead, self._at = b"" if lines[-1].endswith(b"\n") else lines.pop(), 0
                if lines:
                    lines.reverse()
                    line = lines.pop()
                    self._lines = lines
                    return line
            data = await self._fetch(self._size or BUFFER_SIZE)
            if not data:
                return self._cut(len(self._ahead))
            self._keep(data)

    async def _fetch(self, size: int, flags: int = 0) -> bytes:
        """Reads on from the system, past what was read ahead: one read. (SL_EXACT counts where there are positions.)"""
        if self._at == len(self._ahead):
            self._ahead, self._at = b"", 0
        if self._at_file_end:
            await self._find_end()
        if self._seekable is not False:
            try:
                data = await self._read_at(_abi.SL_FILE_READ, size, self._end, flags)
            except OSError as error:
                if not self._has_none(error):
                    raise
            else:
                self._end += len(data)
                return data
        # What comes after all where the task is cancelled must not be lost.
        kind, _, offset = self._in_sequence
        return await self._read_at(kind, size, offset, salvage=self._append_ahead)

    def _append_ahead(self, data: bytes) -> None:
        self._ahead += data

    async def _fetch_and_cut(self, size: int, most: int, flags: int = 0) -> bytes:
        """Reads on, and takes at most so many bytes. What a read that was cancelled twice had read comes first."""
        data = await self._fetch(size, flags)
        if self._at == len(self._ahead) and len(data) <= most:
            return data
        self._keep(data)
        return self._cut(most)

    def _has_none(self, error: BaseException) -> bool:
        """Whether an error says that this file has no positions; then it is known from now on."""
        if getattr(error, "status", 0) != _abi.SL_ERR_NO_SEEK:
            return False
        self._seekable = False
        return True

    async def _fill(self, view: memoryview) -> int:
        """Likewise, into a buffer of the program's."""
        if self._at == len(self._ahead):
            self._ahead, self._at = b"", 0
        if self._at_file_end:
            await self._find_end()
        if self._seekable is not False:
            try:
                count = await self._transfer(_abi.SL_FILE_READ, view, self._end)
            except OSError as error:
                if not self._has_none(error):
                    raise
            else:
                self._end += count
                return count
        # By memory of ours, so that what comes after all where the task is cancelled is not lost.
        data = await self._fetch_and_cut(len(view), len(view))
        view[: len(data)] = data
        return len(data)

    async def _put(self, view: memoryview) -> None:
        """Writes all of this at the position, and moves that; as far as it has come where it is cut short."""
        if self._unknown:
            raise errors.InvalidError("a write was cancelled twice: how much of it was written is not known")
        if self._seekable is not False and not self._appends:
            try:
                await self._put_as(_abi.SL_FILE_WRITE, view, self._end)
                return
            except errors.Error as error:
                if not self._has_none(error):
                    raise
        self._at_file_end = self._appends
        _, kind, offset = self._in_sequence
        await self._put_as(kind, view, offset)

    async def _put_as(self, kind: int, view: memoryview, offset: int) -> None:
        """Likewise, by one operation."""
        waits = True

        def count(written: int) -> None:
            # Afterwards it is too late: what was written at a position will be written there again.
            if waits:
                self._count_written(written)

        try:
            count(await self._transfer(kind, view, offset, salvage=count))
        except errors.Error as error:
            count(error.done)
            raise
        except BaseException:
            waits = False
            in_sequence = self._seekable is False or self._appends
            # What waits at a position can be written there again; nothing else can.
            if (in_sequence or not self._pending) and is_under_way(count):
                self._unknown = True
                self._pending, self._pending_size = [], 0
            raise

    def _count_written(self, count: int) -> None:
        if self._seekable is not False and not self._appends:
            self._end += count
        if self._pending:
            rest = b"".join(self._pending)[count:]
            self._pending, self._pending_size = [rest] if rest else [], len(rest)

    def _read_at(
        self, kind: int, size: int, offset: int, flags: int = 0, timeout: Optional[float] = None, salvage: Any = None
    ) -> Coroutine[Any, Any, bytes]:
        """One read into memory of ours."""
        # The one of no bytes is everybody's; the library touches none of it.
        buffer = new_bytes(_positive("size", size))
        where = id(buffer) + BYTES_HEADER
        return current().call(
            kind, self._id, where, size, offset, flags, 0, timeout, filled, buffer, self.name, salvage
        )

    async def _transfer(
        self,
        kind: int,
        view: memoryview,
        offset: int,
        flags: int = 0,
        timeout: Optional[float] = None,
        salvage: Any = None,
    ) -> int:
        """One read into memory of the program's, or one write of it: all of it, in any case."""
        # By a view of the operation's own: where the task is cancelled twice, it has the memory for longer than this.
        count: int = await current().call(
            kind,
            self._id,
            buffers.address(view),
            view.nbytes,
            offset,
            flags,
            0,
            timeout,
            None,
            memoryview(view),
            self.name,
            salvage,
        )
        return count

    async def _flush(self) -> None:
        """Writes what waits. Where that fails part-way, only the rest waits on."""
        if not self._pending:
            return
        data = b"".join(self._pending)
        self._pending = [data]
        with memoryview(data) as view:
            await self._put(view)

    async def _must_seek(self) -> None:
        if not await self.seekable():
            raise io.UnsupportedOperation("the file has no positions")

    async def _tell(self) -> int:
        await self._find_end()
        return self._end - len(self._ahead) + self._at + self._pending_size

    async def _find_end(self) -> None:
        """Before the position is used where appending has moved it."""
        if self._at_file_end and await self.seekable():
            self._end = await self._length()
        self._at_file_end = False

    async def _length(self) -> int:
        stat = await self.stat()
        return stat.length if stat.type == _abi.SL_TYPE_FILE else os.lseek(self.fileno(), 0, os.SEEK_END)

    async def _plain(self, kind: int, **more: Any) -> Any:
        """An operation on the file that needs nothing else."""
        return await current().call(kind, self._id, name=self.name, **more)


def _positive(name: str, number: int) -> int:
    if number < 0:
        raise ValueError(f"{name} is negative: {number}")
    return number


def _has_positions(descriptor: int) -> bool:
    try:
        os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return False
    return os.name != "nt"
