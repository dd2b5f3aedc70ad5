"""The functions of `os.path` that ask the system, as coroutines: `aio.os.path`.

Called on the thread of an event loop; the system is asked by sideloop's engine, or, for `ismount`, `sameopenfile` and
descriptors, on a thread.
"""

from __future__ import annotations

import os
import stat as modes
from typing import AnyStr, Union

from ._open import Path
from ._paths import PathOrDescriptor, elsewhere, stat

__all__ = [
    "abspath",
    "exists",
    "getatime",
    "getctime",
    "getmtime",
    "getsize",
    "isdir",
    "isfile",
    "islink",
    "ismount",
    "lexists",
    "samefile",
    "sameopenfile",
]


async def abspath(path: Union[AnyStr, os.PathLike[AnyStr]]) -> AnyStr:
    """A path from the root on. Asks for the current directory at most, which never waits."""
    return os.path.abspath(path)


async def _mode(path: PathOrDescriptor, follow_symlinks: bool = True) -> int:
    """st_mode; 0 where there is nothing."""
    try:
        return (await stat(path, follow_symlinks=follow_symlinks)).st_mode
    except (OSError, ValueError):
        return 0


async def exists(path: PathOrDescriptor) -> bool:
    """Says whether there is something, behind links too."""
    return await _mode(path) != 0


async def lexists(path: Path) -> bool:
    """Says whether there is something, if only a link that leads nowhere."""
    return await _mode(path, False) != 0


async def isfile(path: PathOrDescriptor) -> bool:
    """Says whether it is a regular file."""
    return modes.S_ISREG(await _mode(path))


async def isdir(path: PathOrDescriptor) -> bool:
    """Says whether it is a directory."""
    return modes.S_ISDIR(await _mode(path))


async def islink(path: Path) -> bool:
    """Says whether it is a symbolic link."""
    return modes.S_ISLNK(await _mode(path, False))


async def ismount(path: Path) -> bool:
    """Says whether another file system begins there."""
    return await elsewhere(os.path.ismount, path)


async def getsize(filename: PathOrDescriptor) -> int:
    """How many bytes it has."""
    return (await stat(filename)).st_size


async def getatime(filename: PathOrDescriptor) -> float:
    """When it was last read."""
    return (await stat(filename)).st_atime


async def getmtime(filename: PathOrDescriptor) -> float:
    """When it was last written."""
    return (await stat(filename)).st_mtime


async def getctime(filename: PathOrDescriptor) -> float:
    """When it was last changed in any way; on Windows, when it was made."""
    return (await stat(filename)).st_ctime


async def samefile(f1: PathOrDescriptor, f2: PathOrDescriptor) -> bool:
    """Says whether both are the same file."""
    return os.path.samestat(await stat(f1), await stat(f2))


async def sameopenfile(fp1: int, fp2: int) -> bool:
    """Says whether both descriptors are of the same file."""
    return await elsewhere(os.path.sameopenfile, fp1, fp2)
