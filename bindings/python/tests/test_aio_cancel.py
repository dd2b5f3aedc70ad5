"""Tasks that are cancelled at any moment: nothing is left open or under way, files and pipes hold what the outcomes
say, and memory does not grow.

$SIDELOOP_CANCELS says how many tasks there are on each event loop: 3,000, unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any, Awaitable, Callable, Coroutine, Dict, List, Tuple

import pytest

import sideloop
from conftest import Run, count, engine_rests, on_trio, run_on_asyncio
from sideloop import _abi, aio
from sideloop.aio import _engine, _hosts

CANCELS = int(os.environ.get("SIDELOOP_CANCELS", "3000"))
# How many of them share an event loop, and how many are under way at a time; how many there are before memory counts.
GROUP, WIDTH, WARM_UP = 100, 50, 500
# What is read.
CONTENTS = random.Random(1).randbytes(200_000)
TEXT = "".join(f"{number} äöü" + "." * (number % 97 * 5) + "\n" for number in range(700))
LARGEST = 50_000
# The growth of memory, in bytes, that is none: from tables that have grown, and what allocators keep.
TRACED, RESIDENT = 200_000, 32 << 20


class Cancelled:
    """In place of an outcome: the task was cancelled."""


CANCELLED = Cancelled()
Check = Callable[[], None]


async def give_up(rng: random.Random, function: Callable[[], Awaitable[Any]], twice: bool = True) -> Any:
    """What a function returns; CANCELLED where its task was cancelled, which happens after some time in any case.

    twice: perhaps again, before it has ended.
    """
    turns = rng.choice((0, 0, 1, 1, 2, 2, 3, 4, 6, 10, 20))
    delay = rng.choice((0.0, 0.0, 0.0, rng.random() * 1e-3))
    if on_trio():
        return await give_up_on_trio(function, turns, delay)
    again = twice and rng.random() < 0.3

    async def work() -> Any:
        return await function()

    task = asyncio.ensure_future(work())
    if delay:
        await asyncio.sleep(delay)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    if again:
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return CANCELLED


async def give_up_on_trio(function: Callable[[], Awaitable[Any]], turns: int, delay: float) -> Any:
    """Likewise."""
    import trio

    outcome: Any = CANCELLED
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def work() -> None:
            nonlocal outcome
            with scope:
                try:
                    outcome = await function()
                except sideloop.Cancelled as error:
                    # Some of it was done.
                    assert error.done
                    outcome = error

        nursery.start_soon(work)
        await trio.sleep(delay)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        scope.cancel()
    return outcome


def old_and_new(found: bytes, old: bytes, new: bytes) -> bool:
    """Whether a whole write of `new` over `old` has come as far as it says."""
    done, most = 0, len(new)
    while done < most:
        middle = (done + most + 1) // 2
        done, most = (middle, most) if found[:middle] == new[:middle] else (done, middle - 1)
    # Where both have the same byte, it may have come less far.
    return len(found) == len(old) and found[done:] == old[done:]


class Group:
    """What the tasks of a group share, and what is to be checked when nothing is under way any more."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.source, self.text = folder / "source", folder / "text"
        self.source.write_bytes(CONTENTS)
        self.text.write_text(TEXT, encoding="utf-8")
        self.folder = folder
        self.checks: List[Check] = []
        self._number = 0

    def new_path(self) -> Path:
        """Where there is no file yet."""
        self._number += 1
        return self.folder / f"{self._number}"

    def place(self) -> Tuple[int, int]:
        """Where something is read, and how many bytes."""
        offset = self.rng.randrange(len(CONTENTS))
        return offset, self.rng.randrange(1, min(LARGEST, len(CONTENTS) - offset) + 1)


# --- What tasks do. Each of these gives up what it does at some moment, and says what must be true then.


async def opens(group: Group) -> None:
    """Opens a file, and reads from it."""

    async def work() -> bytes:
        async with aio.open(group.source, "rb") as file:
            return await file.read(1000)

    assert await give_up(group.rng, work) in (CANCELLED, CONTENTS[:1000])


async def creates(group: Group) -> None:
    """Creates a file."""
    path = group.new_path()
    file = await give_up(group.rng, lambda: aio.open(path, "xb").__aenter__())
    if file is not CANCELLED:
        await file.close()
        assert path.exists()


