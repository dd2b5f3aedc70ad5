"""Polling: checksums of many files, while the program does something else.

    python checksums.py FOLDER

Keeps a number of files on their way, and between polls has its thread to itself: here, to compute the checksums of what
has come.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Iterator

import sideloop

# How many files are on their way at a time.
AT_A_TIME = 64


def submit_some(loop: sideloop.Loop, files: Iterator[Path], count: int) -> int:
    """Asks for up to `count` more files, in one call into the library; says how many there were."""
    submitted = 0
    with loop.batch():
        for path in files:
            loop.read_file(path)
            submitted += 1
            if submitted == count:
                break
    return submitted


def main(folder: str) -> int:
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file() and not path.is_symlink())
    failures = 0
    with sideloop.Loop() as loop:
        under_way = submit_some(loop, files, AT_A_TIME)
        while under_way:
            # A program with a loop of its own would call poll() in it, or watch loop.fileno().
            events = loop.poll() or loop.wait()
            under_way += submit_some(loop, files, len(events)) - len(events)
            for event in events:
                path = event.operation.filename
                error = event.exception()
                if error is None:
                    print(f"{zlib.crc32(event.result()):08x}  {path}")
                else:
                    failures += 1
                    print(f"{path}: {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    sys.exit(main(sys.argv[1]))
