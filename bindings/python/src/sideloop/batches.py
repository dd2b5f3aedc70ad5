"""What a thread has gathered to submit in one call. Used by engine.py, on that thread only.

A signal handler may come anywhere, and raise, or submit something itself: nothing is lost all the same, and nothing is
submitted twice. So what must not be torn apart is one call into C, and takes its leave from an iterator that gives it
only once.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence, Tuple

from ._library import library
from .operations import Operation

# A request, and the operation that it begins.
Entry = Tuple[bytes, Operation[Any]]

_sl_submit: Callable[..., int] = library.sl_submit


class _Call:
    """One submission: made, under way, or interrupted."""

    __slots__ = ("leave", "removal", "operations", "op_ids")

    def __init__(self, loop_id: int) -> None:
        # The leave to submit. Whoever finds the call interrupted, or interrupts it, takes that away.
        self.leave: Iterator[int] = iter((loop_id,))
        # The leave to take out of the batch what was accepted: from its beginning on.
        self.removal: Iterator[int] = iter((0,))
        self.operations: Sequence[Operation[Any]] = ()
        self.op_ids: Iterable[int] = ()

    def accepted(self) -> List[Operation[Any]]:
        """Those that the library has accepted so far: the first of them."""
        return [operation for operation, op_id in zip(self.operations, self.op_ids) if op_id]


class Batch:
    """Requests that one thread has gathered, in their order, and the operations that they begin."""

    def __init__(self) -> None:
        self.entries: List[Entry] = []
        self._call: Optional[_Call] = None

    def __len__(self) -> int:
        return len(self.entries)

    def submit(self, loop_id: int) -> Tuple[int, Optional[Entry]]:
        """Submits what there is. Answers a status, and what was refused with it."""
        self.settle()
        call = self._call = _Call(loop_id)
        entries = list(self.entries)
        call.operations = [operation for _, operation in entries]
        call.op_ids = (ctypes.c_uint64 * len(entries))()
        requests = b"".join([request for request, _ in entries])
        statuses: List[int] = []
        try:
            statuses.extend(map(_sl_submit, call.leave, (requests,), (len(entries),), (call.op_ids,)))
        finally:
            self.settle()
        if statuses and statuses[0] < 0:
            return statuses[0], entries[len(call.accepted())]
        return 0, None

    def settle(self) -> None:
        """Gives operations the ids that the library has given them, and lets go of them."""
        call = self._call
        if call is None:
            return
        # What was not submitted by now is not going to be.
        next(call.leave, None)
        accepted = call.accepted()
        for operation, op_id in zip(accepted, call.op_ids):
            operation._id = op_id
        for _ in map(self.entries.__delitem__, map(slice, call.removal, (len(accepted),))):
            pass
        self._call = None
        for operation in accepted:
            if operation._stopped:
                operation._interrupt()

    def drop(self, entry: Entry) -> None:
        """Lets go of what was refused."""
        with contextlib.suppress(ValueError):
            self.entries.remove(entry)
