"""The event loops that `sideloop.aio` runs on: asyncio's (and those that replace it, like uvloop) and trio's.

`current()` finds the host of the event loop that runs on the calling thread. Everything else here is called by
_engine.py and the modules that submit operations, on that thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
import threading
import weakref
from asyncio import CancelledError
from collections import deque
from contextvars import Context
from itertools import islice, starmap
from typing import TYPE_CHECKING, Any, Callable, Dict, Generator, Optional, Protocol, Tuple, TypeVar, Union, cast

from .. import _abi, errors
from . import _engine
from ._engine import Engine, Host, Receiver

if TYPE_CHECKING:
    import trio

T = TypeVar("T")

_get_running_loop = asyncio._get_running_loop
_modules = sys.modules

# For how many seconds the thread that stands in for add_reader blocks before it looks whether it is still needed.
_SLICE = 1.0


class Waiter(Receiver, Protocol):
    """What a task can await until another one gives it a result."""

    def __await__(self) -> Generator[Any, Any, Any]:
        """Waits for the result. Cancelling the task makes it `done` and `cancelled`."""


def current() -> AnyHost:
    """The host of the event loop that runs on this thread."""
    loop = _get_running_loop()
    if "trio" in _modules and trio_runs():
        return _enter_trio()
    if loop is not None:
        host = _asyncio_hosts.get(id(loop))
        # The address of a loop that is gone may be another's now.
        if host is not None and host.loop() is loop:
            return host
        return _enter_asyncio(loop)
    raise RuntimeError(
        "no event loop runs on this thread: sideloop.aio works inside asyncio (or uvloop) and trio (from 0.23 on)"
    )


def is_under_way(salvage: Callable[[Any], object]) -> bool:
    """Says whether an operation with this salvage has not ended: its task has been cancelled twice, or destroyed."""
    try:
        return any(entry[5] is salvage for entry in current().table.values())
    except RuntimeError:
        # Destroyed with its event loop.
        return True


# --- asyncio


# What an outcome goes through: the operation is under way (None); it has ended, well or not; or its task waits no
# longer, whatever comes.
_SUCCEEDED, _FAILED, _LEFT = range(3)

# How a task goes on: in which context, what to call in it, with which argument.
Resumption = Tuple[Context, Callable[[Any], object], Any]


class _AsyncioOutcome:
    """What asyncio's tasks need of a future (see asyncio.isfuture), and not more, for every operation needs one.

    When it has come, its task is among those that the host resumes. Where the task is cancelled, it waits on for the
    end of the operation. (That may happen anywhere in here, in a signal handler: so all the rest of it comes soon.)
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "get_loop",
        "token",
        "salvage",
        "_host",
        "_state",
        "_value",
        "_stopped",
        "_resumption",
    )

    # For the task that awaits it.

    def __init__(self, host: Host) -> None:
        self.get_loop = cast(AsyncioHost, host).loop
        self.token = 0
        self._host = host
        self._asyncio_future_blocking = True
        self._state: Optional[int] = None
        # Once the task has been cancelled: the arguments of the exception.
        self._stopped: Optional[Tuple[Any, ...]] = None
        self.salvage: Optional[Callable[[Any], object]] = None
        self._value: Any = None
        # From when the task waits until it goes on, for this is in it.
        self._resumption: Optional[Resumption] = None

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._state is None:
            try:
                yield self
            except BaseException:
                # The task was cancelled after the operation had ended, or it is destroyed.
                if self._state is None:
                    self._host.drop(self.token)
                else:
                    self._salvage_value()
                self._resumption = None
                raise
        value = self._value
        if self._state == _SUCCEEDED and self._stopped is None:
            # As it was made, to be used again.
            self._asyncio_future_blocking = True
            self._state = self.salvage = self._value = self._resumption = None
            self._host.spare.append(self)
            return value
        try:
            if self._stopped is None:
                raise value
            self._salvage_value()
            raise CancelledError(*self._stopped)
        finally:
            self._resumption = None
            # An error has its frames, and these would have the error.
            del self, value

    def add_done_callback(self, function: Callable[[Any], object], *, context: Context) -> None:
        """Notes how the task goes on, and in which context. Called once, when it begins to wait."""
        self._resumption = (context, function, self)

    # The task looks here for an error before it goes on; but `__await__` raises it.
    result = type(None)

    def cancel(self, msg: Any = None) -> bool:
        """The task is cancelled. So the operation is, and its end is waited for; not any more the second time."""
        if self._state is not None:
            return False
        if self._stopped is None:
            self._stopped = () if msg is None else (msg,)
            self._host.soon(lambda: self._host.cancel(self.token))
        else:
            self._host.soon(self._leave)
        return True

    def _leave(self) -> None:
        if self._state is None:
            self._state = _LEFT
            self._wake()
            self._host.take()

    def _salvage_value(self) -> None:
        """Does with the value what is to be done where nobody gets it; also with what was done before it failed."""
        if self.salvage is None:
            return
        if self._state == _SUCCEEDED:
            self.salvage(self._value)
        elif getattr(self._value, "done", 0):
            self.salvage(cast(errors.Error, self._value).done)

    # For the host.

    def set_result(self, value: Any, /) -> None:
        """The operation has succeeded."""
        if self._state is None and self._resumption is not None:
            # As below. (Nearly all come this way.)
            self._value = value
            self._state = _SUCCEEDED
            self._host.woken.append(self._resumption)
        else:
            self._end(_SUCCEEDED, value)

    def set_exception(self, error: BaseException, /) -> None:
        """The operation has failed."""
        self._end(_FAILED, error)

    def done(self) -> bool:
        """Says whether it has ended, or nobody wants it."""
        return self._state is not None

    def cancelled(self) -> bool:
        """Says whether nobody wants it."""
        return self._state == _LEFT

    def _end(self, state: int, value: Any) -> None:
        if self._state is not None:
            # Perhaps after an interrupt that came before the task was to be resumed.
            if self._state != _LEFT and not any(resumption is self._resumption for resumption in self._host.woken):
                self._wake()
            raise RuntimeError("it has its outcome")
        self._value = value
        self._state = state
        self._wake()

    def _wake(self) -> None:
        # Where it has ended before the task waits for it, that will not.
        if self._resumption is not None:
            self._host.woken.append(self._resumption)


