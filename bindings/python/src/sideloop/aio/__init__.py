"""Files and streams for asyncio (also with uvloop) and trio, on sideloop's engine: the event loop's thread never waits
for I/O.

async with aio.open(path) as file:
    async for line in file: ...

data = await aio.read_file(path)

async with aio.start_server(handler, port=8000) as server: await server.serve_forever()

async with await aio.connect("example.org", 80) as stream: ...
"""

from . import os, tempfile
from ._connect import connect, connect_unix
from ._file import BinaryFile
from ._open import Opening, open, wrap
from ._server import Server, start_server, start_unix_server
from ._standard import stderr, stderr_bytes, stdin, stdin_bytes, stdout, stdout_bytes
from ._streams import IncompleteError, Stream, TooLongError
from ._text import TextFile
from ._whole import ReadMany, read_file, read_many, read_text, write_file, write_text

__all__ = [
    "BinaryFile",
    "IncompleteError",
    "Opening",
    "ReadMany",
    "Server",
    "Stream",
    "TextFile",
    "TooLongError",
    "connect",
    "connect_unix",
    "open",
    "os",
    "read_file",
    "read_many",
    "read_text",
    "start_server",
    "start_unix_server",
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
