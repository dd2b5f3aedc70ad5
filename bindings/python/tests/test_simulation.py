"""Simulated loops and fault plans: a seed brings everything back, time is simulated, what a plan says goes wrong."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import threading
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

import sideloop
from conftest import PATIENCE, settle

HOUR = 3600.0


@pytest.fixture
def simulated() -> Iterator[sideloop.Loop]:
    """A simulated loop that is at rest when the test is over."""
    with sideloop.Loop(driver="sim", seed=1, faults="") as loop:
        yield loop
        settle(loop)


def order(seed: int, path: Path) -> List[Any]:
    """The order in which many operations end in a simulated loop, and what they give."""
    said: List[Any] = []
    with sideloop.Loop(driver="sim", seed=seed, faults="read: EIO@0.2 short@0.5") as loop:
        with loop.open(path).wait() as file:
            operations: List[sideloop.Operation[Any]] = [file.read(100, offset=number) for number in range(20)]
            operations += [loop.timer(number / 1000) for number in range(20)]
            operations += [loop.stat(path, timeout=0.001) for _ in range(20)]
            for number, operation in enumerate(operations):

                def note(ended: sideloop.Operation[Any], number: int = number) -> None:
                    error = ended.exception()
                    said.append((number, ended.result() if error is None and number < 40 else type(error)))

                operation.add_done_callback(note)
            operations[5].cancel()
            while len(said) < len(operations):
                loop.dispatch(HOUR)
            assert loop.counters().threads == 0
    return said


def test_a_seed_brings_everything_back(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)))
    orders = [order(seed, path) for seed in range(1, 21)]
    assert orders == [order(seed, path) for seed in range(1, 21)]
    assert len({repr([number for number, _ in one]) for one in orders}) == 20


def test_coroutines_come_back_too(tmp_path: Path) -> None:
    said: List[Tuple[int, int]] = []

    async def copy(number: int) -> None:
        loop = sideloop.current_loop()
        for part in range(5):
            await loop.write_file(tmp_path / f"{number}", b"x" * part)
            await sideloop.sleep(part * HOUR)
            said.append((number, part))

    async def main() -> None:
        await sideloop.gather(*(copy(number) for number in range(8)))

    runs = []
    for seed in (1, 2, 1, 2):
        said = []
        sideloop.run(main(), driver="sim", seed=seed)
        runs.append(said)
    assert runs[0] == runs[2] and runs[1] == runs[3]
    assert runs[0] != runs[1]


def test_time_is_simulated(simulated: sideloop.Loop) -> None:
    assert simulated.wait(1000 * HOUR) == []
    timer = simulated.timer(1000 * HOUR)
    assert simulated.wait(HOUR) == []
    assert timer.wait() == 1
    left, right = socket.socketpair()
    with right, simulated.adopt_stream(left) as stream:
        with pytest.raises(sideloop.TimedOut):
            stream.receive(1, timeout=HOUR).wait()
        receiving = stream.receive(1)
        with pytest.raises(TimeoutError):
            receiving.wait(HOUR)
        right.send(b"x")
        assert receiving.wait() == b"x"
    assert simulated.counters().threads == 0


def test_what_comes_from_outside_is_waited_for(simulated: sideloop.Loop) -> None:
    left, right = socket.socketpair()
    with right, simulated.adopt_stream(left) as stream:
        receiving = stream.receive(1)
        sender = threading.Timer(0.05, right.send, [b"x"])
        sender.start()
        # Nothing comes by itself, for all the time that there is.
        assert receiving.wait() == b"x"
        sender.join()


def test_several_threads(simulated: sideloop.Loop) -> None:
    results: List[int] = []

    def use() -> None:
        for number in range(50):
            results.append(simulated.post(number).wait(PATIENCE))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(list(range(50)) * 4)


def test_the_wake_descriptor_gives_it_a_thread(simulated: sideloop.Loop) -> None:
    timer = simulated.timer(HOUR)
    posts = [simulated.post(number) for number in range(100)]
    assert simulated.counters().threads == 0
    descriptor = simulated.fileno()
    assert simulated.counters().threads == 1
    while not timer.done() or not all(post.done() for post in posts):
        assert select.select([descriptor], [], [], PATIENCE)[0]
        simulated.poll()
    assert [post.result() for post in posts] == list(range(100))


def test_inside_asyncio(simulated: sideloop.Loop, tmp_path: Path) -> None:
    async def main() -> None:
        running = asyncio.get_running_loop()

        async def outcome(operation: sideloop.Operation[Any]) -> Any:
            future = running.create_future()
            operation.add_done_callback(lambda ended: future.set_result(ended.result()))
            return await future

        running.add_reader(simulated.fileno(), simulated.poll)
        try:
            assert await outcome(simulated.write_file(tmp_path / "file", b"contents")) == 8
            read = [outcome(simulated.read_file(tmp_path / "file")) for _ in range(50)]
            timers = [outcome(simulated.timer(number * HOUR)) for number in range(50)]
            assert await asyncio.gather(*read) == [b"contents"] * 50
            assert await asyncio.gather(*timers) == [1] * 50
        finally:
            running.remove_reader(simulated.fileno())

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("driver", ["auto", "poll", "sim"])
def test_what_a_plan_says_goes_wrong(driver: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with sideloop.Loop(driver=driver, faults="write: ENOSPC#1; sync: EIO; read: short") as loop:
        with pytest.raises(OSError) as raised:
            loop.write_file(path, b"new").wait()
        assert raised.value.errno == errno.ENOSPC
        assert loop.write_file(path, b"newer").wait() == 5
        with loop.open(path, "r+b").wait() as file:
            with pytest.raises(OSError) as raised:
                file.sync().wait()
            assert raised.value.errno == errno.EIO
            assert 0 < len(file.read(5, offset=0).wait()) < 5
        assert loop.read_file(path).wait() == b"newer"
        assert loop.counters().faults >= 4


def test_plans_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="reed"):
        sideloop.Loop(faults="reed: EIO")
    with pytest.raises(ValueError, match="NUL"):
        sideloop.Loop(faults="read: EIO\0")
    with pytest.raises(ValueError, match="seed"):
        sideloop.Loop(seed=-1)
    with sideloop.Loop(driver="sim", seed=77, faults="stat: EIO") as loop:
        assert loop.driver == "sim"
        assert "seed 77" in loop.driver_reason