class AsyncioHost(Host):
    """An event loop of asyncio's kind."""

    outcome = _AsyncioOutcome

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        # Held weakly: what is here must not keep an event loop alive that nobody uses any more.
        self.loop = weakref.ref(loop)
        self._watcher: Optional[_Watcher] = None
        super().__init__(engine)

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = self.loop()
        if loop is None:
            raise RuntimeError("the event loop is gone")
        return loop

    def is_gone(self) -> bool:
        loop = self.loop()
        return loop is None or loop.is_closed()

    def soon(self, function: Callable[[], object]) -> None:
        self._loop().call_soon(function)

    def soon_from_elsewhere(self, function: Callable[[], object]) -> None:
        self._loop().call_soon_threadsafe(function)

    def watch(self) -> None:
        try:
            self._loop().add_reader(self.engine.descriptor, self.take)
        except NotImplementedError:
            # Windows' proactor loop.
            self._watcher = _Watcher(self)

    def unwatch(self) -> None:
        if self._watcher is None:
            self._loop().remove_reader(self.engine.descriptor)
        else:
            self._watcher.stop()
            self._watcher = None

    def waiter(self) -> Waiter:
        """Something to wait for."""
        return self._loop().create_future()

    def resume(self) -> bool:
        woken, loop = self.woken, self._loop()
        if asyncio.current_task(loop) is not None or loop.get_debug() or hasattr(loop, "_nest_patched"):
            # A task cannot go on inside of another. In its debug mode, asyncio says which one is slow. And a task that
            # runs the event loop inside of it, as nest_asyncio lets it, would keep this callback from being called.
            while woken:
                context, function, outcome = woken.popleft()
                loop.call_soon(function, outcome, context=context)
            return False
        # What call_soon would do in the next turn. One call into C from the deque to the task, so that no signal
        # handler's exception can come between.
        with contextlib.suppress(IndexError):  # Of tasks that nest_asyncio.apply() was called in.
            deque(starmap(Context.run, islice(iter(woken.popleft, None), len(woken))), 0)
        return True


class _Watcher:
    """A thread that waits for the wake descriptor in place of an event loop that cannot."""

    def __init__(self, host: AsyncioHost) -> None:
        self._host = weakref.ref(host)
        self._descriptor = host.engine.descriptor
        self._taken = threading.Event()
        self._stopped = False
        threading.Thread(target=self._run, name="sideloop-watcher", daemon=True).start()

    def stop(self) -> None:
        self._stopped = True
        self._taken.set()

    def _run(self) -> None:
        while not self._stopped:
            ready, _, _ = select.select([self._descriptor], [], [], _SLICE)
            host = self._host()
            if host is None or host.is_gone():
                return
            if ready:
                self._taken.clear()
                try:
                    host.soon_from_elsewhere(self._take)
                except RuntimeError:
                    return
                while not self._taken.wait(_SLICE):
                    # An event loop that was closed meanwhile calls nothing.
                    if host.is_gone():
                        return

    def _take(self) -> None:
        host = self._host()
        if host is not None:
            host.take()
        self._taken.set()


_asyncio_hosts: Dict[int, AsyncioHost] = {}


def _enter_asyncio(loop: asyncio.AbstractEventLoop) -> AsyncioHost:
    for key, other in list(_asyncio_hosts.items()):
        if other.is_gone():
            _asyncio_hosts.pop(key, None)
    host = _asyncio_hosts[id(loop)] = AsyncioHost(_engine.engine(), loop)
    return host


# --- trio


