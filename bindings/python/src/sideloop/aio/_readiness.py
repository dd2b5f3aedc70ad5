"""How bytes are received on the thread of an event loop, when what this waits with says that some are there.

A receive that the engine's thread carried out would cost a way there and a way back between threads. `of_here` gives
None where the event loop cannot watch descriptors (Windows' proactor): then the engine receives.

Functions that receive are the interpreter's own, with a flag that keeps them from blocking. One task at a time waits.
Everything runs on the event loop's thread, except `release`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any, Awaitable, Callable, Optional, Tuple, Union

from .. import _abi, errors
from ._hosts import trio_runs

Function = Callable[..., Any]
Arguments = Tuple[Any, ...]

_running_loop = asyncio._get_running_loop


class AsyncioReadiness:
    """Watches by `add_reader`, also between two receives: to begin and end it each time would cost more than both.

    When bytes come that nobody waits for, it stops, and notes that they are there.
    """

    __slots__ = ("_loop", "_descriptor", "_process", "_watching", "_readable", "_waiter", "_function", "_arguments")

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        self._loop = loop
        self._descriptor = descriptor
        # A forked child must not touch what its parent waits with.
        self._process = os.getpid()
        self._readable = False
        self._waiter: Optional[asyncio.Future[Any]] = None
        self._function: Function = bytes
        self._arguments: Arguments = ()
        self._watch()

    def is_here(self) -> bool:
        """Says whether it belongs to the event loop that runs on this thread."""
        return _running_loop() is self._loop and not trio_runs()

    def receive(self, function: Function, arguments: Arguments, timeout: Optional[float]) -> Awaitable[Any]:
        """Calls the function when there is something to receive, or the end of it; gives a future for its result."""
        waiter = self._waiter = self._loop.create_future()
        self._function, self._arguments = function, arguments
        if self._readable:
            self._readable = False
            self._on_readable()
            if waiter.done():
                return waiter
        if not self._watching:
            self._watch()
        if timeout is not None:
            timer = self._loop.call_later(timeout, _end, waiter, _timed_out())
            waiter.add_done_callback(lambda _: timer.cancel())
        return waiter

    def close(self) -> None:
        """Stops for good; who waits is told."""
        self._unwatch()
        if self._waiter is not None and not self._loop.is_closed():
            _end(self._waiter, errors.StaleError("the stream is closed"))

    def salvage(self, waiter: Any, salvage: Callable[[Any], object]) -> None:
        """Does this with what has come for a task that was cancelled at the same time."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            salvage(waiter.result())

    def release(self, then: Callable[[], None]) -> None:
        """Stops for good where nobody waits, and then does this. Any thread."""
        loop = self._loop
        if self._watching and loop.is_running() and _running_loop() is not loop:
            try:
                loop.call_soon_threadsafe(self._unwatch_and, then)
                return
            except RuntimeError:
                pass  # It has just been closed.
        self._unwatch_and(then)

    def _watch(self) -> None:
        self._loop.add_reader(self._descriptor, self._on_readable)
        self._watching = True

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            if not self._loop.is_closed() and os.getpid() == self._process:
                self._loop.remove_reader(self._descriptor)

    def _unwatch_and(self, then: Callable[[], None]) -> None:
        self._unwatch()
        then()

    def _on_readable(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._readable = True
            self._unwatch()
            return
        try:
            result = self._function(*self._arguments)
        except BlockingIOError:
            return
        except OSError as error:
            waiter.set_exception(errors.of_system(error))
        else:
            waiter.set_result(result)
        self._waiter = None


def _end(waiter: asyncio.Future[Any], error: errors.Error) -> None:
    if not waiter.done():
        waiter.set_exception(error)


def _timed_out() -> errors.Error:
    return errors.make(_abi.SL_ERR_TIMED_OUT)


class TrioReadiness:
    """Tries, and waits by `wait_readable` where nothing has come. Passes a checkpoint in any case."""

    __slots__ = ("_trio", "_token", "_descriptor")

    def __init__(self, descriptor: int) -> None:
        import trio

        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self._descriptor = descriptor

    def is_here(self) -> bool:
        """Says whether it belongs to the run that this thread is in."""
        return trio_runs() and self._trio.lowlevel.current_trio_token() is self._token

    def receive(self, function: Function, arguments: Arguments, timeout: Optional[float]) -> Awaitable[Any]:
        """Calls the function when there is something to receive, or the end of it, and gives its result."""
        if timeout is None:
            return self._receive(function, arguments)
        return self._receive_within(function, arguments, timeout)

    async def _receive(self, function: Function, arguments: Arguments) -> Any:
        lowlevel = self._trio.lowlevel
        await lowlevel.checkpoint_if_cancelled()
        try:
            try:
                result = function(*arguments)
            except BlockingIOError:
                pass
            else:
                # It has come, and must not be lost.
                await lowlevel.cancel_shielded_checkpoint()
                return result
            while True:
                await lowlevel.wait_readable(self._descriptor)
                with contextlib.suppress(BlockingIOError):
                    return function(*arguments)
        except OSError as error:
            raise errors.of_system(error) from None
        except self._trio.ClosedResourceError:
            raise errors.StaleError("the stream is closed") from None

    async def _receive_within(self, function: Function, arguments: Arguments, timeout: float) -> Any:
        with self._trio.move_on_after(timeout):
            return await self._receive(function, arguments)
        raise _timed_out()

    def close(self) -> None:
        """Stops for good; who waits is told."""
        if self.is_here():
            self._trio.lowlevel.notify_closing(self._descriptor)

    def salvage(self, waiter: Any, salvage: Callable[[Any], object]) -> None:
        """Nothing: a task that is cancelled has received nothing."""

    def release(self, then: Callable[[], None]) -> None:
        """Nobody waits: does this. Any thread."""
        then()


Readiness = Union[AsyncioReadiness, TrioReadiness]


def of_here(descriptor: int) -> Optional[Readiness]:
    """How the event loop that runs on this thread waits; None where it cannot."""
    if trio_runs():
        return TrioReadiness(descriptor)
    try:
        return AsyncioReadiness(asyncio.get_running_loop(), descriptor)
    except NotImplementedError:
        return None