async def reads_anywhere(group: Group) -> None:
    """Reads without a position."""
    async with aio.open(group.source, "rb") as file:
        for _ in range(3):
            offset, size = group.place()
            expected = CONTENTS[offset : offset + size]
            assert await give_up(group.rng, partial(file.pread, size, offset)) in (CANCELLED, expected)


async def reads_into(group: Group) -> None:
    """Reads into memory of the program's, which is its own again when nothing is under way."""
    offset, size = group.place()
    buffer = bytearray(size)
    async with aio.open(group.source, "rb") as file:
        outcome = await give_up(group.rng, lambda: file.preadinto(buffer, offset))
    assert outcome in (CANCELLED, size)
    if outcome == size:
        assert buffer == CONTENTS[offset : offset + size]

    def resize() -> None:
        buffer.append(0)

    group.checks.append(resize)


async def reads_on(group: Group) -> None:
    """Reads at the position, which stays where it was unless the read was whole."""
    rng = group.rng
    async with aio.open(group.source, "rb", buffering=rng.choice((0, 100, 65536))) as file:
        for _ in range(4):
            begin = await file.tell()
            ways = (lambda: file.read(rng.randrange(1, LARGEST)), file.readline, lambda: file.readlines(2000))
            outcome = await give_up(rng, rng.choice(ways))
            data = b"" if outcome is CANCELLED else b"".join(outcome) if isinstance(outcome, list) else outcome
            assert data == CONTENTS[begin : begin + len(data)]
            assert await file.tell() == begin + len(data)


async def reads_text(group: Group) -> None:
    """Likewise, of text."""
    rng = group.rng
    got = ""
    async with aio.open(group.text, encoding="utf-8") as file:
        for _ in range(4):
            ways = (lambda: file.read(rng.randrange(1, 100_000)), file.readline, lambda: file.readlines(90_000))
            outcome = await give_up(rng, rng.choice(ways))
            got += "" if outcome is CANCELLED else "".join(outcome) if isinstance(outcome, list) else outcome
        assert got + await file.read() == TEXT


async def writes_anywhere(group: Group) -> None:
    """Writes over parts of a file, without a position."""
    path = group.new_path()
    old = group.rng.randbytes(LARGEST)
    path.write_bytes(old * 3)
    file = await aio.open(path, "r+b")
    outcomes: List[Tuple[bytes, Any]] = []
    for number in range(3):
        data = group.rng.randbytes(LARGEST)
        outcome = await give_up(group.rng, partial(file.pwrite, data, number * LARGEST))
        outcomes.append((data, outcome))
    await file.close()

    def check() -> None:
        contents = path.read_bytes()
        for number, (new, outcome) in enumerate(outcomes):
            found = contents[number * LARGEST : (number + 1) * LARGEST]
            if isinstance(outcome, int):
                assert (outcome, found) == (len(new), new)
            elif isinstance(outcome, sideloop.Error):
                assert found == new[: outcome.done] + old[outcome.done :]
            else:
                assert old_and_new(found, old, new)
        path.unlink()

    group.checks.append(check)


async def writes_on(group: Group) -> None:
    """Writes at the position, or at the end, through the buffer: what was taken is there, in order, and once."""
    rng = group.rng
    path = group.new_path()
    taken = b""
    async with aio.open(path, rng.choice(("wb", "ab")), buffering=rng.choice((0, 1000, 30_000))) as file:
        for _ in range(5):
            data = rng.randbytes(rng.choice((1, 500, 20_000)))
            begin = await file.tell()
            # Cancelled twice, it is not known how much of it is there.
            outcome = await give_up(rng, partial(file.write, data), twice=False)
            end = await file.tell()
            assert end - begin == len(data) if isinstance(outcome, int) else 0 <= end - begin <= len(data)
            taken += data[: end - begin]
            await give_up(rng, file.flush, twice=False)
    assert path.read_bytes() == taken
    path.unlink()


async def reads_whole(group: Group) -> None:
    """Reads a whole file."""
    assert await give_up(group.rng, lambda: aio.read_file(group.source)) in (CANCELLED, CONTENTS)


