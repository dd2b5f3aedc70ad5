"""asyncio: its tasks go on while many files are read.

    python in_asyncio.py FOLDER

asyncio by itself can wait for sockets, but not for disks.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from checksums_in_frames import Checksums

import sideloop

FRAME_SECONDS = 0.01


async def main(folder: str) -> None:
    # inline=False: reading what is in memory is the loop's thread's work, too.
    with sideloop.Loop(inline=False) as loop:
        asyncio.get_running_loop().add_reader(loop.fileno(), loop.poll)
        checksums = Checksums(loop, folder)
        while checksums.ask_for_more():
            await asyncio.sleep(FRAME_SECONDS)
        # Before the loop is closed, since its descriptor goes with it.
        asyncio.get_running_loop().remove_reader(loop.fileno())
    print(checksums)


if __name__ == "__main__":
    # On Windows, the loop of asyncio.run watches no descriptors.
    with contextlib.closing(asyncio.SelectorEventLoop()) as event_loop:
        event_loop.run_until_complete(main(sys.argv[1]))
