"""A program that ends with all sorts of work under way: `exit_busy.py ENDING SEED`, run by test_exit.py.

The seed chooses what is under way, how far it gets before the end, and what daemon threads do then.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import os
import random
import sys
import threading
import warnings
from typing import Any, Callable, Dict, List, NamedTuple

import sideloop
from sideloop import engine

unix = sys.platform != "win32"
# The module loses its __file__ when it has run.
PROGRAM = __file__


class Busy:
    """A loop with work under way."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.loop = sideloop.Loop()
        self.listener = self.loop.listen("127.0.0.1:0")
        accepting = self.listener.accept(multishot=True)
        self.client = self.loop.connect(self.listener.local_address()).wait()
        self.server = next(accepting)
        self.file = self.loop.open("exit_busy.tmp", "w+").wait()
        self.ended: List[object] = []
        self.operations: List[sideloop.Operation[Any]] = []

    def begin(self) -> None:
        """Begins some of everything; some of it is cancelled, forgotten, or waits for a callback."""
        chance, loop = self.chance, self.loop
        kinds: List[Callable[[], sideloop.Operation[Any]]] = [
            self.server.receive,
            lambda: self.server.receive(multishot=True),
            lambda: self.server.receive_into(bytearray(1 << 16), exact=True),
            lambda: self.client.send(bytes(1 << 20)),
            lambda: self.client.sendv([b"some", bytearray(1 << 16)]),
            lambda: loop.connect(self.listener.local_address()),
            lambda: self.listener.accept(timeout=0.001),
            lambda: self.file.read(1 << 16, 0),
            lambda: self.file.write(bytes(1 << 16), 0),
            self.file.sync,
            lambda: loop.read_file(PROGRAM),
            lambda: loop.write_file("exit_busy.other", bytes(1 << 16)),
            lambda: loop.open(PROGRAM),
            lambda: loop.timer(3600),
            lambda: loop.timer(0.0001, 0.0001),
            lambda: loop.post(1),
            loop.nop,
        ]
        if unix:
            kinds.append(lambda: loop.work(ctypes.CDLL(None).usleep, 1000))
        for _ in range(chance.randrange(100)):
            operation = chance.choice(kinds)()
            ways: List[Callable[[], object]] = [
                operation.cancel,
                operation.forget,
                functools.partial(operation.add_done_callback, self.ended.append),
                functools.partial(operation.add_callback, self.ended.append),
                lambda: None,
            ]
            chance.choice(ways)()
            self.operations.append(operation)

    def go_on(self) -> None:
        """Lets some time pass, as the loop sees it."""
        for _ in range(self.chance.randrange(30)):
            self.loop.post(1).wait()

    def wait(self) -> None:
        """Waits for what does not come, in one of the calls that wait."""
        loop = self.loop
        tick = loop.timer(3600, 3600)
        ways: List[Callable[[], object]] = [
            loop.timer(3600).wait,
            lambda: next(tick),
            loop.wait,
            lambda: loop.dispatch(None),
            lambda: loop.run(self.tasks()),
        ]
        way = self.chance.choice(ways)
        while True:
            way()

    def work_on(self) -> None:
        """Never stops to submit."""
        while True:
            self.loop.read_file(PROGRAM).wait()
            with self.loop.batch():
                operations = [self.loop.post(number) for number in range(10)]
            for operation in operations:
                operation.wait()

    async def tasks(self) -> None:
        """Has tasks under way that wait for this and that."""

        async def ticks() -> None:
            async for _ in self.loop.timer(0.001, 0.001):
                await self.loop.read_file(PROGRAM)

        await sideloop.gather(ticks(), ticks(), sideloop.sleep(3600))

    def in_threads(self) -> None:
        """Has daemon threads do any of that. Coroutines take the events, so that only one thread may run some."""
        for _ in range(self.chance.randrange(4)):
            threading.Thread(target=self.chance.choice([self.wait_for_one, self.work_on]), daemon=True).start()

    def wait_for_one(self) -> None:
        self.loop.timer(3600).wait()


def fall_off(busy: Busy) -> None:
    pass


def leave(busy: Busy) -> None:
    sys.exit(3)


def fail(busy: Busy) -> None:
    raise ValueError("on purpose")


def stop_at_once(busy: Busy) -> None:
    os._exit(4)