async def writes_whole(group: Group) -> None:
    """Writes a whole file, in place of another or into it."""
    path = group.new_path()
    old, new, replace = CONTENTS[:30_000], CONTENTS[-40_000:], group.rng.random() < 0.5
    path.write_bytes(old)
    outcome = await give_up(group.rng, lambda: aio.write_file(path, bytearray(new), replace=replace))

    def check() -> None:
        found = path.read_bytes()
        if isinstance(outcome, int):
            assert found == new
        elif replace:
            assert found in (old, new)
        else:
            assert found == old or new.startswith(found)
        path.unlink()

    group.checks.append(check)


async def through_a_pipe(group: Group) -> None:
    """Writes into a pipe and reads from it, both given up now and then: all comes, in order, and once."""
    rng = group.rng
    reader, writer = os.pipe()
    sent = got = b""
    async with aio.wrap(reader, buffering=rng.choice((0, 10, 1000))) as source:
        async with aio.wrap(writer, "wb", buffering=200) as target:
            for _ in range(6):
                data = rng.randbytes(rng.randrange(1, 200))
                if await give_up(rng, partial(target.write, data), twice=False) is not CANCELLED:
                    sent += data
                await give_up(rng, target.flush, twice=False)
                into = bytearray(rng.randrange(1, 300))
                ways: Dict[str, Callable[[], Awaitable[Any]]] = {
                    "read": lambda: source.read(rng.randrange(1, 300)),
                    "read1": source.read1,
                    "line": lambda: source.readline(100),
                    "into": partial(source.readinto, into),
                }
                way = rng.choice(list(ways))
                outcome = await give_up(rng, ways[way])
                if outcome is not CANCELLED:
                    got += into[:outcome] if way == "into" else outcome
        assert got + await source.read() == sent


TASKS: Tuple[Callable[[Group], Coroutine[Any, Any, None]], ...] = (
    opens,
    creates,
    reads_anywhere,
    reads_into,
    reads_on,
    reads_text,
    writes_anywhere,
    writes_on,
    reads_whole,
    writes_whole,
    through_a_pipe,
)


async def all_of(group: Group, tasks: List[Callable[[Group], Coroutine[Any, Any, None]]]) -> None:
    """Carries them out, several at a time."""
    left = iter(tasks)

    async def worker() -> None:
        for task in left:
            await task(group)

    if on_trio():
        import trio

        async with trio.open_nursery() as nursery:
            for _ in range(WIDTH):
                nursery.start_soon(worker)
    else:
        await asyncio.gather(*(worker() for _ in range(WIDTH)))


def repetition(run: Run, folder: Path, seed: int, cancels: int) -> None:
    """Cancels so many tasks, a group in an event loop of its own, and checks what each group leaves."""
    for begun in range(0, cancels, GROUP):
        group = Group(folder, seed + begun)
        tasks = [group.rng.choice(TASKS) for _ in range(min(GROUP, cancels - begun))]
        run(partial(all_of, group, tasks))
        gc.collect()
        asyncio.run(engine_rests())
        for check in group.checks:
            check()
        for path in folder.iterdir():
            path.unlink()


def resident() -> int:
    """How much memory the process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def fill_interned_strings() -> None:
    """Has the interpreter make its table of interned strings anew. It does so now and then, as pathlib interns names
    that are soon gone, and the new table would count as growth by two megabytes.
    """
    for number in range(100_000):
        sys.intern(f"gone {number}")


@pytest.mark.parametrize("task", TASKS)
def test_one_kind(run: Run, task: Callable[[Group], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
    """Each kind by itself, so that what fails says what has failed."""
    group = Group(tmp_path, 7)
    run(lambda: all_of(group, [task] * 40))
    gc.collect()
    asyncio.run(engine_rests())
    for check in group.checks:
        check()


def test_all_kinds(run: Run, tmp_path: Path) -> None:
    """All kinds at once, and again: no descriptors are left, and memory does not grow."""
    repetition(run, tmp_path, 0, WARM_UP)
    descriptors = count("fd")
    figures = []
    tracemalloc.start()
    try:
        fill_interned_strings()
        for number in range(2):
            repetition(run, tmp_path, 1_000_000 * (1 + number), (CANCELS - WARM_UP) // 2)
            gc.collect()
            assert count("fd") == descriptors
            figures.append((tracemalloc.get_traced_memory()[0], resident()))
    finally:
        tracemalloc.stop()
    (traced, before), (traced_now, after) = figures
    print(f"{CANCELS} tasks: {traced_now - traced:+} bytes in Python, {(after - before) >> 10:+} KiB in all")
    assert traced_now - traced < TRACED
    assert after - before < RESIDENT


# --- Moments that chance seldom meets, on asyncio: trio waits for the end of what is cancelled, and cancels once.


async def cancel_twice(task: asyncio.Task[Any]) -> None:
    """Leaves the task's operation under way, where the library does not cancel it."""
    for _ in range(2):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture
