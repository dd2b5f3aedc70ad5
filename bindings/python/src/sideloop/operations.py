"""Operations, and the events that they post.

The engine (engine.py) makes an `Operation` at every submission and gives it its events, on whichever thread takes them,
with the loop's lock held. A program, its callbacks and its coroutines (runner.py) ask it for them, on any thread.

Each event is had once: from the operation itself (`wait`, `result`, iteration, `await`), by its callbacks, or, where
nobody has asked for it like that, from `Loop.poll` and `Loop.wait`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Generator, Generic, List, Optional, Tuple, TypeVar, cast

from . import _abi, errors
from ._library import library
from .errors import Cancelled

if TYPE_CHECKING:
    from .loop import Loop

T = TypeVar("T")

# A value, or an error, of which one is None.
Outcome = Tuple[Any, Optional[BaseException]]
# Makes the value of an event from its result and, where the library lends memory, the address of that.
Convert = Callable[[int, Optional[int]], Any]


def _deliver(outcome: Outcome) -> Any:
    """The value of an outcome; raises the error."""
    value, error = outcome
    if error is None:
        return value
    try:
        raise error
    finally:
        del error, outcome


class Event(Generic[T]):
    """What an operation had to say: a value or an error, and whether more will follow."""

    __slots__ = ("operation", "more", "_value", "_error")

    def __init__(self, operation: Operation[T], outcome: Outcome, more: bool) -> None:
        self.operation = operation
        # False for an operation's last event.
        self.more = more
        self._value, self._error = outcome

    def result(self) -> T:
        """The value; raises where the operation failed."""
        try:
            return cast(T, _deliver((self._value, self._error)))
        finally:
            del self

    def exception(self) -> Optional[BaseException]:
        """The error, or None."""
        return self._error

    def __repr__(self) -> str:
        says = f"failed: {self._error!r}" if self._error is not None else f"{self._value!r:.80}"
        return f"<sideloop.Event of {self.operation.name}: {says}{' (more follow)' if self.more else ''}>"


class Operation(Generic[T]):
    """One piece of work under way. `T` is the type of its result."""

    __slots__ = (
        "loop",
        "kind",
        "filename",
        "_id",
        "_token",
        "_keep",
        "_convert",
        "_done",
        "_value",
        "_error",
        "_stopped",
        "_forgotten",
        "_watchers",
        "_callbacks",
        "__weakref__",
    )

    def __init__(
        self, loop: Loop, kind: int, token: int, convert: Convert, keep: Tuple[Any, ...], filename: Any
    ) -> None:
        self.loop = loop
        self.kind = kind
        # What a failure is about, or None.
        self.filename = filename
        # The library's id; 0 until it has been submitted.
        self._id = 0
        self._token = token
        # Memory that the library may touch until the last event; the memoryviews pin that of others.
        self._keep = keep
        self._convert: Optional[Convert] = convert
        self._done = False
        self._value: Any = None
        self._error: Optional[BaseException] = None
        # The program asked it to end, so that its being cancelled is no failure to iteration.
        self._stopped = False
        self._forgotten = False
        # Called once, by whoever takes the next event, with the lock held: tasks that wait.
        self._watchers: Optional[List[Callable[[], None]]] = None
        # Of the program, with whether they want every event: run by poll, wait and dispatch.
        self._callbacks: Optional[List[Tuple[Callable[[Any], object], bool]]] = None

    # What programs call.

    @property
    def name(self) -> str:
        """What it does: "file_read", "tcp_accept", ...."""
        return _abi.KINDS[self.kind][len("SL_") :].lower()

    def done(self) -> bool:
        """Says whether its last event is here. Never blocks."""
        return self._done or self.loop._wait_in_passing(self._is_done, 0)

    def wait(self, timeout: Optional[float] = None) -> T:
        """Waits for the result. Raises what the operation failed with, or TimeoutError where `timeout` passes first.

        Of a multishot operation: waits for the next event and returns its value, and after the last that of the last.
        """
        while True:
            outcome = self._fetch()
            if outcome is not None:
                break
            # Without a timeout it says no where another thread was faster to fetch.
            if not self.loop._wait_for(self, timeout) and timeout is not None:
                raise TimeoutError(f"{self.name} is still under way after {timeout} seconds")
        try:
            return cast(T, _deliver(outcome))
        finally:
            # What is raised holds this frame by its traceback, and the operation holds what is raised.
            del self, outcome

    def result(self) -> T:
        """The result, or raises what the operation failed with. RuntimeError where it is still under way."""
        self._must_be_done()
        self._claim()
        try:
            return cast(T, _deliver((self._value, self._error)))
        finally:
            del self

    def exception(self) -> Optional[BaseException]:
        """What the operation failed with, or None. RuntimeError where it is still under way."""
        self._must_be_done()
        self._claim()
        return self._error

    def cancel(self) -> bool:
        """Asks it to end: as `Cancelled`, or with its real result where that comes first. Returns at once.

        False where it has ended already. Its buffers stay in use until its last event.
        """
        if self._done:
            return False
        self._stopped = True
        return self._interrupt()

    def forget(self) -> None:
        """Nobody wants the result: its events are dropped, so that `poll` need not return them."""
        # Without the lock, since destructors call it; so _leave_to_poll looks again.
        self._forgotten = True
        self._claim()

    def add_done_callback(self, function: Callable[[Operation[T]], object]) -> None:
        """Has `poll`, `wait` or `dispatch` of the loop call `function(operation)` when it has ended, or if it has."""
        self._add_callback(function, False)

    def add_callback(self, function: Callable[[Event[T]], object]) -> None:
        """Has `poll`, `wait` or `dispatch` of the loop call `function(event)` for every event from now on."""
        self._add_callback(function, True)

    def __await__(self) -> Generator[Operation[T], Any, T]:
        value: T = yield self
        return value

    def __repr__(self) -> str:
        about = "" if self.filename is None else f" {self.filename!r}"
        state = "under way" if not self._done else "done" if self._error is None else f"failed: {self._error!r}"
        return f"<sideloop.{type(self).__name__} {self.name}{about}: {state}>"

    # What the engine calls, with the lock held.

    def _arrive(self, record: Tuple[int, ...]) -> None:
        """Takes an event as sl_poll gave it."""
        _, result, _, detail, _, flags, os_error, data = record
        lent = flags & _abi.SL_EVENT_LENT
        value: Any = None
        error: Optional[BaseException] = None
        try:
            if result >= 0:
                assert self._convert is not None
                value = self._convert(result, data if lent else None)
            else:
                done = detail if flags & _abi.SL_EVENT_PARTIAL else 0
                error = errors.make(result, os_error, "", self.filename, done)
        except Exception as problem:  # Out of memory, for one: the value is lost then, but not the event.
            error = problem
        finally:
            if lent:
                library.sl_buffer_release(detail)
        self._settle((value, error), bool(flags & _abi.SL_EVENT_MORE))

    def _settle(self, outcome: Outcome, more: bool) -> None:
        """Keeps an outcome, and tells who waits for it."""
        if not more:
            self._end(outcome)
        self._tell(outcome, more)

    def _tell(self, outcome: Outcome, more: bool) -> None:
        awake = bool(self._watchers)
        while self._watchers:
            self._watchers.pop(0)()
        if not (self._queue_callbacks(outcome, more) or awake or self._forgotten):
            self._leave_to_poll()

    def _leave_to_poll(self) -> None:
        # Where coroutines run, operations that nobody awaits are dropped with the last reference to them.
        if self.loop._runner is None:
            self.loop._ready[self] = None
            if self._forgotten:
                self._claim()

    def _end(self, outcome: Outcome) -> Outcome:
        """Takes the last event, unless it has come already; the memory is the program's again. Returns the outcome."""
        if not self._done:
            self._value, self._error = outcome
            self._done = True
            self._convert = None
        keep, self._keep = self._keep, ()
        for thing in keep:
            if isinstance(thing, memoryview):
                thing.release()
        return self._value, self._error

    def _queue_callbacks(self, outcome: Outcome, more: bool) -> bool:
        """Has the callbacks called that want this event; says whether there are any."""
        queued = False
        for function, every in self._callbacks or ():
            if every or not more:
                self.loop._callbacks.append((function, Event(self, outcome, more) if every else self))
                queued = True
        if not more:
            self._callbacks = None
        return queued

    def _drain(self) -> List[Event[T]]:
        """The events that nobody has had."""
        return [Event(self, (self._value, self._error), False)] if self._done else []

    # What coroutines wait by (see runner.py), and the methods above.

    def _watch(self, wake: Callable[[], None]) -> bool:
        """Has `wake` called once, when there is something to fetch; False where there is already."""
        with self.loop._lock:
            if self._available():
                return False
            if self._watchers is None:
                self._watchers = []
            self._watchers.append(wake)
            return True

    def _fetch(self) -> Optional[Outcome]:
        """What there is to have, claimed; None where there is nothing yet."""
        if not self._done:
            return None
        self._claim()
        return self._value, self._error

    def _interrupt(self) -> bool:
        """Asks the library to end it; what says that it has ended already is no error."""
        # What the library has not got yet it need not get: a task that is cancelled might otherwise go on for ever,
        # from one operation that is faster than its cancellation to the next. But what is to be closed is.
        if self._id == 0 and self.kind != _abi.SL_CLOSE and self.loop._withdraw(self):
            return True
        if self._id == 0:
            # In the batch of another thread, or to be closed: who submits it will see the wish.
            self._stopped = True
            return not self._done
        status = library.sl_op_cancel(self._id)
        if status in (_abi.SL_ERR_ENDED, _abi.SL_ERR_STALE):
            return False
        errors.check(status)
        return True

    def _unwatch(self, wake: Callable[[], None]) -> None:
        with self.loop._lock:
            if self._watchers and wake in self._watchers:
                self._watchers.remove(wake)

    def _available(self) -> bool:
        return self._done

    def _is_done(self) -> bool:
        return self._done

    def _claim(self) -> None:
        self.loop._ready.pop(self, None)

    def _must_be_done(self) -> None:
        if not self.done():
            raise RuntimeError(f"{self.name} is still under way: wait for it first")

    def _add_callback(self, function: Callable[[Any], object], every: bool) -> None:
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called")
        late: List[Any] = []
        with self.loop._lock:
            if every or self._done:
                self._claim()
                late = self._drain() if every else [self]
                self.loop._callbacks.extend((function, argument) for argument in late)
            if not self._done:
                self._callbacks = self._callbacks or []
                self._callbacks.append((function, every))
        if late:
            self.loop._announce()


