"""One run of one work by one peer on one event loop, in a process of its own: files.py starts it, and takes the line of
JSON that it prints.

    measure.py WORK PEER HOST FOLDER BUDGET [--quick]

A run begins by reading everything once, so that the system has it in its cache, and with a fiftieth of the work, twice:
threads are started, rings are set up. Where the whole would take longer than BUDGET seconds, a part of it is done. What
takes less than half a second is done again and again for so long, and the median counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import time
from typing import Any, AsyncIterator, Awaitable, Callable, Coroutine, Dict, Iterator, List, Sequence

import works
from peers import PEERS
from works import LARGE_SIZE, LATENESS, NO_LOOP, SMALL_SIZE, WIDTH, Work

Figures = Dict[str, float]
Main = Callable[[], Coroutine[Any, Any, Any]]
# Does a part of the work: so many operations.
Part = Callable[[int], Any]

# The period of the ticker.
PERIOD = 1e-3
# For how many seconds the work is done again, at least.
ENOUGH = 0.5


class Input:
    """What is read, made by files.py, and where."""

    def __init__(self, folder: str, work: Work, count: int) -> None:
        small = os.path.join(folder, "small")
        self.kind = work.name.replace("-late", "")
        self.paths = [os.path.join(small, name) for name in sorted(os.listdir(small))]
        self.large = os.path.join(folder, "large")
        self.lines = os.path.join(folder, "lines")
        # How many bytes an operation reads.
        self.size = LARGE_SIZE if self.kind == "random" else SMALL_SIZE
        blocks = (os.stat(self.large).st_size - self.size) // SMALL_SIZE
        # The same ones for everybody.
        generator = random.Random(7)
        self.offsets = [generator.randint(0, blocks) * SMALL_SIZE for _ in range(count)]

    def cache(self) -> None:
        """Has the system read it all: it may have dropped since what nobody had read for a while."""
        large, lines = [self.large], [self.lines]
        read = {"whole": self.paths, "open": self.paths, "random": large, "reads": large, "lines": lines}
        for path in read.get(self.kind, []):
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def expect(got: int, wanted: int) -> None:
    """Nobody is measured who does less than the others."""
    if got != wanted:
        raise AssertionError(f"{got} in place of {wanted}")


# --- Event loops.


class Asyncio:
    """asyncio's own event loop."""

    sleep = staticmethod(asyncio.sleep)

    def run(self, main: Main) -> Any:
        """Runs a coroutine to its end."""
        return asyncio.run(main())

    async def all(self, functions: Sequence[Main]) -> None:
        """Runs several at once."""
        await asyncio.gather(*(function() for function in functions))


class Uvloop(Asyncio):
    """uvloop in its place."""

    def run(self, main: Main) -> Any:
        """Runs a coroutine to its end."""
        import uvloop

        return uvloop.run(main())


class Trio:
    """trio."""

    def __init__(self) -> None:
        import trio

        self._trio: Any = trio
        self.sleep: Any = trio.sleep

    def run(self, main: Main) -> Any:
        """Runs a coroutine to its end."""
        return self._trio.run(main)

    async def all(self, functions: Sequence[Main]) -> None:
        """Runs several at once."""
        async with self._trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)


HOSTS: Dict[str, Callable[[], Any]] = {"asyncio": Asyncio, "uvloop": Uvloop, "trio": Trio}


# --- Works of asynchronous peers.


@contextlib.asynccontextmanager
async def asynchronous(peer: Any, host: Any, given: Input) -> AsyncIterator[Part]:
    """Gives what does a part of the work."""
    if given.kind == "whole" and hasattr(peer, "read_files"):
        yield all_at_once(peer, given)
    elif given.kind == "whole":
        yield spread(host, peer.read_file, given.paths, given.size)
    elif given.kind == "open":
        yield spread(host, peer.open_and_read, given.paths, given.size)
    elif given.kind == "nop":
        yield nothing(host, peer.nop())
    elif given.kind == "lines":
        yield lines(peer, given)
    else:
        async with peer.preader(given.large, given.size) as pread:
            yield spread(host, pread, given.offsets, given.size)


def spread(host: Any, function: Callable[[Any], Awaitable[bytes]], items: Sequence[Any], size: int) -> Part:
    """64 tasks that take their items from one list."""

    async def part(count: int) -> None:
        left, total = iter(items[:count]), 0

        async def worker() -> None:
            nonlocal total
            done = 0
            for item in left:
                done += len(await function(item))
            total += done

        await host.all([worker] * WIDTH)
        expect(total, count * size)

    return part


def all_at_once(peer: Any, given: Input) -> Part:
    """The peer gets all paths, and keeps 64 files under way by itself."""

    async def part(count: int) -> None:
        expect(await peer.read_files(given.paths[:count]), count * given.size)

    return part


def nothing(host: Any, function: Callable[[], Awaitable[Any]]) -> Part:
    """64 tasks of which each waits for one no-op after the other."""

    async def part(count: int) -> None:
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                await function()

        await host.all([worker] * WIDTH)

    return part