def no_cancel(monkeypatch: pytest.MonkeyPatch) -> List[int]:
    """The library cancels nothing; gives the operations that it was asked to cancel."""
    asked: List[int] = []
    monkeypatch.setattr(_engine, "_cancel", asked.append)
    return asked


def test_a_write_that_nobody_waits_for(no_cancel: List[int]) -> None:
    """Its memory is held until it has ended, not only until its task has; and it is not carried out twice."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = os.write(writer, bytes(1 << 20))
    data = bytearray(b"once")

    async def main(target: aio.BinaryFile) -> None:
        await cancel_twice(asyncio.ensure_future(target.write(data)))
        with pytest.raises(BufferError):
            data.append(0)
        os.read(reader, filled)
        await engine_rests()
        data.append(0)
        with pytest.raises(sideloop.InvalidError):
            await target.write(data)
        await target.close()

    run_on_asyncio(lambda: main(aio.wrap(writer, "wb", buffering=0)))
    assert os.read(reader, 100) == b"once"
    os.close(reader)


def test_what_waits_is_not_written_twice(no_cancel: List[int]) -> None:
    """What waits in the buffer for a pipe, likewise."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = os.write(writer, bytes(1 << 20))

    async def main(target: aio.BinaryFile) -> None:
        await target.write(b"once")
        await cancel_twice(asyncio.ensure_future(target.flush()))
        again = asyncio.ensure_future(target.flush())
        await asyncio.sleep(0)
        os.read(reader, filled)
        await again
        await engine_rests()
        await target.close()

    run_on_asyncio(lambda: main(aio.wrap(writer, "wb")))
    assert os.read(reader, 100) == b"once"
    os.close(reader)


def test_an_error_holds_no_memory(tmp_path: Path) -> None:
    """A buffer can be resized as soon as the read has failed, also while somebody has the error."""
    buffer = bytearray(100)

    async def main() -> None:
        async with aio.open(tmp_path / "file", "wb") as file:
            file._readable = True
            with pytest.raises(OSError) as caught:
                await file.preadinto(buffer, 0)
            buffer.append(0)
            assert caught.value.errno

    run_on_asyncio(main)


def test_opened_between_two_cancellations(
    no_cancel: List[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes together with the second one is closed."""
    (tmp_path / "file").touch()
    real = _engine._poll

    async def main() -> None:
        host = _hosts.current()
        # The engine has all that it needs.
        await aio.read_file(tmp_path / "file")
        before = count("fd")
        monkeypatch.setattr(_engine, "_poll", lambda *_: 0)
        task = asyncio.ensure_future(aio.open(tmp_path / "file", "rb").__aenter__())
        for _ in range(4):
            await asyncio.sleep(0)
            if not no_cancel:
                task.cancel()
        assert len(no_cancel) == 1
        monkeypatch.setattr(_engine, "_poll", real)
        while host.table:
            host.take()
        assert count("fd") == before + 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine_rests()
        assert count("fd") == before

    run_on_asyncio(main)


def test_closed_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library has no room for a close that is cancelled, it is carried out later."""
    (tmp_path / "file").touch()
    real = _engine._submit

    async def main() -> None:
        host = _hosts.current()
        file = await aio.open(tmp_path / "file", "rb")
        before = count("fd")
        monkeypatch.setattr(_engine, "_submit", lambda *_: _abi.SL_ERR_AGAIN)
        task = asyncio.ensure_future(file.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        monkeypatch.setattr(_engine, "_submit", real)
        host.flush()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert count("fd") == before - 1

    run_on_asyncio(main)
