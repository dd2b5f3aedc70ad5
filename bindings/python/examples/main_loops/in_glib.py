"""GLib: its main loop, which is GTK's too, goes on while many files are read.

    python in_glib.py FOLDER

It needs no window, and has none here.
"""

from __future__ import annotations

import sys
from typing import Any

from checksums_in_frames import Checksums
from gi.repository import GLib

import sideloop

FRAME_MS = 10


def watch(loop: sideloop.Loop) -> int:
    """Has GLib call poll when there are events."""

    def take_events(*_: Any) -> bool:
        try:
            loop.poll()
        except Exception:  # GLib would stop watching because of what a callback raises.
            sys.excepthook(*sys.exc_info())
        return True

    source: int = GLib.io_add_watch(loop.fileno(), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN, take_events)
    return source


def main(folder: str) -> None:
    main_loop = GLib.MainLoop()
    # inline=False: reading what is in memory is the loop's thread's work, too.
    with sideloop.Loop(inline=False) as loop:
        checksums = Checksums(loop, folder)

        def frame() -> bool:
            if checksums.ask_for_more():
                return True
            main_loop.quit()
            return False

        source = watch(loop)
        GLib.timeout_add(FRAME_MS, frame)
        main_loop.run()
        # Before the loop is closed, since its descriptor goes with it.
        GLib.source_remove(source)
    print(checksums)


if __name__ == "__main__":
    main(sys.argv[1])
