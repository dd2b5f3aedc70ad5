"""The functions of `os` that touch files, as coroutines with the same arguments, results and exceptions.

Called on the thread of an event loop. Files are made, removed, renamed, linked, listed and asked about by sideloop's
engine. On a thread run `access`, `sendfile`, `statvfs`, what takes a descriptor or a `dir_fd`, and what is different on
Windows.
"""

from __future__ import annotations

import functools
import os
import shutil
import stat as modes
from types import TracebackType
from typing import (
    Any,
    AnyStr,
    AsyncIterator,
    Awaitable,
    Callable,
    Generic,
    Iterator,
    List,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from .. import _abi
from ..resources import DirectoryEntry, FileType
from . import ospath as path
from ._hosts import in_thread
from ._open import Path
from ._paths import WINDOWS, PathOrDescriptor, elsewhere, listing, on_path, on_paths, stat, text

T = TypeVar("T")

__all__ = [
    "DirEntry",
    "Scan",
    "access",
    "copyfile",
    "getcwd",
    "link",
    "listdir",
    "lstat",
    "makedirs",
    "mkdir",
    "path",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "scandir",
    "stat",
    "symlink",
    "unlink",
    "walk",
    "wrap",
]


def wrap(function: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    """A coroutine function that runs a function on a thread."""

    @functools.wraps(function)
    async def run(*arguments: Any, **options: Any) -> T:
        return await in_thread(functools.partial(function, *arguments, **options))

    return run


# --- What a file is


async def lstat(path: Path, *, dir_fd: Optional[int] = None) -> os.stat_result:
    """What the system knows of a file, or of a symbolic link itself."""
    return await stat(path, dir_fd=dir_fd, follow_symlinks=False)


async def access(
    path: PathOrDescriptor,
    mode: int,
    *,
    dir_fd: Optional[int] = None,
    effective_ids: bool = False,
    follow_symlinks: bool = True,
) -> bool:
    """Says whether this process may read (R_OK), write (W_OK) or execute it."""
    return await elsewhere(
        os.access, path, mode, dir_fd=dir_fd, effective_ids=effective_ids, follow_symlinks=follow_symlinks
    )


async def getcwd() -> str:
    """The current directory. Never waits."""
    return os.getcwd()


if hasattr(os, "statvfs"):
    __all__ += ["statvfs"]

    async def statvfs(path: PathOrDescriptor) -> os.statvfs_result:
        """What the system knows of a file system."""
        return await elsewhere(os.statvfs, path)


if hasattr(os, "sendfile"):
    __all__ += ["sendfile"]

    async def sendfile(out_fd: int, in_fd: int, offset: Optional[int], count: int, **options: Any) -> int:
        """Copies bytes from a file to another or to a socket, and says how many."""
        return await elsewhere(os.sendfile, out_fd, in_fd, offset, count, **options)


# --- Names


async def remove(path: Path, *, dir_fd: Optional[int] = None) -> None:
    """Removes a file, or a symbolic link itself."""
    if dir_fd is not None:
        return await elsewhere(os.remove, path, dir_fd=dir_fd)
    await on_path(_abi.SL_PATH_REMOVE, path)


unlink = remove


async def rename(src: Path, dst: Path, *, src_dir_fd: Optional[int] = None, dst_dir_fd: Optional[int] = None) -> None:
    """Gives a file another name. What had that name is replaced; on Windows that is an error."""
    if src_dir_fd is not None or dst_dir_fd is not None:
        return await elsewhere(os.rename, src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    await on_paths(_abi.SL_PATH_RENAME, src, dst, flags=_abi.SL_NO_REPLACE if WINDOWS else 0)


async def replace(src: Path, dst: Path, *, src_dir_fd: Optional[int] = None, dst_dir_fd: Optional[int] = None) -> None:
    """Gives a file another name. What had that name is replaced."""
    if src_dir_fd is not None or dst_dir_fd is not None:
        return await elsewhere(os.replace, src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    await on_paths(_abi.SL_PATH_RENAME, src, dst)


async def renames(old: Path, new: Path) -> None:
    """Likewise; makes the directories that are missing, and removes those that are empty then."""
    head, tail = os.path.split(os.fspath(new))
    if head and tail and not await path.exists(head):
        await makedirs(head)
    await rename(old, new)
    head, tail = os.path.split(os.fspath(old))
    if head and tail:
        try:
            await removedirs(head)
        except OSError:
            pass


async def link(
    src: Path,
    dst: Path,
    *,
    src_dir_fd: Optional[int] = None,
    dst_dir_fd: Optional[int] = None,
    follow_symlinks: bool = True,
) -> None:
    """Gives a file one more name."""
    if src_dir_fd is not None or dst_dir_fd is not None or not follow_symlinks:
        return await elsewhere(
            os.link, src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks
        )
    await on_paths(_abi.SL_PATH_LINK, src, dst)


async def symlink(src: Path, dst: Path, target_is_directory: bool = False, *, dir_fd: Optional[int] = None) -> None:
    """Makes a symbolic link to `src`."""
    if dir_fd is not None or WINDOWS:
        return await elsewhere(os.symlink, src, dst, target_is_directory, dir_fd=dir_fd)
    await on_paths(_abi.SL_PATH_LINK, src, dst, flags=_abi.SL_SYMBOLIC)


async def readlink(path: Union[AnyStr, os.PathLike[AnyStr]], *, dir_fd: Optional[int] = None) -> AnyStr:
    """Where a symbolic link leads."""
    if dir_fd is not None or WINDOWS:
        return await elsewhere(os.readlink, path, dir_fd=dir_fd)
    found: AnyStr = _like(path, await on_path(_abi.SL_PATH_READ_LINK, path, text))
    return found


async def copyfile(src: Path, dst: T, *, follow_symlinks: bool = True) -> T:
    """Copies a file's contents, as shutil.copyfile; but `dst` is a new file, there whole or not at all."""
    source: Any = src
    target: Any = dst
    try:
        if await path.samefile(source, target):
            raise shutil.SameFileError(f"{source!r} and {target!r} are the same file")
    except FileNotFoundError:
        pass
    if not follow_symlinks and await path.islink(source):
        await symlink(await readlink(source), target)
    else:
        await on_paths(_abi.SL_PATH_COPY, source, target, None, mode=0o666)
    return dst


# --- Directories


async def mkdir(path: Path, mode: int = 0o777, *, dir_fd: Optional[int] = None) -> None:
    """Makes a directory."""
    if dir_fd is not None:
        return await elsewhere(os.mkdir, path, mode, dir_fd=dir_fd)
    await on_path(_abi.SL_PATH_MAKE_DIRECTORY, path, mode=mode)


async def makedirs(name: Path, mode: int = 0o777, exist_ok: bool = False) -> None:
    """Makes a directory, and those that it is to be in."""
    plain = os.fspath(name)
    head, tail = os.path.split(plain)
    if not tail:
        head, tail = os.path.split(head)
    if head and tail and not await path.exists(head):
        try:
            await makedirs(head, exist_ok=exist_ok)
        except FileExistsError:
            # Somebody else was faster.
            pass
        if os.fsdecode(tail) == os.curdir:
            return
    try:
        await mkdir(plain, mode)
    except OSError:
        # The system may give priority to other errors, like EACCES.
        if not exist_ok or not await path.isdir(plain):
            raise


async def rmdir(path: Path, *, dir_fd: Optional[int] = None) -> None:
    """Removes a directory that is empty."""
    if dir_fd is not None:
        return await elsewhere(os.rmdir, path, dir_fd=dir_fd)
    await on_path(_abi.SL_PATH_REMOVE, path, flags=_abi.SL_DIRECTORY)


async def removedirs(name: Path) -> None:
    """Removes a directory that is empty, and those that it is in, as long as they are empty then."""
    await rmdir(name)
    head, tail = os.path.split(os.fspath(name))
    if not tail:
        head, tail = os.path.split(head)
    while head and tail:
        try:
            await rmdir(head)
        except OSError:
            break
        head, tail = os.path.split(head)


async def listdir(path: Optional[PathOrDescriptor] = None) -> List[Any]:
    """The names in a directory, in no order."""
    if isinstance(path, int):
        return await elsewhere(os.listdir, path)
    folder = os.curdir if path is None else path
    return [_like(folder, entry.name) for entry in await listing(folder)]


async def scandir(path: Optional[PathOrDescriptor] = None) -> Scan[Any]:
    """The entries of a directory, in no order: an iterator, for `async for` and `for`."""
    if isinstance(path, int):
        return Scan(await elsewhere(lambda: list(os.scandir(path))))
    folder = os.curdir if path is None else os.fspath(path)
    return Scan([DirEntry(folder, entry) for entry in await listing(folder)])


async def walk(
    top: Union[AnyStr, os.PathLike[AnyStr]],
    topdown: bool = True,
    onerror: Optional[Callable[[OSError], object]] = None,
    followlinks: bool = False,
) -> AsyncIterator[Tuple[AnyStr, List[AnyStr], List[AnyStr]]]:
    """Every directory below `top`: `async for directory, directories, files in walk(top)`, as os.walk."""
    left: List[Any] = [os.fspath(top)]
    while left:
        folder = left.pop()
        if isinstance(folder, tuple):
            yield folder
            continue
        try:
            found = await listing(folder)
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        types = {_like(folder, entry.name): entry.type for entry in found}
        directories: List[AnyStr] = []
        others: List[AnyStr] = []
        for name in types:
            is_directory = types[name] == FileType.DIRECTORY or (
                types[name] in _UNSURE and await path.isdir(os.path.join(folder, name))
            )
            (directories if is_directory else others).append(name)
        if topdown:
            yield folder, directories, others
        else:
            left.append((folder, directories, others))
        # Those that come first are had first. What the program has put there is looked at.
        for name in reversed(directories):
            below = os.path.join(folder, name)
            if followlinks or types.get(name) == FileType.DIRECTORY or not await path.islink(below):
                left.append(below)


# What may be a directory, behind a link or because the directory does not say.
_UNSURE = (FileType.LINK, FileType.UNKNOWN)


def _like(path: Any, name: str) -> Any:
    """A name of the kind that a path is: text or bytes."""
    return os.fsencode(name) if isinstance(os.fspath(path), bytes) else name


class DirEntry(Generic[AnyStr]):
    """An entry of a directory, with what os.DirEntry has; like that, a path for all functions that take one.

    Its methods are no coroutines: they say what the directory said. Where that is not enough, because the entry is a
    symbolic link, and in `stat`, they ask the system once, and the event loop waits: `await aio.os.path.isdir(entry)`
    and `await aio.os.stat(entry)` do not.
    """

    __slots__ = ("name", "path", "_type", "_inode", "_stats")

    def __init__(self, folder: AnyStr, entry: DirectoryEntry) -> None:
        self.name: AnyStr = _like(folder, entry.name)
        self.path: AnyStr = os.path.join(folder, self.name)
        self._type = entry.type
        self._inode = entry.inode
        # What the system has said, behind links (True) and of the entry itself.
        self._stats: dict[bool, os.stat_result] = {}

    def inode(self) -> int:
        """Its number on the device."""
        return self._inode or self.stat(follow_symlinks=False).st_ino

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Says whether it is a directory, or a link to one."""
        return self._is(FileType.DIRECTORY, modes.S_ISDIR, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Says whether it is a regular file, or a link to one."""
        return self._is(FileType.FILE, modes.S_ISREG, follow_symlinks)

    def is_symlink(self) -> bool:
        """Says whether it is a symbolic link."""
        return self._is(FileType.LINK, modes.S_ISLNK, False)

    def _is(self, kind: FileType, is_of: Callable[[int], bool], follow_symlinks: bool) -> bool:
        if self._type == FileType.UNKNOWN or (self._type == FileType.LINK and follow_symlinks):
            try:
                return is_of(self.stat(follow_symlinks=follow_symlinks).st_mode)
            except FileNotFoundError:
                return False
        return self._type == kind

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """What the system knows of it; asked for once."""
        follow_symlinks = follow_symlinks and self._type in _UNSURE
        found = self._stats.get(follow_symlinks)
        if found is None:
            found = self._stats[follow_symlinks] = os.stat(self.path, follow_symlinks=follow_symlinks)
        return found

    def __fspath__(self) -> AnyStr:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"


class Scan(Generic[AnyStr]):
    """The entries that `scandir` has found: all have been read, so iterating waits for nothing, and nothing is open."""

    def __init__(self, found: List[Any]) -> None:
        self._left: Iterator[DirEntry[AnyStr]] = iter(found)

    def __iter__(self) -> Scan[AnyStr]:
        return self

    def __next__(self) -> DirEntry[AnyStr]:
        return next(self._left)

    def __aiter__(self) -> Scan[AnyStr]:
        return self

    async def __anext__(self) -> DirEntry[AnyStr]:
        for entry in self._left:
            return entry
        raise StopAsyncIteration

    def close(self) -> None:
        """Gives up what is left."""
        self._left = iter(())

    def __enter__(self) -> Scan[AnyStr]:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self.close()

    async def __aenter__(self) -> Scan[AnyStr]:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self.close()
