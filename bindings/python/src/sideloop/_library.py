"""Finds, loads and checks the shared library, and gives its functions their prototypes.

Runs once, when the package is imported, on the importing thread. Everything else takes `library` from here.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import List

from . import _abi

# Names a library file to load instead of the one in the package.
OVERRIDE = "SIDELOOP_LIBRARY"


def file_name() -> str:
    """What the shared library is called on this platform."""
    if sys.platform == "win32":
        return "sideloop.dll"
    return "libsideloop.dylib" if sys.platform == "darwin" else "libsideloop.so"


def load() -> ctypes.CDLL:
    """Loads the library, or raises ImportError that says what was tried and what to do."""
    override = os.environ.get(OVERRIDE)
    path = Path(override) if override else Path(__file__).resolve().parent / file_name()
    origin = f"named by ${OVERRIDE}" if override else f"the package's own; set ${OVERRIDE} to load another"
    if not path.is_file():
        raise ImportError(f"sideloop's shared library is not at {path} ({origin})", path=str(path))
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ImportError(
            f"sideloop's shared library {path} ({origin}) does not load: {error}", path=str(path)
        ) from error
    check_version(library, path)
    declare(library, path)
    return library


def check_version(library: ctypes.CDLL, path: Path) -> None:
    """Refuses a library that is older than the header that _abi.py was made from, or that breaks with it."""
    try:
        version = library.sl_abi_version
    except AttributeError:
        raise ImportError(
            f"{path} is not sideloop's shared library: it has no sl_abi_version", path=str(path)
        ) from None
    version.restype, version.argtypes = ctypes.c_uint32, ()
    found, needed = version(), _abi.SL_ABI_VERSION
    if found < needed:
        problem, remedy = "too old", "Use a newer library"
    elif found >> 16 != needed >> 16:
        problem, remedy = "too new", "Use a newer package"
    else:
        return
    raise ImportError(
        f"sideloop's shared library {path} is {problem}: it has ABI version {shown(found)}, and this package needs "
        f"{shown(needed)} or a later {needed >> 16}.x. {remedy}, or the library that comes with this package: without "
        f"${OVERRIDE} that is what is loaded",
        path=str(path),
    )


def shown(version: int) -> str:
    """An ABI version as people write it: the number in the library's name, and what has been added since."""
    return f"{version >> 16}.{version & 0xFFFF}"


def declare(library: ctypes.CDLL, path: Path) -> None:
    """Gives every function its result and parameters."""
    missing: List[str] = []
    for name, result, parameters in _abi.PROTOTYPES:
        try:
            function = getattr(library, name)
        except AttributeError:
            missing.append(name)
            continue
        function.restype, function.argtypes = result, parameters
    if missing:
        raise ImportError(f"sideloop's shared library {path} lacks {', '.join(missing)}", path=str(path))


library = load()
