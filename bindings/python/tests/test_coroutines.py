"""The third style: coroutines, by generator and by `async def`, on sideloop's own runner."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Generator, List

import pytest

import sideloop
from conftest import PATIENCE, Pair, connect
from sideloop.batches import Batch


def test_async_def(loop: sideloop.Loop, tmp_path: Path) -> None:
    async def main() -> bytes:
        assert await loop.write_file(tmp_path / "file", b"data") == 4
        async with await loop.open(tmp_path / "file") as file:
            return await file.read(100)

    assert loop.run(main()) == b"data"


def test_generator(loop: sideloop.Loop, tmp_path: Path) -> None:
    def main() -> Generator[Any, Any, bytes]:
        assert (yield loop.write_file(tmp_path / "file", b"data")) == 4
        try:
            yield loop.read_file(tmp_path / "missing")
        except FileNotFoundError as error:
            assert error.filename == str(tmp_path / "missing")
        file = yield loop.open(tmp_path / "file")
        with file:
            data: bytes = yield file.read(100)
        return data

    assert loop.run(main()) == b"data"


def test_the_two_kinds_call_each_other(loop: sideloop.Loop) -> None:
    @sideloop.coroutine
    def decorated(value: int) -> Generator[Any, Any, int]:
        result: int = yield loop.post(value)
        return result

    async def native(value: int) -> int:
        return await decorated(value) + await decorated(value)

    def plain(value: int) -> Generator[Any, Any, int]:
        first = yield native(value)
        second = yield from inner(value)
        third = yield inner(value)
        yield
        return int(first + second + third)

    def inner(value: int) -> Generator[Any, Any, int]:
        result: int = yield loop.post(value)
        return result

    assert loop.run(plain(1)) == 4


def test_run_opens_and_closes_a_loop() -> None:
    async def main() -> sideloop.Loop:
        loop = sideloop.current_loop()
        assert loop.driver == "poll"
        return loop

    assert sideloop.run(main(), driver="poll").closed


def test_errors_come_out(loop: sideloop.Loop) -> None:
    async def main() -> None:
        await loop.read_file("/no/such/file")

    with pytest.raises(FileNotFoundError):
        loop.run(main())

    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run(broken())


def test_a_refusal_is_raised_where_it_is_awaited(loop: sideloop.Loop) -> None:
    async def main() -> None:
        operation = loop.post(-1)
        with pytest.raises(sideloop.InvalidError):
            await operation
        assert await loop.post(1) == 1

    loop.run(main())


def test_submissions_of_a_turn_go_together(loop: sideloop.Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def one(number: int) -> int:
        return await loop.post(number)

    async def main() -> None:
        tasks = [sideloop.spawn(one(number)) for number in range(2000)]
        assert [await task for task in tasks] == list(range(2000))

    calls: List[int] = []

    def submit(batch: Batch, loop_id: int) -> Any:
        calls.append(len(batch))
        return original(batch, loop_id)

    original = Batch.submit
    monkeypatch.setattr(Batch, "submit", submit)
    loop.run(main())
    assert len(calls) < 20


def test_spawn_and_await(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    order: List[str] = []

    async def child(name: str, operation: sideloop.Operation[Any]) -> str:
        order.append(f"{name} begins")
        await operation
        order.append(f"{name} ends")
        return name

    async def main() -> None:
        slow = sideloop.spawn(child("slow", server.receive()))
        fast = sideloop.spawn(child("fast", loop.post(1)))
        assert not slow.done() and "running" in repr(slow) and "child" in slow.name
        with pytest.raises(RuntimeError, match="still running"):
            slow.result()
        assert await fast == "fast"
        await client.send(b"x")
        assert await slow == "slow" and await slow == "slow"
        assert fast.done() and fast.result() == "fast"

    loop.run(main())
    assert order == ["slow begins", "fast begins", "fast ends", "slow ends"]


def test_an_operation_can_be_awaited_later_and_twice(loop: sideloop.Loop) -> None:
    async def main() -> None:
        first, second = loop.post(1), loop.post(2)
        assert await second == 2
        assert await first == 1 and await first == 1 and first.result() == 1

        async def waits() -> int:
            return await third

        third = loop.timer(0.001)
        assert await sideloop.gather(waits(), waits(), third) == [1, 1, 1]

    loop.run(main())


def test_gather(loop: sideloop.Loop) -> None:
    async def child(number: int) -> int:
        return await loop.post(number)

    def generator(number: int) -> Generator[Any, Any, int]:
        result: int = yield loop.post(number)
        return result

    async def main() -> None:
        assert await sideloop.gather() == []
        mixed = (child(1), loop.post(2), generator(3), sideloop.spawn(child(4)), sideloop.gather(child(5)))
        assert await sideloop.gather(*mixed) == [1, 2, 3, 4, [5]]

    loop.run(main())


def test_gather_cancels_the_others_when_one_fails(loop: sideloop.Loop) -> None:
    ended: List[str] = []

    async def waits() -> None:
        try:
            await sideloop.sleep(PATIENCE)
        except sideloop.Cancelled:
            ended.append("cancelled")
            await loop.nop()
            ended.append("cleaned up")
            raise

    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await sideloop.gather(waits(), loop.read_file("/no/such/file"), waits(), sideloop.sleep(PATIENCE))
        assert sorted(ended) == ["cancelled", "cancelled", "cleaned up", "cleaned up"]

    loop.run(main())


def test_cancel(loop: sideloop.Loop) -> None:
    async def stubborn() -> str:
        try:
            await sideloop.sleep(PATIENCE)
        except sideloop.Cancelled:
            return "went on"
        return "was not cancelled"

    async def waits() -> None:
        await sideloop.gather(sideloop.sleep(PATIENCE), stubborn())

    async def never_begun() -> None:
        raise AssertionError("it has begun")

    async def main() -> None:
        first, second, third = sideloop.spawn(stubborn()), sideloop.spawn(waits()), sideloop.spawn(never_begun())
        third.cancel()
        await loop.nop()
        first.cancel()
        second.cancel()
        assert await first == "went on"
        for task in (second, third):
            with pytest.raises(sideloop.Cancelled):
                await task
        first.cancel()
        assert first.result() == "went on"

    loop.run(main())


def test_a_result_that_came_first_is_not_lost_to_a_cancellation(loop: sideloop.Loop) -> None:
    got: List[object] = []

    async def child() -> None:
        got.append(await loop.post(5))
        await sideloop.sleep(PATIENCE)

    async def main() -> None:
        task = sideloop.spawn(child())
        await sideloop.sleep(0)
        task.cancel()
        with pytest.raises(sideloop.Cancelled):
            await task

    loop.run(main())
    assert got in ([5], [])


def test_a_task_whose_operations_are_all_faster_is_cancelled(loop: sideloop.Loop) -> None:
    async def child() -> None:
        while True:
            await loop.nop()

    async def main() -> None:
        task = sideloop.spawn(child())
        await loop.nop()
        task.cancel()
        with pytest.raises(sideloop.Cancelled):
            await sideloop.within(PATIENCE, task)

    loop.run(main())


def test_cancelling_an_accept_leaks_nothing(loop: sideloop.Loop) -> None:
    async def main() -> None:
        async with loop.listen("127.0.0.1:0") as listener:
            task = sideloop.spawn(accepts(listener))
            await loop.nop()
            task.cancel()
            with pytest.raises(sideloop.Cancelled):
                await task

    async def accepts(listener: sideloop.Listener) -> None:
        async for stream in listener.accept(multishot=True):
            await stream.close()

    loop.run(main())
    assert loop.counters().resources == 0


def test_within(loop: sideloop.Loop) -> None:
    async def main() -> None:
        assert await sideloop.within(PATIENCE, loop.post(3)) == 3
        assert await sideloop.within(PATIENCE, slow(0)) == "done"
        with pytest.raises(TimeoutError) as caught:
            await sideloop.within(0.001, slow(PATIENCE))
        assert isinstance(caught.value, sideloop.TimedOut) and "0.001" in str(caught.value)
        with pytest.raises(FileNotFoundError):
            await sideloop.within(PATIENCE, loop.read_file("/no/such/file"))
        task = sideloop.spawn(sideloop.within(PATIENCE, slow(PATIENCE)))
        await loop.nop()
        task.cancel()
        with pytest.raises(sideloop.Cancelled):
            await task

    async def slow(seconds: float) -> str:
        await sideloop.sleep(seconds)
        return "done"

    loop.run(main())
    assert not loop._table


def test_deadline_of_an_operation(loop: sideloop.Loop) -> None:
    async def main() -> None:
        async with loop.listen("127.0.0.1:0") as listener:
            with pytest.raises(sideloop.TimedOut):
                await listener.accept(timeout=0.001)

    loop.run(main())


def test_tasks_that_are_left_are_cancelled(loop: sideloop.Loop) -> None:
    ended: List[str] = []

    async def background() -> None:
        try:
            await sideloop.sleep(PATIENCE)
        finally:
            await loop.nop()
            ended.append("background")

    async def main() -> str:
        sideloop.spawn(background())
        await loop.nop()
        return "main"

    assert loop.run(main()) == "main"
    assert ended == ["background"]


def test_async_for(loop: sideloop.Loop) -> None:
    async def main() -> None:
        client, server = connect(loop)
        async with client, server:
            await client.send(b"abc")
            await client.shutdown()
            assert b"".join([piece async for piece in server.receive(multishot=True)]) == b"abc"
        ticks = loop.timer(0, 0.001)
        seen = 0
        async for count in ticks:
            seen += count
            if seen >= 3:
                ticks.cancel()
        assert seen >= 3
        async with loop.listen("127.0.0.1:0") as listener:
            accepting = listener.accept(multishot=True)
            sideloop.spawn(closes(listener))
            with pytest.raises(sideloop.Cancelled):
                async for _ in accepting:
                    raise AssertionError("somebody connected")

    async def closes(listener: sideloop.Listener) -> None:
        await listener.close()

    loop.run(main())


def test_a_generator_yields_a_multishot_operation_for_each_value(loop: sideloop.Loop) -> None:
    def main() -> Generator[Any, Any, None]:
        ticks = loop.timer(0, 0.001)
        for _ in range(3):
            assert (yield ticks) >= 1
        ticks.cancel()
        with pytest.raises(sideloop.Cancelled):
            while True:
                yield ticks

    loop.run(main())


def test_what_cannot_be_awaited(loop: sideloop.Loop) -> None:
    def main() -> Generator[Any, Any, str]:
        with pytest.raises(TypeError, match="not 5"):
            yield 5
        return "went on"

    assert loop.run(main()) == "went on"
    with pytest.raises(TypeError):
        loop.run(5)  # type: ignore[arg-type]


def test_operations_of_another_loop_cannot_be_awaited(loop: sideloop.Loop) -> None:
    async def main() -> int:
        with sideloop.Loop() as other:
            with pytest.raises(RuntimeError, match="own loop"):
                await other.post(1)
        return await loop.post(2)

    assert loop.run(main()) == 2


def test_run_does_not_nest(loop: sideloop.Loop) -> None:
    async def main() -> None:
        inner = sideloop.sleep(0)
        with pytest.raises(RuntimeError, match="spawn"):
            loop.run(other())
        await inner

    def other() -> Generator[Any, Any, None]:
        yield

    loop.run(main())
    for ask in (sideloop.current_loop, lambda: sideloop.sleep(1), lambda: sideloop.spawn(other())):
        with pytest.raises(RuntimeError, match="coroutine"):
            ask()


def test_tasks_that_wait_for_each_other_are_told_so(loop: sideloop.Loop) -> None:
    tasks: List[sideloop.Task[None]] = []

    async def waits(other: int) -> None:
        await tasks[other]

    async def main() -> None:
        tasks.extend([sideloop.spawn(waits(1)), sideloop.spawn(waits(0))])
        await tasks[0]

    with pytest.raises(RuntimeError, match="every task waits"):
        loop.run(main())
    tasks.clear()


def test_a_failure_that_nobody_awaits_is_reported(loop: sideloop.Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: List[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)

    async def fails() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        sideloop.spawn(fails())
        await loop.nop()
        await loop.nop()

    loop.run(main())
    gc.collect()
    (problem,) = reported
    assert isinstance(problem.exc_value.__cause__, ZeroDivisionError)
    assert "fails failed" in str(problem.exc_value)


def test_callbacks_run_beside_coroutines(loop: sideloop.Loop) -> None:
    ran: List[int] = []

    async def main() -> None:
        loop.post(1).add_done_callback(lambda op: ran.append(op.result()))
        while not ran:
            await loop.nop()

    loop.run(main())
    assert ran == [1]


def test_other_threads_can_wait_while_coroutines_run(loop: sideloop.Loop) -> None:
    """Whichever thread takes the events, tasks and waiting threads get theirs."""
    stop = threading.Event()
    sums: List[int] = []

    def thread() -> None:
        total = 0
        while not stop.is_set():
            total += loop.post(1).wait(PATIENCE) + loop.timer(0.0001).wait(PATIENCE)
        sums.append(total)

    async def main() -> None:
        for _ in range(200):
            assert await sideloop.gather(loop.timer(0.0001), loop.post(1)) == [1, 1]

    threads = [threading.Thread(target=thread) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        loop.run(main())
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert len(sums) == 2 and all(total > 0 for total in sums)


def test_more_operations_than_the_loop_takes() -> None:
    """Coroutines wait for room instead of failing."""
    with sideloop.Loop(max_operations=10) as loop:

        async def one(number: int) -> int:
            await loop.timer(0.0001)
            return await loop.post(number)

        async def main() -> None:
            assert await sideloop.gather(*[one(number) for number in range(500)]) == list(range(500))

        loop.run(main())
        assert loop.counters().accepted == 1000


def room_for_connections(wanted: int) -> int:
    """How many connections there can be, with both of their ends in this process."""
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * wanted + 100:
        soft = min(2 * wanted + 100, hard) if hard != resource.RLIM_INFINITY else 2 * wanted + 100
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, (soft - 100) // 2)


def test_an_echo_server_with_a_thousand_connections(loop: sideloop.Loop) -> None:
    connections = room_for_connections(1000)

    async def serve(stream: sideloop.Stream) -> None:
        async with stream:
            while data := await stream.receive():
                await stream.send(data)

    async def accept(listener: sideloop.Listener) -> None:
        async for stream in listener.accept(multishot=True):
            sideloop.spawn(serve(stream))

    async def client(address: sideloop.Address, number: int) -> None:
        async with await loop.connect(address) as stream:
            for turn in range(3):
                message = b"%d %d\n" % (number, turn)
                await stream.send(message)
                assert await stream.receive(len(message), exact=True) == message
            # All are connected at a time.
            arrived.append(number)
            while len(arrived) < connections:
                await sideloop.sleep(0.01)
            await stream.shutdown()
            assert await stream.receive() == b""

    async def main() -> None:
        async with loop.listen("127.0.0.1:0", backlog=connections) as listener:
            accepting = sideloop.spawn(accept(listener))
            await sideloop.gather(*[client(listener.local_address(), number) for number in range(connections)])
            accepting.cancel()
            with pytest.raises(sideloop.Cancelled):
                await accepting

    arrived: List[int] = []
    loop.run(main())
    assert sorted(arrived) == list(range(connections))
    assert loop.counters().resources == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are for Unix")
def test_an_interrupt_ends_all_tasks(loop: sideloop.Loop) -> None:
    ended: List[str] = []

    async def background() -> None:
        try:
            await sideloop.sleep(PATIENCE)
        finally:
            await loop.nop()
            ended.append("background")

    async def main() -> None:
        sideloop.spawn(background())
        left, right = socket.socketpair()
        async with loop.adopt_stream(left):
            with right:
                await loop.nop()
                signal.raise_signal(signal.SIGINT)
                await sideloop.sleep(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        loop.run(main())
    assert ended == ["background"]
    assert loop.counters().resources == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are for Unix")
def test_an_interrupt_at_any_moment(loop: sideloop.Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not lost in a destructor, and none of the tasks are."""
    lost: List[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: lost.append(repr(unraisable.object)))
    begun = [0, 0]

    async def child() -> None:
        begun[0] += 1
        try:
            await loop.nop()
        finally:
            begun[1] += 1

    async def main(after: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, after)
        while not lost:
            sideloop.spawn(child())
            await child()

    def interrupt(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for turn in range(500):
            with pytest.raises(KeyboardInterrupt):
                loop.run(main(0.001 + 1e-6 * turn))
            assert (lost, begun[0]) == ([], begun[1])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are for Unix")
def test_an_interrupt_while_another_thread_takes_the_events(loop: sideloop.Loop) -> None:
    async def main() -> None:
        task = sideloop.spawn(waits())
        while loop._reaper != other.ident:
            await loop.nop()
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        await task

    async def waits() -> None:
        await sideloop.sleep(PATIENCE)

    timer = loop.timer(PATIENCE)
    other = threading.Thread(target=pytest.raises, args=(sideloop.Cancelled, timer.wait))
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run(main())
    finally:
        signal.signal(signal.SIGALRM, before)
        timer.cancel()
        other.join()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are for Unix")
def test_the_second_interrupt_waits_for_nothing(loop: sideloop.Loop) -> None:
    seen: List[str] = []

    async def main() -> None:
        signal.raise_signal(signal.SIGINT)
        seen.append("one")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        seen.append("two")

    with pytest.raises(KeyboardInterrupt):
        loop.run(main())
    assert seen == ["one", "two"]
