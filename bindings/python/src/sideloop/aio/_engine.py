"""The engine under `sideloop.aio`: one loop of the library for the whole process, and a `Host` for each event loop that
uses it.

A host gathers what its event loop's tasks ask for in a turn and submits it in one call; the library's wake descriptor,
which the event loop watches, brings it back to take the events that have come, in one call too. Where the event loop
allows it, their tasks go on before that returns: it saves them a turn. The library's own thread never enters Python.
Everything of a host runs on its event loop's thread, except what `_deliver_foreign` says.

Whichever host wakes first takes events for all; those of another are handed over to that one's thread. An operation
whose event loop is gone is dealt with by whoever takes its event: what it opened is closed, what it was lent goes back.

Memory that the library reads or writes is held in the host's table until the operation's last event, whatever becomes
of the task that asked. Interrupts (Ctrl-C) may raise anywhere in here; so an event leaves the records only after it has
been dealt with, and dealing with it twice does no harm.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import os
import struct
import threading
from collections import deque
from time import perf_counter
from typing import Any, Callable, Deque, Dict, Generator, Optional, Protocol, Tuple, Type

from .. import _abi, buffers, errors
from .._library import library
from ..engine import nanoseconds, out_of_range

# How many events are taken in one call, before their tasks go on.
CAPACITY = 24
# For how many seconds that is done again, while there are more. Everything else of the event loop waits meanwhile.
TURN = 100e-6
# How many operations are submitted in one call at most, so that the library works while a busy turn goes on. Measured
# from 4 to 256: fewer make more calls, more leave the library idle meanwhile.
MOST_GATHERED = 32
# How many receivers are kept to be used again.
MOST_SPARE = 256
# From how many bytes on a transfer takes longer than handing it over, and its result back.
LARGE = 65536
# How many operations under way are no sign that work is: servers and pipes wait for long.
FEW = 8
# How many seconds the operations under way get to end when the interpreter does.
LAST_PATIENCE = 5.0

# Where the bytes of a bytes object begin. They may be written to until somebody else has seen the object, which is how
# the interpreter itself makes them. (CPython; _library.py refuses others.)
BYTES_HEADER = bytes.__basicsize__ - 1

# An event without its operation's id.
_EVENT = struct.Struct(_abi.Event.FORMAT[:2] + "8x" + _abi.Event.FORMAT[3:])
_NO_INLINE = _abi.SL_OPTION_NO_INLINE
_LENT, _MORE = _abi.SL_EVENT_LENT, _abi.SL_EVENT_MORE
# The operations whose results are to be closed.
_OPENING = (_abi.SL_FILE_OPEN, _abi.SL_TCP_CONNECT, _abi.SL_TCP_ACCEPT)
_REQUEST_SIZE = ctypes.sizeof(_abi.Request)
_MOST_BYTES = MOST_GATHERED * _REQUEST_SIZE
_pack_request = struct.Struct(_abi.Request.FORMAT).pack
# The first twelve fields, up to the deadline, without `deliver`: this and what comes after them are 0 here.
_pack_into = struct.Struct(_abi.Request.FORMAT[:8] + "4x" + _abi.Request.FORMAT[9:12]).pack_into

# These calls are short and never block, so they keep the interpreter's lock: giving it up could cost the event loop's
# thread a whole switch interval (5 ms) each time where another thread computes.
_quick = ctypes.PyDLL(library._name, handle=library._handle)
_submit = _quick.sl_submit
_submit.argtypes, _submit.restype = (ctypes.c_void_p,) * 4, ctypes.c_int32
_poll = _quick.sl_poll
_poll.argtypes, _poll.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.c_int32
_release = _quick.sl_buffer_release
_release.argtypes, _release.restype = (ctypes.c_void_p,), ctypes.c_int32
_cancel = _quick.sl_op_cancel
_cancel.argtypes, _cancel.restype = (ctypes.c_void_p,), ctypes.c_int32
_close = _quick.sl_close
_close.argtypes, _close.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.c_int32
_make_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_make_bytes.argtypes, _make_bytes.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object

Record = Tuple[int, ...]
# Makes the value of an operation from what was kept for it, its result, and the address of lent memory.
Finish = Callable[[Any, int, int], Any]


class Receiver(Protocol):
    """What gets the outcome of an operation."""

    def set_result(self, value: Any, /) -> None:
        """The operation has succeeded. Raises where nobody wants it any more."""

    def set_exception(self, error: BaseException, /) -> None:
        """The operation has failed. Raises where nobody wants it any more."""

    def done(self) -> bool:
        """Says whether it has an outcome, or nobody wants one."""

    def cancelled(self) -> bool:
        """Says whether nobody wants the outcome."""


class Outcome(Receiver, Protocol):
    """Gets the outcome for a task that awaits it: the real end of the operation, also where the task is cancelled,
    which cancels the operation.
    """

    # The operation's, set by `Host.call`, and what is done with a value that the task does not get any more.
    token: int
    salvage: Optional[Callable[[Any], object]]

    def __init__(self, host: Host) -> None: ...

    def __await__(self) -> Generator[Any, Any, Any]:
        """Waits for it. Called once, without delay."""


# An operation under way: who gets its outcome, how its value is made, from what (which also keeps the memory alive),
# what it is about (for errors), the batch it was submitted with, and what to do with a value that nobody wants.
Entry = Tuple[Receiver, Optional[Finish], Any, Any, "Batch", Optional[Callable[[Any], object]]]


class _Nobody:
    """Gets the outcomes that nobody wants any more."""

    def set_result(self, value: Any, /) -> None:
        raise RuntimeError("nobody wants it")

    def set_exception(self, error: BaseException, /) -> None:
        raise RuntimeError("nobody wants it")

    def done(self) -> bool:
        return True

    def cancelled(self) -> bool:
        return True


NOBODY = _Nobody()


def new_bytes(length: int) -> bytes:
    """A bytes object of our own to read into, not filled where that takes time."""
    made: bytes = bytes(length) if length <= 16384 else _make_bytes(None, length)
    return made


def copied(_keep: Any, result: int, data: int) -> bytes:
    """A copy of lent memory."""
    return buffers.copy(data, result)


def filled(keep: bytes, result: int, _data: int) -> bytes:
    """What was read into a bytes object of ours."""
    return keep if result == len(keep) else keep[:result]


def nothing(_keep: Any, _result: int, _data: int) -> None:
    """Success."""


def kept(keep: Any, _result: int, _data: int) -> Any:
    """A structure that the library has filled in."""
    return keep


def discard(resource: int) -> None:
    """Closes what nobody wants, and waits for nothing. Any thread, also from a destructor."""
    _close(resource, None, None)


class Batch:
    """Operations of one turn, submitted together."""

    __slots__ = ("requests", "first", "accepted", "ops")

    def __init__(self) -> None:
        # The token of the first; the others follow it.
        self.first = 0
        self.accepted = 0
        # The ids of those that are accepted.
        self.ops: Any = None
        # Those that the library had no room for.
        self.requests = bytearray()


class Engine:
    """The library's loop that all hosts share."""

    def __init__(self) -> None:
        options = _abi.LoopOptions()
        if os.name == "nt":
            options.flags = _abi.SL_LOOP_WAKE_SOCKET
        number = ctypes.c_uint64()
        errors.check(library.sl_loop_open(ctypes.byref(options), ctypes.byref(number)))
        self.id: int = number.value
        descriptor = ctypes.c_ssize_t()
        errors.check(library.sl_loop_wake_descriptor(self.id, ctypes.byref(descriptor)))
        self.descriptor: int = descriptor.value
        # With a fault plan, or simulated, it has to see everything that is done.
        simulated = library.sl_loop_driver(self.id, None, 0) == _abi.SL_DRIVER_SIM
        self.is_plain = not simulated and not os.environ.get("SIDELOOP_FAULTS")
        # By number; what is in its table is alive as long as it is here.
        self.hosts: Dict[int, Host] = {}
        self._numbers = itertools.count(1)

    def enter(self, host: Host) -> int:
        """Gives a host its number, and forgets those whose event loops are gone and whose operations have ended."""
        for number, other in list(self.hosts.items()):
            if other.is_gone():
                other.disown()
                if not other.table:
                    self.hosts.pop(number, None)
        number = next(self._numbers)
        self.hosts[number] = host
        return number

    def close(self) -> None:
        """Ends everything, at the end of the interpreter."""
        status = library.sl_loop_close(self.id, nanoseconds("patience", LAST_PATIENCE))
        if status == _abi.SL_ERR_TIMED_OUT:
            # The library may still touch the memory of these operations: it must never be freed.
            for host in self.hosts.values():
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(host.table))


