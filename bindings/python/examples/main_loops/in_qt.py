"""Qt (PySide6): a window that shows how far it is while many files are read.

    python in_qt.py FOLDER

Qt watches sideloop's descriptor, and calls back on the main thread: where labels may be changed.
"""

from __future__ import annotations

import sys

from checksums_in_frames import Checksums
from PySide6.QtCore import QSocketNotifier, QTimer
from PySide6.QtWidgets import QApplication, QLabel

import sideloop

FRAME_MS = 10


def main(folder: str) -> None:
    application = QApplication(sys.argv)
    label = QLabel()
    label.show()
    # inline=False: reading what is in memory is the loop's thread's work, too.
    with sideloop.Loop(inline=False) as loop:
        checksums = Checksums(loop, folder)
        notifier = QSocketNotifier(loop.fileno(), QSocketNotifier.Type.Read)
        notifier.activated.connect(lambda *_: loop.poll())

        def frame() -> None:
            if not checksums.ask_for_more():
                application.quit()
            label.setText(str(checksums))

        timer = QTimer()
        timer.timeout.connect(frame)
        timer.start(FRAME_MS)
        application.exec()
        timer.stop()
        # Before the loop is closed, since its descriptor goes with it.
        notifier.setEnabled(False)
    print(label.text())


if __name__ == "__main__":
    main(sys.argv[1])
