"""Files that are in memory as long as they are small: what `aio.tempfile.SpooledTemporaryFile` gives.

Used on the thread of an event loop, by one task at a time; others wait for their turn.
"""

from __future__ import annotations

import io
from types import TracebackType
from typing import Any, Callable, Iterable, List, Optional, Type

from ._lock import Lock
from ._open import Opening
from ._text import cookie_of_built_in


class SpooledFile:
    """A file in memory or, once it has become too large for that, on disk."""

    def __init__(
        self,
        max_size: int,
        mode: str,
        text: bool,
        encoding: Optional[str],
        errors: Optional[str],
        newline: Optional[str],
        on_disk: Callable[[], Opening[Any]],
    ) -> None:
        self.mode = mode
        self._max_size = max_size
        self._on_disk = on_disk
        memory = io.BytesIO()
        self._memory: Any = io.TextIOWrapper(memory, encoding, errors, newline) if text else memory
        # Once it is on disk.
        self._disk: Any = None
        self._lock = Lock()

    async def read(self, size: Optional[int] = -1) -> Any:
        """As that of other files; likewise the following."""
        return await self._call("read", -1 if size is None else size)

    async def readline(self, size: int = -1) -> Any:
        return await self._call("readline", size)

    async def readlines(self, hint: Optional[int] = -1) -> List[Any]:
        lines: List[Any] = await self._call("readlines", -1 if hint is None else hint)
        return lines

    def __aiter__(self) -> SpooledFile:
        return self

    async def __anext__(self) -> Any:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def write(self, data: Any) -> int:
        async with self._lock:
            if self._disk is not None:
                written: int = await self._disk.write(data)
            else:
                written = self._memory.write(data)
                if 0 < self._max_size < self._memory.tell():
                    await self._roll_over()
            return written

    async def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            await self.write(line)

    async def flush(self) -> None:
        await self._call("flush")

    async def truncate(self, size: Optional[int] = None) -> int:
        async with self._lock:
            if size is not None and size > self._max_size:
                await self._roll_over()
        length: int = await self._call("truncate", size)
        return length

    async def seek(self, offset: int, whence: int = 0) -> int:
        position: int = await self._call("seek", offset, whence)
        return position

    async def tell(self) -> int:
        position: int = await self._call("tell")
        return position

    async def isatty(self) -> bool:
        return False

    async def readable(self) -> bool:
        can: bool = await self._call("readable")
        return can

    async def writable(self) -> bool:
        can: bool = await self._call("writable")
        return can

    async def seekable(self) -> bool:
        can: bool = await self._call("seekable")
        return can

    async def fileno(self) -> int:
        """Its descriptor. It is on disk from then on."""
        await self.rollover()
        descriptor: int = self._disk.fileno()
        return descriptor

    async def rollover(self) -> None:
        """Puts it on disk."""
        async with self._lock:
            await self._roll_over()

    @property
    def closed(self) -> bool:
        """Says whether it is closed."""
        return bool(self._where.closed)

    @property
    def name(self) -> Any:
        """What a file on disk has; None in memory."""
        return self._disk and self._disk.name

    @property
    def encoding(self) -> str:
        """How text is encoded."""
        encoding: str = self._where.encoding
        return encoding

    @property
    def errors(self) -> str:
        """What happens to text that cannot be encoded or decoded."""
        errors: str = self._where.errors
        return errors

    @property
    def newlines(self) -> Any:
        """The kinds of newline that have been read so far."""
        return self._where.newlines

    async def close(self) -> None:
        """Closes it; then it is gone."""
        self._memory.close()
        if self._disk is not None:
            await self._disk.close()

    async def __aenter__(self) -> SpooledFile:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.close()

    @property
    def _where(self) -> Any:
        return self._memory if self._disk is None else self._disk

    async def _call(self, name: str, *arguments: Any) -> Any:
        async with self._lock:
            if self._disk is None:
                return getattr(self._memory, name)(*arguments)
            return await getattr(self._disk, name)(*arguments)

    async def _roll_over(self) -> None:
        """With the lock held. Where it does not come to its end, all is still in memory."""
        if self._disk is not None:
            return
        memory = self._memory
        position = memory.tell()
        file = await self._on_disk()
        try:
            if isinstance(memory, io.TextIOWrapper):
                memory.flush()
                await file.buffer.write(memory.buffer.getvalue())
                position = cookie_of_built_in(position)
            else:
                await file.write(memory.getvalue())
            await file.seek(position)
        except BaseException:
            await file.close()
            raise
        self._disk = file