class Multishot(Operation[T]):
    """An operation with many events (accepting, receiving, ticking). Iterating over it waits for each value.

    Iteration ends quietly with the end of the stream or after `cancel`; any other end raises.
    """

    __slots__ = ("_backlog",)

    def __init__(
        self, loop: Loop, kind: int, token: int, convert: Convert, keep: Tuple[Any, ...], filename: Any
    ) -> None:
        super().__init__(loop, kind, token, convert, keep, filename)
        # Events that nobody has had yet, with whether more follow.
        self._backlog: Deque[Tuple[Outcome, bool]] = deque()

    def __iter__(self) -> Multishot[T]:
        return self

    def __next__(self) -> T:
        following = _Next(self)
        while True:
            outcome = following._fetch()
            if outcome is None:
                self.loop._wait_for(self, None)
            elif outcome[0] is _END:
                raise StopIteration
            else:
                break
        try:
            return cast(T, _deliver(outcome))
        finally:
            del self, outcome, following

    def __aiter__(self) -> Multishot[T]:
        return self

    async def __anext__(self) -> T:
        value = await _Next(self)
        if value is _END:
            raise StopAsyncIteration
        result: T = value
        return result

    def _tell(self, outcome: Outcome, more: bool) -> None:
        if not (self._queue_callbacks(outcome, more) or self._forgotten):
            self._backlog.append((outcome, more))
        if self._watchers:
            # One event is for one of them; the end is for all.
            for _ in range(1 if more else len(self._watchers)):
                self._watchers.pop(0)()
        elif self._backlog:
            self._leave_to_poll()

    def _available(self) -> bool:
        return self._done or bool(self._backlog)

    def _fetch(self) -> Optional[Outcome]:
        entry = self._pop()
        if entry is not None:
            return entry[0]
        return (self._value, self._error) if self._done else None

    def _pop(self) -> Optional[Tuple[Outcome, bool]]:
        with self.loop._lock:
            entry = self._backlog.popleft() if self._backlog else None
            if not self._backlog:
                self._claim()
            return entry

    def _drain(self) -> List[Event[T]]:
        entries, self._backlog = self._backlog, deque()
        return [Event(self, outcome, more) for outcome, more in entries]


# The end of an iteration.
_END: Any = object()


class _Next:
    """Waits for the next value of a multishot operation, or for the end of the iteration over it."""

    __slots__ = ("_operation", "_watch", "_interrupt")

    def __init__(self, operation: Multishot[Any]) -> None:
        self._operation = operation
        self._watch = operation._watch
        self._interrupt = operation._interrupt

    def __await__(self) -> Generator[_Next, Any, Any]:
        return (yield self)

    def _fetch(self) -> Optional[Outcome]:
        operation = self._operation
        entry = operation._pop()
        if entry is None:
            return (_END, None) if operation._done else None
        outcome, more = entry
        wanted = outcome[1] is None or (operation._stopped and isinstance(outcome[1], Cancelled))
        return (_END, None) if wanted and not more else outcome
