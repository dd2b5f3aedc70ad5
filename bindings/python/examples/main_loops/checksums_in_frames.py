"""What the programs beside this one do on their main loops: checksums of all files below a folder.

Knows no main loop. Each program calls `ask_for_more` in every frame, as one that draws does, and has its main loop call
`poll` of sideloop's loop whenever that has events, which is how the files come.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import sideloop

# How many files are on their way at a time.
AT_A_TIME = 64


class Checksums:
    """Reads files, by callbacks."""

    def __init__(self, loop: sideloop.Loop, folder: str) -> None:
        self._loop = loop
        self._paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        self._under_way = 0
        self.files = len(self._paths)
        self.come = 0
        self.checksum = 0
        self.frames = 0

    def ask_for_more(self) -> bool:
        """Asks for as many files as there is room for; False where all have come."""
        self.frames += 1
        with self._loop.batch():
            while self._paths and self._under_way < AT_A_TIME:
                self._loop.read_file(self._paths.pop()).add_done_callback(self._take)
                self._under_way += 1
        return self.come < self.files

    def _take(self, reading: sideloop.Operation[bytes]) -> None:
        self._under_way -= 1
        self.come += 1
        self.checksum = (self.checksum + zlib.crc32(reading.result())) % 2**32

    def __str__(self) -> str:
        return f"{self.come} of {self.files} files, checksum {self.checksum:08x}, {self.frames} frames"
