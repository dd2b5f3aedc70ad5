"""`aio.open` and `aio.wrap`: how files come to be.

Called on the thread of an event loop.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import stat
import sys
from types import TracebackType
from typing import (
    Any,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Generic,
    Literal,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
    overload,
)

from .. import _abi, errors
from .._library import library
from ..loop import encode_path, open_flags
from ._buffered import BUFFER_SIZE, Name
from ._engine import BYTES_HEADER, discard, engine
from ._file import BinaryFile
from ._hosts import current, in_thread
from ._text import TextFile, check_text_arguments

AnyFile = Union[BinaryFile, TextFile]
F = TypeVar("F", bound=Any)
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Opener = Callable[[Any, int], int]

# By its mode a type checker knows which kind of file it will be.
# fmt: off
BinaryMode = Literal[
    "rb", "br", "rb+", "r+b", "br+", "b+r", "+rb", "+br", "wb", "bw", "wb+", "w+b", "bw+", "b+w", "+wb", "+bw",
    "ab", "ba", "ab+", "a+b", "ba+", "b+a", "+ab", "+ba", "xb", "bx", "xb+", "x+b", "bx+", "b+x", "+xb", "+bx",
]
TextMode = Literal[
    "r", "r+", "+r", "rt", "tr", "rt+", "r+t", "tr+", "t+r", "+rt", "+tr", "w", "w+", "+w", "wt", "tw", "wt+",
    "w+t", "tw+", "t+w", "+wt", "+tw", "a", "a+", "+a", "at", "ta", "at+", "a+t", "ta+", "t+a", "+at", "+ta", "x",
    "x+", "+x", "xt", "tx", "xt+", "x+t", "tx+", "t+x", "+xt", "+tx",
]
# fmt: on

# What the built-in open asks the system for, besides reading and writing.
_SYSTEM_FLAGS = {
    "r": 0,
    "w": os.O_CREAT | os.O_TRUNC,
    "a": os.O_CREAT | os.O_APPEND,
    "x": os.O_CREAT | os.O_EXCL,
}


class Opening(Generic[F]):
    """A file that will be: `await` it for the file, or `async with` it to have the file closed at the end."""

    __slots__ = ("_coroutine", "_file")

    def __init__(self, coroutine: Coroutine[Any, Any, F]) -> None:
        self._coroutine = coroutine
        self._file: Optional[F] = None

    def __await__(self) -> Generator[Any, Any, F]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> F:
        self._file = file = await self._coroutine
        return file

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        file: Any = self._file
        self._file = None
        await file.__aexit__(kind, error, traceback)


@overload
def open(
    file: Union[Path, int],
    mode: BinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Optional[Opener] = None,
) -> Opening[BinaryFile]: ...


@overload
def open(
    file: Union[Path, int],
    mode: TextMode = "r",
    buffering: int = -1,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    closefd: bool = True,
    opener: Optional[Opener] = None,
) -> Opening[TextFile]: ...


@overload
def open(
    file: Union[Path, int],
    mode: str,
    buffering: int = -1,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    closefd: bool = True,
    opener: Optional[Opener] = None,
) -> Opening[Any]: ...


def open(
    file: Union[Path, int],
    mode: str = "r",
    buffering: int = -1,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    closefd: bool = True,
    opener: Optional[Opener] = None,
) -> Opening[Any]:
    """Opens a file, with the arguments of the built-in open.

    `await aio.open(...)` gives the file; `async with aio.open(...) as file:` closes it at the end. Text is decoded as
    by the built-in files. buffering: how many bytes are read ahead or gathered (0: none; 1, for text: every line is
    written at once). A descriptor is taken over, and where closefd is false, a copy of it.
    """
    kind, text = check_arguments(mode, buffering, encoding, errors, newline)
    if not closefd and not isinstance(file, int):
        raise ValueError("Cannot use closefd=False with file name")

    async def begin() -> AnyFile:
        size = buffer_size(buffering)
        # First of all: what is no path is refused before anything is opened.
        name = file if isinstance(file, int) else os.fspath(file)
        if isinstance(name, int):
            binary = _adopted(name, closefd, name, mode, size)
        elif opener is not None:
            descriptor = await in_thread(opener, file, _system_flags(kind))
            binary = _adopted(descriptor, True, name, mode, size)
        else:
            binary = BinaryFile(await open_path(name, open_flags(kind), 0o666), name, mode, size)
        return TextFile(binary, mode, encoding, errors, newline, buffering == 1) if text else binary

    return Opening(begin())


@overload
def wrap(file: int, mode: Optional[BinaryMode] = None, *, buffering: int = -1, closefd: bool = True) -> BinaryFile: ...


@overload
def wrap(
    file: Any,
    mode: TextMode,
    *,
    buffering: int = -1,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    closefd: bool = True,
) -> TextFile: ...


@overload
def wrap(
    file: Any,
    mode: Optional[str] = None,
    *,
    buffering: int = -1,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    closefd: bool = True,
) -> Any: ...


def wrap(
    file: Any,
    mode: Optional[str] = None,
    *,
    buffering: int = -1,
    encoding: Optional[str] = None,
    errors: Optional[str] = None,
    newline: Optional[str] = None,
    closefd: bool = True,
) -> Any:
    """Makes a file of this package of an open descriptor, or of a built-in file (its descriptor, copied).

    A descriptor is taken over (closefd=False: copied); a mode says how it was opened, "rb" unless given. A built-in
    file goes on by itself, with a position of its own: what it has read ahead or not yet written is flushed first. Its
    mode and encoding are taken where none are given.
    """
    if not isinstance(file, int):
        try:
            descriptor, closefd = file.fileno(), False
        except AttributeError:
            raise TypeError(f"neither a descriptor nor a file: {file!r}") from None
        if mode is None:
            mode = str(getattr(file, "mode", "rb"))
            mode = mode if "b" in mode or hasattr(file, "encoding") else mode + "b"
        if "b" not in mode:
            encoding = encoding or file.encoding
            errors = errors or file.errors
        if "r" not in mode or "+" in mode:
            file.flush()
    else:
        descriptor = file
    mode = mode or "rb"
    _, text = _parse(mode)
    binary = _adopted(descriptor, closefd, getattr(file, "name", file), mode, buffer_size(buffering))
    return TextFile(binary, mode, encoding, errors, newline, buffering == 1) if text else binary


def check_arguments(
    mode: str, buffering: int, encoding: Optional[str], errors: Optional[str], newline: Optional[str]
) -> Tuple[str, bool]:
    """Raises what the built-in open raises for what cannot be; else like `_parse`."""
    kind, text = _parse(mode)
    if text:
        if buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
        check_text_arguments(encoding, errors, newline)
    elif encoding is not None or errors is not None or newline is not None:
        raise ValueError("binary mode takes no encoding, errors or newline argument")
    return kind, text


def buffer_size(buffering: int) -> int:
    """How many bytes the built-in open's argument stands for."""
    return BUFFER_SIZE if buffering < 0 or buffering == 1 else buffering


