"""How operations get to the library and their events back: submission, batches, taking events, waiting, closing.

`Loop` (loop.py) is this and what programs call. Any thread may call anything here. What the threads share:

- The table of operations, by the token that the library returns with their events.
- The lock, held to hand over events and to change what waits for them, never while blocking or while calling
  the program's own code. It is re-entrant, since the garbage collector may run a destructor anywhere.
- The reaper: of the threads that wait, one takes the events for all of them, and the others wait until it says that
  there is news. It blocks on the wake descriptor rather than inside the library, so that Ctrl-C interrupts it.

A simulated loop goes on while the reaper is inside the library, so that a seed brings everything back; only where
nothing can come that way, or the program wants the wake descriptor for itself, does it get a thread.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import os
import select
import struct
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from typing import Any, Callable, Deque, Dict, Optional, Tuple, Type

from . import _abi, errors
from ._library import library
from .batches import Batch
from .errors import ShutDownError
from .operations import Convert, Operation
from .runner import Runner, runner_here

# How many events one call takes.
CAPACITY = 512
# How many seconds a loop that nobody closed gets to end its operations.
LAST_PATIENCE = 5.0
# For how many seconds a thread blocks before it looks around. The main thread may not have noticed a signal that came
# just before it blocked, and on Windows none interrupts it. A closing loop may have no event left to wake anybody.
SLICE = 3600.0
MAIN_SLICE = 0.25 if sys.platform == "win32" else 1.0
CLOSING_SLICE = 0.02
# What the library can count, in nanoseconds of 63 bits.
MOST_SECONDS = 9.2e9

_EVENT = struct.Struct(_abi.Event.FORMAT)
_pack_request = struct.Struct(_abi.Request.FORMAT).pack
_REQUEST_SIZE = ctypes.sizeof(_abi.Request)
_sl_submit = library.sl_submit
_sl_poll = library.sl_poll
_sl_wait = library.sl_wait


def nanoseconds(name: str, seconds: float) -> int:
    """Seconds as the library counts time."""
    # Also false for what is not a number.
    if not 0 <= seconds < MOST_SECONDS:
        raise ValueError(f"{name} is out of range: {seconds}")
    return round(seconds * 1e9)


class Engine:
    """The part of `Loop` that moves operations and events."""

    def __init__(self, options: _abi.LoopOptions) -> None:
        self._closed = True
        loop_id = ctypes.c_uint64()
        errors.check(library.sl_loop_open(ctypes.byref(options), ctypes.byref(loop_id)))
        self._id = loop_id.value
        self._closed = self._closing = self._drained = self._forked = False
        self._make_locks()
        self._tokens = itertools.count(1)
        self._table: Dict[int, Operation[Any]] = {}
        # Operations with events that nobody has asked for, oldest first: what poll returns.
        self._ready: Dict[Operation[Any], None] = {}
        self._callbacks: Deque[Tuple[Callable[[Any], object], Any]] = deque()
        # What each thread has gathered to submit at once.
        self._batches: Dict[int, Batch] = {}
        self._runner: Optional[Runner] = None
        self._reaper: Optional[int] = None
        self._arrivals = 0
        self._descriptor: Optional[int] = None
        self._exposed = False
        self._stepped = library.sl_loop_driver(self._id, None, 0) == _abi.SL_DRIVER_SIM
        # Events taken, but not yet handed to their operations.
        self._records: Deque[Tuple[int, ...]] = deque()
        self._prepare_taking()
        _open_loops.add(self)

    def _make_locks(self) -> None:
        # Entered by itself rather than through `_news`, whose methods are Python that an interrupt can come between.
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._close_lock = threading.RLock()

    def _prepare_taking(self) -> None:
        """Makes the one buffer that all events pass through, and a view of it for every count of them."""
        buffer = (_abi.Event * CAPACITY)()
        view = memoryview(buffer).cast("B")
        self._views = {count: view[: count * _EVENT.size] for count in range(CAPACITY + 1)}
        self._poll_arguments = ((self._id,), (ctypes.addressof(buffer),), (CAPACITY,))
        # For simulated loops: in their time, until nothing can happen any more.
        self._wait_arguments = (*self._poll_arguments, (round(MOST_SECONDS * 1e9),))

    # Submitting.

    def _submit(
        self,
        kind: int,
        target: int,
        convert: Convert,
        timeout: Optional[float] = None,
        *,
        buffer: int = 0,
        length: int = 0,
        offset: int = 0,
        flags: int = 0,
        mode: int = 0,
        work: int = 0,
        keep: Tuple[Any, ...] = (),
        filename: Any = None,
        make: Type[Operation[Any]] = Operation,
    ) -> Operation[Any]:
        """Submits one operation, or puts it into this thread's batch. `keep` is held until its last event."""
        token = next(self._tokens)
        loop: Any = self
        operation = make(loop, kind, token, convert, keep, filename)
        op_id = ctypes.c_uint64()
        try:
            # A deadline of 0 would be none.
            deadline = 0 if timeout is None else nanoseconds("timeout", timeout) or 1
            request = _pack(kind, target, buffer, length, offset, flags, mode, token, deadline, work)
            self._table[token] = operation
            batch = self._batch_here()
            if batch is not None:
                batch.entries.append((request, operation))
                return operation
            status = _sl_submit(self._id, request, 1, ctypes.byref(op_id))
            if status < 0:
                raise self._refusal(status, filename)
            operation._id = op_id.value
        except BaseException as error:
            # Where an interrupt came after the library accepted it, it lives on.
            if op_id.value == 0:
                self._table.pop(token, None)
                operation._end((None, error))
            raise
        return operation

    def _refusal(self, status: int, filename: Any) -> errors.Error:
        _stop_if_leaving()
        if self._closing and status in (_abi.SL_ERR_STALE, _abi.SL_ERR_SHUT_DOWN, _abi.SL_ERR_BAD_ID):
            return self._closed_error()
        return errors.last(status, filename)

    def _closed_error(self) -> errors.Error:
        return errors.make(_abi.SL_ERR_SHUT_DOWN, 0, "the loop is closed")

    def _batch_here(self) -> Optional[Batch]:
        """What this thread gathers, where it does."""
        return self._batches.get(threading.get_ident()) if self._batches else None

    def _begin_batch(self) -> bool:
        """Gathers this thread's operations from now on; False where it does already."""
        me = threading.get_ident()
        if me in self._batches:
            return False
        self._batches[me] = Batch()
        return True

    def _end_batch(self) -> None:
        try:
            self._flush(patient=False)
        finally:
            batch = self._batches.pop(threading.get_ident(), None)
            if batch:
                # An interrupt has kept these from being submitted.
                batch.settle()
                for _, operation in batch.entries:
                    self._refuse(operation, errors.make(_abi.SL_ERR_CANCELLED))

    def _flush(self, patient: bool) -> None:
        """Submits what this thread has gathered. An operation that is refused ends with the refusal.

        patient: keep back what the library has no room for just now, where events will make room.
        """
        batch = self._batch_here()
        while batch:
            status, refused = batch.submit(self._id)
            if refused is not None:
                if status == _abi.SL_ERR_AGAIN and patient and len(self._table) > len(batch):
                    return
                operation = refused[1]
                self._refuse(operation, self._refusal(status, operation.filename))
                batch.drop(refused)

    def _withdraw(self, operation: Operation[Any]) -> bool:
        """Ends an operation that waits in this thread's batch as cancelled; False where it does not."""
        batch = self._batch_here()
        if batch is None:
            return False
        batch.settle()
        entry = next((entry for entry in reversed(batch.entries) if entry[1] is operation), None)
        if entry is None:
            return False
        try:
            # A signal handler may have submitted it meanwhile: then it is not there any more.
            batch.drop(entry)
        finally:
            withdrawn = operation._id == 0 and entry not in batch.entries
            if withdrawn:
                self._refuse(operation, errors.make(_abi.SL_ERR_CANCELLED, 0, "", operation.filename))
        return withdrawn

    def _refuse(self, operation: Operation[Any], error: BaseException) -> None:
        """Ends an operation that the library does not know."""
        with self._lock:
            if operation._token in self._table:
                operation._settle((None, error), False)
                self._table.pop(operation._token, None)
        # Another thread may wait for it.
        self._announce()

    # Taking events.

    def _take(self, call: Callable[..., int] = _sl_poll, arguments: Tuple[Tuple[int], ...] = ()) -> int:
        """Takes what the library has and hands it over. For the reaper only; by itself, it never blocks."""
        records = self._records
        try:
            # One call into C from the queue to the deque, so that no signal handler's exception can come between.
            records.extend(
                itertools.chain.from_iterable(
                    map(
                        _EVENT.iter_unpack,
                        map(self._views.__getitem__, map(call, *(arguments or self._poll_arguments))),
                    )
                )
            )
        except KeyError as error:
            status: int = error.args[0]
            if status != _abi.SL_ERR_SHUT_DOWN:
                raise self._refusal(status, None) from None
            self._drained = True
        count = len(records)
        if count:
            with self._lock:
                self._hand_over(records)
                self._arrivals += 1
        return count

    def _hand_over(self, records: Deque[Tuple[int, ...]]) -> None:
        """Gives each event to its operation. Nothing is taken out of a table before it has been dealt with."""
        table = self._table
        record: Tuple[int, ...] = ()
        try:
            while records:
                record = records[0]
                operation = table.get(record[0])
                if operation is not None:
                    operation._arrive(record)
                elif record[5] & _abi.SL_EVENT_LENT:
                    library.sl_buffer_release(record[3])
                if not record[5] & _abi.SL_EVENT_MORE:
                    table.pop(record[0], None)
                records.popleft()
        except BaseException as error:
            # A signal handler raised (Ctrl-C, most likely): the operation whose event this is gets that instead.
            if records and records[0] is record:
                operation = table.get(record[0])
                if operation is not None:
                    operation._settle((None, error), bool(record[5] & _abi.SL_EVENT_MORE))
                if not record[5] & _abi.SL_EVENT_MORE:
                    table.pop(record[0], None)
                records.popleft()
            raise

    def _wait_until(self, ready: Callable[[], bool], timeout: Optional[float], patient: bool = False) -> bool:
        """Takes events, or lets another thread take them, until `ready()` is true or the time is up; says which.

        `ready` is called with the lock held. patient: as for _flush.
        """
        if self._batches:
            self._flush(patient)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                left = self._become_reaper(ready, deadline)
                if left is None:
                    return ready()
                if not self._take() and left and not (self._stepped and self._carry_on(deadline)):
                    if self._stepped and deadline is not None:
                        left = 0.0
                    else:
                        self._block(left)
                        self._take()
            finally:
                _stop_if_leaving()
                with self._lock:
                    if self._reaper == threading.get_ident():
                        self._reaper = None
                        self._news.notify_all()
            if not left:
                with self._lock:
                    return ready()

    def _become_reaper(self, ready: Callable[[], bool], deadline: Optional[float]) -> Optional[float]:
        """Waits until this thread is the reaper, and says for how long it may block; None where there is no need to."""
        me = threading.get_ident()
        patience = MAIN_SLICE if threading.main_thread().ident == me else SLICE
        with self._lock:
            while not ready():
                if self._drained:
                    raise self._closed_error()
                left = patience if deadline is None else max(0.0, min(patience, deadline - time.monotonic()))
                if self._reaper is None or self._reaper == me:
                    self._reaper = me
                    return left
                if left == 0:
                    return None
                self._news.wait(left)
            return None

    def _carry_on(self, deadline: Optional[float]) -> bool:
        """Has a simulated loop go on in this thread until something comes; False where in that time nothing does."""
        if deadline is None:
            arguments = self._wait_arguments
        else:
            arguments = (
                *self._poll_arguments,
                (round(max(0.0, min(deadline - time.monotonic(), MOST_SECONDS)) * 1e9),),
            )
        return self._take(_sl_wait, arguments) > 0 or self._drained

    def _block(self, seconds: float) -> None:
        """Waits for the wake descriptor."""
        if self._closing:
            seconds = min(seconds, CLOSING_SLICE)
        descriptor = self._wake_descriptor()
        runner = runner_here()
        if runner is None:
            _until_readable(descriptor, seconds)
        else:
            runner.block(_until_readable, descriptor, seconds)

    def _wake_descriptor(self) -> int:
        self._stepped = False
        if self._descriptor is None:
            descriptor = ctypes.c_ssize_t()
            errors.check(library.sl_loop_wake_descriptor(self._id, ctypes.byref(descriptor)))
            self._descriptor = descriptor.value
        return self._descriptor

    def _wait_for(self, operation: Operation[Any], timeout: Optional[float]) -> bool:
        """Waits until an operation has something to fetch; its events are then for who waits, not for poll."""
        if not operation._watch(_nothing):
            return True
        try:
            return self._wait_in_passing(operation._available, timeout)
        finally:
            operation._unwatch(_nothing)

    def _wait_in_passing(self, ready: Callable[[], bool], timeout: Optional[float]) -> bool:
        """As _wait_until, for callers who want one thing and leave what came for others where it is."""
        arrivals = self._arrivals
        try:
            return self._wait_until(ready, timeout)
        finally:
            # It must not stay unseen by who watches the wake descriptor.
            if self._exposed and self._arrivals != arrivals and (self._ready or self._callbacks):
                self._announce()

    def _announce(self) -> None:
        """Wakes whoever waits, by an event of nobody's (token 0): there is work that is not in the library's queue."""
        if self._exposed or self._reaper not in (None, threading.get_ident()):
            request = _pack(_abi.SL_POST, self._id, 0, 0, 0, 0, 0, 0, 0, 0)
            # Refused, the queue is full, and so whoever waits has been woken; or the loop is closing.
            _sl_submit(self._id, request, 1, None)
        with self._lock:
            self._news.notify_all()

    def _run_callbacks(self) -> int:
        """Runs the callbacks that wait now, and says how many. What one raises goes to the caller; the rest stay."""
        count = 0
        if self._exposed and self._callbacks and len(self._callbacks) + len(self._ready) > 1:
            # A callback may raise, or run the program's main loop (a modal dialog does): what waits behind it must not
            # stay unseen then.
            self._announce()
        for _ in range(len(self._callbacks)):
            try:
                function, argument = self._callbacks.popleft()
            except IndexError:  # Another thread dispatches too.
                break
            count += 1
            function(argument)
        return count

    # Closing.

    def _close(self) -> None:
        """Ends everything, gives every operation its last event, and frees the loop."""
        with self._close_lock:
            if self._closed:
                return
            self._closing = True
            self._announce()
            if library.sl_loop_shutdown(self._id) == _abi.SL_ERR_FORKED:
                # Nothing here is this process's to end.
                self._forget_everything()
                return
            try:
                self._wait_until(self._is_drained, None)
            except ShutDownError:
                pass
            self._let_go()
            try:
                while self._run_callbacks():
                    pass
            finally:
                if not self._closed:  # By a callback.
                    errors.check(library.sl_loop_close(self._id, _abi.SL_FOREVER))
                    self._forget_everything()

    def _let_go(self) -> None:
        """Waits until no thread uses the wake descriptor, and ends what got no event."""
        with self._lock:
            while self._reaper not in (None, threading.get_ident()):
                self._news.wait()
            # An interrupt can lose an event, and a batch may never have been submitted.
            for operation in list(self._table.values()):
                self._refuse(operation, errors.make(_abi.SL_ERR_CANCELLED))

    def _is_drained(self) -> bool:
        return self._drained

    def _forget_everything(self) -> None:
        _open_loops.discard(self)
        self._closed = self._closing = self._drained = True
        self._ready.clear()
        self._batches.clear()

    def _abandon(self) -> None:
        """Ends a loop that nobody closed, from a destructor or at exit: no lock that another thread may hold."""
        warning = f"unclosed {self!r}"
        status = library.sl_loop_close(self._id, nanoseconds("patience", LAST_PATIENCE))
        if status == _abi.SL_ERR_TIMED_OUT:
            # The library may still touch the memory of these operations: it must never be freed.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._table))
        self._forget_everything()
        # Last, for where warnings are errors it raises.
        warnings.warn(warning, ResourceWarning, source=self)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self._abandon()

    def _after_fork(self) -> None:
        """In the child, where the library refuses everything by itself: locks may be held by threads that are gone."""
        self._forked = True
        self._make_locks()
        self._reaper = None


