"""tkinter: a window that shows how far it is while many files are read.

    python in_tkinter.py FOLDER [poll]

Tk watches sideloop's descriptor. Where it cannot (on Windows), or with "poll", it looks for events in every frame.
"""

from __future__ import annotations

import sys
import tkinter

from checksums_in_frames import Checksums

import sideloop

FRAME_MS = 10


def main(folder: str, watch: bool) -> None:
    root = tkinter.Tk()
    label = tkinter.Label(root, width=60)
    label.pack()
    # inline=False: reading what is in memory is the loop's thread's work, too.
    with sideloop.Loop(inline=False) as loop:
        checksums = Checksums(loop, folder)

        def frame() -> None:
            if not watch:
                loop.poll()
            if checksums.ask_for_more():
                root.after(FRAME_MS, frame)
            else:
                root.quit()
            label["text"] = str(checksums)

        if watch:
            root.tk.createfilehandler(loop.fileno(), tkinter.READABLE, lambda *_: loop.poll())
        frame()
        root.mainloop()
        if watch:
            # Before the loop is closed, since its descriptor goes with it.
            root.tk.deletefilehandler(loop.fileno())
    print(label["text"])
    root.destroy()


if __name__ == "__main__":
    main(sys.argv[1], watch=sys.platform != "win32" and sys.argv[2:] != ["poll"])
