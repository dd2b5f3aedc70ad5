"""Who comes second waits: a lock for tasks of whichever event loop, in the order in which they ask.

For the files and streams of this package, whose position only one task at a time may move. Taking it where nobody holds
it waits for nothing. It belongs to one thread at a time, as its file does.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Deque, Optional, Type

from ._hosts import Waiter, current


class Lock:
    """A context manager for `async with`."""

    __slots__ = ("held", "_waiting")

    def __init__(self) -> None:
        self.held = False
        # Made when it is needed, which for most it never is.
        self._waiting: Optional[Deque[Waiter]] = None

    async def __aenter__(self) -> None:
        if not self.held:
            self.held = True
            return
        waiter = current().waiter()
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                # It had been given the lock before it was told to stop.
                self.release()
            raise

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self.release()

    def release(self) -> None:
        """Gives it to whoever waits longest and still wants it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.held = False
