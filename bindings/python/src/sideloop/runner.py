"""Coroutines on a loop of sideloop's own: tasks, and the runner that drives them.

A task is an `async def` coroutine or a generator that yields what it waits for: an operation, a task, or another
coroutine. `Loop.run` drives all tasks on the thread that calls it. In each turn every task that can go on does, what
they have submitted goes to the library in one call, and the events that have come wake tasks for the next turn. Only
`Task._wake` is called from other threads (by whichever takes the events), with the loop's lock held.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import types
from collections import deque
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Coroutine,
    Deque,
    Generator,
    Generic,
    Iterator,
    List,
    Optional,
    Protocol,
    Sequence,
    Set,
    TypeVar,
    Union,
    cast,
)

from . import _abi, errors
from .errors import Cancelled
from .operations import Operation, Outcome

if TYPE_CHECKING:
    from .loop import Loop

T = TypeVar("T")

# What can be run as a task.
Runnable = Union[Coroutine[Any, Any, T], Generator[Any, Any, T]]
# What a task can wait for.
Waited = Union[Operation[T], "Task[T]", Coroutine[Any, Any, T], Generator[Any, Any, T]]

# Lets `async def` await a generator of operations.
coroutine = types.coroutine


class Waitable(Protocol):
    """What operations and tasks have in common."""

    def _watch(self, wake: Callable[[], None]) -> bool:
        """Has `wake` called once, when there is something to fetch; False where there is already."""

    def _fetch(self) -> Optional[Outcome]:
        """What there is to have; None where there is nothing yet."""

    def _interrupt(self) -> object:
        """Asks it to end soon, because who waits for it is cancelled."""


class Task(Generic[T]):
    """A coroutine that runs beside others. Awaiting it gives what it returns."""

    def __init__(self, runner: Runner, body: Runnable[T]) -> None:
        if not hasattr(body, "send") or not hasattr(body, "throw"):
            raise TypeError(f"a coroutine or a generator is needed, not {type(body).__name__}")
        self._runner = runner
        self._body = body
        # What it waits for, and what it is to be told when it goes on.
        self._waits_for: Optional[Waitable] = None
        self._message: Outcome = (None, None)
        self._cancel_wanted = False
        self._outcome: Optional[Outcome] = None
        self._watchers: List[Callable[[], None]] = []
        self._unseen: Optional[_Unseen] = None

    @property
    def loop(self) -> Loop:
        """The loop that it runs on."""
        return self._runner.loop

    @property
    def name(self) -> str:
        """The name of its function."""
        return str(getattr(self._body, "__qualname__", type(self._body).__name__))

    def done(self) -> bool:
        """Says whether it has ended."""
        return self._outcome is not None

    def result(self) -> T:
        """What it returned; raises what it raised. RuntimeError where it is still running."""
        outcome = self._fetch()
        if outcome is None:
            raise RuntimeError(f"{self!r} is still running: await it first")
        if outcome[1] is not None:
            raise outcome[1]
        return cast(T, outcome[0])

    def cancel(self) -> None:
        """Has `Cancelled` raised where the task waits, once what it waits for has ended (which is cancelled too).

        A result that comes first is not lost: the task gets it, and `Cancelled` where it waits next.
        """
        if self._outcome is None and not self._cancel_wanted:
            self._cancel_wanted = True
            if self._waits_for is not None:
                self._waits_for._interrupt()

    def __await__(self) -> Generator[Task[T], Any, T]:
        value: T = yield self
        return value

    def __repr__(self) -> str:
        outcome = self._outcome
        state = "running" if outcome is None else "done" if outcome[1] is None else f"failed: {outcome[1]!r}"
        return f"<sideloop.Task {self.name}: {state}>"

    # As a Waitable.

    def _watch(self, wake: Callable[[], None]) -> bool:
        if self._outcome is not None:
            return False
        self._watchers.append(wake)
        return True

    def _fetch(self) -> Optional[Outcome]:
        if self._unseen is not None:
            self._unseen.error = None
        return self._outcome

    def _interrupt(self) -> object:
        self.cancel()
        return None

    # What the runner does with it.

    def _wake(self) -> None:
        self._runner._runnable.append(self)

    def _go_on(self) -> None:
        """Runs the body until it waits for something that is not there yet, or ends."""
        if self._waits_for is not None:
            message = self._waits_for._fetch()
            if message is None:
                # Another task was faster.
                self._wait(self._waits_for)
                return
            self._waits_for, self._message = None, message
            if self._cancel_wanted and isinstance(message[1], Cancelled):
                self._cancel_wanted = False
        elif self._cancel_wanted and self._message[1] is None:
            self._cancel_wanted = False
            self._message = (None, errors.make(_abi.SL_ERR_CANCELLED))
        value, error = self._message
        self._message = (None, None)
        try:
            waited = self._body.send(value) if error is None else self._body.throw(error)
        except StopIteration as stop:
            self._finish((stop.value, None))
        except BaseException as problem:
            # Without this frame: it would hold the task, which holds the problem.
            tail = problem.__traceback__ and problem.__traceback__.tb_next
            self._finish((None, problem.with_traceback(tail)))
        else:
            self._wait_for(waited)
        finally:
            del value, error

    def _wait_for(self, waited: Any) -> None:
        if waited is None:
            # A bare yield lets others run.
            self._wake()
        elif hasattr(waited, "send"):
            self._wait(self._runner.spawn(waited))
        elif not hasattr(waited, "_watch"):
            self._fail(TypeError(f"a task can wait for operations, tasks and coroutines, not {waited!r}"))
        elif getattr(waited, "loop", self._runner.loop) is not self._runner.loop:
            self._fail(RuntimeError(f"a task can wait for what is on its own loop, unlike {waited!r}"))
        else:
            self._wait(waited)

    def _fail(self, error: Exception) -> None:
        """Raises an error in the body, in the next turn."""
        self._message = (None, error)
        self._wake()

    def _wait(self, waited: Waitable) -> None:
        self._waits_for = waited
        if self._cancel_wanted:
            waited._interrupt()
        if not waited._watch(self._wake):
            self._wake()

    def _finish(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._runner._tasks.discard(self)
        error = outcome[1]
        if error is not None and not isinstance(error, Exception):
            # KeyboardInterrupt or SystemExit: not a matter between tasks.
            self._runner._crash = error
        elif error is not None and not isinstance(error, Cancelled):
            self._unseen = _Unseen(self.name, error)
        watchers, self._watchers = self._watchers, []
        for wake in watchers:
            wake()


class _Unseen:
    """An error of a task that nobody has seen yet, and that would be lost with the task.

    An object of its own, so that tasks that have not failed have no destructor: Python drops an interrupt in one.
    """

    def __init__(self, name: str, error: Exception) -> None:
        self._name = name
        self.error: Optional[Exception] = error

    def __del__(self) -> None:
        if self.error is not None:
            # sys.unraisablehook reports it.
            raise RuntimeError(f"{self._name} failed, and nobody awaited it") from self.error


class Runner:
    """Drives the tasks of one `Loop.run`."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._thread = threading.get_ident()
        self._runnable: Deque[Task[Any]] = deque()
        self._tasks: Set[Task[Any]] = set()
        self._crash: Optional[BaseException] = None
        # How often events had come when the library last had no room.
        self._arrivals = 0
        # Whether it waits for events, and whether Ctrl-C came while it did not.
        self._waits = self._interrupted = False

    def runs_here(self) -> bool:
        """Whether the calling thread is the one that it runs on."""
        return self._thread == threading.get_ident()

    def run(self, main: Runnable[T]) -> T:
        """Runs a coroutine to its end, then cancels and ends the tasks that are left, and returns what it returned."""
        loop = self.loop
        task = self.spawn(main)
        if loop._runner is not None or runner_here() is not None:
            main.close()
            raise RuntimeError("run cannot be called while coroutines run on this loop or this thread: use spawn")
        if loop._closing:
            main.close()
            raise loop._closed_error()
        with self._interrupts():
            loop._runner = _current.runner = self
            try:
                with loop.batch():
                    try:
                        self._turn_until(task.done)
                    except BaseException:
                        # It cuts the end of the tasks short only where it comes again.
                        self._interrupted = False
                        raise
                    finally:
                        self._end_tasks()
            finally:
                loop._runner = _current.runner = None
        if self._interrupted:
            # Nothing has waited since.
            self._crash = KeyboardInterrupt()
        if self._crash is not None:
            task._fetch()
            raise self._crash
        return task.result()

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Has Ctrl-C end the tasks between two of their steps, or while all of them wait, as asyncio does.

        Python's own handler raises anywhere: in the middle of what is done here, where a task may be lost, or in a
        destructor, where the interrupt is. Where the program has a handler, or runs this on another thread, that stays.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGINT) == self._on_interrupt:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_interrupt(self, _number: int, _frame: Optional[types.FrameType]) -> None:
        # The second one does not wait for a task that computes; and neither a forked child nor whoever has kept this
        # handler has anything that would notice.
        at_once = self._waits or self._interrupted or self.loop._forked or self.loop._runner is not self
        self._interrupted = True
        if at_once:
            raise KeyboardInterrupt

    def spawn(self, body: Runnable[T]) -> Task[T]:
        """Starts a task; it first runs in the next turn."""
        task = Task(self, body)
        self._tasks.add(task)
        task._wake()
        return task

    def _turn_until(self, enough: Callable[[], bool]) -> None:
        runnable, loop = self._runnable, self.loop
        while not enough():
            for _ in range(len(runnable)):
                # It leaves the queue afterwards, so that an interrupt does not lose it.
                runnable[0]._go_on()
                runnable.popleft()
                if self._crash is not None:
                    raise self._crash
                self._tell_interrupt()
            loop._flush(patient=True)
            self._arrivals = loop._arrivals
            loop._run_callbacks()
            if runnable or enough():
                loop._wait_until(_never, 0, patient=True)
            else:
                loop._wait_until(self._can_go_on, None, patient=True)
            self._tell_interrupt()

    def block(self, wait: Callable[[int, float], object], descriptor: int, seconds: float) -> None:
        """Calls what blocks this thread; the one place where Ctrl-C raises at once."""
        before, self._waits = self._waits, True
        try:
            self._tell_interrupt()
            wait(descriptor, seconds)
        except KeyboardInterrupt:
            self._interrupted = False
            raise
        finally:
            self._waits = before

    def _tell_interrupt(self) -> None:
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt

    def _can_go_on(self) -> bool:
        if self._runnable or self.loop._callbacks or self._interrupted:
            return True
        if not self.loop._table:
            raise RuntimeError("every task waits for another, and no operation is under way")
        # Whatever has ended makes room for what the library had no room for.
        return bool(self.loop._batches.get(self._thread)) and self._arrivals != self.loop._arrivals

    def _end_tasks(self) -> None:
        """Cancels every task that still runs, once, and lets all of them end."""
        crash, self._crash = self._crash, None
        told: Set[Task[Any]] = set()

        def ended() -> bool:
            for task in self._tasks - told:
                told.add(task)
                task.cancel()
            return not self._tasks

        self._turn_until(ended)
        self._crash = crash


