"""What `aio.os`, `aio.os.path` and `aio.tempfile` are made of: the library's operations on paths, which return and
raise what `os` does.

Called on the thread of an event loop. What the library has no operation for runs on a thread of Python's (`elsewhere`):
descriptors and `dir_fd` in place of paths, devices (whose numbers the library does not tell), and on Windows `stat` and
symbolic links (of which `os` tells or does more there).
"""

from __future__ import annotations

import ctypes
import functools
import os
import stat as modes
from typing import Any, Callable, List, Optional, TypeVar, Union

from .. import _abi, buffers
from ..errors import SystemFailure
from ..loop import encode_path
from ..resources import DirectoryEntry, FileType, entries
from ._engine import BYTES_HEADER, Finish, copied, engine, kept, nothing
from ._hosts import current, in_thread
from ._open import Path

T = TypeVar("T")
PathOrDescriptor = Union[Path, int]

WINDOWS = os.name == "nt"
# What st_blksize is, which the library does not tell.
_BLOCK_SIZE = 4096
_TYPES = {
    _abi.SL_TYPE_FILE: modes.S_IFREG,
    _abi.SL_TYPE_DIRECTORY: modes.S_IFDIR,
    _abi.SL_TYPE_LINK: modes.S_IFLNK,
}
_TELLS_BIRTH = hasattr(os.stat_result, "st_birthtime")


async def elsewhere(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """A function of `os` on a thread."""
    return await in_thread(functools.partial(function, *arguments, **options))


async def on_path(kind: int, path: Path, finish: Finish = nothing, **more: Any) -> Any:
    """An operation on a path."""
    encoded = encode_path(path)
    where = id(encoded) + BYTES_HEADER
    return await current().call(
        kind, engine().id, where, finish=finish, keep=(encoded, more.pop("keep", None)), name=os.fspath(path), **more
    )


async def on_paths(kind: int, source: Path, target: Path, finish: Optional[Finish] = nothing, **more: Any) -> Any:
    """An operation on two paths. Errors name both, as those of `os` do."""
    encoded, other = encode_path(source), encode_path(target)
    where, offset = id(encoded) + BYTES_HEADER, buffers.signed(id(other) + BYTES_HEADER)
    try:
        return await current().call(
            kind,
            engine().id,
            where,
            offset=offset,
            finish=finish,
            keep=(encoded, other),
            name=os.fspath(source),
            **more,
        )
    except OSError as error:
        error.filename2 = os.fspath(target)
        raise


# --- stat


async def stat(path: PathOrDescriptor, *, dir_fd: Optional[int] = None, follow_symlinks: bool = True) -> os.stat_result:
    """What the system knows of a file. st_blksize is not asked for: it is 4096."""
    if isinstance(path, int) or dir_fd is not None or WINDOWS:
        return await elsewhere(os.stat, path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    found = _abi.Stat()
    await on_path(
        _abi.SL_PATH_STAT,
        path,
        kept,
        offset=buffers.signed(ctypes.addressof(found)),
        flags=0 if follow_symlinks else _abi.SL_NO_FOLLOW,
        keep=found,
    )
    if found.type not in _TYPES:
        return await elsewhere(os.stat, path, follow_symlinks=follow_symlinks)
    return _stat_result(found)


def _stat_result(found: _abi.Stat) -> os.stat_result:
    times = {"atime": found.accessed_ns, "mtime": found.modified_ns, "ctime": found.changed_ns}
    fields: dict[str, Any] = {f"st_{name}_ns": time for name, time in times.items()}
    fields.update({f"st_{name}": _seconds(time) for name, time in times.items()})
    fields.update(st_blksize=_BLOCK_SIZE, st_blocks=found.allocated // 512, st_rdev=0)
    if _TELLS_BIRTH:
        fields["st_birthtime"] = _seconds(found.created_ns)
    sequence = (
        _TYPES[found.type] | found.mode,
        found.inode,
        found.device,
        found.links,
        found.user,
        found.group,
        found.length,
        *(time // 1_000_000_000 for time in times.values()),
    )
    return os.stat_result(sequence, fields)


def _seconds(time: int) -> float:
    # As `os` does it, so that the same number comes out.
    seconds, rest = divmod(time, 1_000_000_000)
    return seconds + 1e-9 * rest


# --- Directories


async def listing(path: Path) -> List[DirectoryEntry]:
    """What is in a directory."""
    try:
        found: List[DirectoryEntry] = await on_path(_abi.SL_PATH_LIST, path, _entries)
    except SystemFailure as error:
        if error.status != _abi.SL_ERR_NO_BUFFERS:
            raise
        # Larger than what the library lends.
        return await elsewhere(_listing_by_os, path)
    return found


def _entries(_keep: Any, result: int, data: int) -> List[DirectoryEntry]:
    return entries(result, data)


def _listing_by_os(path: Path) -> List[DirectoryEntry]:
    with os.scandir(path) as found:
        return [DirectoryEntry(os.fsdecode(entry.name), _type_by_os(entry), entry.inode()) for entry in found]


def _type_by_os(entry: os.DirEntry[Any]) -> FileType:
    if entry.is_symlink():
        return FileType.LINK
    if entry.is_dir(follow_symlinks=False):
        return FileType.DIRECTORY
    return FileType.FILE if entry.is_file(follow_symlinks=False) else FileType.OTHER


# --- Links


def text(keep: Any, result: int, data: int) -> str:
    """A path in lent memory."""
    return os.fsdecode(copied(keep, result, data))