class Host:
    """What one event loop has under way. Subclasses say how that event loop is woken, and how its tasks wait."""

    # Public methods for subclasses and the modules of this package; nothing here is for programs.

    # What a task awaits.
    outcome: Type[Outcome]

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.table: Dict[int, Entry] = {}
        self.watching = False
        self._flush_is_due = False
        # This turn has filled a batch already.
        self._is_burst = False
        self._token = engine.enter(self) << 40
        # What this turn has gathered, and where the next request goes.
        self._batch: Optional[Batch] = None
        self._place = 0
        # Batches that the library had no room for, oldest first.
        self._waiting: Deque[Batch] = deque()
        self._records: Deque[Record] = deque()
        # How the tasks go on whose outcomes have come.
        self.woken: Deque[Tuple[Any, ...]] = deque()
        # Receivers whose tasks have gone on: to make new ones would take longer.
        self.spare: Deque[Any] = deque(maxlen=MOST_SPARE)
        buffer = (_abi.Event * CAPACITY)()
        view = memoryview(buffer).cast("B")
        self._requests = bytearray(_MOST_BYTES)
        self._requests_address = ctypes.addressof(ctypes.c_char.from_buffer(self._requests))
        self._views = {count: view[: count * _EVENT.size] for count in range(CAPACITY + 1)}
        self._poll_arguments = ((engine.id,), (ctypes.addressof(buffer),), (CAPACITY,))

    # What an event loop has to offer.

    def is_gone(self) -> bool:
        """Says whether the event loop can run nothing any more. Any thread."""
        raise NotImplementedError

    def soon(self, function: Callable[[], object]) -> None:
        """Has the event loop call this in its next turn."""
        raise NotImplementedError

    def soon_from_elsewhere(self, function: Callable[[], object]) -> None:
        """Likewise, from another thread. RuntimeError where the event loop has ended."""
        raise NotImplementedError

    def watch(self) -> None:
        """Has the event loop call `take` whenever the wake descriptor is readable."""
        raise NotImplementedError

    def unwatch(self) -> None:
        """Ends that."""
        raise NotImplementedError

    def resume(self) -> bool:
        """Has the tasks go on at once whose outcomes have come; False where they go on in the next turn."""
        return False

    # Submitting.

    def call(
        self,
        kind: int,
        target: int,
        buffer: int = 0,
        length: int = 0,
        offset: int = 0,
        flags: int = 0,
        mode: int = 0,
        timeout: Optional[float] = None,
        finish: Optional[Finish] = None,
        keep: Any = None,
        name: Any = None,
        salvage: Optional[Callable[[Any], object]] = None,
        receiver: Any = None,
    ) -> Any:
        """Puts an operation into this turn's batch, and returns its receiver: something that the task which calls this
        has to await next, where no other one is given.

        salvage: called with the value where nobody gets it, since the operation was faster than its cancellation, and
        with the number of bytes where it was cancelled on its way. receiver: gets the operation's number as `token`.
        """
        if receiver is None:
            spare = self.spare
            receiver = spare.pop() if spare else self.outcome(self)
            if salvage is not None:
                receiver.salvage = salvage
        # A deadline of 0 would be none.
        deadline = 0 if timeout is None else nanoseconds("timeout", timeout) or 1
        while True:
            batch = self._batch or self._begin_batch()
            entry = (receiver, finish, keep, name, batch, salvage)
            # The first of a batch may be carried out on this thread, which saves the hand-over. Beside many others the
            # library's thread works while this one goes on; but with a large transfer it pays to help, once a turn.
            options, token, place = _NO_INLINE, self._token, self._place
            if place == 0 and (len(self.table) <= FEW or (length >= LARGE and not self._is_burst)):
                options = 0
            try:
                # Straight into memory that the library reads.
                _pack_into(
                    self._requests,
                    place,
                    _REQUEST_SIZE,
                    kind,
                    target,
                    buffer,
                    length,
                    offset,
                    flags,
                    mode,
                    options,
                    token,
                    deadline,
                )
            except struct.error as error:
                raise out_of_range(error) from None
            # The garbage collector may have destroyed tasks meanwhile, whose last words were calls of this.
            if self._place == place and self._batch is batch:
                break
        self.table[token] = entry
        self._token = token + 1
        self._place = place = place + _REQUEST_SIZE
        receiver.token = token
        if place == _MOST_BYTES:
            self._is_burst = True
            self._submit_gathered()
        return receiver

    def _begin_batch(self) -> Batch:
        batch = Batch()
        if not self._flush_is_due:
            self.soon(self.flush)
            self._flush_is_due = True
        # A task that was destroyed meanwhile may have begun one.
        if self._batch is None:
            batch.first = self._token
            self._batch = batch
        return self._batch

    def flush(self) -> None:
        """Submits what this turn has gathered, and takes what has ended already."""
        self._flush_is_due = self._is_burst = False
        left = self._place or self._waiting or self._records or self.woken
        self._submit_gathered()
        if self.watching and not left:
            # `take` has done so, after the tasks that it had go on.
            return
        if not self.watching and self.table:
            self.watch()
            self.watching = True
        self.take()

    def _submit_gathered(self) -> None:
        """Submits what this turn has gathered, after what waits, as far as the library has room."""
        place, batch, self._place, self._batch = self._place, self._batch, 0, None
        if place and batch is not None:
            count = place // _REQUEST_SIZE
            batch.ops = (ctypes.c_uint64 * count)()
            accepted = 0
            if not self._waiting:
                accepted = _submit(self.engine.id, self._requests_address, count, ctypes.addressof(batch.ops))
                if accepted == count:
                    batch.accepted = count
                    return
            # What refused them is found out again below.
            batch.accepted = max(accepted, 0)
            batch.requests[:] = self._requests[batch.accepted * _REQUEST_SIZE : place]
            self._waiting.append(batch)
        self._submit_waiting()

    def _submit_waiting(self) -> None:
        """Submits what waits, as far as the library has room; events make room."""
        while self._waiting:
            batch = self._waiting[0]
            requests = batch.requests
            while requests:
                where = ctypes.addressof(batch.ops) + 8 * batch.accepted
                status = _submit(self.engine.id, bytes(requests), len(requests) // _REQUEST_SIZE, where)
                if status == _abi.SL_ERR_AGAIN:
                    return
                token = batch.first + batch.accepted
                count = max(status, 1)
                del requests[: count * _REQUEST_SIZE]
                batch.accepted += count
                if status < 0:
                    self._refuse(token, status)
            # Who was told of a refusal may have been here meanwhile.
            if self._waiting and self._waiting[0] is batch:
                self._waiting.popleft()

    def _refuse(self, token: int, status: int) -> None:
        """Ends an operation that the library has refused."""
        entry = self.table.pop(token, None)
        if entry is not None and not entry[0].done():
            entry[0].set_exception(errors.last(status, entry[3]))

    def cancel(self, token: int) -> None:
        """Asks an operation of this host to end; its last event follows."""
        entry = self.table.get(token)
        if entry is None:
            return
        self._submit_gathered()
        batch = entry[4]
        index = token - batch.first
        if index < batch.accepted:
            # Errors say that it has ended already, or that no memory is left to ask.
            _cancel(batch.ops[index])
        elif token in self.table:
            # The library has no room for it, and now it needs none; but what is to be closed must be.
            where = (index - batch.accepted) * _REQUEST_SIZE
            if _abi.Request.from_buffer_copy(batch.requests, where).kind != _abi.SL_CLOSE:
                del self.table[token]
                batch.requests[where : where + _REQUEST_SIZE] = _nop(self.engine.id)
                if not entry[0].done():
                    entry[0].set_exception(errors.make(_abi.SL_ERR_CANCELLED))
        if self.woken:
            # It has ended by that, or others were refused.
            self.soon(self.take)

    def drop(self, token: int) -> None:
        """Nobody will ever want the outcome of this operation."""
        entry = self.table.get(token)
        if entry is not None:
            self.table[token] = (NOBODY, *entry[1:])
            with contextlib.suppress(RuntimeError):
                self.cancel(token)

    # Taking events.

    def take(self) -> None:
        """Takes events that have come, and gives everybody theirs. Never blocks. What is left brings it back."""
        idle = not self.table
        until = perf_counter() + TURN
        try:
            while self._take_some() and perf_counter() < until:
                pass
            self._submit_gathered()
            if idle and self.watching and len(self.engine.hosts) > 1:
                # It was woken by the events of others.
                self.unwatch()
                self.watching = False
        except KeyError:
            # The loop is closed: the interpreter ends.
            pass
        finally:
            if self._records or self.woken:
                self.soon(self.take)

    def _take_some(self) -> bool:
        """Does so once; False where there is no more just now, or the tasks have to go on first."""
        records = self._records
        # One call into C from the queue to the deque, so that no signal handler's exception can come between.
        records.extend(
            itertools.chain.from_iterable(
                map(_EVENT.iter_unpack, map(self._views.__getitem__, map(_poll, *self._poll_arguments)))
            )
        )
        if records:
            self._deliver()
        if self.woken:
            return self.resume()
        if self._place:
            # What the submission itself carries out has ended when it returns.
            self._submit_gathered()
            return True
        return False

    def _deliver(self) -> None:
        """Gives each event to its operation."""
        records, table = self._records, self.table
        while records:
            token, result, detail, _, flags, os_error, data = record = records[0]
            entry = table.get(token)
            if entry is None:
                self._deliver_foreign(record)
            else:
                try:
                    if result < 0:
                        settle(entry, result, detail, flags, os_error, data)
                    else:
                        # What nearly all come to, without the rest of `settle`.
                        finish = entry[1]
                        entry[0].set_result(result if finish is None else finish(entry[2], result, data))
                        # (Mostly there are none, which is found out faster than which.)
                        if flags and flags & _LENT:
                            _release(detail)
                except Exception:
                    settle(entry, result, detail, flags, os_error, data)
                if not (flags and flags & _MORE):
                    del table[token]
            records.popleft()

    def _deliver_foreign(self, record: Record) -> None:
        """Hands an event over to its host. Where that has ended, the operation is dealt with here."""
        token, result, detail, kind, flags, _, _ = record
        host = self.engine.hosts.get(token >> 40)
        if host is None or host is self or token not in host.table:
            # One that came before the operation's last one, by way of another thread, which took longer.
            if flags & _LENT:
                _release(detail)
            elif kind in _OPENING and result > 0:
                discard(result)
            return
        host._records.append(record)
        try:
            host.soon_from_elsewhere(host.take)
        except RuntimeError:
            host.disown()

    def disown(self) -> None:
        """The event loop has ended: nobody wants what comes. Any thread."""
        with _lock:
            self.spare.clear()
            for token, entry in self.table.items():
                self.table[token] = (NOBODY, *entry[1:])
            self._deliver()


def settle(entry: Entry, result: int, detail: int, flags: int, os_error: int, data: int) -> None:
    """Gives an operation its outcome, and lent memory back. May be done twice."""
    receiver, finish, keep, name, _, salvage = entry
    try:
        if result >= 0:
            value = result if finish is None else finish(keep, result, data)
            try:
                receiver.set_result(value)
            except Exception:
                # Cancelled meanwhile, or (after an interrupt) told already.
                if salvage is not None and receiver.cancelled():
                    salvage(value)
        elif receiver.cancelled():
            if salvage is not None and flags & _abi.SL_EVENT_PARTIAL:
                salvage(detail)
        elif not receiver.done():
            done = detail if flags & _abi.SL_EVENT_PARTIAL else 0
            receiver.set_exception(errors.make(result, os_error, "", name, done))
    except Exception as error:  # Out of memory, for one.
        if not receiver.done():
            receiver.set_exception(error)
    if flags & _LENT:
        _release(detail)


def _nop(loop: int) -> bytes:
    return _pack_request(_REQUEST_SIZE, _abi.SL_NOP, loop, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


_engine: Optional[Engine] = None
_lock = threading.Lock()


def engine() -> Engine:
    """The process's engine, opened when it is first asked for."""
    global _engine
    found = _engine
    if found is None:
        with _lock:
            found = _engine
            if found is None:
                found = _engine = Engine()
    return found


def _after_fork() -> None:
    """In the child the parent's engine does not exist. Its tables stay, for nothing must be freed that was in use."""
    global _engine, _lock
    _engine, _lock = None, threading.Lock()


@atexit.register
def shut_down() -> None:
    """Ends the engine with all that is under way, at the end of the interpreter. Who asks later gets another."""
    global _engine
    found, _engine = _engine, None
    if found is not None:
        found.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
