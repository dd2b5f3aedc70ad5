"""Temporary files and directories, with the arguments of `tempfile`'s: `async with` them, or `await` and close them.

Called on the thread of an event loop. Files are made and removed by sideloop's engine, directories emptied on a thread.
Names are of 64 random bits, and what is made is this user's alone. Nothing stays behind where a task is cancelled or
anything fails: what cannot be waited for any more is removed at once, and the event loop waits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
import warnings
import weakref
from types import TracebackType
from typing import Any, Callable, Coroutine, List, Optional, Tuple, Type, TypeVar

from .. import _abi
from ._engine import discard
from ._file import BinaryFile
from ._hosts import in_thread, in_thread_to_the_end
from ._open import Opening, Path, buffer_size, check_arguments, open_path
from ._paths import WINDOWS, on_path
from ._spooled import SpooledFile
from ._text import TextFile

__all__ = ["Directory", "NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory", "TemporaryFile"]

T = TypeVar("T")
# How many names are tried.
_TRIES = 100


def NamedTemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: Optional[str] = None,
    newline: Optional[str] = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Optional[Path] = None,
    delete: bool = True,
    delete_on_close: bool = True,
    *,
    errors: Optional[str] = None,
) -> Opening[Any]:
    """A file with a name, which is removed when it is closed.

    delete_on_close=False: only when the `async with` is left, or the object goes. delete=False: never.
    """
    kind, text = check_arguments(mode, buffering, encoding, errors, newline)

    async def begin() -> Any:
        resource, path = await _make(lambda path: _open_new(path, kind), os.unlink, suffix, prefix, dir)
        binary = _NamedBinaryFile(resource, path, mode, buffer_size(buffering))
        binary._removal = _Removal(path, delete, delete_on_close)
        if text:
            return _NamedTextFile(binary, mode, encoding, errors, newline, buffering == 1)
        return binary

    return Opening(begin())


def TemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: Optional[str] = None,
    newline: Optional[str] = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Optional[Path] = None,
    *,
    errors: Optional[str] = None,
) -> Opening[Any]:
    """A file without a name: it is removed as soon as it is open (on Windows, when it is closed)."""
    if WINDOWS:
        return NamedTemporaryFile(mode, buffering, encoding, newline, suffix, prefix, dir, errors=errors)
    kind, text = check_arguments(mode, buffering, encoding, errors, newline)

    async def begin() -> Any:
        resource, path = await _make(lambda path: _open_new(path, kind), os.unlink, suffix, prefix, dir)
        try:
            await _Removal(path).carry_out()
        except BaseException:
            discard(resource)
            raise
        binary = BinaryFile(resource, "", mode, buffer_size(buffering))
        binary.name = binary.fileno()
        return TextFile(binary, mode, encoding, errors, newline, buffering == 1) if text else binary

    return Opening(begin())


def SpooledTemporaryFile(
    max_size: int = 0,
    mode: str = "w+b",
    buffering: int = -1,
    encoding: Optional[str] = None,
    newline: Optional[str] = None,
    suffix: Any = None,
    prefix: Any = None,
    dir: Optional[Path] = None,
    *,
    errors: Optional[str] = None,
) -> Opening[SpooledFile]:
    """A file in memory, until it has more than `max_size` bytes (0: however many) or `rollover` is called."""
    _, text = check_arguments(mode, buffering, encoding, errors, newline)

    def on_disk() -> Opening[Any]:
        return TemporaryFile(mode, buffering, encoding, newline, suffix, prefix, dir, errors=errors)

    async def begin() -> SpooledFile:
        return SpooledFile(max_size, mode, text, encoding, errors, newline, on_disk)

    return Opening(begin())


def TemporaryDirectory(suffix: Any = None, prefix: Any = None, dir: Optional[Path] = None) -> _OpeningDirectory:
    """A directory that is removed at the end with all that is in it. `async with` gives its path."""

    async def begin() -> Directory:
        return Directory((await _make(_make_directory, os.rmdir, suffix, prefix, dir))[1])

    return _OpeningDirectory(begin())


class Directory:
    """What `await TemporaryDirectory()` gives."""

    def __init__(self, name: Any) -> None:
        # Its path.
        self.name = name
        self._finalizer = weakref.finalize(self, _remove_forgotten, name)

    async def cleanup(self) -> None:
        """Removes it with all that is in it; also where the task is cancelled."""
        if self._finalizer.detach() is not None:
            await in_thread_to_the_end(_remove_tree, self.name)

    async def close(self) -> None:
        """Likewise."""
        await self.cleanup()

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.cleanup()

    def __repr__(self) -> str:
        return f"<sideloop.aio.tempfile.Directory {self.name!r}>"


class _OpeningDirectory(Opening[Any]):
    """A directory that will be."""

    __slots__ = ()

    async def __aenter__(self) -> Any:
        return (await super().__aenter__()).name


def _remove_tree(path: Any) -> None:
    # What somebody else has removed is gone.
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _remove_forgotten(path: Any) -> None:
    warnings.warn(f"temporary directory {path!r} was not cleaned up", ResourceWarning)
    shutil.rmtree(path, ignore_errors=True)


# --- Files with names


class _Removal:
    """What becomes of a name."""

    def __init__(self, path: Any, delete: bool = True, on_close: bool = True) -> None:
        self.path = path
        self.delete = delete
        self.on_close = on_close

    async def carry_out(self) -> None:
        """Removes it, and waits for that where that can be."""
        if not self.delete:
            return
        try:
            await on_path(_abi.SL_PATH_REMOVE, self.path)
        except FileNotFoundError:
            # Somebody else has removed it.
            pass
        except BaseException:
            self.carry_out_now()
            raise
        self.delete = False

    def carry_out_now(self) -> None:
        """Removes it."""
        if self.delete:
            self.delete = False
            with contextlib.suppress(OSError):
                os.unlink(self.path)


class _NamedBinaryFile(BinaryFile):
    _removal: _Removal

    @property
    def delete(self) -> bool:
        """Says whether it will be removed."""
        return self._removal.delete

    async def close(self) -> None:
        """Closes it, and removes it."""
        try:
            await super().close()
        finally:
            if self._removal.on_close:
                await self._removal.carry_out()

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        try:
            await self.close()
        finally:
            await self._removal.carry_out()

    def __del__(self) -> None:
        super().__del__()
        if hasattr(self, "_removal"):
            self._removal.carry_out_now()


class _NamedTextFile(TextFile):
    buffer: _NamedBinaryFile

    @property
    def delete(self) -> bool:
        """Says whether it will be removed."""
        return self.buffer.delete

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        try:
            await self.close()
        finally:
            await self.buffer.__aexit__(kind, error, traceback)


# --- How they are made


async def _make(
    attempt: Callable[[Any], Coroutine[Any, Any, T]],
    undo: Callable[[Any], None],
    suffix: Any,
    prefix: Any,
    folder: Optional[Path],
) -> Tuple[T, Any]:
    """Makes something under a name that nobody knows, and leaves nothing where that does not come to its end."""
    start, end = await _place(suffix, prefix, folder)
    for _ in range(_TRIES):
        name = secrets.token_hex(8)
        path = start + (os.fsencode(name) if isinstance(start, bytes) else name) + end
        try:
            return await attempt(path), path
        except FileExistsError:
            continue
        except BaseException:
            # A task that is cancelled does not learn whether it was made.
            with contextlib.suppress(OSError):
                undo(path)
            raise
    raise FileExistsError(errno.EEXIST, "No usable temporary file name found")


async def _place(suffix: Any, prefix: Any, folder: Optional[Path]) -> Tuple[Any, Any]:
    """What comes before the random part of a path, and after it: text or bytes."""
    given: List[Any] = [os.fspath(part) for part in (suffix, prefix, folder) if part is not None]
    if len({type(part) for part in given}) > 1:
        raise TypeError("Can't mix bytes and non-bytes in path components.")
    if folder is None:
        # To find it the first time, files are written.
        found: Any = tempfile.gettempdir() if tempfile.tempdir is not None else await in_thread(tempfile.gettempdir)
    else:
        found = os.fspath(folder)
    of_kind: Callable[[Any], Any] = os.fsencode if given and isinstance(given[0], bytes) else os.fsdecode
    start = of_kind(tempfile.gettempprefix() if prefix is None else prefix)
    return os.path.join(os.path.abspath(of_kind(found)), start), of_kind(suffix or "")


async def _open_new(path: Any, kind: str) -> int:
    flags = _abi.SL_OPEN_READ | _abi.SL_OPEN_WRITE | _abi.SL_OPEN_CREATE | _abi.SL_OPEN_EXCLUSIVE
    return await open_path(path, flags | (_abi.SL_OPEN_APPEND if "a" in kind else 0), 0o600)


async def _make_directory(path: Any) -> None:
    await on_path(_abi.SL_PATH_MAKE_DIRECTORY, path, mode=0o700)