_current = threading.local()


def _never() -> bool:
    return False


def runner_here() -> Optional[Runner]:
    """The runner that drives coroutines on the calling thread."""
    return getattr(_current, "runner", None)


def _running() -> Runner:
    runner = runner_here()
    if runner is None:
        raise RuntimeError("this works only inside a coroutine that Loop.run drives")
    return runner


def current_loop() -> Loop:
    """The loop that runs the calling coroutine."""
    return _running().loop


def spawn(body: Runnable[T]) -> Task[T]:
    """Starts a coroutine or generator beside the calling one."""
    return _running().spawn(body)


def sleep(seconds: float) -> Operation[int]:
    """Waits for a while: `await sleep(1)`, or `yield sleep(1)` in a generator."""
    return current_loop().timer(seconds)


class _Join:
    """Wakes one task when enough of several waitables have ended, or the first has failed, and keeps their outcomes."""

    def __init__(self, runner: Runner, waited: Sequence[Waited[Any]], enough: int) -> None:
        self._lock = runner.loop._lock
        self._children: List[Any] = [child if hasattr(child, "_watch") else runner.spawn(child) for child in waited]
        self._left = enough
        self._watchers: List[Callable[[], None]] = []
        self._outcome: Optional[Outcome] = None if enough else (None, None)
        self.outcomes: List[Optional[Outcome]] = [None] * len(waited)
        with self._lock:
            for index, child in enumerate(self._children):
                ended = functools.partial(self._ended, index)
                if not child._watch(ended):
                    ended()

    def _ended(self, index: int) -> None:
        outcome = self.outcomes[index] = self._children[index]._fetch()
        self._left -= 1
        if self._left == 0 or (outcome is not None and outcome[1] is not None):
            self._open((None, None))

    def _open(self, outcome: Outcome) -> None:
        with self._lock:
            if self._outcome is None:
                self._outcome = outcome
                for wake in self._watchers:
                    wake()

    def _watch(self, wake: Callable[[], None]) -> bool:
        with self._lock:
            if self._outcome is None:
                self._watchers.append(wake)
                return True
            return False

    def _fetch(self) -> Optional[Outcome]:
        return self._outcome

    def _interrupt(self) -> object:
        self._open((None, errors.make(_abi.SL_ERR_CANCELLED)))
        return None

    def __await__(self) -> Generator[_Join, Any, None]:
        yield self

    async def end(self) -> None:
        """Cancels what is still under way, and waits until all of it has ended."""
        left = [child for child, outcome in zip(self._children, self.outcomes) if outcome is None]
        for child in left:
            child._interrupt()
        for child in left:
            try:
                await child
            except Exception:  # It is in its outcome.
                pass


async def gather(*waited: Waited[Any]) -> List[Any]:
    """Waits for operations, tasks and coroutines at a time, and returns their results in that order.

    Where one fails, or the caller is cancelled, the others are cancelled; when all have ended, that error is raised.
    """
    join = _Join(_running(), waited, len(waited))
    try:
        await join
    except BaseException:
        await join.end()
        raise
    failure = next((outcome[1] for outcome in join.outcomes if outcome is not None and outcome[1] is not None), None)
    if failure is not None:
        await join.end()
        raise failure
    return [outcome[0] for outcome in join.outcomes if outcome is not None]


async def within(seconds: float, waited: Waited[T]) -> T:
    """Waits for an operation, task or coroutine; cancels it and raises `TimedOut` where it takes longer."""
    timer = sleep(seconds)
    join = _Join(_running(), (waited, timer), 1)
    child = join._children[0]
    try:
        await join
    except BaseException:
        await join.end()
        raise
    in_time = join.outcomes[0] is not None
    await join.end()
    try:
        # Its real result may still have come before the cancellation.
        result: T = await child
        return result
    except Cancelled:
        if in_time:
            raise
        raise errors.make(_abi.SL_ERR_TIMED_OUT, 0, f"not done within {seconds} seconds") from None
