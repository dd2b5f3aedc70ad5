"""Files and streams for asyncio (also with uvloop) and trio, on sideloop's engine: the event loop's thread never waits
for I/O.

async with aio.open(path) as file:
    async for line in file: ...

data = await aio.read_file(path)
"""

from . import os, tempfile
from ._file import BinaryFile
from ._open import Opening, open, wrap
from ._standard import stderr, stderr_bytes, stdin, stdin_bytes, stdout, stdout_bytes
from ._text import TextFile
from ._whole import ReadMany, read_file, read_many, read_text, write_file, write_text

__all__ = [
    "BinaryFile",
    "Opening",
    "ReadMany",
    "TextFile",
    "open",
    "os",
    "read_file",
    "read_many",
    "read_text",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "tempfile",
    "wrap",
    "write_file",
    "write_text",
]
