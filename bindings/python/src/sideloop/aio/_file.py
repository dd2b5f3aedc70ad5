"""Files of bytes: positional reads and writes, and on top of them a position of their own, read-ahead and a write
buffer.

What programs call, on the thread of their event loop; what it is made of is in _buffered.py. One task at a time moves
the position; others wait for their turn. What can be served from the buffers is, without a turn of the event loop.
"""

from __future__ import annotations

import io
import os
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Iterable, List, Optional, Type

from .. import _abi, buffers
from .._abi import Stat
from ._buffered import BUFFER_SIZE, BufferedFile, positive
from ._engine import discard, new_bytes, nothing
from ._hosts import current

if TYPE_CHECKING:
    from ..buffers import Buffer


class BinaryFile(BufferedFile):
    """An open file of bytes. Made by `aio.open` and `aio.wrap`; a context manager for `async with`."""

    # Positions of the program's own: no buffer is involved, and any number of tasks may use them at once.

    async def pread(self, size: int, offset: int, *, timeout: Optional[float] = None) -> bytes:
        """Reads `size` bytes from `offset` on; fewer only where the file ends. Moves no position."""
        if offset < 0 or self._closed or not self._readable:
            self._check(self._readable, "readable")
            positive("offset", offset)
        # The memory of no bytes is everybody's; the library touches none of it.
        memory = new_bytes(positive("size", size))
        return await self._read_at(_abi.SL_FILE_READ, memory, offset, _abi.SL_EXACT, timeout)

    async def preadinto(self, buffer: Buffer, offset: int, *, timeout: Optional[float] = None) -> int:
        """Likewise into a writable buffer, and says how many bytes."""
        self._check(self._readable, "readable")
        with buffers.pin(buffer, True) as view:
            return await self._transfer(_abi.SL_FILE_READ, view, positive("offset", offset), _abi.SL_EXACT, timeout)

    async def pwrite(self, data: Buffer, offset: int, *, timeout: Optional[float] = None) -> int:
        """Writes all of `data` at `offset`, and says how many bytes. Moves no position."""
        self._check(self._writable, "writable")
        with buffers.pin(data, False) as view:
            return await self._transfer(_abi.SL_FILE_WRITE, view, positive("offset", offset), 0, timeout)

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
            length = await self._tell() if size is None else positive("size", size)
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
        return await self._can_seek()

    # What it is.

    async def stat(self) -> Stat:
        """What is known of the file."""
        self._check(True, "")
        return await self._stat()

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
        return self._descriptor()

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
            if self._pending or self._lock.held:
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
