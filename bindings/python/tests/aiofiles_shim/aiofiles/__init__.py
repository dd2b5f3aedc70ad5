"""aiofiles' names for what sideloop.aio has, so that aiofiles' own tests run on it (scripts/check-aiofiles.sh).

Those tests also look behind the files that aiofiles wraps. Here nothing is wrapped: a file stands for its own.
"""

from types import SimpleNamespace
from typing import Any, List

from aiofiles import os, tempfile, threadpool
from aiofiles.threadpool import open, stderr, stderr_bytes, stdin, stdin_bytes, stdout, stdout_bytes
from sideloop import aio
from sideloop.aio._spooled import SpooledFile

# What they look for, and what is there for it.
BEHIND: List[Any] = [
    (aio.BinaryFile, "_file", lambda file: file),
    (aio.TextFile, "_file", lambda file: file),
    (aio.Opening, "_obj", lambda opening: opening._file),
    (SpooledFile, "_file", lambda file: SimpleNamespace(_file=file._where)),
]
for kind, name, find in BEHIND:
    setattr(kind, name, property(find))

__all__ = [
    "open",
    "os",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "tempfile",
    "threadpool",
]