def _parse(mode: str) -> Tuple[str, bool]:
    """Checks a mode like the built-in open; gives it without "b" and "t", and whether it is for text."""
    if not isinstance(mode, str):
        raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
    return _parse_string(mode)


@functools.lru_cache
def _parse_string(mode: str) -> Tuple[str, bool]:
    if set(mode) - set("axrwb+t") or len(mode) > len(set(mode)):
        raise ValueError(f"invalid mode: {mode!r}")
    if "b" in mode and "t" in mode:
        raise ValueError("can't have text and binary mode at once")
    kind = mode.replace("b", "").replace("t", "")
    if kind.replace("+", "") not in ("r", "w", "a", "x"):
        raise ValueError("must have exactly one of create/read/write/append mode")
    kind = kind.replace("+", "") + ("+" if "+" in kind else "")
    return kind, "b" not in mode


def open_path(path: Union[str, bytes], flags: int, permissions: int) -> Awaitable[int]:
    """Opens a file in the engine, with flags of the library's. To be awaited at once."""
    encoded = encode_path(path)
    opening: Awaitable[int] = current().call(
        _abi.SL_FILE_OPEN,
        engine().id,
        id(encoded) + BYTES_HEADER,
        flags=flags,
        mode=permissions,
        keep=encoded,
        name=path,
        salvage=discard,
    )
    return opening


def _system_flags(kind: str) -> int:
    """What the built-in open asks the system for."""
    access = os.O_RDWR if "+" in kind else os.O_RDONLY if kind == "r" else os.O_WRONLY
    return _SYSTEM_FLAGS[kind[0]] | access | getattr(os, "O_CLOEXEC", 0)


def _adopted(descriptor: int, take: bool, name: Name, mode: str, size: int) -> BinaryFile:
    """Gives a descriptor to the engine, or a copy of it, and makes a file of it."""
    kind = os.fstat(descriptor).st_mode
    is_stream = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)
    position = None
    if not is_stream:
        with contextlib.suppress(OSError):
            position = os.lseek(descriptor, 0, os.SEEK_CUR)
    own = descriptor if take and os.name != "nt" else os.dup(descriptor)
    resource = ctypes.c_uint64()
    adopt = library.sl_stream_adopt if is_stream else library.sl_file_adopt
    try:
        errors.check(adopt(engine().id, _system_descriptor(own), ctypes.byref(resource)), descriptor)
    except BaseException:
        if own != descriptor:
            os.close(own)
        raise
    return BinaryFile(resource.value, name, mode, size, position, is_stream)


if sys.platform == "win32":
    import _winapi
    import msvcrt

    def _system_descriptor(descriptor: int) -> int:
        """A handle of its own, for a descriptor of the C library's cannot be parted from its handle."""
        process = _winapi.GetCurrentProcess()
        handle = _winapi.DuplicateHandle(
            process, msvcrt.get_osfhandle(descriptor), process, 0, False, _winapi.DUPLICATE_SAME_ACCESS
        )
        os.close(descriptor)
        return handle

else:

    def _system_descriptor(descriptor: int) -> int:
        """What the library knows it by."""
        return descriptor