def stop_at_once_from_a_thread(busy: Busy) -> None:
    threading.Thread(target=os._exit, args=(4,)).start()
    busy.wait()


def wait_for_a_signal(busy: Busy) -> None:
    # It may come between the call of a coroutine function and the first step.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    print("ready", flush=True)
    busy.wait()


def leave_a_with(busy: Busy) -> None:
    with Busy(busy.chance).loop as loop, loop.batch():
        loop.timer(3600)
        sys.exit(3)


def leave_a_callback(busy: Busy) -> None:
    other = Busy(busy.chance)
    other.begin()
    other.loop.post(1).add_done_callback(lambda _: leave(other))
    while True:
        other.loop.dispatch(None)


def leave_a_task(busy: Busy) -> None:
    async def main() -> None:
        sideloop.spawn(busy.tasks())
        await busy.loop.post(1)
        sys.exit(3)

    busy.loop.run(main())


def fail_in_a_task(busy: Busy) -> None:
    async def failing() -> None:
        await busy.loop.post(1)
        raise ValueError("on purpose")

    async def main() -> None:
        await sideloop.gather(busy.tasks(), failing())

    busy.loop.run(main())


def leave_threads_that_wait(busy: Busy) -> None:
    for _ in range(3):
        threading.Thread(target=Busy(busy.chance).wait, daemon=True).start()


def leave_a_thread_that_works(busy: Busy) -> None:
    """The interpreter waits for it, and ends the loops after that."""

    def work() -> None:
        busy.loop.timer(0.01).wait()
        busy.begin()

    threading.Thread(target=work).start()


def use_it_at_exit(busy: Busy) -> None:
    atexit.register(busy.begin)


def forget_everything(busy: Busy) -> None:
    """A loop goes while the interpreter is still there, by its destructor."""
    Busy(busy.chance).begin()
    gc.collect()


def become_another_program(busy: Busy) -> None:
    os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(6)"])


def fork(busy: Busy) -> None:
    """The child has nothing to end; it takes the parent's place for whoever waits for it."""
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    if child == 0:
        sys.exit(7)
    sys.exit(os.WEXITSTATUS(os.waitpid(child, 0)[1]))


class Ending(NamedTuple):
    """A way to end, and what is seen of it."""

    end: Callable[[Busy], None]
    # As subprocess has it: negative where a signal ends the program.
    code: int
    # The last line of the only traceback.
    says: str = ""
    # Sent once the program says that it is ready.
    signal: int = 0


ENDINGS: Dict[str, Ending] = {
    "falls off the end": Ending(fall_off, 0),
    "exit": Ending(leave, 3),
    "error": Ending(fail, 1, "ValueError: on purpose"),
    "_exit": Ending(stop_at_once, 4),
    "_exit in a thread": Ending(stop_at_once_from_a_thread, 4),
    "exit in a with": Ending(leave_a_with, 3),
    "exit in a callback": Ending(leave_a_callback, 3),
    "exit in a task": Ending(leave_a_task, 3),
    "error in a task": Ending(fail_in_a_task, 1, "ValueError: on purpose"),
    "daemon threads that wait": Ending(leave_threads_that_wait, 0),
    "a thread that works": Ending(leave_a_thread_that_works, 0),
    "an exit hook that submits": Ending(use_it_at_exit, 0),
    "destructors": Ending(forget_everything, 0),
}
if unix:
    ENDINGS["Ctrl-C"] = Ending(wait_for_a_signal, -2, "KeyboardInterrupt", 2)
    ENDINGS["terminated"] = Ending(wait_for_a_signal, -15, "", 15)
    ENDINGS["exec"] = Ending(become_another_program, 6)
    ENDINGS["fork"] = Ending(fork, 7)


def main() -> None:
    ending, seed = sys.argv[1:]
    # Nothing here takes long to end: what is given up on would hang instead.
    engine.LAST_PATIENCE = 3600.0
    warnings.simplefilter("ignore", ResourceWarning)
    busy = Busy(random.Random(int(seed)))
    with contextlib.ExitStack() as stack:
        if busy.chance.random() < 0.5:
            stack.callback(busy.go_on)
        busy.in_threads()
        busy.begin()
    ENDINGS[ending].end(busy)


if __name__ == "__main__":
    main()
