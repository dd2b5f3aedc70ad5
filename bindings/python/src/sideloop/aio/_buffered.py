"""What a file of bytes is made of: its position, what was read ahead, what waits to be written, and the operations that
move them. On top of it stands what programs call (_file.py), on the thread of their event loop.

The position is kept here, not by the system: all reads and writes say where, except on what has no positions (pipes,
terminals) and when appending. What moves it is called with the lock held, which the caller takes.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections import deque
from typing import Any, Awaitable, Deque, List, Optional, Union

from .. import _abi, buffers, errors
from .._abi import Stat
from .._library import library
from ._engine import BYTES_HEADER, filled, kept, new_bytes
from ._hosts import current, is_under_way
from ._lock import Lock

# How many bytes are read ahead, or gathered to be written, unless the program says otherwise.
BUFFER_SIZE = 65536
# How what has no positions is read and written: the operations, and where they say they are to begin.
_SEQUENCE = (_abi.SL_FILE_READ, _abi.SL_FILE_WRITE, _abi.SL_OFFSET_CURRENT)
_STREAM = (_abi.SL_STREAM_RECEIVE, _abi.SL_STREAM_SEND, 0)

Name = Union[str, bytes, int]

# Memory that reads did not fill, to be used again: the system gives new memory page by page, which takes longer than to
# read a small file.
_spare: Deque[bytes] = deque(maxlen=64)


class BufferedFile:
    """The state of a file of bytes, and what works on it."""

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
        return _joined(pieces)

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
                    stat = await self._stat()
                    size = max(stat.length - self._end + 1, BUFFER_SIZE)
        except BaseException:
            self._put_back(pieces)
            raise
        return _joined(pieces)

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
        memory = _memory(size)
        count = await self._read_on(id(memory) + BYTES_HEADER, size, flags, memory)
        if count is not None:
            return _used(memory, count)
        # What comes after all where the task is cancelled must not be lost.
        kind, _, offset = self._in_sequence
        return await self._read_at(kind, memory, offset, salvage=self._append_ahead)

    async def _read_on(self, where: int, size: int, flags: int, keep: Any) -> Optional[int]:
        """One read from where the last one from the system ended, and how many bytes that were; None where this file
        has no positions.
        """
        if self._at == len(self._ahead):
            self._ahead, self._at = b"", 0
        if self._at_file_end:
            await self._find_end()
        if self._seekable is not False:
            try:
                count: int = await current().call(
                    _abi.SL_FILE_READ, self._id, where, size, self._end, flags, keep=keep, name=self.name
                )
            except OSError as error:
                if not self._has_none(error):
                    raise
            else:
                self._end += count
                return count
        return None

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
        # By a view of the operation's own, as in `_transfer`.
        count = await self._read_on(buffers.address(view), view.nbytes, 0, memoryview(view))
        if count is not None:
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
        self,
        kind: int,
        memory: bytes,
        offset: int,
        flags: int = 0,
        timeout: Optional[float] = None,
        salvage: Any = None,
    ) -> Awaitable[bytes]:
        """One read into memory of ours."""
        where = id(memory) + BYTES_HEADER
        outcome: Awaitable[bytes] = current().call(
            kind, self._id, where, len(memory), offset, flags, 0, timeout, filled, memory, self.name, salvage
        )
        return outcome

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

    async def _can_seek(self) -> bool:
        """Whether it has positions."""
        if self._seekable is None:
            found = (await self._stat()).type
            self._seekable = found == _abi.SL_TYPE_FILE or (
                found == _abi.SL_TYPE_OTHER and _has_positions(self._descriptor())
            )
        return self._seekable

    async def _must_seek(self) -> None:
        if not await self._can_seek():
            raise io.UnsupportedOperation("the file has no positions")

    async def _tell(self) -> int:
        await self._find_end()
        return self._end - len(self._ahead) + self._at + self._pending_size

    async def _find_end(self) -> None:
        """Before the position is used where appending has moved it."""
        if self._at_file_end and await self._can_seek():
            self._end = await self._length()
        self._at_file_end = False

    async def _length(self) -> int:
        stat = await self._stat()
        return stat.length if stat.type == _abi.SL_TYPE_FILE else os.lseek(self._descriptor(), 0, os.SEEK_END)

    async def _stat(self) -> Stat:
        stat = Stat()
        found: Stat = await self._plain(_abi.SL_FILE_STAT, buffer=ctypes.addressof(stat), finish=kept, keep=stat)
        return found

    def _descriptor(self) -> int:
        descriptor = ctypes.c_ssize_t()
        errors.check(library.sl_descriptor_of(self._id, ctypes.byref(descriptor)))
        return descriptor.value

    async def _plain(self, kind: int, **more: Any) -> Any:
        """An operation on the file that needs nothing else."""
        return await current().call(kind, self._id, name=self.name, **more)


def _memory(size: int) -> bytes:
    """Memory to read into, which `_used` may take back."""
    if size == BUFFER_SIZE:
        try:
            return _spare.pop()
        except IndexError:
            pass
    return new_bytes(size)


def _used(memory: bytes, count: int) -> bytes:
    """What was read; where that is all of it, the memory itself."""
    data = filled(memory, count, 0)
    if data is not memory and len(memory) == BUFFER_SIZE:
        _spare.append(memory)
    return data


def positive(name: str, number: int) -> int:
    """The number, which must not be negative."""
    if number < 0:
        raise ValueError(f"{name} is negative: {number}")
    return number


def _joined(pieces: List[bytes]) -> bytes:
    """What was read ahead and then the rest; not copied where one read brought all of it."""
    return pieces[-1] if not pieces[0] and len(pieces) == 2 else b"".join(pieces)


def _has_positions(descriptor: int) -> bool:
    try:
        os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return False
    return os.name != "nt"