def lines(peer: Any, given: Input) -> Part:
    """One task that takes line after line."""

    async def part(count: int) -> None:
        found = 0
        async with peer.lines(given.lines) as file:
            async for _ in file:
                found += 1
                if found == count:
                    break
        expect(found, count)

    return part


# --- Works without an event loop.


@contextlib.contextmanager
def blocking(peer: Any, given: Input) -> Iterator[Part]:
    """Gives what does a part of the work."""

    def take_lines(count: int) -> None:
        found = 0
        with peer.lines(given.lines) as file:
            for _ in file:
                found += 1
                if found == count:
                    break
        expect(found, count)

    def each_of(function: Callable[[Any], bytes], items: Sequence[Any]) -> Part:
        def part(count: int) -> None:
            expect(sum(map(len, peer.each(function, items[:count]))), count * given.size)

        return part

    if given.kind == "lines":
        yield take_lines
    elif given.kind in ("whole", "open"):
        yield each_of(peer.read_file, given.paths)
    else:
        with peer.preader(given.large, given.size) as pread:
            yield each_of(pread, given.offsets)


# --- Figures.


def affordable(count: int, few: int, took: float, budget: float) -> int:
    """How many operations there is time for."""
    return max(few, min(count, int(budget * few / took)))


async def time_of(part: Part, count: int, budget: float) -> Figures:
    """How long an operation takes."""
    few = max(WIDTH, count // 50)
    await part(few)
    begun = time.perf_counter()
    await part(few)
    count = affordable(count, few, time.perf_counter() - begun, budget)
    stopwatch = Stopwatch()
    while stopwatch.goes_on():
        await part(count)
    return stopwatch.figures(count)


def time_of_blocking(part: Part, count: int) -> Figures:
    """Likewise, without an event loop."""
    part(max(WIDTH, count // 50))
    stopwatch = Stopwatch()
    while stopwatch.goes_on():
        part(count)
    return stopwatch.figures(count)


class Stopwatch:
    """Says when something has been done often enough, and how long it took."""

    def __init__(self) -> None:
        self._instants: List[float] = []

    def goes_on(self) -> bool:
        """Says, before each time and after the last, whether it is to be done once more."""
        self._instants.append(time.perf_counter())
        return len(self._instants) < 2 or self._instants[-1] - self._instants[0] < ENOUGH

    def figures(self, count: int) -> Figures:
        """The time of each of so many operations."""
        each = [after - before for before, after in zip(self._instants, self._instants[1:])]
        return {"time": statistics.median(each) / count, "count": count}


async def lateness(part: Part, host: Any, count: int, ticking: float) -> Figures:
    """How late a ticker wakes in the idle event loop, and then while the work is done again and again."""
    few = max(WIDTH, count // 50)
    await part(few)
    begun = time.perf_counter()
    await part(few)
    count = affordable(count, few, time.perf_counter() - begun, ticking / 4)

    async def wait() -> None:
        await host.sleep(ticking)

    async def repeat() -> None:
        until = time.perf_counter() + ticking
        while time.perf_counter() < until:
            await part(count)

    idle = await tick_during(host, wait)
    busy = await tick_during(host, repeat)
    return {**named("idle_", idle), **named("", busy), "count": len(busy)}


async def tick_during(host: Any, function: Main) -> List[float]:
    """How late each tick was until a function had ended."""
    late: List[float] = []
    ended = False

    async def tick() -> None:
        while not ended:
            begun = time.perf_counter()
            await host.sleep(PERIOD)
            late.append(time.perf_counter() - begun - PERIOD)

    async def carry_out() -> None:
        nonlocal ended
        await function()
        ended = True

    await host.all([tick, carry_out])
    return late


def named(prefix: str, late: List[float]) -> Figures:
    """The middle, 99 of 100, and the worst."""
    return {
        f"{prefix}p50": statistics.median(late),
        f"{prefix}p99": statistics.quantiles(late, n=100, method="inclusive")[98] if len(late) > 1 else late[0],
        f"{prefix}max": max(late),
    }


def measure(work: Work, peer: Any, host_name: str, given: Input, count: int, options: argparse.Namespace) -> Figures:
    """Does the run."""
    if host_name == NO_LOOP:
        with blocking(peer, given) as part:
            return time_of_blocking(part, count)
    host = HOSTS[host_name]()

    async def run() -> Figures:
        async with asynchronous(peer, host, given) as part:
            if work.unit == LATENESS:
                return await lateness(part, host, count, works.TICKING_QUICK if options.quick else works.TICKING)
            return await time_of(part, count, options.budget)

    figures: Figures = host.run(run)
    return figures


def main() -> None:
    """Reads the arguments, does the run, prints the figures."""
    parser = argparse.ArgumentParser()
    for name in ("work", "peer", "host", "folder"):
        parser.add_argument(name)
    parser.add_argument("budget", type=float)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    work = works.BY_NAME[options.work]
    count = work.quick if options.quick else work.operations
    given = Input(options.folder, work, count)
    given.cache()
    print(json.dumps(measure(work, PEERS[options.peer](), options.host, given, count, options)))


if __name__ == "__main__":
    main()
