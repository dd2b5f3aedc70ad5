"""How tasks go on when the engine under sideloop.aio has what they wait for: at once and in turn."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any, Awaitable, Callable, List

import pytest

import sideloop
from conftest import PATIENCE, Run, Tasks, run_on_asyncio, run_python
from sideloop import _abi, aio, buffers
from sideloop.aio import _engine, _hosts
from sideloop.aio._buffered import BUFFER_SIZE

Function = Callable[[], Awaitable[Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with known contents."""
    path = tmp_path / "file"
    path.write_bytes(b"known")
    return path


async def all_of(functions: List[Function]) -> List[Any]:
    """What they return or raise, run at the same time."""
    outcomes: List[Any] = [None] * len(functions)

    async def run(index: int) -> None:
        try:
            outcomes[index] = await functions[index]()
        except sideloop.Error as error:
            outcomes[index] = error

    async with Tasks() as tasks:
        for index in range(len(functions)):
            tasks.start(run, index)
    return outcomes


def test_refused_before_they_wait(run: Run, path: Path) -> None:
    """A batch that is full is submitted by the task that fills it: its own operation may be refused there."""

    async def main() -> None:
        file = await aio.open(path, "rb", buffering=0)
        # The library does not know it any more; the package does.
        assert _engine._close(file._id, None, None) == 0
        count = 3 * _engine.MOST_GATHERED
        outcomes = await all_of([lambda: file.pread(5, 0)] * count)
        assert [type(outcome) for outcome in outcomes] == [sideloop.StaleError] * count
        with pytest.raises(sideloop.StaleError):
            await file.close()

    run(main)


def test_refused_with_nothing_else_to_come(path: Path) -> None:
    """Nor do they wait for the events of others."""

    async def main() -> None:
        file = await aio.open(path, "rb", buffering=0)
        host = _hosts.current()
        assert _engine._close(file._id, None, None) == 0
        while host.table or host._flush_is_due:
            await asyncio.sleep(0)
        with pytest.raises(ValueError, match="timeout"):
            await file.pread(5, 0, timeout=-1)
        await asyncio.sleep(0)
        outcomes = await all_of([lambda: file.pread(5, 0)] * _engine.MOST_GATHERED)
        assert {type(outcome) for outcome in outcomes} == {sideloop.StaleError}
        with pytest.raises(sideloop.StaleError):
            await file.close()

    run_on_asyncio(main)


@pytest.mark.parametrize("length", [_engine.LARGE, _engine.LARGE - 1])
def test_a_burst_carries_out_one_itself(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """The rest of the turn is not to wait for the others."""
    path = tmp_path / "large"
    path.write_bytes(bytes(length))
    requests: List[_abi.Request] = []

    original = _engine._submit

    def submit(loop: int, address: int, count: int, ops: int) -> Any:
        requests.extend((_abi.Request * count).from_buffer_copy(buffers.copy(address, count * _engine._REQUEST_SIZE)))
        return original(loop, address, count, ops)

    async def main() -> None:
        async with aio.open(path, "rb", buffering=0) as file:
            monkeypatch.setattr(_engine, "_submit", submit)
            count = 3 * _engine.MOST_GATHERED
            assert await all_of([lambda: file.pread(length, 0)] * count) == [bytes(length)] * count
            monkeypatch.undo()

    run(main)
    handed_over = [bool(request.options & _abi.SL_OPTION_NO_INLINE) for request in requests]
    assert handed_over == [False] + [True] * (3 * _engine.MOST_GATHERED - 1)


def test_a_batch_that_stays_empty(path: Path) -> None:
    """It does not keep the next one from being submitted."""

    async def main() -> None:
        async with aio.open(path, "rb", buffering=0) as file:
            # In a turn of its own, not within the call that takes the events.
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="out of range"):
                await file.pread(5, 1 << 70)
            await asyncio.sleep(0)
            assert len(await file.pread(5, 0)) == 5

    run_on_asyncio(main)


DESTROYED = """
import asyncio, gc, sys
from sideloop import aio
from sideloop.aio import _engine

path, pack, left = sys.argv[1], _engine._pack_into, [3]


def pack_and_collect(*arguments):
    pack(*arguments)
    left[0] -= 1
    if not left[0]:
        gc.collect()


async def forgotten():
    async with aio.open(path, "rb", buffering=0):
        opened.set_result(None)
        await asyncio.get_running_loop().create_future()


async def main():
    global opened
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    opened = loop.create_future()
    gc.collect()
    gc.disable()
    loop.create_task(forgotten())
    await opened
    async with aio.open(path, "wb", buffering=0) as file:
        writes = [loop.create_task(file.pwrite(b"%d;" % number, 2 * number)) for number in range(4)]
        _engine._pack_into = pack_and_collect
        print(await asyncio.gather(*writes))


asyncio.run(main())
"""


