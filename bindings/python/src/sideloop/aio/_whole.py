"""Whole files in one go: `read_file`, `write_file`, and `read_many` for thousands of them.

Called on the thread of an event loop. Each is one operation of the library, which opens, reads or writes, and closes.
"""

from __future__ import annotations

import io
from collections import deque
from typing import (
    TYPE_CHECKING,
    AsyncIterator,
    Deque,
    Dict,
    Generic,
    Iterable,
    Iterator,
    Optional,
    Tuple,
    TypeVar,
    Union,
)

from .. import _abi, buffers
from ..errors import SystemFailure
from ..loop import encode_path, write_flags
from ._engine import BYTES_HEADER, copied, engine
from ._hosts import Waiter, current
from ._open import Path, open
from ._text import default_encoding

if TYPE_CHECKING:
    from ..buffers import Buffer

P = TypeVar("P", bound=Path)
Outcome = Union[bytes, BaseException]


async def read_file(path: Path, *, timeout: Optional[float] = None) -> bytes:
    """Reads a whole file."""
    encoded = encode_path(path)
    try:
        where = id(encoded) + BYTES_HEADER
        data: bytes = await current().call(
            _abi.SL_PATH_READ, engine().id, where, 0, 0, 0, 0, timeout, copied, encoded, path
        )
    except SystemFailure as error:
        if error.status != _abi.SL_ERR_NO_BUFFERS:
            raise
        # Larger than what the library lends.
        async with open(path, "rb") as file:
            data = await file.read()
    return data


async def read_text(
    path: Path,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    *,
    timeout: Optional[float] = None,
) -> str:
    """Reads a whole file of text; newlines become "\\n", as in the built-in open."""
    data = await read_file(path, timeout=timeout)
    return io.TextIOWrapper(io.BytesIO(data), encoding or default_encoding(), errors, newline).read()


async def write_file(
    path: Path,
    data: Buffer,
    mode: str = "wb",
    *,
    replace: bool = False,
    sync: bool = False,
    permissions: int = 0o666,
    timeout: Optional[float] = None,
) -> int:
    """Writes a whole file (with mode "ab": more of it; "xb": a new one), and says how many bytes.

    replace: the old file stays as it is until the new one is whole, and takes its place at once, whatever goes wrong.
    sync: what was written is safe on the device.
    """
    encoded = encode_path(path)
    flags = write_flags(mode, replace, sync)
    with buffers.pin(data, False) as view:
        count: int = await current().call(
            _abi.SL_PATH_WRITE,
            engine().id,
            id(encoded) + BYTES_HEADER,
            view.nbytes,
            buffers.signed(buffers.address(view)),
            flags,
            permissions,
            timeout,
            None,
            # Where the task is cancelled twice, the operation has it for longer than this.
            (memoryview(view), encoded),
            path,
        )
    return count


async def write_text(
    path: Path,
    text: str,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    *,
    replace: bool = False,
    sync: bool = False,
    permissions: int = 0o666,
    timeout: Optional[float] = None,
) -> int:
    """Writes a whole file of text, and says how many characters. replace, sync: as for `write_file`."""
    data = io.BytesIO()
    wrapper = io.TextIOWrapper(data, encoding or default_encoding(), errors, newline)
    wrapper.write(text)
    wrapper.flush()
    # Not getbuffer: Python 3.12.1 crashes where its garbage collector finds one.
    await write_file(path, data.getvalue(), replace=replace, sync=sync, permissions=permissions, timeout=timeout)
    return len(text)


class ReadMany(AsyncIterator[Tuple[P, Outcome]], Generic[P]):
    """The files of `read_many`, one after the other."""

    def __init__(self, paths: Iterable[P], width: int, max_bytes: int, ordered: bool, return_exceptions: bool) -> None:
        if width < 1 or max_bytes < 1:
            raise ValueError("width and max_bytes must be at least 1")
        self._paths: Iterator[P] = iter(paths)
        self._width = width
        self._max_bytes = max_bytes
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        # How many have been begun, and how many the program has had.
        self._begun = self._given = 0
        self._exhausted = False
        # What has come and waits to be had; where the order counts, what came too early, by number.
        self._ready: Deque[Tuple[P, Outcome]] = deque()
        self._early: Dict[int, Tuple[P, Outcome]] = {}
        self._bytes = 0
        self._waiter: Optional[Waiter] = None

    def __aiter__(self) -> ReadMany[P]:
        return self

    async def __anext__(self) -> Tuple[P, Outcome]:
        self._refill()
        while not self._ready:
            if self._given == self._begun:
                raise StopAsyncIteration
            self._waiter = current().waiter()
            await self._waiter
        path, outcome = entry = self._ready.popleft()
        self._given += 1
        if isinstance(outcome, bytes):
            self._bytes -= len(outcome)
        elif not self._return_exceptions or not isinstance(outcome, Exception):
            raise outcome
        elif isinstance(outcome, SystemFailure) and outcome.status == _abi.SL_ERR_NO_BUFFERS:
            return path, await read_file(path)
        return entry

    def _refill(self) -> None:
        """Begins more, as far as the limits allow."""
        host = current()
        target = engine().id
        while self._begun - self._given < self._width and not self._exhausted:
            if self._bytes >= self._max_bytes and self._begun > self._given:
                return
            for path in self._paths:
                encoded = encode_path(path)
                host.call(
                    _abi.SL_PATH_READ,
                    target,
                    id(encoded) + BYTES_HEADER,
                    finish=copied,
                    keep=encoded,
                    name=path,
                    receiver=_Arrival(self, self._begun, path),
                )
                self._begun += 1
                break
            else:
                self._exhausted = True

    def arrived(self, number: int, path: P, outcome: Outcome) -> None:
        """A file has been read, or could not be."""
        if isinstance(outcome, bytes):
            self._bytes += len(outcome)
        if self._ordered:
            self._early[number] = (path, outcome)
            following = self._given + len(self._ready)
            while following in self._early:
                self._ready.append(self._early.pop(following))
                following += 1
        else:
            self._ready.append((path, outcome))
        waiter = self._waiter
        if waiter is not None and self._ready:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


class _Arrival(Generic[P]):
    """Receives one of the files."""

    __slots__ = ("token", "_owner", "_number", "_path", "_done")

    def __init__(self, owner: ReadMany[P], number: int, path: P) -> None:
        self._owner = owner
        self._number = number
        self._path = path
        self._done = False

    def set_result(self, value: bytes, /) -> None:
        """It has been read."""
        self._end(value)

    def set_exception(self, error: BaseException, /) -> None:
        """It could not be read."""
        self._end(error)

    def done(self) -> bool:
        """Whether it has come."""
        return self._done

    def cancelled(self) -> bool:
        """Never."""
        return False

    def _end(self, outcome: Outcome) -> None:
        if self._done:
            raise RuntimeError("it has come already")
        self._done = True
        self._owner.arrived(self._number, self._path, outcome)


def read_many(
    paths: Iterable[P],
    *,
    width: int = 64,
    max_bytes: int = 64 << 20,
    ordered: bool = False,
    return_exceptions: bool = False,
) -> ReadMany[P]:
    """Reads many whole files: `async for path, data in aio.read_many(paths): ...`, in the order in which they come.

    width: how many are under way, or wait to be had, at a time. max_bytes: where that many bytes wait, no more are
    begun. ordered: in the order of `paths`. return_exceptions: give the error in place of the data; else the first one
    is raised.
    """
    return ReadMany(paths, width, max_bytes, ordered, return_exceptions)
