"""trio: its tasks go on while many files are read.

    python in_trio.py FOLDER

One task takes sideloop's events, for all.
"""

from __future__ import annotations

import sys

import trio
from checksums_in_frames import Checksums

import sideloop

FRAME_SECONDS = 0.01


async def take_events(loop: sideloop.Loop) -> None:
    """Takes events when there are any, for ever."""
    while True:
        await trio.lowlevel.wait_readable(loop.fileno())
        loop.poll()


async def main(folder: str) -> None:
    # inline=False: reading what is in memory is the loop's thread's work, too.
    with sideloop.Loop(inline=False) as loop:
        checksums = Checksums(loop, folder)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_events, loop)
            while checksums.ask_for_more():
                await trio.sleep(FRAME_SECONDS)
            # Before the loop is closed, since its descriptor goes with it.
            nursery.cancel_scope.cancel()
    print(checksums)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
