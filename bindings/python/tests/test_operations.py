"""What all operations have in common: ending once, cancelling, deadlines, batches; and timers, posts and work."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

import sideloop
from conftest import PATIENCE, Pair


def test_nop_and_post(loop: sideloop.Loop) -> None:
    assert loop.nop().wait(PATIENCE) is None
    assert loop.post(42).wait(PATIENCE) == 42
    assert loop.post(2**63 - 1).wait(PATIENCE) == 2**63 - 1
    with pytest.raises(ValueError):
        loop.post(-1)


def test_states(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    receiving = server.receive()
    assert not receiving.done()
    assert "stream_receive" in repr(receiving) and "under way" in repr(receiving)
    for ask in (receiving.result, receiving.exception):
        with pytest.raises(RuntimeError, match="under way"):
            ask()
    client.send(b"x").wait(PATIENCE)
    assert receiving.wait(PATIENCE) == b"x"
    assert receiving.done() and receiving.result() == b"x" and receiving.exception() is None
    assert receiving.wait(0) == b"x"
    assert repr(receiving).endswith("done>")


def test_wait_times_out_but_the_operation_goes_on(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    receiving = server.receive()
    with pytest.raises(TimeoutError, match="still under way"):
        receiving.wait(0.01)
    client.send(b"late").wait(PATIENCE)
    assert receiving.wait(PATIENCE) == b"late"


def test_deadline(loop: sideloop.Loop, pair: Pair) -> None:
    receiving = pair[0].receive(timeout=0.01)
    with pytest.raises(TimeoutError) as caught:
        receiving.wait(PATIENCE)
    assert isinstance(caught.value, sideloop.TimedOut)
    assert receiving.done()
    with pytest.raises(sideloop.TimedOut):
        pair[0].receive(timeout=0).wait(PATIENCE)
    assert loop.counters().timed_out == 2


def test_cancel(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    receiving = server.receive()
    assert receiving.cancel()
    with pytest.raises(sideloop.Cancelled) as caught:
        receiving.wait(PATIENCE)
    assert not isinstance(caught.value, OSError)
    assert not receiving.cancel()
    assert loop.counters().cancelled == 1
    client.send(b"kept").wait(PATIENCE)
    assert server.receive().wait(PATIENCE) == b"kept"


def test_an_exact_receive_that_is_cancelled_says_what_it_had(loop: sideloop.Loop, pair: Pair) -> None:
    client, server = pair
    buffer = bytearray(10)
    receiving = server.receive_into(buffer, exact=True)
    client.send(b"part").wait(PATIENCE)
    # The next operation of this direction could not have begun before it has taken these.
    while bytes(memoryview(buffer)[:4]) != b"part":
        loop.nop().wait(PATIENCE)
    receiving.cancel()
    error = receiving_error(receiving)
    assert isinstance(error, sideloop.Cancelled) and error.done == 4
    assert buffer[:4] == b"part"


def receiving_error(operation: sideloop.Operation[Any]) -> BaseException:
    with pytest.raises(sideloop.Error):
        operation.wait(PATIENCE)
    error = operation.exception()
    assert error is not None
    return error


def test_timers(loop: sideloop.Loop) -> None:
    assert loop.timer(0).wait(PATIENCE) == 1
    ticks = loop.timer(0.001, 0.001)
    assert isinstance(ticks, sideloop.Multishot)
    for _ in range(3):
        assert next(ticks) >= 1
    assert ticks.cancel()
    assert all(count >= 1 for count in ticks)
    assert isinstance(ticks.exception(), sideloop.Cancelled)
    with pytest.raises(ValueError):
        loop.timer(-1)
    with pytest.raises(ValueError):
        loop.timer(1, 1e-9)
    for beyond in (1e30, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="delay is out of range"):
            loop.timer(beyond)


@pytest.fixture(scope="session")
def helper(compile_c: Callable[..., Path]) -> Iterator[ctypes.CDLL]:
    """C functions to be run by worker threads."""
    source = """
    #include <stdint.h>
    #include <unistd.h>
    int64_t length(void *text) { int64_t n = 0; while (((char *)text)[n]) n++; return n; }
    int64_t timed_out(void *none) { (void)none; return -9; }
    int64_t block(void *descriptor) { char byte; return read((int)(intptr_t)descriptor, &byte, 1); }
    """
    yield ctypes.CDLL(str(compile_c(source, "-shared", "-fPIC")))


@pytest.mark.skipif(os.name == "nt", reason="the C of this test is for Unix")
def test_work(loop: sideloop.Loop, helper: ctypes.CDLL) -> None:
    assert loop.work(helper.length, b"seven c").wait(PATIENCE) == 7
    address = ctypes.cast(helper.length, ctypes.c_void_p).value
    text = ctypes.create_string_buffer(b"three")
    assert loop.work(address, ctypes.addressof(text)).wait(PATIENCE) == 5
    with pytest.raises(sideloop.TimedOut):
        loop.work(helper.timed_out).wait(PATIENCE)
    with pytest.raises(ValueError):
        loop.work(0)
    for wrong in ("text", b"bytes", None, len):
        with pytest.raises(TypeError, match="C function"):
            loop.work(wrong)


@pytest.mark.skipif(os.name == "nt", reason="the C of this test is for Unix")
def test_work_that_has_begun_is_not_cancelled(loop: sideloop.Loop, helper: ctypes.CDLL) -> None:
    out, into = os.pipe()
    started = loop.work(helper.block, out)
    # It has begun, or never will: either way its end is the truth.
    started.cancel()
    os.write(into, b"x")
    try:
        assert started.wait(PATIENCE) == 1
    except sideloop.Cancelled:
        assert os.read(out, 1) == b"x"
    finally:
        os.close(out)
        os.close(into)


def test_batch(loop: sideloop.Loop, tmp_path: Path) -> None:
    before = loop.counters()
    with loop.batch():
        writes = [loop.write_file(tmp_path / str(n), b"x" * n) for n in range(100)]
        with loop.batch():
            posts = [loop.post(n) for n in range(100)]
        assert loop.counters().accepted == before.accepted
    assert loop.counters().accepted == before.accepted + 200
    assert [op.wait(PATIENCE) for op in writes] == [op.wait(PATIENCE) for op in posts] == list(range(100))


def test_a_refusal_in_a_batch_is_the_operations_result(loop: sideloop.Loop) -> None:
    with loop.batch():
        good = [loop.post(n) for n in range(3)]
        bad = loop.post(-1)
        good += [loop.post(n) for n in range(3)]
        worse = loop.timer(0, 1e-9)
    assert [op.wait(PATIENCE) for op in good] == [0, 1, 2] * 2
    for refused in (bad, worse):
        with pytest.raises(sideloop.InvalidError):
            refused.wait(PATIENCE)
    assert {event.operation for event in loop.poll()} == set()


def test_waiting_inside_a_batch_submits_it(loop: sideloop.Loop, pair: Pair) -> None:
    with loop.batch():
        assert loop.post(7).wait(PATIENCE) == 7
        receiving = pair[0].receive()
        assert receiving.cancel()
        with pytest.raises(sideloop.Cancelled):
            receiving.wait(PATIENCE)


def test_the_limit_of_operations() -> None:
    with sideloop.Loop(max_operations=2) as loop:
        with loop.listen("127.0.0.1:0") as listener:
            first, second = listener.accept(), listener.accept()
            with pytest.raises(BlockingIOError) as caught:
                loop.nop()
            assert isinstance(caught.value, sideloop.LimitError)
            for accepting in (first, second):
                accepting.cancel()
                with pytest.raises(sideloop.Cancelled):
                    accepting.wait(PATIENCE)
            loop.nop().wait(PATIENCE)


def test_options_of_a_loop() -> None:
    with sideloop.Loop(max_lent_bytes=4096) as loop:
        with pytest.raises(OSError):
            loop.read_file(sideloop.__file__.replace("__init__", "engine")).wait(PATIENCE)
    for wrong in ({"max_operations": -1}, {"max_operations": 2**32}, {"max_file_threads": 10**6}):
        with pytest.raises(ValueError):
            sideloop.Loop(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="driver"):
        sideloop.Loop(driver="fast")  # type: ignore[arg-type]


def test_the_driver_is_the_one_asked_for() -> None:
    with sideloop.Loop(driver="poll") as loop:
        assert loop.driver == "poll" and loop.driver_reason
    with sideloop.Loop() as loop:
        wanted = os.environ.get("SIDELOOP_DRIVER", "auto")
        # Where io_uring cannot be had, the loop says so.
        assert wanted in ("auto", loop.driver) or (loop.driver == "poll" and "uring" in loop.driver_reason)


def test_any_thread_may_submit_and_wait(loop: sideloop.Loop) -> None:
    """Many threads wait at a time; one takes the events, and each gets its own."""
    problems: List[object] = []

    def client(number: int) -> None:
        try:
            for n in range(50):
                value = number * 1000 + n
                assert loop.post(value).wait(PATIENCE) == value
                assert loop.timer(0.0001).wait(PATIENCE) == 1
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert loop.poll() == []