class _TrioWaiter:
    """What a task of trio's waits for, and gives up where it is cancelled."""

    __slots__ = ("_task", "_value", "_error", "_waits", "_done", "_cancelled")

    def __init__(self) -> None:
        import trio

        self._task: trio.lowlevel.Task = trio.lowlevel.current_task()
        self._value: Any = None
        self._error: Optional[BaseException] = None
        self._waits = self._done = self._cancelled = False

    def set_result(self, value: Any, /) -> None:
        self._end()
        self._value = value

    def set_exception(self, error: BaseException, /) -> None:
        self._end()
        self._error = error

    def done(self) -> bool:
        return self._done

    def cancelled(self) -> bool:
        return self._cancelled

    def _end(self) -> None:
        import trio

        if self._done:
            raise RuntimeError("it has its outcome")
        self._done = True
        if self._waits:
            trio.lowlevel.reschedule(self._task)

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        import trio

        self._done = self._cancelled = True
        return trio.lowlevel.Abort.SUCCEEDED

    def __await__(self) -> Generator[Any, Any, Any]:
        import trio

        if not self._done:
            self._waits = True
            yield from trio.lowlevel.wait_task_rescheduled(self._abort).__await__()
        if self._error is not None:
            raise self._error
        return self._value


class _TrioOutcome(_TrioWaiter):
    """Waits for the real end of an operation, also where the task is cancelled, which cancels the operation."""

    __slots__ = ("token", "salvage", "_host", "_raise_cancel")

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.token = 0
        self.salvage: Optional[Callable[[Any], object]] = None
        self._host = host
        self._raise_cancel: Optional[Callable[[], Any]] = None

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        import trio

        self._raise_cancel = raise_cancel
        self._host.cancel(self.token)
        return trio.lowlevel.Abort.FAILED

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            return (yield from super().__await__())
        except errors.Cancelled as error:
            if self._raise_cancel is None or error.done:
                raise
            # Nothing has happened: as if it had never been asked for.
            return self._raise_cancel()
        except GeneratorExit:
            self._host.drop(self.token)
            raise


class TrioHost(Host):
    """A run of trio's."""

    outcome = _TrioOutcome

    def __init__(self, engine: Engine, token: trio.lowlevel.TrioToken) -> None:
        self.trio_token = token
        self._ended = False
        self._scope: Optional[trio.CancelScope] = None
        super().__init__(engine)
        import trio

        trio.lowlevel.spawn_system_task(self._live)

    async def _live(self) -> None:
        """Notices the end of the run."""
        import trio

        try:
            await trio.sleep_forever()
        finally:
            self._ended = True
            _trio_hosts.pop(id(self.trio_token), None)

    def is_gone(self) -> bool:
        return self._ended

    def soon(self, function: Callable[[], object]) -> None:
        self.trio_token.run_sync_soon(function)

    def soon_from_elsewhere(self, function: Callable[[], object]) -> None:
        if self._ended:
            raise RuntimeError("the event loop is gone")
        # Raises trio.RunFinishedError, a RuntimeError.
        self.trio_token.run_sync_soon(function)

    def watch(self) -> None:
        import trio

        self._scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._watch, self._scope)

    def unwatch(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None

    async def _watch(self, scope: trio.CancelScope) -> None:
        import trio

        with scope:
            while True:
                await trio.lowlevel.wait_readable(self.engine.descriptor)
                self.take()

    def waiter(self) -> Waiter:
        """Something to wait for."""
        return _TrioWaiter()


AnyHost = Union[AsyncioHost, TrioHost]

_trio_hosts: Dict[int, TrioHost] = {}


def trio_runs() -> bool:
    """Says whether it is trio that runs this very code."""
    sniffio = sys.modules.get("sniffio")
    return sniffio is not None and sniffio.thread_local.name == "trio"


def _enter_trio() -> TrioHost:
    import trio

    token = trio.lowlevel.current_trio_token()
    host = _trio_hosts.get(id(token))
    if host is None or host.trio_token is not token:
        host = _trio_hosts[id(token)] = TrioHost(_engine.engine(), token)
    return host


async def in_thread(
    function: Callable[..., T], *arguments: Any, abandon: bool = False, timeout: Optional[float] = None
) -> T:
    """Runs a function of Python's own that may block on a thread: for what the library has no operation.

    abandon: where nobody waits any more, what it gives is not needed. Only then may there be a timeout, in seconds.
    """
    if trio_runs():
        import trio

        with trio.move_on_after(float("inf") if timeout is None else timeout):
            return await trio.to_thread.run_sync(function, *arguments, abandon_on_cancel=abandon)
    else:
        running = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
        if timeout is None:
            return await running
        if await asyncio.wait([running], timeout=timeout) != (set(), {running}):
            return running.result()
        running.cancel()
    raise errors.make(_abi.SL_ERR_TIMED_OUT)


async def in_thread_to_the_end(function: Callable[..., T], *arguments: Any) -> T:
    """Likewise for what must happen: it does, and is waited for, also where the task is cancelled."""
    if trio_runs():
        import trio

        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(function, *arguments)
    future = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        return await asyncio.shield(future)
    except CancelledError:
        await asyncio.wait([future])
        raise


def _after_fork() -> None:
    _asyncio_hosts.clear()
    _trio_hosts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
