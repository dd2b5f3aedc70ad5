"""The exceptions, and the one place that makes them from what the library reports.

Every exception is an `Error` with the portable `status`. What the system reported is also the OSError that Python users
know (FileNotFoundError, ConnectionResetError, ...), with errno and filename; misuse is a ValueError, TypeError or
RuntimeError too. Called by every module, on any thread; holds no state.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Dict, Tuple, Type, Union

from . import _abi
from ._library import library

# A descriptor, where a file is known by nothing else.
PathName = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]", int, None]


class Error(Exception):
    """Whatever went wrong in sideloop."""

    # One of _abi.SL_ERR_....
    status: int = _abi.SL_ERR_INTERNAL
    # How many bytes an operation had done before it failed.
    done: int = 0

    @property
    def name(self) -> str:
        """The name of the status in C, like "SL_ERR_STALE"."""
        return _abi.ERRORS.get(self.status, ("SL_ERR_?", ""))[0]


class InvalidError(Error, ValueError):
    """An argument is outside its range."""


class BadIdError(Error, ValueError):
    """The id was never issued by this library in this process."""


class StaleError(Error, ValueError):
    """The file, stream, listener, loop or operation is closed, or has ended."""


class WrongKindError(Error, TypeError):
    """The id names something of another kind, or of another loop."""


class LimitError(Error, BlockingIOError):
    """A limit of the loop is reached: take events and try again."""


class OutOfMemoryError(Error, MemoryError):
    """Memory could not be had."""


class Cancelled(Error):
    """The operation was cancelled, by `cancel`, by closing what it worked on, or by closing its loop."""


class TimedOut(Error, TimeoutError):
    """The deadline passed first."""


class ShutDownError(Error, ValueError):
    """The loop is closed or closing, and accepts nothing new."""


class DeadlockError(Error, RuntimeError):
    """The call would wait for the very thread that makes it."""


class ForkedError(Error, RuntimeError):
    """The loop belongs to the parent of this forked process; open a new one here."""


class UnsupportedError(Error, OSError):
    """This platform, driver or kind of resource cannot do it."""


class InternalError(Error, RuntimeError):
    """A bug in the library."""


class EndedError(Error, RuntimeError):
    """The operation has already ended."""


class SystemFailure(Error, OSError):
    """The operating system reported an error; `errno` tells which."""


class SystemInvalid(SystemFailure, InvalidError):
    """The operating system takes an argument to be wrong, as where what is read as a link is none."""


class NotFound(SystemFailure, FileNotFoundError):
    """No such file or directory."""


class PermissionDenied(SystemFailure, PermissionError):
    """Permission denied."""


class Exists(SystemFailure, FileExistsError):
    """It exists already."""


class IsADirectory(SystemFailure, IsADirectoryError):
    """It is a directory."""


class NotADirectory(SystemFailure, NotADirectoryError):
    """A part of the path is not a directory."""


class BrokenPipe(SystemFailure, BrokenPipeError):
    """The other side does not read any more."""


class ConnectionRefused(SystemFailure, ConnectionRefusedError):
    """Nobody listens at that address."""


class ConnectionReset(SystemFailure, ConnectionResetError):
    """The other side reset the connection."""


class ConnectionAborted(SystemFailure, ConnectionAbortedError):
    """The connection was aborted on this side."""


# What each status becomes: its exception, and the errno where the system gave none of its own (0: it has no errno).
_EXCEPTIONS: Dict[int, Tuple[Type[Error], int]] = {
    _abi.SL_ERR_INVALID: (InvalidError, 0),
    _abi.SL_ERR_NULL: (InvalidError, 0),
    _abi.SL_ERR_BAD_ID: (BadIdError, 0),
    _abi.SL_ERR_STALE: (StaleError, 0),
    _abi.SL_ERR_WRONG_KIND: (WrongKindError, 0),
    _abi.SL_ERR_AGAIN: (LimitError, errno.EAGAIN),
    _abi.SL_ERR_NO_MEMORY: (OutOfMemoryError, 0),
    _abi.SL_ERR_CANCELLED: (Cancelled, 0),
    _abi.SL_ERR_TIMED_OUT: (TimedOut, errno.ETIMEDOUT),
    _abi.SL_ERR_SHUT_DOWN: (ShutDownError, 0),
    _abi.SL_ERR_DEADLOCK: (DeadlockError, 0),
    _abi.SL_ERR_FORKED: (ForkedError, 0),
    _abi.SL_ERR_UNSUPPORTED: (UnsupportedError, errno.EOPNOTSUPP),
    _abi.SL_ERR_INTERNAL: (InternalError, 0),
    _abi.SL_ERR_ENDED: (EndedError, 0),
    _abi.SL_ERR_NO_BUFFERS: (SystemFailure, errno.ENOBUFS),
    _abi.SL_ERR_STRUCT_SIZE: (InternalError, 0),
    _abi.SL_ERR_DELIVERY: (InternalError, 0),
    _abi.SL_ERR_NOT_FOUND: (NotFound, errno.ENOENT),
    _abi.SL_ERR_PERMISSION: (PermissionDenied, errno.EACCES),
    _abi.SL_ERR_EXISTS: (Exists, errno.EEXIST),
    _abi.SL_ERR_IS_DIRECTORY: (IsADirectory, errno.EISDIR),
    _abi.SL_ERR_NOT_DIRECTORY: (NotADirectory, errno.ENOTDIR),
    _abi.SL_ERR_NOT_EMPTY: (SystemFailure, errno.ENOTEMPTY),
    _abi.SL_ERR_NO_SPACE: (SystemFailure, errno.ENOSPC),
    _abi.SL_ERR_FILE_TOO_LARGE: (SystemFailure, errno.EFBIG),
    _abi.SL_ERR_READ_ONLY: (SystemFailure, errno.EROFS),
    _abi.SL_ERR_TOO_MANY_FILES: (SystemFailure, errno.EMFILE),
    _abi.SL_ERR_NAME_TOO_LONG: (SystemFailure, errno.ENAMETOOLONG),
    _abi.SL_ERR_LINKS: (SystemFailure, errno.ELOOP),
    _abi.SL_ERR_BAD_DESCRIPTOR: (SystemFailure, errno.EBADF),
    _abi.SL_ERR_IO: (SystemFailure, errno.EIO),
    _abi.SL_ERR_NO_SEEK: (SystemFailure, errno.ESPIPE),
    _abi.SL_ERR_BUSY: (SystemFailure, errno.EBUSY),
    _abi.SL_ERR_BROKEN_PIPE: (BrokenPipe, errno.EPIPE),
    _abi.SL_ERR_CONNECTION_REFUSED: (ConnectionRefused, errno.ECONNREFUSED),
    _abi.SL_ERR_CONNECTION_RESET: (ConnectionReset, errno.ECONNRESET),
    _abi.SL_ERR_CONNECTION_ABORTED: (ConnectionAborted, errno.ECONNABORTED),
    _abi.SL_ERR_NOT_CONNECTED: (SystemFailure, errno.ENOTCONN),
    _abi.SL_ERR_ADDRESS_IN_USE: (SystemFailure, errno.EADDRINUSE),
    _abi.SL_ERR_ADDRESS_UNAVAILABLE: (SystemFailure, errno.EADDRNOTAVAIL),
    _abi.SL_ERR_NETWORK_UNREACHABLE: (SystemFailure, errno.ENETUNREACH),
    _abi.SL_ERR_HOST_UNREACHABLE: (SystemFailure, errno.EHOSTUNREACH),
    _abi.SL_ERR_OS: (SystemFailure, errno.EIO),
}

# The other way round.
_STATUSES: Dict[int, int] = {code: status for status, (_, code) in reversed(_EXCEPTIONS.items())}


def make(status: int, os_error: int = 0, sentence: str = "", filename: PathName = None, done: int = 0) -> Error:
    """The exception for a status: with the system's own code where it gave one, and a sentence where there is one."""
    kind, code = _EXCEPTIONS.get(status, (InternalError, 0))
    if kind is InvalidError and os_error:
        kind = SystemInvalid
    text = sentence or library.sl_status_message(status).decode()
    if issubclass(kind, OSError):
        error = _system_error(kind, code, os_error, text, filename)
    else:
        about = filename if filename is None or isinstance(filename, int) else os.fsdecode(filename)
        error = kind(f"{text}: {about!r}" if about is not None else text)
    error.status = status
    error.done = done
    return error


def _system_error(kind: Type[Error], code: int, os_error: int, text: str, filename: PathName) -> Error:
    if sys.platform == "win32" and os_error:
        return kind(code, text, filename, os_error)
    if os_error:
        code, text = os_error, os.strerror(os_error)
    # A third argument of None would be printed.
    return kind(code, text) if filename is None else kind(code, text, filename)


def of_system(error: OSError, filename: PathName = None) -> Error:
    """What the interpreter itself has raised, as one of the above."""
    code = error.errno or errno.EIO
    return make(_STATUSES.get(code, _abi.SL_ERR_OS), code, "", filename)


def check(status: int, filename: PathName = None) -> int:
    """Passes on a status that is no error, and raises the error that the calling thread's last call ended with."""
    if status < 0:
        raise last(status, filename)
    return status


def last(status: int, filename: PathName = None) -> Error:
    """The error that the calling thread's last call ended with."""
    sentence = library.sl_last_error().decode("utf-8", "replace")
    return make(status, library.sl_last_os_error(), sentence, filename)