def test_tasks_destroyed_while_another_begins(path: Path) -> None:
    """The last words of a task that nobody has any more, in the midst of another call, leave that call alone."""
    done = run_python(DESTROYED, str(path))
    assert (done.stdout, path.read_bytes()) == ("[2, 2, 2, 2]\n", b"0;1;2;3;")


def test_others_have_their_turn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time of a turn is over, what else the event loop has to do comes next."""
    monkeypatch.setattr(_engine, "TURN", 0.0)
    since_the_last_turn: List[int] = [0]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        most = 0
        ended = False

        def turn() -> None:
            nonlocal most
            most = max(most, since_the_last_turn[0])
            since_the_last_turn[0] = 0
            if not ended:
                loop.call_soon(turn)

        async def read() -> None:
            for _ in range(20):
                assert await aio.read_file(path) == b"known"
                since_the_last_turn[0] += 1

        loop.call_soon(turn)
        await asyncio.gather(*(read() for _ in range(4 * _engine.CAPACITY)))
        ended = True
        assert 0 < most <= _engine.CAPACITY

    run_on_asyncio(main)


@pytest.mark.parametrize("debug", [False, True])
def test_kinds_of_tasks(path: Path, debug: bool) -> None:
    """Those that the interpreter has written in Python, and in asyncio's debug mode."""

    async def read(count: int) -> int:
        for _ in range(count):
            assert await aio.read_file(path) == b"known"
        with pytest.raises(FileNotFoundError):
            await aio.read_file(f"{path}.none")
        return count

    async def main() -> None:
        loop = asyncio.get_running_loop()
        kinds: List[Any] = [asyncio.Task, asyncio.tasks._PyTask]  # type: ignore[attr-defined]
        tasks = [kind(read(count), loop=loop) for count in range(20) for kind in kinds]
        assert await asyncio.gather(*tasks) == [count for count in range(20) for _ in kinds]
        endless = [kind(read(1 << 30), loop=loop) for kind in kinds]
        await asyncio.sleep(0.0)
        for task in endless:
            task.cancel("for a reason")
        for outcome in await asyncio.gather(*endless, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError)

    asyncio.run(asyncio.wait_for(main(), PATIENCE), debug=debug)


NESTED = """
import asyncio, sys
import nest_asyncio
from sideloop import aio

nest_asyncio.apply()


async def read(count):
    for _ in range(count):
        assert await aio.read_file(sys.argv[1]) == b"known"


async def nest(depth):
    await read(1)
    if depth:
        asyncio.get_running_loop().run_until_complete(nest(depth - 1))
    await read(1)


async def main():
    await asyncio.gather(*(read(30) for _ in range(100)), *(nest(3) for _ in range(3)))


asyncio.run(main())
print("done")
"""


def test_event_loops_inside_of_tasks(path: Path) -> None:
    """With nest_asyncio a task may run the event loop further: others go on meanwhile."""
    done = run_python(NESTED, str(path))
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_what_was_read_stays(run: Run, tmp_path: Path) -> None:
    """Memory is used again for other reads, at the same time and later, but never what a program has got."""
    lengths = [0, 1, 4096, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1, 3 * BUFFER_SIZE] * 21
    contents = [(b"%d," % index * length)[:length] for index, length in enumerate(lengths)]
    for index, content in enumerate(contents):
        (tmp_path / str(index)).write_bytes(content)

    async def read(index: int) -> bytes:
        async with aio.open(tmp_path / str(index), "rb") as file:
            return await file.read(-1 if index % 2 else 4 * BUFFER_SIZE)

    async def main() -> None:
        functions: List[Function] = [functools.partial(read, index) for index in range(len(contents))]
        got = [await all_of(functions) for _ in range(3)]
        assert got == [contents] * 3

    run(main)


def test_what_a_task_has_got_is_not_held() -> None:
    """Neither by the receiver that is kept to be used again, nor while the task goes on."""
    freed: List[bool] = []

    class Told:
        def __del__(self) -> None:
            freed.append(True)

    async def main() -> None:
        host = _hosts.current()
        value = await host.call(_abi.SL_NOP, host.engine.id, finish=lambda *_: Told())
        assert not freed
        del value
        assert freed == [True]

    run_on_asyncio(main)
