"""A loop of one's own around `selectors`: answers datagrams, while sideloop reads files.

    python in_selectors.py FOLDER

A client sends a file's name, and is told the checksum of the file. Some clients, in threads of their own, ask for all
files; then it ends.
"""

from __future__ import annotations

import functools
import selectors
import socket
import sys
import threading
import zlib
from pathlib import Path
from typing import Any, List

import sideloop

CLIENTS = 4


class Server:
    """Waits for nothing but the selector, of which every key says what is to be called."""

    def __init__(self, loop: sideloop.Loop, own: socket.socket, folder: Path) -> None:
        self._loop = loop
        self._own = own
        self._folder = folder
        self._clients = CLIENTS

    def run(self) -> None:
        """Serves until all clients have left."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._loop, selectors.EVENT_READ, self._loop.poll)
            selector.register(self._own, selectors.EVENT_READ, self._hear)
            while self._clients:
                for key, _ in selector.select():
                    key.data()

    def _hear(self) -> None:
        name, client = self._own.recvfrom(1000)
        if name:
            reading = self._loop.read_file(self._folder / name.decode())
            reading.add_done_callback(functools.partial(self._answer, client))
        else:
            self._clients -= 1

    def _answer(self, client: Any, reading: sideloop.Operation[bytes]) -> None:
        self._own.sendto(zlib.crc32(reading.result()).to_bytes(4, "big"), client)


def ask(server: Any, names: List[str]) -> None:
    """A client."""
    checksum = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        for name in names:
            own.sendto(name.encode(), server)
            checksum += int.from_bytes(own.recv(4), "big")
        own.sendto(b"", server)
    print(f"{len(names)} of {len(names)} files, checksum {checksum % 2**32:08x}\n", end="")


def main(folder: Path) -> None:
    names = [path.name for path in folder.iterdir() if path.is_file()]
    with sideloop.Loop() as loop, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        clients = [threading.Thread(target=ask, args=(own.getsockname(), names)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        Server(loop, own, folder).run()
        for client in clients:
            client.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