def _until_readable(descriptor: int, seconds: float) -> None:
    if sys.platform == "win32":
        select.select([descriptor], [], [], seconds)
    else:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll(seconds * 1000)


def _pack(
    kind: int,
    target: int,
    buffer: int,
    length: int,
    offset: int,
    flags: int,
    mode: int,
    token: int,
    deadline: int,
    work: int,
) -> bytes:
    try:
        return _pack_request(
            _REQUEST_SIZE,
            kind,
            target,
            buffer,
            length,
            offset,
            flags,
            mode,
            _abi.SL_DELIVER_QUEUE,
            0,
            token,
            deadline,
            0,
            work,
        )
    except struct.error as error:
        raise out_of_range(error) from None


def out_of_range(error: struct.error) -> Exception:
    """What a program is told whose argument could not be written into a request."""
    if "not an integer" in str(error):
        return TypeError("an argument that must be an integer is none")
    return ValueError("a number is out of range")


def _nothing() -> None:
    """Marks that somebody waits."""


_open_loops: weakref.WeakSet[Engine] = weakref.WeakSet()
# The interpreter is about to end.
_leaving = False


def _stop_if_leaving() -> None:
    """Stops daemon threads whose loop the interpreter's end closes: what they would raise now is of no use."""
    if _leaving and threading.current_thread() is not threading.main_thread():
        threading.Event().wait()


@atexit.register
def _close_all() -> None:
    global _leaving
    _leaving = True
    # Before the interpreter takes its modules apart, and the memory that operations use with them.
    with contextlib.ExitStack() as stack:
        for loop in list(_open_loops):
            if not loop._closed:
                stack.callback(loop._abandon)


def _after_fork() -> None:
    for loop in list(_open_loops):
        loop._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
